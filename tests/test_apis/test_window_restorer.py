"""Windows of a stream: the same bits as alone, cuts, tiles, memory."""
import weakref

import numpy as np
import pytest
import torch
from raw_material import shot
from tiny_networks import KINDS
from torch import nn

from dksan_mm.apis import network
from dksan_mm.apis.window_restorer import WindowRestorer
from dksan_mm.models import BicubicUpsampler, SelfEnsemble
from dksan_mm.utils.benchmark import peak_allocation

SIZE = (18, 22)


def make_model(kind='dksan'):
    """Return a restorer whose tiny network has no layer at zero, and which
    changes frames little."""
    make, arguments = KINDS[kind]
    changes = dict(
        edvr=dict(num_frames=5), basicvsr=dict(scale=4),
        bicubic={}).get(kind, dict(mid_channels=8, num_frames=7))
    torch.manual_seed(0)
    net = make(**{**arguments, **changes})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return Restorer(net)


class Restorer(nn.Module):
    """As far as the restorer is asked."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator


@pytest.fixture(scope='module')
def model():
    return make_model()


def make_clip(count=11, size=SIZE, seed=0, dtype=np.uint8):
    clip = np.stack([shot(seed, t, size) for t in range(count)])
    if dtype == np.uint16:
        clip = (clip.astype(np.uint32) * 1023 // 255).astype(dtype)
    if dtype == np.float32:
        clip = clip.astype(dtype) / 255
    return clip


def restore(model, clip, start=0, stop=None, first=0, **options):
    restorer = WindowRestorer(model, **options)
    stop = len(clip) if stop is None else stop
    return np.stack(
        list(
            restorer.restore(
                iter(clip[first:]), start, stop, len(clip), first)))


def alone(net, clip, indices):
    """Return what the network makes of one window."""
    window = clip[indices].astype(np.float32)
    white = dict(uint8=255, uint16=1023, float32=1)[clip.dtype.name]
    window = torch.from_numpy(window / np.float32(white)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        out = net(window[None].contiguous())[0]
    out = out.clamp(0, 1).permute(1, 2, 0)
    if white == 1:
        return out.numpy()
    out = (out * white).round()
    return out.to(torch.int32).numpy().astype(clip.dtype)


def mirrored(centre, context, count):
    """By walking: turn round at each end."""
    index = list(range(count)) + list(range(count - 2, 0, -1))
    return [
        index[i % len(index)]
        for i in range(centre - context, centre + context + 1)
    ]


@pytest.mark.parametrize('kind', [
    'dksan', 'dksan-flow-guided', 'dksan-plain', 'edvr', 'basicvsr', 'bicubic'
])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_same_bits_as_each_window_alone(kind, dtype):
    if kind == 'bicubic':
        model = Restorer(BicubicUpsampler(4))
    else:
        model = make_model(kind)
    clip = make_clip(5 if kind == 'edvr' else 8, dtype=dtype)
    restorer = WindowRestorer(model)
    assert restorer.context == dict(edvr=2, basicvsr=1, bicubic=0).get(kind, 3)
    out = restore(model, clip)
    for centre in range(len(clip)):
        window = mirrored(centre, restorer.context, len(clip))
        expected = alone(model.generator, clip, window)
        assert out[centre].dtype == dtype
        np.testing.assert_array_equal(out[centre], expected)


@pytest.mark.parametrize('count', [1, 2, 3])
def test_videos_shorter_than_a_window(model, count):
    clip = make_clip(count)
    out = restore(model, clip)
    for centre in range(count):
        window = mirrored(centre, 3, count) if count > 1 else [0] * 7
        np.testing.assert_array_equal(out[centre],
                                      alone(model.generator, clip, window))


def test_network_sees_the_features_of_each_frame_once(model):
    calls = []
    extract = model.generator.extract_features
    model.generator.extract_features = lambda x: calls.append(x) or extract(x)
    try:
        restore(model, make_clip(9), start=4, stop=6)
        assert len(calls) == 8  # of frames 1 to 8
    finally:
        del model.generator.extract_features


@pytest.mark.parametrize('batch', [1, 3])
def test_parts_are_those_of_the_whole(model, batch):
    """With a cut, and wherever reading begins. Where other windows share a
    batch, convolutions may round otherwise."""
    clip = np.concatenate([make_clip(6), make_clip(6, seed=9)])
    whole = restore(model, clip, batch=batch)
    for start, stop in ((0, 3), (3, 9), (6, 7), (9, 12)):
        for more in (0, 1, 2):
            first = max(start - 3 - more, 0)
            part = restore(model, clip, start, stop, first, batch=batch)
            np.testing.assert_allclose(
                part.astype(int), whole[start:stop], rtol=0, atol=batch > 1)


def test_windows_do_not_reach_over_cuts(model):
    scenes = [make_clip(n, seed=seed) for n, seed in ((5, 0), (1, 9), (6, 4))]
    clip = np.concatenate(scenes)
    restorer = WindowRestorer(model)
    out = np.stack(list(restorer.restore(iter(clip), 0, 12, 12, 0)))
    assert restorer.cuts == {5, 6}
    expected = np.concatenate([restore(model, part) for part in scenes])
    np.testing.assert_array_equal(out, expected)
    # over them they differ
    off = restore(model, clip, scene_threshold=None)
    assert (off[4] != out[4]).any() and (off[7] != out[7]).any()
    np.testing.assert_array_equal(off[1], out[1])
    np.testing.assert_array_equal(
        restore(model, clip, scene_threshold=99.), off)


@pytest.mark.parametrize(
    'options',
    [dict(batch=2), dict(batch=5),
     dict(compile=True)])
def test_batches_and_compiled(model, options):
    if options.get('compile'):
        # what compiles is tested with the networks: that it is called
        compiled = []
        original = torch.compile
        torch.compile = lambda f: compiled.append(f) or f
    try:
        clip = make_clip(7, dtype=np.uint16)
        out = restore(model, clip, **options)
    finally:
        if options.get('compile'):
            torch.compile = original
            assert len(compiled) == 2
    # of 1023 levels, rounding included
    difference = np.abs(out.astype(int) - restore(model, clip))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-2


@pytest.mark.parametrize('dtype, least', [('bf16', 25), ('fp16', 45)])
def test_short_floats_are_near(model, dtype, least):
    clip = make_clip(2)
    difference = restore(model, clip, dtype=dtype).astype(float)
    difference -= restore(model, clip)
    error = np.square(difference).mean()
    assert 0 < error < 255**2 / 10**(least / 10)


def test_self_ensemble(model):
    clip = make_clip(2)
    out = restore(model, clip, ensemble=True)
    for centre, window in enumerate(([1, 0] * 4, [0, 1] * 4)):
        expected = alone(SelfEnsemble(model.generator), clip, window[:7])
        np.testing.assert_array_equal(out[centre], expected)
    wrapped = Restorer(SelfEnsemble(model.generator))
    np.testing.assert_array_equal(restore(wrapped, clip, ensemble=True), out)
    np.testing.assert_array_equal(restore(wrapped, clip), out)


@pytest.mark.parametrize('batch', [1, 2])
def test_few_frames_are_held(model, batch):
    alive, most = [], 0

    def frames():
        for frame in make_clip(30):
            yield frame.copy()

    restorer = WindowRestorer(model, batch=batch)
    prepare = restorer._network.prepare

    def watched(array, number):
        frame = prepare(array, number)
        alive.append(weakref.ref(frame))
        return frame

    restorer._network.prepare = watched
    for number, _ in enumerate(restorer.restore(frames(), 0, 30, 30, 0)):
        held = sum(frame() is not None for frame in alive)
        most = max(most, held)
        # read when needed, not before
        assert len(alive) <= min(number + batch + 3, 30)
    assert most <= 7 + batch
    assert len(alive) == 30


# Tiles and memory


def test_tiles_of_a_network_without_channel_attention():
    """A tiny one sees no further than what it is given around a tile."""
    model = make_model('dksan-plain')
    clip = make_clip(3, size=(40, 52))
    whole = restore(model, clip)
    tiled = restore(model, clip, tile=32, tile_overlap=16)
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


@pytest.mark.parametrize('kind, size', [('dksan', (40, 52)),
                                        ('dksan-flow-guided', (40, 52)),
                                        ('edvr', (38, 45)),
                                        ('basicvsr', (40, 46)),
                                        ('bicubic', (40, 52))])
def test_tiles_of_all_networks(kind, size):
    """Also of networks that see further or average over the tile: near."""
    model = Restorer(
        BicubicUpsampler(4)) if kind == 'bicubic' else make_model(kind)
    clip = make_clip(3, size=size)
    whole = restore(model, clip, 1, 2)
    tiled = restore(model, clip, 1, 2, tile=32, tile_overlap=12)
    difference = tiled.astype(float) - whole
    assert tiled.shape == whole.shape
    assert np.square(difference).mean() < 255**2 / 10**3.5
    if kind == 'bicubic':
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize('kind',
                         ['dksan', 'dksan-flow-guided', 'edvr', 'basicvsr'])
@pytest.mark.parametrize('batch', [1, 2])
def test_memory_is_as_estimated(kind, batch):
    """Never less than what is taken, and not twice that: in strips, so that
    the part that a tiny network has of them does not hide the rest."""
    model = make_model(kind)
    size = (96, 112)
    limit = 48 * 2**16  # strips of 64 KiB
    restorer = WindowRestorer(model, max_memory=limit, batch=batch)
    clip = make_clip(7 + batch, size=size)
    device = torch.device('cpu')

    def run():
        windows = [[
            restorer._network.prepare(frame, 0)
            for frame in clip[i:i + restorer.num_frames]
        ] for i in range(batch)]
        return restorer._network.restore(windows)

    taken = peak_allocation(run, device)
    assert taken <= restorer.estimate_memory(*size) <= 2 * taken


def test_max_memory_chooses_tiles(model):
    restorer = WindowRestorer(model)
    assert restorer.tile_for(90, 120) is None
    assert WindowRestorer(model, tile=24).tile_for(90, 120) == 24
    chosen = []
    for limit in (8e6, 11e6, 16e6, 1e9):
        restorer = WindowRestorer(model, max_memory=int(limit), tile_overlap=4)
        tile = restorer.tile_for(90, 120)
        chosen.append(120 if tile is None else tile)
        if tile is not None:
            assert restorer.estimate_memory(min(tile, 90), tile) <= limit
    assert chosen[0] < chosen[1] < chosen[2] <= chosen[3] == 120
    assert tile is None
    restorer = WindowRestorer(model, max_memory=11_000_000, tile_overlap=4)
    assert restorer.tile_for(90, 120) == chosen[1]
    clip = make_clip(1, size=(90, 120))
    peak = peak_allocation(
        lambda: list(restorer.restore(iter(clip), 0, 1, 1, 0)),
        torch.device('cpu'))
    assert peak <= 11_000_000
    with pytest.raises(ValueError, match='max_memory must be at least .*GiB'):
        restore(model, clip, max_memory=100_000)


# Errors


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_result_that_is_not_finite(value):
    """It is an error, not a black picture."""

    class Broken(BicubicUpsampler):

        def forward(self, x):
            out = super().forward(x)
            out[..., 3, 4] = value
            return out

    with pytest.raises(ValueError, match='finite, found.* in frame 2.*bf16'):
        restore(Restorer(Broken(2)), make_clip(4), start=2)


@pytest.mark.parametrize('options, message', [
    (dict(dtype='int8'), "dtype must be one of .*got 'int8'"),
    (dict(batch=0), 'batch must be at least 1, got 0'),
    (dict(tile=0), 'tile must be at least 1, got 0'),
    (dict(tile=1), r'tile \(--tile\) must be at least 8 pixels.* got 1'),
    (dict(max_memory=0), 'max_memory must be at least 1, got 0'),
    (dict(tile=30, tile_overlap=16), 'tile_overlap must be .*30, got 16'),
    (dict(tile=8, tile_overlap=-1), 'tile_overlap must be .* got -1'),
    (dict(tile=8, max_memory=99), 'tile .* not be given with max_memory'),
    (dict(tile_overlap=8), 'tile_overlap must go with .*got 8 alone'),
    (dict(scene_threshold=-1.), 'scene_threshold must be .*got -1'),
    (dict(scene_threshold=float('nan')), 'scene_threshold must be .*nan'),
])
def test_options_exception(model, options, message):
    with pytest.raises(ValueError, match=message):
        WindowRestorer(model, **options)


def test_model_exception():
    with pytest.raises(ValueError, match='must have a generator .* Conv2d'):
        WindowRestorer(Restorer(nn.Conv2d(1, 1, 1)))


def test_stream_exceptions(model):
    clip = make_clip(8)
    restorer = WindowRestorer(model)

    def run(frames, start=0, stop=8, total=8, first=0):
        return list(restorer.restore(iter(frames), start, stop, total, first))

    with pytest.raises(ValueError, match='go on to frame 6 of 8'):
        run(clip[:6])
    with pytest.raises(ValueError, match='start and stop must .* 8 and 9'):
        run(clip, 8, 9)
    with pytest.raises(ValueError, match='first must be from 0 to 2.*got 3'):
        run(clip, start=5, first=3)
    with pytest.raises(
            ValueError,
            match=r'frame 2 must be as large as .*'
            r'\(18, 22\), got \(18, 21\)'):
        run([*clip[:2], clip[2][:, 1:], *clip[3:]])
    with pytest.raises(TypeError, match='uint8, uint16.*float64'):
        run(clip / 255)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_uploads_to_a_gpu(dtype, monkeypatch):
    """Frames go there from pinned memory, as narrow as they are, while the
    host goes on; here the device is pretended."""
    frame, = make_clip(1, dtype=dtype)
    frame = frame[:, ::-1]  # no dense array
    expected = network.to_image(frame, torch.device('cpu'))
    pinned, uploads = [], []
    empty, to = torch.empty, torch.Tensor.to

    def spy_empty(*args, pin_memory=False, **kwargs):
        out = empty(*args, **kwargs)
        pinned.extend([out.data_ptr()] * pin_memory)
        return out

    def spy_to(tensor, *args, non_blocking=False, **kwargs):
        if args != (torch.device('cuda'), ):
            return to(tensor, *args, **kwargs)
        assert tensor.data_ptr() in pinned
        uploads.append((tensor.element_size(), non_blocking))
        return tensor.clone()

    monkeypatch.setattr(torch, 'empty', spy_empty)
    monkeypatch.setattr(torch.Tensor, 'to', spy_to)
    out = network.to_image(frame, torch.device('cuda'))
    assert uploads == [(frame.itemsize, True)]
    assert torch.equal(out, expected) and out.dtype == torch.float32


@pytest.mark.parametrize('options, deterministic, timed', [
    ({}, False, True),
    ({}, True, False),
    (dict(max_memory=2**30), False, False),
])
def test_cudnn_times_its_algorithms(options, deterministic, timed, model,
                                    monkeypatch):
    """Frames of a video have one size. Not where memory is limited, which the
    trials take as well, nor where bits are to be the same."""
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, 'deterministic', deterministic)
    # an earlier test may have set it
    monkeypatch.setattr(cudnn, 'benchmark', False)
    restorer = WindowRestorer(model, **options)
    network = restorer._network
    before = cudnn.benchmark
    for device, expected in (('cuda', timed), ('cpu', before)):
        network._device = torch.device(device)
        with network._settings():
            assert cudnn.benchmark == expected
        with network._settings(1):  # memory is measured
            assert cudnn.benchmark == before
        assert cudnn.benchmark == before
