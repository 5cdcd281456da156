# Section 4.2 of the paper: Adam(0.9, 0.999), 4e-4, 115k iterations of 16
# windows. The paper names no schedule: warm-up and cosine are our choice.
# Without a warm-up the first step, of Adam's full size in every weight,
# triples the loss of the very batch that it was made for.
max_iters = 115_000
warmup_iters = 500
train_cfg = dict(
    type='ResumableTrainLoop', max_iters=max_iters, val_interval=5000)
# fused=True: one GPU kernel for all weights; None: PyTorch's choice
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=4e-4, betas=(0.9, 0.999), fused=None))
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
        eta_min=1e-7)
]
# tools/train.py --auto-scale-lr: lr is for 16 windows in all
auto_scale_lr = dict(enable=False, base_batch_size=16)
