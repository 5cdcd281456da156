# EDVR-L on REDS, x4, of 5 frames: MMagic's network, by names and shapes, so
# that its released checkpoints are tested here, and trained as DKSAN is. At
# the ends of a sequence MMagic's padding. EDVR-M: --cfg-options
# model.generator.mid_channels=64 model.generator.num_blocks_reconstruction=10
_base_ = 'dksan_reds_x4.py'
experiment_name = 'edvr_reds_x4'
work_dir = f'./work_dirs/{experiment_name}'
model = dict(
    generator=dict(
        _delete_=True,
        type='ExtremeEDVRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=128,
        num_frames=5,
        deform_groups=8,
        num_blocks_extraction=5,
        num_blocks_reconstruction=40,
        with_tsa=True,
        scale=4))

train_dataloader = dict(dataset=dict(num_input_frames=5))
val_pipeline = _base_.val_pipeline
val_pipeline[0].update(padding='reflection_circle')
test_dataloader = [
    loader if 'load_frames_list' in loader['dataset'] else dict(
        loader,
        dataset=dict(
            loader['dataset'], num_input_frames=5, pipeline=val_pipeline))
    for loader in _base_.test_dataloader
]
val_dataloader = test_dataloader[0]
