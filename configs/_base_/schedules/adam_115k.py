# Section 4.2 of the paper: Adam(0.9, 0.999), 4e-4, 115k iterations of 16
# windows. The paper names no schedule; cosine is our choice.
max_iters = 115_000
train_cfg = dict(
    type='ResumableTrainLoop', max_iters=max_iters, val_interval=5000)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=4e-4, betas=(0.9, 0.999)))
param_scheduler = dict(
    type='CosineAnnealingLR',
    by_epoch=False,
    begin=0,
    end=max_iters,
    T_max=max_iters,
    eta_min=1e-7)
# tools/train.py --auto-scale-lr: lr is for 16 windows in all
auto_scale_lr = dict(enable=False, base_batch_size=16)
