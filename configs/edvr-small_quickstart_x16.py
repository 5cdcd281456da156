# An EDVR with as many parameters as dksan-small_quickstart_x16.py (within 2%)
# and everything else as there: data, loss, iterations.
_base_ = 'dksan-small_quickstart_x16.py'
experiment_name = 'edvr-small_quickstart_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        _delete_=True,
        type='ExtremeEDVRNet',
        mid_channels=12,
        num_frames=7,
        deform_groups=4,
        num_blocks_extraction=2,
        num_blocks_reconstruction=19,
        scale=16,
        hr_channels=16))
