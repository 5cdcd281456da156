"""Every config builds what it says."""
import ast
import glob
import os.path as osp

import pytest
import torch
from commands import ROOT
from mmagic.registry import METRICS, MODELS
from mmengine.config import Config

from dksan_mm.results.public import PUBLIC_SETS

PARAMETERS = {
    'dksan_vid3oc_x16': 29_476_220,
    'dksan_wo-dksa_vid3oc_x16': 26_973_204,
    'dksan_wo-align-dksa_vid3oc_x16': 26_281_572,
    'dksan_backbone_vid3oc_x16': 26_117_772,
    'bicubic_vid3oc_x16': 0,
    'edvr_vid3oc_x16': 20_929_251,
    'edvr-small_quickstart_x16': 184_519,
    'basicvsr-pp_vid3oc_x16': 7_618_351,
    'dksan_reds_x16': 29_476_220,
    'dksan_reds_x4': 19_404_886,
    'edvr_reds_x4': 20_633_827,  # EDVR-L, as its paper prints
    'basicvsr-pp_reds_x4': 7_322_927,
}
CONFIGS = sorted(glob.glob(osp.join(ROOT, 'configs', '*.py')))
BASES = sorted(
    glob.glob(
        osp.join(ROOT, 'configs', '_base_', '**', '*.py'), recursive=True))


def name_of(path):
    return osp.splitext(osp.basename(path))[0]


def test_configs_are_there():
    assert set(PARAMETERS) < {name_of(path) for path in CONFIGS}


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_model(path):
    cfg = Config.fromfile(path)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    count = sum(p.numel() for p in model.parameters())
    if name_of(path) in PARAMETERS:
        assert count == PARAMETERS[name_of(path)]
    scale = int(name_of(path).rpartition('_x')[2])
    # MMagic's own network is x4 and does not say so
    assert getattr(model.generator, 'scale', 4) == cfg.scale == scale
    assert cfg.work_dir == f'./work_dirs/{name_of(path)}'
    assert cfg.experiment_name == name_of(path)


def test_recipe_of_the_paper():
    cfg = Config.fromfile(osp.join(ROOT, 'configs/dksan_vid3oc_x16.py'))
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(
        type='Adam', lr=4e-4, betas=(0.9, 0.999), fused=None)
    assert cfg.train_cfg.max_iters == 115_000
    assert 4 * cfg.train_dataloader.batch_size == 16
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.num_input_frames == cfg.model.generator.num_frames == 7
    assert cfg.model.pixel_loss.eps == pytest.approx(1e-3**2)
    crop = next(step for step in cfg.train_pipeline
                if step.type == 'PairedRandomCrop')
    assert crop.gt_patch_size == 512 == 32 * cfg.scale


@pytest.mark.parametrize(
    'name', ['dksan-small_quickstart_x16', 'dksan-lite_x16', 'dksan-lite_x4'])
def test_small_configs_have_every_part(name):
    cfg = Config.fromfile(osp.join(ROOT, f'configs/{name}.py'))
    generator = MODELS.build(cfg.model.generator)
    assert generator.align is not None
    for level in generator.reconstruct:
        assert level.dksa is not None
        assert level.rcabs[0].attention is not None


@pytest.mark.parametrize('scale', [4, 16])
def test_lite_networks_are_alike_in_all_but_the_network(scale):
    dksan, edvr = (
        Config.fromfile(osp.join(ROOT, f'configs/{name}-lite_x{scale}.py'))
        for name in ('dksan', 'edvr'))
    sizes = []
    for cfg in (dksan, edvr):
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        sizes.append(sum(p.numel() for p in model.parameters()))
        for key in ('experiment_name', 'work_dir'):
            cfg.pop(key)
        cfg.model.pop('generator')
    assert dksan.to_dict() == edvr.to_dict()
    assert 0.9 < sizes[0] / sizes[1] < 1.1


@pytest.mark.parametrize('name', [
    'dksan_reds_x4', 'dksan_vimeo90k-bi_x4', 'dksan_vimeo90k-bd_x4',
    'edvr_reds_x4', 'basicvsr-pp_reds_x4'
])
def test_public_sets_are_measured_by_their_protocols(name):
    """Every set that there are published numbers of, by a metric that gives
    the protocol's."""
    cfg = Config.fromfile(osp.join(ROOT, f'configs/{name}.py'))
    sets = {
        loader.dataset.metainfo.dataset_type: metrics
        for loader, metrics in zip(cfg.test_dataloader, cfg.test_evaluator)
    }
    assert list(sets) == list(PUBLIC_SETS)
    for name, metrics in sets.items():
        assert {metric.prefix for metric in metrics} == {name}
        quality = METRICS.build(metrics[0])
        image = torch.zeros(3, 32, 32)
        values = quality.measure(image, image, {})
        assert f'PSNR{PUBLIC_SETS[name].suffix}' in values


@pytest.mark.parametrize('scale', [4, 16])
def test_lite_data_have_one_scale(scale):
    cfg = Config.fromfile(osp.join(ROOT, f'configs/dksan-lite_x{scale}.py'))
    photographs, clips = cfg.train_dataloader.dataset.datasets
    crop = next(step for step in clips.pipeline
                if step.type == 'PairedRandomCrop')
    values = next(step for step in clips.pipeline if step.type == 'SetValues')
    assert photographs.gt_size == crop.gt_patch_size
    assert values.dictionary.scale == scale
    for dataset in (photographs, clips, cfg.val_dataloader.dataset,
                    cfg.test_dataloader[0].dataset):
        assert dataset.scale == scale
    for dataset in (clips, cfg.val_dataloader.dataset):
        assert dataset.data_root == f'data/clips_x{scale}'
        assert dataset.data_prefix.img.endswith(f'BIx{scale}')


def test_real_video_has_the_network_and_data_of_dksan_lite():
    plain, real = (
        Config.fromfile(osp.join(ROOT, f'configs/{name}_x4.py'))
        for name in ('dksan-lite', 'dksan-lite-real'))
    assert real.model.pop('perceptual_loss').type == 'VGGPerceptualLoss'
    assert plain.model == real.model
    assert real.load_from == plain.experiment_name
    for cfg in (plain, real):
        cfg.sources = [(dataset.type, dataset.data_root)
                       for dataset in cfg.train_dataloader.dataset.datasets]
    assert plain.sources == real.sources
    # windows of one scale, whatever their frames are made of
    for dataset in real.train_dataloader.dataset.datasets:
        assert dataset.scale == 1
        sizes = next(step for step in dataset.pipeline
                     if step.type == 'RandomChoice').transforms
        assert sizes[0][0].output_shape == (48, 48)
        assert sizes[1][0].params.target_size == (48, 48)
    assert real.val_dataloader.dataset.data_root == 'data/clips-crf32_x4'
    assert real.val_dataloader.dataset.scale == real.scale == 4


def test_bases_own_disjoint_keys():
    """But for the models, of which a leaf takes one."""
    owners = {}
    for path in BASES:
        for key in Config.fromfile(path).keys():
            folder = osp.dirname(path)
            assert owners.setdefault(key, folder) == folder, key
    assert owners['model'].endswith('models')


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_leaves_hold_what_differs(path):
    """No setting says again what a base says."""
    with open(path) as file:
        tree = ast.parse(file.read())
    own = {
        node.targets[0].id: node.value
        for node in tree.body if isinstance(node, ast.Assign)
    }
    names = ast.literal_eval(own.pop('_base_'))
    bases = {}
    for name in [names] if isinstance(names, str) else names:
        bases.update(Config.fromfile(osp.join(osp.dirname(path), name)))
    cfg = Config.fromfile(path)
    assert own and not [
        key for key in own if key in bases and cfg.get(key) == bases[key]
    ]
