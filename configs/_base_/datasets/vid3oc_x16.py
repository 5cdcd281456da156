# Vid3oC: 50 sequences to train (000-049), 16 to validate (050-065; the paper
# tests on these, the ground truth of the test set being unreleased). Tests are
# on these and on IntVID (050-059, 14 frames each). Both as the converters in
# tools/dataset_converters write them, PNGs or memory maps.
scale = 16
num_input_frames = 7
data_root = 'data/vid3oc'

train_pipeline = [
    # a window that would reach over an end is drawn anew by MMagic
    dict(type='GenerateFrameIndices', interval_list=[1], frames_per_clip=9999),
    # the paper names flips and rotations only; 0.5 reverses every other window
    dict(type='TemporalReverse', keys=['img_path'], reverse_ratio=0),
    # 7 LR frames and 1 HR frame, the middle one's
    dict(type='LoadFrames', key='img', channel_order='rgb'),
    dict(type='LoadFrames', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=scale)),
    # 32x32 LR with 512x512 HR
    dict(type='PairedRandomCrop', gt_patch_size=512),
    dict(type='CopyFrames', keys=['img', 'gt']),
    dict(
        type='Flip',
        keys=['img', 'gt'],
        flip_ratio=0.5,
        direction='horizontal'),
    dict(
        type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    # with the flips, the rotations by 90 degrees
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PackInputs')
]
val_pipeline = [
    # at the ends the window is mirrored: frame -1 is frame 1
    dict(type='GenerateFrameIndiceswithPadding', padding='reflection'),
    dict(type='LoadFrames', key='img', channel_order='rgb'),
    dict(type='LoadFrames', key='gt', channel_order='rgb'),
    dict(type='CopyFrames', keys=['img', 'gt']),
    dict(type='PackInputs')
]
# for MMagic's VideoRestorationInferencer, which pads the ends by itself
demo_pipeline = [
    dict(type='GenerateSegmentIndices', interval_list=[1]),
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='PackClip')
]

train_dataloader = dict(
    num_workers=4,
    batch_size=4,  # on each of 4 GPUs, 16 in all
    drop_last=True,
    persistent_workers=False,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type='VideoSRDataset',
        metainfo=dict(dataset_type='vid3oc', task_name='vsr'),
        data_root=data_root,
        data_prefix=dict(img='train/BIx16', gt='train/GT'),
        ann_file='meta_info_train.txt',
        scale=scale,
        num_input_frames=num_input_frames,
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    batch_size=1,
    persistent_workers=False,
    # whole sequences, for measures that look at successive frames
    sampler=dict(type='SequenceSampler', shuffle=False),
    dataset=dict(
        type='VideoSRDataset',
        metainfo=dict(dataset_type='vid3oc', task_name='vsr'),
        data_root=data_root,
        data_prefix=dict(img='val/BIx16', gt='val/GT'),
        ann_file='meta_info_val.txt',
        scale=scale,
        num_input_frames=num_input_frames,
        test_mode=True,
        pipeline=val_pipeline))
# RGB, no border crop, unweighted mean over sequences, as the paper's tables
val_evaluator = [dict(type='SequencePSNR'), dict(type='SequenceSSIM')]
val_cfg = dict(type='MultiValLoop')

test_dataloader = [{
    **val_dataloader, 'dataset':
    dict(
        val_dataloader['dataset'],
        metainfo=dict(dataset_type=name, task_name='vsr'),
        data_root=f'data/{name}',
        ann_file='meta_info_test.txt')
} for name in ('vid3oc', 'intvid')]
# PSNR and SSIM in RGB and Y, border crop 0 and 16, and the temporal tOF
test_evaluator = [[
    dict(type='SequenceQuality', prefix=name),
    dict(type='SequenceTOF', prefix=name)
] for name in ('vid3oc', 'intvid')]
test_cfg = dict(type='MultiTestLoop')
