# DKSAN on Vimeo-90K, BD (Gaussian blur, every fourth pixel), x4.
_base_ = 'dksan_vimeo90k-bi_x4.py'
experiment_name = 'dksan_vimeo90k-bd_x4'
work_dir = f'./work_dirs/{experiment_name}'
train_dataloader = dict(dataset=dict(data_prefix=dict(img='BDx4', gt='GT')))
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img='BDx4', gt='GT'),
        metainfo=dict(dataset_type='vid4-bd')))
