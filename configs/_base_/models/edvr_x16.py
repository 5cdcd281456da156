# EDVR-L x16, 20.9M parameters. The paper prints 20.6M, the count of EDVR-L x4.
# 5 of the window's frames are used, the middle ones; all 7 by
# --cfg-options model.generator.num_frames=7
# Restorer and loss are DKSAN's: trained alike, and a checkpoint of another
# variant is refused. MMagic's restorer EDVR would first train the fusion
# alone (tsa_iter), for weights that come from a trained EDVR, and do so again
# after each resume.
model = dict(
    type='DKSAN',
    generator=dict(
        type='ExtremeEDVRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=128,
        num_frames=5,
        deform_groups=8,
        num_blocks_extraction=5,
        num_blocks_reconstruction=40,
        with_tsa=True,
        scale=16),
    # as of DKSAN, eq. 13: MMagic's eps is the square of xi = 1e-3
    pixel_loss=dict(
        type='CharbonnierLoss', loss_weight=1.0, reduction='mean', eps=1e-6),
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0., 0., 0.], std=[255., 255., 255.]))
