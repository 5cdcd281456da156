# What turns a model into one trained for looks, as MMagic's RealBasicVSR; a
# leaf gives it to its model: `model = _base_.gan`. VGG16's weights come by
# tools/analysis_tools/fetch_lpips_weights.py vgg, or from a file of yours.
gan = dict(
    type='DKSANGAN',
    discriminator=dict(
        type='UNetDiscriminatorWithSpectralNorm',
        in_channels=3,
        mid_channels=64,
        skip_connection=True),
    perceptual_loss=dict(
        type='VGGPerceptualLoss',
        layer_weights={
            '2': 0.1,
            '7': 0.1,
            '14': 1.0,
            '21': 1.0,
            '28': 1.0
        },
        vgg_type='vgg16'),
    gan_loss=dict(
        type='GANLoss',
        gan_type='vanilla',
        loss_weight=5e-2,
        real_label_val=1.0,
        fake_label_val=0))
# each of the parts that learn is its own DistributedDataParallel
model_wrapper_cfg = dict(
    type='SeparateDistributedDataParallel',
    broadcast_buffers=False,
    find_unused_parameters=False)
