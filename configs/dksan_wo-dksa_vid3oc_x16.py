# Table 3, "w/o DKSA": 27.0M parameters.
_base_ = 'dksan_vid3oc_x16.py'
experiment_name = 'dksan_wo-dksa_vid3oc_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(with_dksa=False))
