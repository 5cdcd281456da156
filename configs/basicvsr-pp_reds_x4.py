# MMagic's BasicVSR++ x4 with its released checkpoints, to be tested only: it
# restores whole sequences, and its training is MMagic's.
_base_ = ['_base_/datasets/reds_x4.py', '_base_/default_runtime.py']
experiment_name = 'basicvsr-pp_reds_x4'
work_dir = f'./work_dirs/{experiment_name}'
model = dict(
    type='BasicVSR',
    generator=dict(type='BasicVSRPlusPlusNet', mid_channels=64, num_blocks=7),
    pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0., 0., 0.], std=[255., 255., 255.]))
train_dataloader = val_dataloader = val_evaluator = val_cfg = None
demo_pipeline = [*_base_.demo_pipeline[:2], _base_.clip_pipeline[-1]]
# a sample is a sequence, or a clip of Vimeo-90K and its mirror image
sequence_pipeline = [_base_.demo_pipeline[0], *_base_.clip_pipeline]
clip_pipeline = [
    *_base_.load,
    dict(type='MirrorSequence', keys=['img']), _base_.clip_pipeline[-1]
]
test_dataloader = [
    dict(
        loader,
        dataset=dict(loader['dataset'], pipeline=clip_pipeline)
        if 'load_frames_list' in loader['dataset'] else dict(
            loader['dataset'],
            depth=1,
            num_input_frames=None,
            pipeline=sequence_pipeline)) for loader in _base_.test_dataloader
]
