# An EDVR of dksan-lite_x4.py's size (within 2%), on the same data.
_base_ = 'dksan-lite_x4.py'
experiment_name = 'edvr-lite_x4'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        _delete_=True,
        type='ExtremeEDVRNet',
        mid_channels=32,
        num_frames=7,
        deform_groups=8,
        num_blocks_extraction=2,
        num_blocks_reconstruction=10,
        scale=4,
        hr_channels=24))
