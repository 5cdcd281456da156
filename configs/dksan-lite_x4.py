# A DKSAN x4 with every part, small enough for CPUs: 0.9M parameters. Trained
# on photographs and real clips (configs/README.md).
# python tools/train.py configs/dksan-lite_x4.py --amp
_base_ = [
    '_base_/models/dksan_x16.py',
    '_base_/datasets/photographs_x4.py',
    '_base_/schedules/adam_lite.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-lite_x4'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        mid_channels=(48, 32),
        num_blocks=(8, 4),
        num_extraction_blocks=2,
        num_align_layers=2,
        num_dksa_layers=1,
        reduction=(12, 8)))

default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=250, max_keep_ckpts=2))
