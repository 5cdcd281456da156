# Windows rendered from photographs, beside those of real clips, to train; real
# clips that are held out to validate and test. Clips are as the converter
# tools/dataset_converters/videos writes them.
scale = 16
num_input_frames = 7
gt_size = 384
photographs = 'data/photographs'
data_root = f'data/clips_x{scale}'
metainfo = dict(dataset_type='clips', task_name='vsr')

augmentation = [
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
train_pipeline = [
    # a window that would reach over an end is drawn anew by MMagic
    dict(type='GenerateFrameIndices', interval_list=[1], frames_per_clip=9999),
    dict(type='TemporalReverse', keys=['img_path'], reverse_ratio=0.5),
    dict(type='LoadFrames', key='img', channel_order='rgb'),
    dict(type='LoadFrames', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=scale)),
    dict(type='PairedRandomCrop', gt_patch_size=gt_size),
    dict(type='CopyFrames', keys=['img', 'gt']),
    *augmentation
]
photograph_pipeline = [
    dict(type='TemporalReverse', keys=['img'], reverse_ratio=0.5),
    *augmentation
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
    num_workers=1,
    # of 24x24 LR: flow needs more surroundings than 16x16
    batch_size=2,
    drop_last=True,
    # photographs are decoded once
    persistent_workers=True,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type='SeededConcatDataset',
        datasets=[
            dict(
                type='PhotoWindowDataset',
                metainfo=metainfo,
                data_root=photographs,
                scale=scale,
                num_input_frames=num_input_frames,
                gt_size=gt_size,
                windows_per_photograph=10,
                pipeline=photograph_pipeline),
            dict(
                type='VideoSRDataset',
                metainfo=metainfo,
                data_root=data_root,
                data_prefix=dict(img=f'train/BIx{scale}', gt='train/GT'),
                ann_file='meta_info_train.txt',
                scale=scale,
                num_input_frames=num_input_frames,
                pipeline=train_pipeline)
        ]))
val_dataloader = dict(
    num_workers=1,
    batch_size=1,
    persistent_workers=False,
    # whole sequences, for measures that look at successive frames
    sampler=dict(type='SequenceSampler', shuffle=False),
    dataset=dict(
        type='VideoSRDataset',
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img=f'val/BIx{scale}', gt='val/GT'),
        ann_file='meta_info_val.txt',
        scale=scale,
        num_input_frames=num_input_frames,
        test_mode=True,
        pipeline=val_pipeline))
val_evaluator = [dict(type='SequencePSNR'), dict(type='SequenceSSIM')]
val_cfg = dict(type='MultiValLoop')

test_dataloader = [val_dataloader]
test_evaluator = [[dict(type='SequenceQuality'), dict(type='SequenceTOF')]]
test_cfg = dict(type='MultiTestLoop')
