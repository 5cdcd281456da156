# A DKSAN x4 with every part, small enough for CPUs: 0.9M parameters.
_base_ = 'dksan_x16.py'
model = dict(
    generator=dict(
        mid_channels=(48, 32),
        num_blocks=(8, 4),
        num_extraction_blocks=2,
        num_align_layers=2,
        num_dksa_layers=1,
        flow_guided=True,
        reduction=(12, 8)))
