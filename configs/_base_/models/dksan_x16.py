# DKSAN x16: Table 3's "DKSAN (ours)", 29.5M parameters.
model = dict(
    type='DKSAN',
    generator=dict(
        type='DKSANNet',
        in_channels=3,
        mid_channels=128,
        num_frames=7,
        num_blocks=(30, 20, 15, 10),
        num_extraction_blocks=5,
        num_align_layers=6,
        deform_groups=8,
        num_dksa_layers=3,
        scope_size=4,
        reduction=16,
        with_channel_attention=True,
        with_alignment=True,
        with_dksa=True),
    # eq. 13: MMagic's eps is the square of the paper's xi = 1e-3
    pixel_loss=dict(
        type='CharbonnierLoss', loss_weight=1.0, reduction='mean', eps=1e-6),
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0., 0., 0.], std=[255., 255., 255.]))
