# Ablation of dksan-small_quickstart_x16.py: without alignment and DKSA. More
# blocks at the two lowest levels make up for the parameters that this leaves
# out (within 1.1%).
_base_ = 'dksan-small_quickstart_x16.py'
experiment_name = 'dksan-small_wo-align-dksa_quickstart_x16'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(
        with_alignment=False, with_dksa=False, num_blocks=(13, 12, 2, 1)))
