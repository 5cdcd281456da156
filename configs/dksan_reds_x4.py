# DKSAN on REDS, x4, tested on all public x4 sets.
# bash tools/dist_train.sh configs/dksan_reds_x4.py 4
_base_ = [
    '_base_/models/dksan_x4.py',
    '_base_/datasets/reds_x4.py',
    '_base_/schedules/adam_115k.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan_reds_x4'
work_dir = f'./work_dirs/{experiment_name}'
