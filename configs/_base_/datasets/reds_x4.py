# REDS to train, REDS4 to validate, and all public x4 sets to test, read where
# and as MMagic's configs of EDVR, BasicVSR++ and TDAN read them: 266 sequences
# of 100 frames, the four of REDS4 left out. configs/README.md has each test
# set's protocol; tools/test.py --dataset chooses one.
scale = 4
num_input_frames = 7
reds_root = 'data/REDS'
vimeo90k_root = 'data/vimeo90k'

load = [
    dict(type='LoadFrames', key='img', channel_order='rgb'),
    dict(type='LoadFrames', key='gt', channel_order='rgb')
]
augment = [
    *load,
    dict(type='SetValues', dictionary=dict(scale=scale)),
    # 64x64 LR with 256x256 HR, as MMagic
    dict(type='PairedRandomCrop', gt_patch_size=256),
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
train_pipeline = [
    # a window that would reach over an end is drawn anew by MMagic
    dict(type='GenerateFrameIndices', interval_list=[1], frames_per_clip=99),
    *augment
]
# a clip is one window; its key names it in results
clip_pipeline = [*load, dict(type='PackInputs', meta_keys=['key'])]
val_pipeline = [
    # at the ends the window is mirrored: frame -1 is frame 1
    dict(type='GenerateFrameIndiceswithPadding', padding='reflection'),
    *clip_pipeline
]
# for MMagic's VideoRestorationInferencer, which pads the ends by itself
demo_pipeline = [
    dict(type='GenerateSegmentIndices', interval_list=[1]),
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='PackClip')
]

_reds = dict(
    type='VideoSRDataset',
    data_root=reds_root,
    data_prefix=dict(img='train_sharp_bicubic/X4', gt='train_sharp'),
    fixed_seq_len=100,
    scale=scale,
    num_input_frames=num_input_frames)
_frames = dict(
    type='VideoSRDataset',
    scale=scale,
    num_input_frames=num_input_frames,
    # numbered from 0 or 1, with any digits
    any_names=True,
    test_mode=True,
    pipeline=val_pipeline)
_clips = dict(
    type='VideoSRDataset',
    data_root=vimeo90k_root,
    ann_file='meta_info_Vimeo90K_test_GT.txt',
    # the middle frame alone is measured
    load_frames_list=dict(
        img=[f'im{i}.png' for i in range(1, 8)], gt=['im4.png']),
    scale=scale,
    num_input_frames=num_input_frames,
    test_mode=True,
    pipeline=clip_pipeline)

train_dataloader = dict(
    num_workers=4,
    batch_size=4,  # on each of 4 GPUs, 16 in all
    drop_last=True,
    persistent_workers=False,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        _reds,
        metainfo=dict(dataset_type='reds', task_name='vsr'),
        ann_file='meta_info_reds4_train.txt',
        pipeline=train_pipeline))
test_sets = dict(
    reds4=dict(
        _reds,
        ann_file='meta_info_reds4_val.txt',
        test_mode=True,
        pipeline=val_pipeline),
    vimeo90k_t_bi=dict(_clips, data_prefix=dict(img='BIx4', gt='GT')),
    vimeo90k_t_bd=dict(_clips, data_prefix=dict(img='BDx4', gt='GT')),
    vid4_bi=dict(
        _frames,
        data_root='data/Vid4',
        data_prefix=dict(img='BIx4', gt='GT'),
        ann_file='meta_info_Vid4_GT.txt'),
    vid4_bd=dict(
        _frames,
        data_root='data/Vid4',
        data_prefix=dict(img='BDx4', gt='GT'),
        ann_file='meta_info_Vid4_GT.txt'),
    udm10_bd=dict(
        _frames,
        data_root='data/UDM10',
        data_prefix=dict(img='BDx4', gt='GT'),
        num_sequences=10),
    spmcs_bi=dict(
        _frames,
        data_root='data/SPMCS',
        data_prefix=dict(img='BIx4', gt='GT'),
        ann_file='meta_info_SPMCS_GT.txt'),
    spmcs_bd=dict(
        _frames,
        data_root='data/SPMCS',
        data_prefix=dict(img='BDx4', gt='GT'),
        ann_file='meta_info_SPMCS_GT.txt'))
test_dataloader = [
    dict(
        num_workers=1,
        batch_size=1,
        persistent_workers=False,
        # whole sequences, for measures that look at successive frames
        sampler=dict(type='SequenceSampler', shuffle=False),
        dataset=dict(
            dataset,
            metainfo=dict(
                dataset_type=name.replace('_', '-'), task_name='vsr')))
    for name, dataset in test_sets.items()
]
# RGB and luma, with the border crop of 8 pixels that SPMCS has; clips of a
# single measured frame have no tOF
test_evaluator = [[
    dict(
        type='SequenceQuality',
        crop_borders=[0, 8],
        prefix=name.replace('_', '-')),
    *([dict(type='SequenceTOF', prefix=name.replace('_', '-'))]
      if 'vimeo' not in name else [])
] for name in test_sets]
test_cfg = dict(type='MultiTestLoop')

val_dataloader = test_dataloader[0]
val_evaluator = [dict(type='SequencePSNR'), dict(type='SequenceSSIM')]
val_cfg = dict(type='MultiValLoop')
