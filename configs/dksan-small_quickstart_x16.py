# A DKSAN with every part, small enough for a few minutes on two CPU cores.
# tools/quickstart.sh trains it on the user's videos.
_base_ = [
    '_base_/models/dksan_x16.py',
    '_base_/datasets/vid3oc_x16.py',
    '_base_/schedules/adam_115k.py',
    '_base_/default_runtime.py',
]
experiment_name = 'dksan-small_quickstart_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        mid_channels=16,
        num_blocks=(4, 3, 2, 1),
        num_extraction_blocks=2,
        num_align_layers=2,
        deform_groups=4,
        num_dksa_layers=1,
        reduction=4),
    # After so few iterations Charbonnier (eq. 13), close to L1, ends below
    # bicubic in PSNR on some clips; the squared error does not.
    pixel_loss=dict(_delete_=True, type='MSELoss', loss_weight=1.0))

data_root = 'data/quickstart'
# 16x16 LR with 256x256 HR, so that a video of 256x256 will do
train_pipeline = _base_.train_pipeline
train_pipeline[5].update(gt_patch_size=256)
train_dataloader = dict(
    num_workers=1,
    batch_size=4,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = _base_.test_dataloader[:1]
test_dataloader[0]['dataset'].update(
    data_root=data_root, metainfo=dict(dataset_type='quickstart'))
test_evaluator = [[dict(type='SequenceQuality'), dict(type='SequenceTOF')]]

max_iters = 300
# tested afterwards, by tools/test.py
train_cfg = dict(max_iters=max_iters, val_begin=max_iters + 1)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
warmup_iters = 20
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warmup_iters)
param_scheduler[1].update(
    begin=warmup_iters, end=max_iters, T_max=max_iters - warmup_iters)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=150, save_best=None))
