"""Public x4 test sets: their protocols and published numbers.

Nothing in this file was measured here. Protocols come from MMagic's configs,
numbers from MMagic's metafiles (version 1.2.0). Networks were trained on the
degradation of the test set: BI is MATLAB's bicubic, BD a Gaussian blur
followed by taking every fourth pixel.
"""
from typing import Dict, NamedTuple, Optional, Tuple


class Published(NamedTuple):
    """A result that MMagic publishes for one network on one test set.

    Attributes:
        system (str): Name of the network.
        metafile (str): Folder of the metafile below MMagic's ``configs``.
        model (str): Name of the model in the metafile.
        dataset (str): Name of the test set in the metafile.
        psnr, ssim (float): PSNR in dB; SSIM, 1 for equal images.
    """

    system: str
    metafile: str
    model: str
    dataset: str
    psnr: float
    ssim: float


class PublicSet(NamedTuple):
    """A public test set.

    Attributes:
        title (str): Name of the set, as papers write it.
        suffix (str): Suffix, in result files, of the metrics it is measured
            by: '' is RGB, '_Y' luma, '_crop8' with a border of 8 pixels cut
            off.
        sequences (int): Number of sequences.
        frames (int, optional): Number of frames measured in all; None if no
            source states it.
        published (tuple[Published]): Published results, by ascending PSNR.
    """

    title: str
    suffix: str
    sequences: int
    frames: Optional[int]
    published: Tuple[Published, ...]


# folder and model, in MMagic, of the networks trained on Vimeo-90K
_VIMEO90K = {
    'TDAN': ('tdan', 'tdan_x4ft_8xb16-lr5e-5-{tdan}_vimeo90k-{kind}'),
    'BasicVSR': ('basicvsr', 'basicvsr_2xb4_vimeo90k-{kind}'),
    'IconVSR': ('iconvsr', 'iconvsr_2xb4_vimeo90k-{kind}'),
    'BasicVSR++':
    ('basicvsr_pp', 'basicvsr-pp_c64n7_4xb2-300k_vimeo90k-{kind}'),
}


def _set(name: str, kind: str, suffix: str, sequences: int,
         frames: Optional[int], *numbers: Tuple[str, float,
                                                float]) -> PublicSet:
    """Return a set of which networks trained on Vimeo-90K have published
    numbers: name, PSNR and SSIM of each."""
    published = []
    for system, psnr, ssim in numbers:
        folder, model = _VIMEO90K[system]
        model = model.format(
            kind=kind.lower(), tdan=dict(BI='400k', BD='800k')[kind])
        published.append(
            Published(system, folder, model, f'{name}({kind}x4)', psnr, ssim))
    return PublicSet(f'{name}, {kind}x4', suffix, sequences, frames,
                     tuple(published))


# yapf: disable
PUBLIC_SETS: Dict[str, PublicSet] = {
    'reds4': PublicSet('REDS4, BIx4', '', 4, 400, (
        Published('EDVR-M', 'edvr', 'edvrm_8xb4-600k_reds', 'REDS',
                  30.4194, 0.8684),
        Published('EDVR-L', 'edvr', 'edvrl_c128b40_8xb8-lr2e-4-600k_reds4',
                  'REDS', 31.0467, 0.8793),
        Published('BasicVSR', 'basicvsr', 'basicvsr_2xb4_reds4',
                  'REDS4(BIx4)', 31.417, 0.8909),
        Published('IconVSR', 'iconvsr', 'iconvsr_2xb4_reds4',
                  'REDS4(BIx4)', 31.6926, 0.8951),
        Published('BasicVSR++', 'basicvsr_pp',
                  'basicvsr-pp_c64n7_8xb1-600k_reds4',
                  'REDS4(BIx4)', 32.3855, 0.9069))),
    'vimeo90k-t-bi': _set('Vimeo-90K-T', 'BI', '_Y', 7824, 7824,
                          ('BasicVSR', 37.2026, 0.9434),
                          ('IconVSR', 37.3729, 0.9467),
                          ('BasicVSR++', 37.7864, 0.95)),
    'vimeo90k-t-bd': _set('Vimeo-90K-T', 'BD', '_Y', 7824, 7824,
                          ('BasicVSR', 37.5501, 0.9499),
                          ('IconVSR', 37.7573, 0.9517),
                          ('BasicVSR++', 38.2054, 0.955)),
    'vid4-bi': _set('Vid4', 'BI', '_Y', 4, 171,
                    ('TDAN', 26.49, 0.792),
                    ('BasicVSR', 27.2755, 0.8248),
                    ('IconVSR', 27.4238, 0.8297),
                    ('BasicVSR++', 27.7882, 0.8401)),
    'vid4-bd': _set('Vid4', 'BD', '_Y', 4, 171,
                    ('TDAN', 26.87, 0.815),
                    ('BasicVSR', 27.9791, 0.8556),
                    ('IconVSR', 28.2464, 0.8612),
                    ('BasicVSR++', 29.04, 0.8753)),
    'udm10-bd': _set('UDM10', 'BD', '_Y', 10, None,
                     ('BasicVSR', 39.9953, 0.9695),
                     ('IconVSR', 40.064, 0.9697),
                     ('BasicVSR++', 40.7216, 0.9722)),
    'spmcs-bi': _set('SPMCS-30', 'BI', '_Y_crop8', 30, None,
                     ('TDAN', 30.42, 0.856)),
    'spmcs-bd': _set('SPMCS-30', 'BD', '_Y_crop8', 30, None,
                     ('TDAN', 30.77, 0.868)),
}
# yapf: enable
SCALE = 4


def is_public(name: str) -> bool:
    """Whether a name is that of a public data set, which is read as it is,
    without a converter: one of the test sets, 'reds' or 'vimeo90k'."""
    return name in PUBLIC_SETS or name in ('reds', 'vimeo90k')


def protocol_metric(name: str, metric: Optional[str] = None) -> str:
    """Return the metric, a key of results, of a public set's protocol.

    Args:
        name (str): A key of :data:`PUBLIC_SETS`.
        metric (str, optional): The requested metric. Default: None, PSNR.

    Raises:
        ValueError: There is no such set, or its protocol has no such metric.
    """
    if name not in PUBLIC_SETS:
        raise ValueError('the public set (--paper) must be one of '
                         f'{", ".join(PUBLIC_SETS)}, got {name!r}')
    suffix = PUBLIC_SETS[name].suffix
    keys = [f'PSNR{suffix}', f'SSIM{suffix}']
    metric = metric or keys[0]
    if metric not in keys:
        raise ValueError(
            f'{name} is published as {" and ".join(keys)} '
            f'({describe_suffix(suffix)}), found {metric!r}: numbers of '
            'another colour space or border are not comparable; leave '
            '--metric out, or print the table without --paper')
    return metric


def describe_suffix(suffix: str) -> str:
    """Return a description of what a metric is measured on."""
    color = 'luma of BT.601' if '_Y' in suffix else 'RGB'
    border = suffix.rpartition('_crop')[2] if '_crop' in suffix else ''
    return f'{color}, ' + (f'a border of {border} pixels cut off'
                           if border else 'no border crop')
