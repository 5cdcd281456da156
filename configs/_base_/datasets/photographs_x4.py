# photographs_x16.py at x4, with 48x48 LR and 192x192 HR, and slower motion.
_base_ = 'photographs_x16.py'
scale = 4
gt_size = 192
data_root = f'data/clips_x{scale}'

train_pipeline = _base_.train_pipeline
train_pipeline[4].update(dictionary=dict(scale=scale))
train_pipeline[5].update(gt_patch_size=gt_size)
train_dataloader = _base_.train_dataloader
train_dataloader['dataset']['datasets'][0].update(
    scale=scale, gt_size=gt_size, motion=dict(speed=4.))
train_dataloader['dataset']['datasets'][1].update(
    scale=scale,
    data_root=data_root,
    data_prefix=dict(img=f'train/BIx{scale}', gt='train/GT'),
    pipeline=train_pipeline)
val_dataloader = _base_.val_dataloader
val_dataloader['dataset'].update(
    scale=scale,
    data_root=data_root,
    data_prefix=dict(img=f'val/BIx{scale}', gt='val/GT'))
test_dataloader = [val_dataloader]
