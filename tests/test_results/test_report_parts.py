"""The report's parts: which frames and places are shown, and how."""
import base64
import errno
import json
import math
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import ImageFont
from result_files import make_result

from dksan_mm.results.report import render, write_report
from dksan_mm.results.report_data import (TRUTH, View, compared, make_view,
                                          shared_frames)
from dksan_mm.results.report_figures import (captions, figure, fit,
                                             number_names, writable)
from dksan_mm.results.report_frames import (Box, choose_frames, crop_side,
                                            data_uri, find_places, read_truth)
from dksan_mm.results.report_summary import folded, summary, system_names
from dksan_mm.utils.files import OutputError


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def saved_result(folder, frames, size=(20, 30), **others):
    """Return a result of 5 frames with pictures of some."""
    result = make_result({'a': {'PSNR': [20.] * 5}}, **others)
    for t in frames:
        save(folder / f'frames/clips/a/{t:08d}.png', picture(*size, seed=t))
    return replace(result, file=f'{folder}/clips.json')


# Frames


def test_frames_are_spread_evenly():
    """One is the middle; the nearest available ones are taken."""
    frames = [f'{t:03d}' for t in range(9)]
    assert choose_frames(frames, frames, 1) == ['004']
    assert choose_frames(frames, frames, 3) == ['001', '004', '007']
    assert choose_frames(frames[::6], frames, 1) == ['006']
    assert choose_frames(frames[::6], frames, 5) == ['000', '006']
    assert choose_frames(frames, frames, 0) == []
    assert choose_frames([], frames, 2) == []


def test_frames_that_all_have(tmp_path):
    first = saved_result(tmp_path / 'x', [0, 2, 4])
    second = saved_result(tmp_path / 'y', [1, 2, 3, 4])
    assert shared_frames([first, second], 'a') == ['00000002', '00000004']
    third = saved_result(tmp_path / 'z', [1])
    with pytest.raises(ValueError, match='z/frames.*--save-frames'):
        shared_frames([first, third], 'a')


def test_truth_in_both_storages(tmp_path):
    """PNG folders and memory maps give the same pixels; neither gives
    None."""
    frames = np.stack([picture(5, 7, seed) for seed in range(3)])
    np.save(tmp_path / 'mapped.npy', frames)
    for t, frame in enumerate(frames):
        save(tmp_path / f'png/{t:08d}.png', frame)
        for sequence in ('mapped', 'png'):
            truth = read_truth(str(tmp_path), sequence, f'{t:08d}')
            assert np.array_equal(truth, frame)
    assert read_truth(str(tmp_path), 'none', '00000000') is None
    (tmp_path / 'png/00000001.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='00000001.png'):
        read_truth(str(tmp_path), 'png', '00000001')


def test_other_sizes_are_refused(tmp_path):
    results = [
        saved_result(tmp_path / 'x', [2]),
        saved_result(tmp_path / 'y', [2], size=(30, 20))
    ]
    with pytest.raises(ValueError, match=r'one size.*\(30, 20\) for B'):
        make_view(results, ['A', 'B'], 'a', '00000002', str(tmp_path))


# Places


def test_places_are_where_frames_differ():
    """The squares found are those that were changed, the greatest change
    first, and they do not overlap."""
    first = picture(60, 90) // 2
    second = first.copy()
    second[3:19, 70:86] += 30
    second[40:56, 20:36] += 90
    places = find_places(first, second, 16, 3)
    assert places[:2] == [Box(40, 20, 16), Box(3, 70, 16)]
    for i, one in enumerate(places):
        for other in places[:i]:
            assert max(abs(one.top - other.top),
                       abs(one.left - other.left)) >= 16


def test_places_fill_a_small_frame():
    frame = picture(16, 33)
    assert len(find_places(frame, frame, 16, 3)) == 2
    assert find_places(frame[:, :16], frame[:, :16], 16, 3) == [Box(0, 0, 16)]


@pytest.mark.parametrize('size,side', [((1072, 1920), 176), ((480, 854), 80),
                                       ((64, 300), 16), ((9, 300), 9)])
def test_crop_side(size, side):
    assert crop_side(*size) == side


@pytest.mark.parametrize('others, best', [((20., 22.), 2),
                                          ((math.nan, 20.), 2),
                                          ((20., math.nan, 22.), 3),
                                          ((math.nan, math.nan), 1), ((), 1)])
def test_baseline_is_compared_with_the_best(others, best):
    """Or with the ground truth, after one system; not with one that
    diverged, wherever it stands."""
    results = [
        make_result({'a': {
            'PSNR': [value]
        }}) for value in (30., *others)
    ]
    assert compared(results) == best


# Pictures


def test_data_uris():
    """Lossless ones give back each pixel; others are WebP, near it."""
    image = cv2.resize(picture(5, 7), (70, 50))
    for lossless, kind in ((True, 'png'), (False, 'webp')):
        uri = data_uri(image, lossless)
        head, _, data = uri.partition(',')
        assert head == f'data:image/{kind};base64'
        decoded = cv2.imdecode(
            np.frombuffer(base64.b64decode(data), np.uint8),
            cv2.IMREAD_COLOR)[..., ::-1]
        difference = np.abs(decoded.astype(int) - image)
        assert difference.max() == 0 if lossless else difference.mean() < 10


def view(number, truth=True):
    images = [picture(32, 48, seed) for seed in range(number)]
    labels = [f'S{i}' for i in range(number)]
    values = [20. + i for i in range(number)]
    if truth:
        labels[-1], values[-1] = TRUTH, None
    return View('a', '00000003', labels, images, values, [Box(8, 20, 16)])


@pytest.mark.parametrize('number', [1, 2, 4, 7])
def test_figure_shows_all(number):
    """Each crop is somewhere in the figure, enlarged, in its colours."""
    shown = view(number)
    array = np.asarray(figure(shown)).astype(int)
    for image in shown.images:
        colour = image[8, 20].astype(int)
        assert (np.abs(array - colour).sum(2) == 0).sum() > 100


def test_figure_captions():
    """PSNR of the crop, and of the frame in brackets; without ground truth
    only the latter."""
    shown = view(2)
    crops = [box.cut(image) for image in shown.images
             for box in shown.places]  # yapf: disable
    error = np.mean((crops[0].astype(float) - crops[1])**2)
    text = f'{10 * np.log10(255**2 / error):.2f} (20.00 dB)'
    assert captions(shown, crops) == [['S0', text], [TRUTH]]
    assert captions(view(1, truth=False), crops[:1]) == [['S0', '(20.00 dB)']]


def test_captions_have_letters_that_the_font_has():
    """It has no infinity sign, which is of equal pictures."""
    shown = view(2)
    shown = shown._replace(images=shown.images[:1] * 2, psnr=[math.inf, None])
    lines = captions(shown, shown.images)
    assert lines[0] == ['S0', 'inf (inf dB)']
    assert all(writable(line) for line in sum(lines, []))


NAMES = [
    'dksan-lite-real_x4 (work_dirs/results/a)',
    'dksan-lite-real_x4 (work_dirs/results/b)'
]


def test_names_are_fitted():
    """Both ends stay, for names often differ at one; short ones are whole."""
    font = ImageFont.load_default(17)
    short = [fit(name, font, 170) for name in NAMES]
    assert all(font.getlength(name) <= 170 for name in short)
    assert [name[:9] for name in short] == ['dksan-lit'] * 2
    assert [name[-4:] for name in short] == ['s/a)', 's/b)']
    assert fit('DKSAN', font, 170) == 'DKSAN'
    assert fit('DKSAN', font, 1) == '\u2026N'


@pytest.mark.parametrize('number', [2, 7, 19])
def test_captions_stay_under_their_crops(number):
    """None of long names, of many systems or of a narrow frame, reaches into
    the space between crops or to the edge."""
    shown = view(number)
    shown = shown._replace(
        sequence='a_long_name_of_a_sequence',
        images=[picture(48, 30, i) for i in range(number)],
        labels=[NAMES[0]] * (number - 1) + [TRUTH],
        psnr=[20.] * (number - 1) + [None],
        places=[Box(8, 5, 16)])
    array = np.asarray(figure(shown))
    columns = min(-(-number // 2), 4)
    lines = -(-number // columns)
    side = max((540 - 12 * (lines - 1)) // lines, 132)
    for i in range(columns + 1):
        end = array.shape[1] - i * (side + 12)
        assert (array[:, end - 11:end - 1] == 255).all()


def test_names_that_the_font_cannot_write():
    """They are numbered by their place; figures leave out such a sequence."""
    names = ['DKSAN+', '\u0441\u0435\u0442\u044c', '\u7db2', 'a\nb']
    assert number_names(names) == {
        name: f'System {i}'
        for i, name in enumerate(names[1:], 2)
    }
    shown = view(2)
    cyrillic = np.asarray(figure(shown._replace(sequence=names[1])))
    chinese = np.asarray(figure(shown._replace(sequence=names[2])))
    assert np.array_equal(cyrillic, chinese)
    assert not np.array_equal(cyrillic, np.asarray(figure(shown)))


# Names and tables


def test_names_are_distinct():
    """A name that was given stays; a config's becomes its column's."""
    frames = {'a': {'PSNR': [1.]}}

    def result(system, config, folder):
        return make_result(
            frames, system=system, config=config, file=f'{folder}/a.json')

    results = [
        result('bicubic_x16', 'bicubic_x16.py', 'r/a'),
        result('mine', 'dksan_x16.py', 'r/b'),
        result('dksan_x16', 'dksan_x16.py', 'r/c'),
        result('dksan-small_x16', 'dksan-small_x16.py', 'r/d'),
        result('mine', 'dksan_x16.py', 'r/e')
    ]
    assert system_names(results) == [
        'Bicubic', 'mine (r/b)', 'DKSAN (dksan_x16)',
        'DKSAN (dksan-small_x16)', 'mine (r/e)'
    ]


def test_summary_marks_the_best():
    """What counts is shown, the rest folds away."""
    results = [
        make_result({
            'a': {
                'PSNR_Y': [value],
                'PSNR': [value],
                'tOF': [value],
                'SSIM_crop16': [value / 40]
            }
        }) for value in (20., 21.)
    ]
    table = summary(results, ['A', 'B'])
    assert table['head'] == ['System', 'PSNR', 'tOF', 'Parameters', 's/frame']
    cells = [row['cells'][:2] for row in table['rows']]
    assert cells == [[('20.00', False), ('20.0000', True)],
                     [('21.00', True), ('21.0000', False)]]
    others, facts = folded(results, ['A', 'B']).values()
    assert others['head'] == ['System', 'PSNR Y', 'SSIM crop16']
    assert others['rows'][1] == dict(
        name='B', cells=[('21.00', True), ('0.5250', True)])
    assert facts['head'] == ['System', 'Hardware', 'Weights']
    assert facts['rows'][0]['cells'] == [('NVIDIA H100', False),
                                         ('iter_10.pth, 10 iterations', False)]


def test_nothing_to_fold():
    assert list(folded([make_result({'a': {
        'PSNR': [20.]
    }})], ['A'])) == ['Hardware and weights']


# The page


def test_page_escapes_what_files_hold():
    """Markup in a name ends no element, and the data come back whole; a
    name that looks like the template's places is left alone."""
    payload = {
        'title': '<b>&</b> <!--data-->',
        'groups': [{
            'name': '</script><script>alert(1)</script><!--style-->'
        }]
    }
    page = render(payload)
    assert '<script>alert' not in page and '<b>' not in page
    assert '&lt;b&gt;&amp;&lt;/b&gt;' in page
    assert page.count('</script>') == 2
    data = re.search(r'id="data">(.*?)</script>', page, re.S).group(1)
    assert json.loads(data) == payload


def test_page_names_no_other_place():
    """But for the names of XML, no address is in it."""
    page = render({'title': 'x', 'groups': []})
    addresses = set(re.findall(r'https?://[^\'"\s)]*', page))
    assert addresses == {'http://www.w3.org/2000/svg'}


def test_disk_that_is_full_is_told_with_the_report(tmp_path, monkeypatch):

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('dksan_mm.results.report._build', full)
    out = str(tmp_path / 'report')
    with pytest.raises(OutputError, match=f'{out} could.*free disk space, th'):
        write_report([], out)
    assert not list(tmp_path.iterdir())
