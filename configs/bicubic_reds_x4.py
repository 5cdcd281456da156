# Bicubic x4 on all public x4 sets.
# python tools/test.py configs/bicubic_reds_x4.py --dataset reds4
_base_ = [
    '_base_/models/bicubic_x16.py',
    '_base_/datasets/reds_x4.py',
    '_base_/default_runtime.py',
]
experiment_name = 'bicubic_reds_x4'
work_dir = f'./work_dirs/{experiment_name}'
model = dict(scale=4)

# a bicubic baseline cannot be trained
train_dataloader = None
val_dataloader = None
val_evaluator = None
val_cfg = None
# DistributedDataParallel refuses a model without parameters
model_wrapper_cfg = dict(type='InferenceWrapper')
