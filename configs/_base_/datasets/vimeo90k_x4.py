# Vimeo-90K to train, clips of 7 frames with the middle one restored, and Vid4
# to validate, as MMagic's configs of BasicVSR++; tests are those of
# reds_x4.py. BI here; the BD configs replace the folder of LR frames.
_base_ = 'reds_x4.py'

train_pipeline = _base_.augment
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='VideoSRDataset',
        metainfo=dict(dataset_type='vimeo90k', task_name='vsr'),
        data_root=_base_.vimeo90k_root,
        data_prefix=dict(img='BIx4', gt='GT'),
        ann_file='meta_info_Vimeo90K_train_GT.txt',
        load_frames_list=dict(
            img=[f'im{i}.png' for i in range(1, 8)], gt=['im4.png']),
        scale=_base_.scale,
        num_input_frames=_base_.num_input_frames,
        # half a million headers; that the files are there is checked
        check_frames=False,
        pipeline=train_pipeline))
val_dataloader = dict(_delete_=True, **_base_.test_dataloader[3])
val_evaluator = [
    dict(type='SequencePSNR', convert_to='Y'),
    dict(type='SequenceSSIM', convert_to='Y')
]
