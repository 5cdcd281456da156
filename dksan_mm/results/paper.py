"""The numbers in the paper, as printed.

Xu, Xiong, Wang and Li, "Deformable Kernel Convolutional Network for Video
Extreme Super-Resolution", ECCV 2020 Workshops, Tables 1 to 3.

Averages are copied, not computed. All but one equal the unweighted mean of
their column: the third of Table 3 ("w/o DKSA") is printed as 31.32 (in the
text too), while its ten videos average 31.340. One of the numbers is a
misprint, but which one is unknown. Table 1 gives DKSAN 0.95 seconds per frame
and Table 3 0.97, and the paper does not say why.
"""
from typing import Dict, NamedTuple, Tuple

COMPARISON = ('Bicubic', 'EDVR', 'DKSAN')
ABLATION = ('Backbone', 'w/o Alignment & DKSA', 'w/o DKSA', 'DKSAN')

#: The paper names it for training; it names no hardware for its runtimes.
HARDWARE = 'NVIDIA Titan Xp'


class PaperTable(NamedTuple):
    """One table of the paper.

    Attributes:
        number (int): Number of the table, as printed.
        title (str): First sentence of its caption.
        dataset (str): Name of the data set in result files.
        frames (int): Frames of each sequence.
        scale (int): Scaling factor.
        columns (tuple[str]): Systems, as printed, but without "(ours)".
        psnr (dict): Maps a sequence to the systems' PSNR in dB.
        average (tuple[float]): The printed averages in dB.
        parameters, seconds (dict): Map a system to the printed value, if there
            is one.
    """

    number: int
    title: str
    dataset: str
    frames: int
    scale: int
    columns: Tuple[str, ...]
    psnr: Dict[str, Tuple[float, ...]]
    average: Tuple[float, ...]
    parameters: Dict[str, str]
    seconds: Dict[str, str]


TABLE_1 = PaperTable(
    1, 'Quantitative comparison on Vid3oC dataset for scaling factor of 16',
    'vid3oc', 120, 16, COMPARISON, {
        '050': (25.36, 26.75, 29.17),
        '051': (23.20, 23.76, 24.72),
        '052': (20.57, 20.92, 21.61),
        '053': (21.61, 22.15, 22.63),
        '054': (20.08, 20.56, 21.15),
        '055': (20.01, 20.36, 21.48),
        '056': (21.44, 21.33, 22.54),
        '057': (20.22, 20.33, 21.66),
        '058': (19.55, 19.80, 21.45),
        '059': (20.22, 20.92, 21.90),
        '060': (20.13, 20.30, 21.38),
        '061': (21.08, 21.58, 22.22),
        '062': (21.54, 21.58, 23.12),
        '063': (21.54, 22.00, 23.26),
        '064': (20.46, 21.04, 21.94),
        '065': (22.53, 23.41, 24.80),
    }, (21.22, 21.67, 22.81), {
        'EDVR': '20.6M',
        'DKSAN': '29.5M'
    }, {
        'EDVR': '0.87',
        'DKSAN': '0.95'
    })

TABLE_2 = PaperTable(
    2, 'Quantitative comparison on IntVID dataset for scaling factor of 16',
    'intvid', 14, 16, COMPARISON, {
        '050': (21.56, 21.81, 23.06),
        '051': (23.02, 24.13, 24.92),
        '052': (29.56, 29.33, 31.87),
        '053': (24.05, 24.51, 25.09),
        '054': (31.34, 33.15, 36.18),
        '055': (24.39, 25.01, 26.88),
        '056': (31.16, 31.93, 34.22),
        '057': (34.35, 35.20, 39.75),
        '058': (36.00, 37.36, 38.15),
        '059': (30.49, 31.37, 34.17),
    }, (28.59, 29.38, 31.43), {}, {})

TABLE_3 = PaperTable(
    3, 'Ablation studies for DKSAN on IntVID dataset for scaling factor of 16',
    'intvid', 14, 16, ABLATION, {
        '050': (22.80, 22.98, 22.87, 23.06),
        '051': (24.72, 24.89, 24.89, 24.92),
        '052': (31.65, 31.75, 31.85, 31.87),
        '053': (25.05, 25.07, 25.18, 25.09),
        '054': (35.30, 35.73, 35.86, 36.18),
        '055': (26.52, 26.89, 26.69, 26.88),
        '056': (33.79, 33.92, 34.33, 34.22),
        '057': (38.97, 39.13, 39.27, 39.75),
        '058': (38.09, 38.21, 38.30, 38.15),
        '059': (33.38, 34.15, 34.16, 34.17),
    }, (31.03, 31.27, 31.32, 31.43), {
        'Backbone': '26.1M',
        'w/o Alignment & DKSA': '26.3M',
        'w/o DKSA': '27.0M',
        'DKSAN': '29.5M'
    }, {
        'Backbone': '0.83',
        'w/o Alignment & DKSA': '0.89',
        'w/o DKSA': '0.92',
        'DKSAN': '0.97'
    })

TABLES = (TABLE_1, TABLE_2, TABLE_3)
