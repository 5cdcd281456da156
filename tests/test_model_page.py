"""The model page, the metafile and the data sets' pages say what is true."""
import ast
import glob
import os.path as osp
import re
import shlex
from functools import lru_cache
from urllib.parse import urlparse

import pytest
import torch
import yaml
from commands import ROOT
from mmagic.registry import MODELS
from mmengine.config import Config

from dksan_mm import weights
from dksan_mm.models import DKSANGAN
from dksan_mm.results.paper import TABLE_1, TABLE_2, TABLE_3

MODEL_PAGE = 'configs/README.md'
PAGES = [
    MODEL_PAGE, 'README.md', 'CONTRIBUTING.md', 'tools/README.md',
    'dksan_mm/ops/README.md', 'tools/dataset_converters/README.md'
] + [
    f'tools/dataset_converters/{name}/README.md'
    for name in ('vid3oc', 'intvid', 'videos')
]
METAFILE = 'configs/metafile.yml'
# papers and code; what is installed comes by the tools of this repository
HOSTS = {'arxiv.org', 'openreview.net', 'github.com'}
# for options that a tool's own file does not hold
SHARED = ('dksan_mm/cli/convert.py', 'dksan_mm/cli/__init__.py')
BEHIND = {
    'train.py': 'dksan_mm/cli/train.py',
    'dist_train.sh': 'dksan_mm/cli/train.py',
    'slurm_train.sh': 'dksan_mm/cli/train.py',
    'test.py': 'dksan_mm/cli/test.py',
    'dist_test.sh': 'dksan_mm/cli/test.py',
    'slurm_test.sh': 'dksan_mm/cli/test.py',
    'restore_video.py': 'dksan_mm/cli/restore.py',
    'check_env.py': 'dksan_mm/cli/check.py',
    'export_onnx.py': 'dksan_mm/cli/export.py'
}


def read(path):
    with open(osp.join(ROOT, path)) as file:
        return file.read()


def configs_of_the_metafile():
    paths = glob.glob(osp.join(ROOT, 'configs', '*.py'))
    return sorted(
        osp.relpath(path, ROOT) for path in paths if 'quickstart' not in path)


@lru_cache(maxsize=None)
def count_parameters(config):
    """Return those of the network; of a GAN, all that it is trained with."""
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(osp.join(ROOT, config)).model)
    if not isinstance(model, DKSANGAN):
        model = getattr(model, 'generator', model)
    return sum(p.numel() for p in model.parameters())


def commands_of(text):
    """Return the commands of a page's bash blocks, as lists of words."""
    blocks = re.findall(r'```bash\n(.*?)```', text, re.DOTALL)
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    return [words for line in lines if (words := shlex.split(line, True))]


def with_shared(source):
    """Return a tool's source with those of the shared functions that it
    calls, and of those that they call."""
    shared = {}
    for path in SHARED:
        text = read(path)
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                shared[node.name] = ast.get_source_segment(text, node)
    waiting, found = [source], ''
    while waiting:
        text = waiting.pop()
        found += text
        for name in [n for n in shared if f'{n}(' in text]:
            waiting.append(shared.pop(name))
    return found


def headings(text):
    """Return a page's headings as links name them."""
    lines = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {
        re.sub(r'[^\w -]', '', line.lower()).replace(' ', '-')
        for line in lines
    }


@pytest.fixture(scope='module')
def metafile():
    return yaml.safe_load(read(METAFILE))


@pytest.mark.parametrize('page', PAGES)
class TestPage:

    def test_paths_exist(self, page):
        text = re.sub(r'https?://\S+', '', read(page))
        named = re.findall(r'\b(?:configs|tools|dksan_mm)/[\w./-]*\w', text)
        assert named
        # CONFIG stands for what a reader chooses
        gone = {
            p
            for p in named
            if 'CONFIG' not in p and not osp.exists(osp.join(ROOT, p))
        }
        assert not gone

    def test_relative_links_exist(self, page):
        """Files, and headings in them."""
        links = re.findall(r'\]\(([^)\s]+)\)', read(page))
        local = [link for link in links if '://' not in link]
        for link in local:
            path, _, heading = link.partition('#')
            path = osp.normpath(osp.join(osp.dirname(page),
                                         path)) if path else page
            assert osp.exists(osp.join(ROOT, path)), link
            if heading:
                assert heading in headings(read(path)), link

    def test_commands_know_their_options(self, page):
        commands = commands_of(read(page))
        assert commands
        for words in commands:
            tools = [w for w in words if w.startswith('tools/')]
            if not tools:
                assert words[0] in ('cp', 'echo', 'pip')
                continue
            name = osp.basename(tools[0])
            if name == 'run_tests.sh':
                continue  # its arguments are pytest's
            source = with_shared(read(BEHIND.get(name, tools[0])))
            for word in words[words.index(tools[0]):]:
                if re.fullmatch(r'--?[a-z][\w-]*', word):
                    assert f"'{word}'" in source, f'{tools[0]} {word}'

    def test_links_lead_to_known_hosts(self, page):
        urls = re.findall(r'https?://[^\s)}>]+', read(page))
        assert {urlparse(url).hostname for url in urls} <= HOSTS


@pytest.mark.parametrize('path, there, missing', [
    ('dksan_mm/cli/train.py', ['--resume', '--work-dir', '--debug'
                               ], ['--splits', '--workers', '--lpips']),
    ('tools/dataset_converters/vid3oc/preprocess_vid3oc_dataset.py',
     ['--splits', '--workers', '--debug'], ['--work-dir', '--launcher']),
    ('tools/report.py', ['--gt', '--debug'], ['--work-dir', '--workers']),
])
def test_options_are_those_of_a_tool(path, there, missing):
    """What tests the pages' commands knows a tool's options from another's."""
    source = with_shared(read(path))
    assert not [name for name in there if f"'{name}'" not in source]
    assert not [name for name in missing if f"'{name}'" in source]


def test_cross_references():
    """Every page is reached from the first one, by one that it names."""
    reached, waiting = set(), ['README.md']
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for link in re.findall(r'\]\(([^)\s#]+\.md)', read(page)):
            path = osp.normpath(osp.join(osp.dirname(page), link))
            if '://' not in link and path not in reached:
                waiting.append(path)
    assert {*PAGES} <= reached


def test_front_page_is_short():
    assert len(read('README.md').splitlines()) <= 150


def test_parameters_of_the_page():
    rows = re.findall(r'^\| \[[\w-]+\]\(([\w-]+\.py)\) \|[^|]+\| ([\d,]+) \|',
                      read(MODEL_PAGE), re.MULTILINE)
    configs = glob.glob(osp.join(ROOT, 'configs', '*.py'))
    assert {name for name, _ in rows} == set(map(osp.basename, configs))
    for name, number in rows:
        assert count_parameters(f'configs/{name}') == int(
            number.replace(',', '')), name


def test_numbers_of_the_paper():
    """Averages and times are the paper's, in its order."""
    text = read(MODEL_PAGE)

    def row(label):
        line = re.search(rf'^\| {re.escape(label)}.*$', text, re.MULTILINE)
        return [cell.strip() for cell in line[0].split('|')[2:-1]]

    def printed(table):
        return [f'{value:.2f}' for value in table.average]

    assert row('the paper\'s Tables 1 and 2') == list(TABLE_1.columns)
    assert row('Vid3oC validation') == printed(TABLE_1)
    assert row('IntVID, 10 sequences') == printed(TABLE_2)
    assert row('the paper\'s Table 3') == list(TABLE_3.columns)
    assert row('IntVID |') == printed(TABLE_3)
    times = re.findall(r'^\| seconds a frame \|(.*)\|$', text, re.MULTILINE)
    assert len(times) == 2
    for table, line in zip((TABLE_1, TABLE_3), times):
        expected = [table.seconds.get(name, '') for name in table.columns]
        assert [cell.strip() for cell in line.split('|')] == expected


class TestMetafile:

    def test_index_imports_it(self):
        assert METAFILE in yaml.safe_load(read('model-index.yml'))['Import']

    def test_passes_the_schema_of_openmmlab(self):
        """As ``mi check`` and mim read it."""
        index = pytest.importorskip(
            'modelindex.load_model_index',
            reason='model-index, which comes with openmim, is not installed')
        found = index.load(osp.join(ROOT, 'model-index.yml'))
        assert len(found.models) == len(configs_of_the_metafile())
        assert not [
            part for part in found.collect_check_errors() if part['errors']
        ]

    def test_has_every_config(self, metafile):
        """But those that are trained in minutes, for the quick start."""
        configs = [model['Config'] for model in metafile['Models']]
        assert sorted(configs) == configs_of_the_metafile()

    @pytest.mark.parametrize('config', configs_of_the_metafile())
    def test_model(self, metafile, config):
        model = next(m for m in metafile['Models'] if m['Config'] == config)
        assert model['Name'] == Config.fromfile(osp.join(
            ROOT, config)).experiment_name
        assert model['Metadata']['Parameters'] == count_parameters(config)
        trained = model['Metadata']['Parameters'] > 0
        assert ('Training Data' in model['Metadata']) == trained
        # what is not measured yet is left out
        assert ('Results' in model) == weights.is_name(model['Name'])

    def test_collections(self, metafile):
        """Every model is in one, none is empty, pages exist."""
        used = {m['In Collection'] for m in metafile['Models']}
        assert used == {c['Name'] for c in metafile['Collections']}
        for collection in metafile['Collections']:
            # relative to the metafile, as the schema wants it
            assert osp.isfile(
                osp.join(ROOT, osp.dirname(METAFILE), collection['README']))
            if 'Paper' in collection:
                url = urlparse(collection['Paper']['URL'])
                assert url.scheme == 'https' and url.hostname in HOSTS

    @pytest.mark.parametrize('name', weights.names())
    def test_trained_networks(self, metafile, name):
        """The metafile, the page and the files say the same."""
        model = next(m for m in metafile['Models'] if m['Name'] == name)
        path = weights.path_of(name)
        assert osp.samefile(osp.join(ROOT, model['Weights']), path)
        assert model['Metadata']['Parameters'] == count_parameters(
            model['Config'])
        metrics = model['Results'][0]['Metrics']
        page = read(MODEL_PAGE)
        row = next(
            line for line in page[page.index(f'| {name}: PSNR'):].splitlines()
            if line.startswith('| Average'))
        assert f'| {metrics["PSNR"]:.2f} | {metrics["SSIM"]:.4f} |' in row
        assert f'`{weights.SHA256[name]}`' in page
