# EDVR on Vid3oC, x16: Table 1, "EDVR", trained as DKSAN is.
# bash tools/dist_train.sh configs/edvr_vid3oc_x16.py 4
_base_ = [
    '_base_/models/edvr_x16.py',
    '_base_/datasets/vid3oc_x16.py',
    '_base_/schedules/adam_115k.py',
    '_base_/default_runtime.py',
]
experiment_name = 'edvr_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'
