# For the lite networks, on CPUs or one GPU: Adam at a higher rate, gradients
# clipped, the weights averaged over the last tenth of the iterations so far
# (at most the last thousand). Checkpoints hold the averaged weights as
# state_dict, so that tests and restoration use them.
max_iters = 5_000
warmup_iters = 100
train_cfg = dict(
    type='ResumableTrainLoop', max_iters=max_iters, val_interval=1000)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.5))
param_scheduler = [
    dict(
        type='LinearLR',
        by_epoch=False,
        start_factor=0.01,
        begin=0,
        end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
        T_max=max_iters - warmup_iters,
        eta_min=1e-6)
]
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=1e-3,
        gamma=10,
        strict_load=True)
]
# tools/train.py --auto-scale-lr: lr is for 4 windows in all
auto_scale_lr = dict(enable=False, base_batch_size=4)
