# Table 3, "w/o Alignment & DKSA": 26.3M parameters.
_base_ = 'dksan_vid3oc_x16.py'
experiment_name = 'dksan_wo-align-dksa_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(with_alignment=False, with_dksa=False))
