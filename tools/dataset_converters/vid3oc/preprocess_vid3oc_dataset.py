"""Make the Vid3oC data set of LR and HR frames from the downloaded files.

    python tools/dataset_converters/vid3oc/preprocess_vid3oc_dataset.py \
        TrainingHR ValidationHR [--out data/vid3oc]
"""
import os.path as osp

from dksan_mm.cli.convert import main_numbered

ROOT = osp.abspath(osp.join(osp.dirname(__file__), '..', '..', '..'))

if __name__ == '__main__':
    main_numbered('vid3oc', 'Make the Vid3oC data set of LR and HR frames',
                  osp.join(ROOT, 'configs', 'splits'), 'data/vid3oc')
