# adam_115k.py for the lite networks, on CPUs or one GPU: at a higher rate,
# gradients clipped, the weights averaged over the last tenth of the iterations
# so far (at most the last thousand). Checkpoints hold the averaged weights as
# state_dict, so that tests and restoration use them.
_base_ = 'adam_115k.py'
max_iters = 5_000
warmup_iters = 100
train_cfg = dict(max_iters=max_iters, val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=0.5))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_iters)
param_scheduler[1].update(
    begin=warmup_iters,
    end=max_iters,
    T_max=max_iters - warmup_iters,
    eta_min=1e-6)
# strict_load=False: the model's own strict_checkpoint decides what is refused
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='MomentumAnnealingEMA',
        momentum=1e-3,
        gamma=10,
        strict_load=False)
]
# tools/train.py --auto-scale-lr: lr is for 2 windows in all
auto_scale_lr = dict(base_batch_size=2)
