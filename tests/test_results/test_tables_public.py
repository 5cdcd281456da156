"""Public sets: what is published is MMagic's, and stands beside the same."""
import os.path as osp

import mmagic
import pytest
import yaml
from result_files import make_result

from dksan_mm.results.public import (PUBLIC_SETS, describe_suffix,
                                     protocol_metric)
from dksan_mm.results.tables_formats import latex, markdown
from dksan_mm.results.tables_public import make_public_table

CONFIGS = osp.join(osp.dirname(mmagic.__file__), '.mim', 'configs')
ROWS = [(name, row) for name, public in PUBLIC_SETS.items()
        for row in public.published]


@pytest.mark.parametrize(
    'name, row', ROWS, ids=[f'{name}-{row.system}' for name, row in ROWS])
def test_numbers_are_those_of_the_metafiles(name, row):
    """Of the installed MMagic, by set and colour space."""
    with open(osp.join(CONFIGS, row.metafile, 'metafile.yml')) as file:
        models = yaml.safe_load(file)['Models']
    model = next(m for m in models if m['Name'] == row.model)
    found = next(r for r in model['Results'] if r['Dataset'] == row.dataset)
    suffix = ' (Y)' if 'Y' in PUBLIC_SETS[name].suffix else ' (RGB)'
    if row.metafile == 'edvr':  # its page says RGB
        suffix = ''
    assert found['Metrics'] == {
        f'PSNR{suffix}': row.psnr,
        f'SSIM{suffix}': row.ssim
    }


def reds4(frames=100, psnr=30., **others):
    values = {'PSNR': [psnr] * frames, 'SSIM': [.8] * frames}
    values['PSNR_Y'] = [psnr + 1] * frames
    others = dict(dict(config='configs/dksan_reds_x4.py', scale=4), **others)
    return make_result({name: values
                        for name in ('000', '011', '015', '020')},
                       name='reds4',
                       **others)


def test_ours_beside_published():
    table = make_public_table(
        [reds4(), reds4(system='other', config='o.py')], 'reds4')
    text = markdown([table], [])
    assert ('| Video | Scale | EDVR-M, published | EDVR-L, published | '
            'BasicVSR, published | IconVSR, published | BasicVSR++, published '
            '| DKSAN, ours | other, ours |') in text
    # the best of each kind, equal ones alike
    assert ('| Average | x4 | 30.42 | 31.05 | 31.42 | 31.69 | **32.39** | '
            '**30.00** | **30.00** |') in text
    assert '| 015 | x4 | - | - | - | - | - | **30.00** |' in text
    assert 'metafile.yml of MMagic 1.2.0' in text
    assert 'EDVR-L' in latex([table], [])
    ssim = make_public_table([reds4()], 'reds4', 'SSIM')
    assert '0.9069' in markdown([ssim], [])


@pytest.mark.parametrize('name, metric, message', [
    ('reds4', 'PSNR_Y', "published as PSNR and SSIM .RGB.*found 'PSNR_Y'"),
    ('vid4-bi', 'PSNR', "PSNR_Y and SSIM_Y .luma.*found 'PSNR'"),
    ('spmcs-bd', 'PSNR_Y', 'PSNR_Y_crop8.*border of 8 pixels'),
    ('vid5', None, "must be one of reds4, .* got 'vid5'"),
])
def test_another_protocol_is_refused(name, metric, message):
    with pytest.raises(ValueError, match=message):
        protocol_metric(name, metric)


@pytest.mark.parametrize('results, message', [
    ([reds4(frames=99)], '4 sequences and 400 frames, x4, .*396 frames, x4'),
    ([reds4(scale=16)], 'found 4 sequences and 400 frames, x16'),
    ([reds4(), reds4(frames=99)], 'same data'),
    ([make_result({'a': {
        'PSNR': [1.]
    }})], 'must be of reds4, found those of clips'),
])
def test_other_data_are_refused(results, message):
    with pytest.raises(ValueError, match=message):
        make_public_table(results, 'reds4')


def test_many_clips_have_no_rows():
    """7824 clips: the average alone."""
    frames = {f'{i:05d}/0001': {'PSNR_Y': [30.]} for i in range(7824)}
    table = make_public_table(
        [make_result(frames, name='vimeo90k-t-bd', scale=4)], 'vimeo90k-t-bd')
    assert table.sequences == []
    assert '| Average | x4 | 37.55 | 37.76 | **38.21** | 30.00 |' in markdown(
        [table], [])


def test_words_of_a_protocol():
    assert describe_suffix('_Y_crop8') == (
        'luma of BT.601, a border of 8 pixels cut off')
