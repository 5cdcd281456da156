# DKSAN for looks, from the weights of dksan_vid3oc_x16, with a discriminator.
# bash tools/dist_train.sh configs/dksan-gan_vid3oc_x16.py 4
_base_ = [
    '_base_/models/dksan_x16.py',
    '_base_/models/gan.py',
    '_base_/datasets/vid3oc_x16.py',
    '_base_/schedules/adam_gan.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-gan_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'
load_from = 'work_dirs/dksan_vid3oc_x16/iter_115000.pth'

model = _base_.gan
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(checkpoint=dict(save_best=None))
