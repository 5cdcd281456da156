"""Make the IntVID data set of LR and HR frames from the downloaded files.

    python tools/dataset_converters/intvid/preprocess_intvid_dataset.py \
        TrainingTargetDomain ValidationTargetDomain [--out data/intvid]
"""
import os.path as osp

from dksan_mm.cli.convert import main_numbered

ROOT = osp.abspath(osp.join(osp.dirname(__file__), '..', '..', '..'))

if __name__ == '__main__':
    main_numbered('intvid', 'Make the IntVID data set of LR and HR frames',
                  osp.join(ROOT, 'configs', 'splits'), 'data/intvid')
