# BasicVSR++ x16, 7.6M parameters, recurrent over the window, the middle frame
# enlarged. Restorer and loss are DKSAN's: trained alike, and a checkpoint of
# another variant is refused.
model = dict(
    type='DKSAN',
    generator=dict(
        type='ExtremeBasicVSRPlusPlusNet',
        mid_channels=64,
        num_blocks=7,
        num_frames=7,
        max_residue_magnitude=10,
        # a file; MMagic's weights of SPyNet, for example
        spynet_pretrained=None,
        scale=16),
    # as of DKSAN, eq. 13: MMagic's eps is the square of xi = 1e-3
    pixel_loss=dict(
        type='CharbonnierLoss', loss_weight=1.0, reduction='mean', eps=1e-6),
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0., 0., 0.], std=[255., 255., 255.]))
