# MATLAB's imresize(x, 16, 'bicubic').
model = dict(
    type='Bicubic',
    scale=16,
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0., 0., 0.], std=[255., 255., 255.]))
