# Table 3, "Backbone": 26.1M parameters.
_base_ = 'dksan_vid3oc_x16.py'
experiment_name = 'dksan_backbone_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        with_channel_attention=False, with_alignment=False, with_dksa=False))
