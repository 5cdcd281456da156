# A DKSAN x4 with every part, small enough for CPUs: 0.9M parameters. Trained
# on photographs and real clips (configs/README.md).
# python tools/train.py configs/dksan-lite_x4.py --amp
_base_ = [
    '_base_/models/dksan-lite_x4.py',
    '_base_/datasets/photographs_x4.py',
    '_base_/schedules/adam_lite.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-lite_x4'
work_dir = f'./work_dirs/{experiment_name}'

default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=250, max_keep_ckpts=2))
