# dksan-lite_x4 for looks: from its weights, with a discriminator.
# python tools/train.py configs/dksan-lite-gan_x4.py
_base_ = [
    '_base_/models/dksan-lite_x4.py',
    '_base_/models/gan.py',
    '_base_/datasets/photographs_x4.py',
    '_base_/schedules/adam_gan.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-lite-gan_x4'
work_dir = f'./work_dirs/{experiment_name}'
load_from = 'dksan-lite_x4'

model = _base_.gan
max_iters = 5_000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=250, max_keep_ckpts=2, save_best=None))
