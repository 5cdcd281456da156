# DKSAN x4: the first two levels of dksan_x16.py.
_base_ = 'dksan_x16.py'
model = dict(generator=dict(num_blocks=(30, 20)))
