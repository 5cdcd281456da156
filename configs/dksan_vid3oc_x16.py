# DKSAN on Vid3oC, x16: Tables 1 and 3, "DKSAN (ours)".
# bash tools/dist_train.sh configs/dksan_vid3oc_x16.py 4
_base_ = [
    '_base_/models/dksan_x16.py',
    '_base_/datasets/vid3oc_x16.py',
    '_base_/schedules/adam_115k.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'
