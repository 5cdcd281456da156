# photographs_x4.py, its LR frames degraded as those of real video: blurred,
# resized, noisy and compressed, then reduced, and the like once more, milder.
# HR stays clean. H.264 compresses 85% of the windows before the reduction and
# 15% after it. Parameters are drawn once a window; a sample depends
# on the seed and its index alone. (Not by MMagic's DegradationsWithShuffle:
# the order that it draws depends on those before.) Validation is on clips
# compressed at crf 32 before they are reduced
# (tools/dataset_converters/videos/README.md).
_base_ = 'photographs_x4.py'
lr_size = _base_.gt_size // _base_.scale
val_root = f'data/clips-crf32_x{_base_.scale}'

kernels = dict(
    kernel_list=['iso', 'aniso', 'generalized_iso', 'plateau_iso', 'sinc'],
    kernel_prob=[0.4, 0.25, 0.1, 0.1, 0.15])
noise = dict(
    noise_type=['gaussian', 'poisson'],
    noise_prob=[0.7, 0.3],
    gaussian_gray_noise_prob=0.4,
    poisson_gray_noise_prob=0.4)
resize = dict(
    resize_opt=['bilinear', 'area', 'bicubic'], resize_prob=[0.3, 0.4, 0.3])
h264 = dict(preset=['veryfast', 'fast', 'medium'])
round_frames = dict(type='RoundFrames', keys=['img'])
# of HR frames; sizes and standard deviations in HR pixels
first_order = [
    dict(
        type='RandomBlur',
        keys=['img'],
        params=dict(
            kernels,
            prob=0.15,
            kernel_size=[7, 9, 11, 13],
            sigma_x=[0.2, 2.0],
            sigma_y=[0.2, 2.0])),
    dict(
        type='RandomResize',
        keys=['img'],
        params=dict(
            resize,
            prob=0.1,
            resize_mode_prob=[0.2, 0.7, 0.1],  # up, down, keep
            resize_scale=[0.5, 1.25],
            is_size_even=True)),
    dict(
        type='RandomNoise',
        keys=['img'],
        params=dict(
            noise,
            prob=0.15,
            gaussian_sigma=[1, 10],
            poisson_scale=[0.05, 0.8])),
    round_frames,
    dict(
        type='RandomJPEGCompression',
        keys=['img'],
        params=dict(prob=0.1, quality=[40, 95])),
    dict(
        type='RandomH264Compression',
        keys=['img'],
        params=dict(h264, prob=0.85, crf=[22, 38]))
]
reduction = dict(
    type='RandomChoice',
    prob=[0.9, 0.1],
    transforms=[[
        dict(
            type='MATLABLikeResize',
            keys=['img'],
            output_shape=(lr_size, lr_size))
    ],
                [
                    dict(
                        type='RandomResize',
                        keys=['img'],
                        params=dict(resize, target_size=(lr_size, lr_size)))
                ]])
# of LR frames, and in LR pixels
second_order = [
    reduction,
    dict(
        type='RandomBlur',
        keys=['img'],
        params=dict(
            kernels,
            prob=0.05,
            kernel_size=[7],
            sigma_x=[0.2, 0.8],
            sigma_y=[0.2, 0.8])),
    dict(
        type='RandomNoise',
        keys=['img'],
        params=dict(
            noise,
            prob=0.1,
            gaussian_sigma=[0.5, 4],
            poisson_scale=[0.05, 0.4])), round_frames,
    dict(
        type='RandomJPEGCompression',
        keys=['img'],
        params=dict(prob=0.05, quality=[60, 95])),
    dict(
        type='RandomH264Compression',
        keys=['img'],
        params=dict(h264, prob=0.15, crf=[14, 30]))
]

# LR frames are made of HR ones here: the data sets give these alone
degradation = [*first_order, *second_order, _base_.augmentation[-1]]
train_pipeline = [*_base_.train_pipeline[:-1], *degradation]
train_pipeline[4].update(dictionary=dict(scale=1))
photograph_pipeline = [*_base_.photograph_pipeline[:-1], *degradation]
train_dataloader = _base_.train_dataloader
train_dataloader['dataset']['datasets'][0].update(
    scale=1, pipeline=photograph_pipeline)
train_dataloader['dataset']['datasets'][1].update(
    scale=1,
    data_prefix=dict(img='train/GT', gt='train/GT'),
    pipeline=train_pipeline)
val_dataloader = _base_.val_dataloader
val_dataloader['dataset'].update(data_root=val_root)
test_dataloader = [val_dataloader]
