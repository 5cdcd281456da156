# BasicVSR++ on Vid3oC, x16, trained as DKSAN is; not in the paper's tables.
# bash tools/dist_train.sh configs/basicvsr-pp_vid3oc_x16.py 4
_base_ = [
    '_base_/models/basicvsr-pp_x16.py',
    '_base_/datasets/vid3oc_x16.py',
    '_base_/schedules/adam_115k.py',
    '_base_/default_runtime.py',
]
experiment_name = 'basicvsr-pp_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'

# the flow learns slower, as in MMagic's configs of BasicVSR++
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'spynet': dict(lr_mult=0.25)}))
