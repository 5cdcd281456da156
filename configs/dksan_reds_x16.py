# DKSAN on REDS, x16, tested on REDS4. REDS has no x16: make it from its HR
# frames,
# python tools/dataset_converters/videos/preprocess_videos.py data/reds_x16 \
#     --name reds4-x16 --videos data/REDS/train_sharp \
#     --val-file configs/splits/reds4_val.txt
_base_ = 'dksan_vid3oc_x16.py'
experiment_name = 'dksan_reds_x16'
work_dir = f'./work_dirs/{experiment_name}'
data_root = 'data/reds_x16'
metainfo = dict(dataset_type='reds4-x16', task_name='vsr')
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = _base_.val_dataloader
val_dataloader['dataset'].update(data_root=data_root, metainfo=metainfo)
test_dataloader = [val_dataloader]
test_evaluator = [[dict(type='SequenceQuality'), dict(type='SequenceTOF')]]
