# Bicubic x16 on the clips that the lite networks are tested on.
# python tools/test.py configs/bicubic_x16.py
_base_ = [
    '_base_/models/bicubic_x16.py',
    '_base_/datasets/photographs_x16.py',
    '_base_/default_runtime.py',
]
experiment_name = 'bicubic_x16'
work_dir = f'./work_dirs/{experiment_name}'

# a bicubic baseline cannot be trained
train_dataloader = None
val_dataloader = None
val_evaluator = None
val_cfg = None
# DistributedDataParallel refuses a model without parameters
model_wrapper_cfg = dict(type='InferenceWrapper')
