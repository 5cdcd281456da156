"""Tables from results made by hand: numbers, bold, notes and refusals."""
import math
import re
from dataclasses import replace
from statistics import fmean

import pytest
from result_files import make_result

from dksan_mm.results import paper
from dksan_mm.results.tables import make_tables
from dksan_mm.results.tables_columns import column_of, show_count, show_seconds
from dksan_mm.results.tables_formats import (escape_latex, escape_markdown,
                                             latex, markdown)


def papers_result(table, gain=0., **others):
    """Return a result on what could be a table's data: bicubic's published
    values and a gain, the same for all frames."""
    frames = {
        name: {
            'PSNR': [row[0] + gain] * table.frames
        }
        for name, row in table.psnr.items()
    }
    return make_result(frames, name=table.dataset, **others)


def row(text, name):
    """Return a Markdown row's cells."""
    line = next(x for x in text.splitlines() if x.startswith(f'| {name} |'))
    return [cell.strip() for cell in line.strip('|').split(' | ')]


BICUBIC = {'system': 'bicubic_vid3oc_x16', 'config': 'bicubic_vid3oc_x16.py'}

# The paper's numbers


@pytest.mark.parametrize('table', paper.TABLES, ids=lambda t: str(t.number))
def test_paper_is_consistent(table):
    """Averages are the columns' means, but for the misprint; the text's
    largest gain and DKSAN's wins come out."""
    for i, column in enumerate(table.columns):
        mean = fmean(row[i] for row in table.psnr.values())
        misprint = table.number == 3 and column == 'w/o DKSA'
        assert (abs(mean - table.average[i]) < 0.0051) != misprint
    assert all(len(row) == len(table.columns) for row in table.psnr.values())
    if table.columns == paper.COMPARISON:
        assert all(max(row) == row[2] for row in table.psnr.values())


def test_tables_2_and_3_have_one_dksan():
    for name, values in paper.TABLE_2.psnr.items():
        assert values[-1] == paper.TABLE_3.psnr[name][-1]


# Columns


@pytest.mark.parametrize('config,column', [
    ('configs/bicubic_vid3oc_x16.py', 'Bicubic'),
    ('edvr-small_clips_x16.py', 'EDVR'),
    ('dksan_vid3oc_x16.py', 'DKSAN'),
    ('dksan-small_quickstart_x16.py', 'DKSAN'),
    ('dksan_backbone_vid3oc_x16.py', 'Backbone'),
    ('dksan-small_wo-align-dksa_clips_x16.py', 'w/o Alignment & DKSA'),
    ('dksan_wo-dksa_vid3oc_x16.py', 'w/o DKSA'),
    ('basicvsr-pp_vid3oc_x16.py', 'BasicVSR++'),
    ('dksanish_x16.py', 'x'),
])
def test_column_from_config(config, column):
    result = make_result({'a': {'PSNR': [1.]}}, system='x', config=config)
    assert column_of(result) == column


def test_column_from_names():
    """An argument wins over the system's name, and that over the config."""
    result = make_result({'a': {'PSNR': [1.]}}, system='edvr')
    assert column_of(result) == 'EDVR'
    assert column_of(result, {'edvr': 'Mine'}) == 'Mine'
    assert column_of(result, {'dksan_vid3oc_x16': 'Mine'}) == 'Mine'
    result.self_ensemble = {'spatial': 8, 'temporal': False}
    assert column_of(result) == 'EDVR+'


@pytest.mark.parametrize('system,column', [('mine', 'mine'),
                                           ('DKSAN+', 'DKSAN+'),
                                           ('bicubic', 'Bicubic')])
def test_column_from_the_name_at_test_time(system, column):
    """Also where the config is one of the paper's systems."""
    result = make_result({'a': {'PSNR': [1.]}}, system=system, named=True)
    assert column_of(result) == column
    assert column_of(result, {'dksan_vid3oc_x16': 'Other'}) == 'Other'
    other = make_result({'a': {'PSNR': [2.]}})
    tables, _ = make_tables([result, other])
    assert {c.system for c in tables[0].columns} == {column, 'DKSAN'}


def test_numbers_in_words():
    assert [show_count(n) for n in (0, 999, 183560, 29476220)
            ] == ['0', '999', '183.56k', '29.48M']
    assert [show_seconds(s) for s in (0.974, 21.4, 0.00312, None)
            ] == ['0.97', '21.40', '0.0031', '-']


# Tables of the paper's data


def test_ours_beside_the_papers():
    """Each system's pair of columns, averages, hardware and labels."""
    results = [
        papers_result(paper.TABLE_1, 0.004, **BICUBIC, parameters=0),
        papers_result(paper.TABLE_1, 1.)
    ]
    tables, left_out = make_tables(results)
    text = markdown(tables, left_out)
    assert len(tables) == 1 and len(left_out) == 2
    assert text.startswith('**Table 1. Quantitative comparison on Vid3oC')
    assert row(text, 'Video') == [
        'Video', 'Scale', 'Bicubic, paper', 'Bicubic, ours', 'EDVR, paper',
        'EDVR, ours', 'DKSAN, paper', 'DKSAN, ours'
    ]
    assert row(text, '050') == [
        '050', 'x16', '25.36', '25.36', '26.75', '-', '**29.17**', '**26.36**'
    ]
    # 21.22125 + 0.004 and + 1
    assert row(text, 'Average') == [
        'Average', 'x16', '21.22', '21.23', '21.67', '-', '**22.81**',
        '**22.22**'
    ]
    assert row(
        text, 'Parameters')[2:] == ['-', '0', '20.6M', '-', '29.5M', '29.48M']
    assert row(text, 'Runtime (s/f)')[4:] == ['0.87', '-', '0.95', '0.97']
    assert row(text, 'Hardware')[4:] == [
        'NVIDIA Titan Xp', '-', 'NVIDIA Titan Xp', 'NVIDIA H100'
    ]
    assert 'EDVR, ours: no result on vid3oc' in text
    assert 'configs/edvr_vid3oc_x16.py' in text
    assert 'ours minus paper\'s +0.01 dB' in text


def test_table_3_and_further_systems():
    """One result serves Tables 2 and 3; BasicVSR++ is a further column of
    the comparison, without a paper's column."""
    results = [
        papers_result(paper.TABLE_2),
        papers_result(paper.TABLE_2, 9., config='basicvsr-pp_x16.py',
                      system='basicvsr-pp_x16'),
        papers_result(paper.TABLE_2, 3., config='dksan_wo-dksa_x16.py',
                      system='other')
    ]  # yapf: disable
    tables, left_out = make_tables(results)
    assert [table.title[:7] for table in tables] == ['Table 2', 'Table 3']
    assert ['Table 1' in line for line in left_out] == [True]
    names = [[(c.system, c.source) for c in t.columns] for t in tables]
    assert names[0][-2:] == [('DKSAN', 'ours'), ('BasicVSR++', 'ours')]
    assert len(names[0]) == 7 and len(names[1]) == 8
    third = markdown(tables[1:], [])
    # the best of the paper's and the best of ours, apart
    assert row(third, '053')[2:] == [
        '25.05', '-', '25.07', '-', '**25.18**', '**27.05**', '25.09', '24.05'
    ]
    assert '31.34, where it prints 31.32' in third


def test_other_metrics():
    """Less is better for tOF; the paper's columns are PSNR's only."""
    first, second = (make_result(
        {'a': {
            'PSNR': [20., 22.],
            'tOF': [None, tof]
        }}, system=name) for name, tof in (('DKSAN', .5), ('EDVR', .25)))
    tables, left_out = make_tables([first, second], 'tOF')
    text = markdown(tables, left_out)
    assert row(text, 'Average')[2:] == ['**0.2500**', '0.5000']
    assert '(tOF, lower is better)' in text
    ssim = papers_result(paper.TABLE_1)
    for values in (ssim.metrics, *ssim.sequences.values()):
        values['SSIM'] = 0.5
    tables, _ = make_tables([ssim], 'SSIM')
    assert {c.source for c in tables[0].columns} == {'ours'}
    assert 'The paper gives PSNR only.' in tables[0].notes
    with pytest.raises(ValueError, match="metric.*'PSNR'.*found 'LPIPS'"):
        make_tables([first], 'LPIPS')


# Tables of other data


@pytest.mark.parametrize('change', ['frames', 'scale', 'sequence', 'name'])
def test_other_data_say_so(change):
    """No number of the paper stands beside data that are not its own."""
    result = papers_result(paper.TABLE_1)
    if change == 'frames':
        result.frames['050'].pop()
    elif change == 'scale':
        result.scale = 8
    elif change == 'sequence':
        del result.frames['065'], result.sequences['065']
    else:
        result.dataset.name = 'mine'
    tables, left_out = make_tables([result])
    assert len(tables) == 1
    assert 'not the paper\'s data: ' in tables[0].title
    assert ('mine' if change == 'name' else 'vid3oc') in tables[0].title
    assert {c.source for c in tables[0].columns} == {'ours'}
    # which of the paper's tables lack results matters on its data only
    assert len(left_out) == (0 if change == 'name' else 2)


def test_averages_of_other_data():
    """Unweighted over sequences of unlike length; equal values are all
    bold; infinity is shown."""
    results = [
        make_result(
            {
                'b': {
                    'PSNR': [20., 21., 25.]
                },
                'a': {
                    'PSNR': [best, 30.]
                },
            },
            system=name) for name, best in (('DKSAN', 30.), ('EDVR', math.inf))
    ]
    text = markdown(*make_tables(results))
    assert 'clips, 2 sequences of 2 to 3 frames, x16' in text
    assert row(text, 'Video')[2:] == ['EDVR, ours', 'DKSAN, ours']
    assert row(text, 'a') == ['a', 'x16', '**\u221e**', '30.00']
    assert row(text, 'b') == ['b', 'x16', '**22.00**', '**22.00**']
    assert row(text, 'Average') == ['Average', 'x16', '**\u221e**', '26.00']
    assert 'left out' not in text


def test_ablations_of_other_data():
    """They have a table of their own, with DKSAN in both."""
    results = [
        make_result({'a': {
            'PSNR': [value]
        }}, system=name) for name, value in (('DKSAN', 20.), ('Backbone', 19.),
                                             ('Bicubic', 18.))
    ]
    tables, _ = make_tables(results)
    systems = [[c.system for c in table.columns] for table in tables]
    assert systems == [['Bicubic', 'DKSAN'], ['Backbone', 'DKSAN']]
    assert tables[1].title.startswith('Ablation')


# Refusals


def test_different_data_are_refused():
    frames = {'a': {'PSNR': [20., 21.]}}
    first = make_result(frames, system='Bicubic')
    second = make_result(frames, dataset={'gt_crc': 'ffffffff'})
    with pytest.raises(ValueError, match='gt_crc'):
        make_tables([first, second])


def test_names_of_data_are_exact():
    """Data whose names differ in case only have tables of their own; the
    paper's are known in any case."""
    frames = {'a': {'PSNR': [20., 21.]}}
    results = [
        make_result(frames, name='Clips', system='Bicubic', scale=4),
        make_result(frames, name='clips')
    ]
    tables, _ = make_tables(results)
    assert [(t.scale, [c.system for c in t.columns]) for t in tables] == [
        (4, ['Bicubic']), (16, ['DKSAN'])
    ]  # yapf: disable
    result = papers_result(paper.TABLE_1)
    result.dataset.name = 'Vid3oC'
    (table, ), left_out = make_tables([result])
    assert table.title.startswith('Table 1. ') and len(left_out) == 2


def test_one_result_a_column():
    result = make_result({'a': {'PSNR': [20., 21.]}})
    with pytest.raises(ValueError, match="column 'DKSAN'.*--system"):
        make_tables([result, replace(result, config='dksan-small_x16.py')])
    names = {'dksan-small_x16': 'DKSAN small'}
    small = replace(result, config='dksan-small_x16.py', system='small')
    tables, _ = make_tables([result, small], names=names)
    assert [c.system for c in tables[0].columns] == ['DKSAN', 'DKSAN small']


# Formats


def test_infinity_has_a_sign():
    """A system of infinite error is not the best."""
    results = [
        make_result({'a': {
            'PSNR': [value]
        }}, system=system)
        for system, value in (('Bicubic', 20.), ('DKSAN', -math.inf))
    ]
    text = markdown(*make_tables(results))
    assert row(text, 'Average')[2:] == ['**20.00**', '-\u221e']


def test_markdown_is_whole():
    """All rows have as many cells, also with markup in names."""
    frames = {'a|b_*c*': {'PSNR': [20.]}}
    results = [
        make_result(frames, system='<b>x</b>', config='own.py'),
        make_result(frames)
    ]
    text = markdown(*make_tables(results))
    lines = [x for x in text.splitlines() if x.startswith('|')]
    assert len({len(re.findall(r'(?<!\\)\|', line)) for line in lines}) == 1
    assert lines[1].startswith('| --- | --- | ---: |')
    assert '&lt;b>x&lt;/b>, ours' in text and '<b>' not in text
    assert r'a\|b\_\*c\*' in text
    assert escape_markdown('dksan_vid3oc_x16 & &lt;') == \
        'dksan_vid3oc_x16 & &amp;lt;'


def test_latex_escapes():
    assert escape_latex(r'\a_b & 5% #1 ${x}~^<>|"') == (
        r'\textbackslash{}a\_b \& 5\% \#1 \$\{x\}\textasciitilde{}'
        r'\textasciicircum{}\textless{}\textgreater{}\textbar{}'
        r'\textquotedbl{}')
    assert escape_latex('\u221e') == r'$\infty$'


def test_latex_structure():
    """Environments and braces are balanced, each row has the columns that
    the tabular has, systems span theirs, and nothing is left unescaped."""
    results = [
        papers_result(paper.TABLE_2, 3., config='dksan_wo-align-dksa_x16.py',
                      system='ablation'),
        papers_result(paper.TABLE_2, hardware='CPU_1 & 100%', system='my_net',
                      config='a.py')
    ]  # yapf: disable
    tables, left_out = make_tables(results, names={'my_net': 'DKSAN'})
    text = latex(tables, left_out)
    assert text.count(r'\begin{') == text.count(r'\end{')
    code = re.sub(r'^%.*\n', '', text, flags=re.M)
    bare = re.sub(r'\\[{}]', '', code)
    assert bare.count('{') == bare.count('}')
    for body in re.findall(r'\\begin{tabular}(.*?)\\end{tabular}', code, re.S):
        columns = len(re.match(r'{([lr]+)}', body).group(1))
        for line in re.findall(r'^(.*) \\\\$', body, re.M):
            cells = len(re.findall(r'(?<!\\)&', line)) + 1
            spans = [int(n) for n in re.findall(r'multicolumn{(\d)}', line)]
            assert cells - len(spans) + sum(spans) == columns
        rules = ('top', 'mid', 'bottom')
        assert [body.count(f'\\{rule}rule') for rule in rules] == [1, 2, 1]
    assert r'\multicolumn{2}{c}{w/o Alignment \& DKSA}' in text
    assert r'\textbf{24.56}' in text  # ours of 050: 21.56 + 3
    assert r'CPU\_1 \& 100\%.' in text  # as a note, a letter in its row
    assert not re.search(r'(?<!\\)[_#%]', code)
