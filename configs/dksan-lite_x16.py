# A DKSAN x16 with every part, small enough for CPUs: 2.7M parameters. Trained
# on photographs and real clips (configs/README.md).
# python tools/train.py configs/dksan-lite_x16.py
_base_ = [
    '_base_/models/dksan_x16.py',
    '_base_/datasets/photographs_x16.py',
    '_base_/schedules/adam_lite.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-lite_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        mid_channels=(64, 64, 32, 16),
        num_blocks=(12, 8, 5, 2),
        num_extraction_blocks=3,
        num_align_layers=2,
        num_dksa_layers=1,
        flow_guided=True,
        reduction=(16, 16, 8, 4)),
    # more PSNR for few iterations than eq. 13, which is close to L1
    pixel_loss=dict(_delete_=True, type='MSELoss', loss_weight=1.0))

default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=250, max_keep_ckpts=2))
