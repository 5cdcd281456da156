# dksan-lite_x4 for real video: its network, and from its weights, trained on
# frames that are blurred, noisy and compressed (H.264, JPEG).
# python tools/train.py configs/dksan-lite-real_x4.py --amp
_base_ = [
    '_base_/models/dksan-lite_x4.py',
    '_base_/datasets/photographs-real_x4.py',
    '_base_/schedules/adam_lite.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-lite-real_x4'
work_dir = f'./work_dirs/{experiment_name}'
load_from = 'dksan-lite_x4'

# A little of a loss on VGG's features keeps textures that eq. 13 alone would
# smooth away where frames are noisy. VGG16's weights come by
# tools/analysis_tools/fetch_lpips_weights.py vgg; only training needs them.
model = dict(
    perceptual_loss=dict(
        type='VGGPerceptualLoss',
        layer_weights={
            '2': 0.1,
            '7': 0.1,
            '14': 1.0
        },
        perceptual_weight=4e-3))
# from trained weights: a lower rate
optim_wrapper = dict(optimizer=dict(lr=3e-4))
max_iters = 3_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, T_max=max_iters - _base_.warmup_iters)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(interval=250, max_keep_ckpts=2))
