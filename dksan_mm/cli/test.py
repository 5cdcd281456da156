"""Test a model, like MMagic's tools/test.py, and on CPUs as well.

    python tools/test.py CONFIG [CHECKPOINT] [--result-dir DIR] ...

For each data set it prints a table of the sequences, how the data were made,
the time per frame and the hardware.
"""
import argparse

from . import add_runner_arguments, imports, whole_number


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test (and eval) a model')
    parser.add_argument('config', help='test config file path')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        default='none',
        help="checkpoint file; 'none' for a model without parameters")
    parser.add_argument(
        '--out', help='file to save the metrics to: .json, .yaml or .pkl')
    add_result_arguments(parser)
    add_runner_arguments(parser)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.json', '.yaml', '.pkl')):
        parser.error(f'--out must end in .json, .yaml or .pkl, got {args.out}')
    if args.save_frames is not None and not args.result_dir:
        parser.error('--save-frames needs --result-dir, the folder to save to')
    return args


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that MMagic's test.py does not have."""
    parser.add_argument(
        '--result-dir',
        help='folder for results by frame, by sequence and on average, as '
        'NAME.json and NAME.csv for each data set')
    parser.add_argument(
        '--system',
        help="name of the system in tables; default: the config's "
        'experiment_name')
    parser.add_argument(
        '--save-frames',
        nargs='?',
        type=whole_number(),
        const=1,
        metavar='N',
        help='save every N-th restored frame (default: all) in '
        'RESULT_DIR/frames')
    parser.add_argument(
        '--dataset',
        nargs='+',
        metavar='NAME',
        help='test only on these data sets of the config, such as reds4')
    parser.add_argument(
        '--self-ensemble',
        action='store_true',
        help='average over 8 flips and transpositions: 8 times as slow')
    parser.add_argument(
        '--temporal-ensemble',
        action='store_true',
        help='self-ensemble over reversed windows as well: 16 times as slow')
    parser.add_argument(
        '--lpips',
        nargs='?',
        const='',
        metavar='WEIGHTS',
        help="measure LPIPS too; WEIGHTS is the file of AlexNet's ImageNet "
        "weights, by default in torchvision's cache, or where "
        'tools/analysis_tools/fetch_lpips_weights.py puts it')
    parser.add_argument(
        '--niqe',
        action='store_true',
        help='measure NIQE too, how natural a frame looks without ground '
        'truth; frames need at least two blocks of 96x96 pixels')
    parser.add_argument(
        '--no-temporal',
        action='store_true',
        help='do not measure tOF, which takes long at large sizes')


def main(args: argparse.Namespace) -> None:
    """Test, and print the results."""
    with imports():
        from dksan_mm.engine.testing import test
    test(args)
