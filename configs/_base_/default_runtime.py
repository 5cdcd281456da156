# What every config shares: hooks, environment, logging.
default_scope = 'mmagic'
custom_imports = dict(
    imports=[
        'dksan_mm.models', 'dksan_mm.datasets', 'dksan_mm.evaluation',
        'dksan_mm.engine'
    ],
    allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='WholeCheckpointHook',
        interval=5000,
        by_epoch=False,
        max_keep_ckpts=10,
        save_best='PSNR',
        rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # of every 25th frame of a validation, where it is on
    pictures=dict(
        type='BasicVisualizationHook',
        interval=dict(val=25),
        on_val=False,
        on_test=False))
# to look at a training: `visualizer = _base_.pictures` (tools/README.md)
pictures = dict(
    type='RestoredFrameVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend')
    ])

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=4),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)

log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=100, by_epoch=False)
load_from = None
resume = False
