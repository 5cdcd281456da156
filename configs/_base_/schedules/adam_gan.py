# Generator and discriminator, from a trained generator: a constant rate, the
# weights averaged as by adam_lite.py. The best PSNR is not what is sought.
_base_ = 'adam_lite.py'
max_iters = 50_000
train_cfg = dict(max_iters=max_iters, val_interval=5000)
_optimizer = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.99)))
optim_wrapper = dict(
    _delete_=True,
    constructor='MultiOptimWrapperConstructor',
    generator=_optimizer,
    discriminator=_optimizer)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100)
]
