"""Restore a video, or a folder of frames.

    python tools/restore_video.py NAME INPUT OUTPUT
    python tools/restore_video.py CONFIG CHECKPOINT INPUT OUTPUT

NAME is a trained network that comes with the package, such as dksan-lite_x4;
CONFIG and CHECKPOINT name one of your own. OUTPUT is a video (.mp4, .mkv,
.mov, ...) with INPUT's frame times, sound, subtitles and chapters, or a folder
of PNGs. It is made in OUTPUT.partial, in segments; after Ctrl-C, a kill or a
crash, the same command with --resume goes on, and ends with the same file.

    python tools/restore_video.py dksan-lite_x4 in.mp4 out.mp4 --height 1080
    python tools/restore_video.py configs/bicubic_x4.py none in.mp4 out.mp4
    python tools/restore_video.py CONFIG CHECKPOINT in.mp4 out.mp4 \\
        --compare split --dtype fp32

Several GPUs, or processes on CPUs, share one video; the bits stay the same:

    torchrun --nproc_per_node 4 -- tools/restore_video.py CONFIG CHECKPOINT \\
        in.mp4 out.mp4

(On CPUs this holds for equal numbers of threads: torchrun sets OMP_NUM_THREADS
to 1 unless it is set. Several machines need a shared file system.)
"""
import argparse
import os
import re
import shlex
import signal
import sys
from fractions import Fraction
from typing import Tuple

from dksan_mm import weights
from . import STOPPED, add_debug_argument, imports, whole_number

# choices of restoration, whose module is imported only when the work begins
COMPARISONS = ('split', 'side')
SOUND_CODINGS = ('copy', 'aac', 'flac', 'none')
STREAM_KINDS = ('audio', 'subtitle', 'video', 'attachment', 'data')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage='%(prog)s [-h] (NAME | CONFIG CHECKPOINT) INPUT OUTPUT '
        '[options]',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('places',
        nargs='+',
        metavar='NAME | CONFIG CHECKPOINT, INPUT, OUTPUT',
        help="a trained network, or a config file and its checkpoint ('none' "
        'for a model without parameters); a video, or a folder of frames; '
        'the video, or folder for frames, to write')
    add_job_arguments(parser)
    # no defaults here: the API has them
    add_restorer_arguments(
        parser.add_argument_group(
            'network', argument_default=argparse.SUPPRESS))
    add_encoder_arguments(
        parser.add_argument_group(
            'encoder', argument_default=argparse.SUPPRESS))
    args = parser.parse_intermixed_args()
    places = args.__dict__.pop('places')
    if len(places) not in (3, 4):
        parser.error('give NAME INPUT OUTPUT, or CONFIG CHECKPOINT INPUT '
                     f'OUTPUT, got {len(places)}: {" ".join(places)}')
    if len(places) == 3 and not weights.is_name(places[0]):
        parser.error('give NAME INPUT OUTPUT, or CONFIG CHECKPOINT INPUT '
                     f'OUTPUT: {weights.unknown(places[0])}')
    args.config, args.input, args.output = places[0], *places[-2:]
    args.checkpoint = places[1] if len(places) == 4 else None
    return args


def frames_per_second(text: str) -> Fraction:
    """Parse a rate such as 24000/1001 or 23.976."""
    try:
        return Fraction(text)
    except ZeroDivisionError as error:
        raise ValueError(str(error)) from error


def seconds(text: str) -> Fraction:
    """Parse a time such as 90, 1:30 or 0:01:30.5; return seconds."""
    if not re.fullmatch(r'(\d+:){0,2}(\d+(\.\d*)?|\.\d+)', text):
        raise ValueError
    total = Fraction(0)
    for part in text.split(':'):
        total = 60 * total + Fraction(part)
    return total


def key_and_value(text: str) -> Tuple[str, str]:
    """Parse an encoder option, KEY=VALUE."""
    key, equals, value = text.partition('=')
    if not key or not equals:
        raise ValueError
    return key, value


def gibibytes(text: str) -> int:
    """Parse a number of GiB; return bytes."""
    size = float(text)
    if not 0 < size < float('inf'):
        raise ValueError
    return round(size * 2**30)


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--resume',
        action='store_true',
        help='continue a stopped run from OUTPUT.partial')
    add('--overwrite',
        action='store_true',
        help='replace OUTPUT, and discard what a stopped run left')
    add('--segment',
        type=whole_number(),
        default=48,
        metavar='N',
        help='frames per segment, the most that a stop loses; default: 48')
    add('--compare',
        choices=COMPARISONS,
        help='also write OUTPUT_compare: bicubic and the result, as one '
        'picture in two halves (split) or two pictures side by side')
    add('--start',
        type=seconds,
        default=0,
        metavar='TIME',
        help='restore a part of INPUT that begins here: seconds, or 1:30, or '
        '1:02:03.5; default: 0')
    add('--duration',
        type=seconds,
        metavar='TIME',
        help='restore only this length of INPUT; default: to its end')
    add('--height',
        type=int,
        help='reduce the result to this height in pixels by an antialiased '
        'filter; the width follows')
    add('--width', type=int, help='reduce the result to this width')
    add('--estimate',
        action='store_true',
        help='restore a few frames, print how much time and memory all of '
        'them would take, and stop')
    add('--fps',
        type=frames_per_second,
        help='frames per second of a folder of frames, such as 24000/1001; '
        'default: 25')
    add('--strict',
        action='store_true',
        help='refuse an INPUT that is damaged or changes size')
    add('--video-stream',
        type=int,
        metavar='N',
        help='number of the video among the streams of INPUT, from 0; '
        'default: the one that players choose')
    add('--device', help='cpu, cuda or cuda:N; default: cuda if available')
    add('--quiet', action='store_true', help='show no progress')
    add_debug_argument(parser)


def add_restorer_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add('--dtype',
        choices=('auto', 'fp32', 'bf16', 'fp16'),
        help='precision; default: auto, which is bf16 if a self-test finds it '
        'faster and accurate, else fp32; few CPUs are fast with fp16')
    add('--compile',
        action='store_true',
        help='use torch.compile, which takes minutes to start; batches are of '
        '1 then unless --batch says otherwise')
    add('--cuda-graph',
        action='store_true',
        help='replay CUDA graphs, which start all kernels of the network at '
        'once and keep their memory; only on a GPU, not with --compile or '
        '--max-memory')
    add('--batch',
        type=whole_number(),
        help='windows restored at once; default: 1; on a GPU, for videos of '
        '128 frames and more, up to 8 as long as trials show that it pays')
    add('--tile', type=int, help='longest side of a tile, in pixels of INPUT')
    add('--tile-overlap',
        type=int,
        help='overlap of tiles, in pixels of INPUT; default: 16, or half the '
        'tile if that is less')
    add('--max-memory',
        type=gibibytes,
        metavar='GIB',
        help='choose tiles so that the network needs at most this memory, '
        'beside its weights; not with --tile')
    cuts = group.add_mutually_exclusive_group()
    cuts.add_argument(
        '--scene-threshold',
        type=float,
        help='change between frames above which there is a scene cut, which '
        'windows do not cross: 0 is no change, about 0.8 another scene; '
        'default: 0.5')
    cuts.add_argument(
        '--no-scene-cuts',
        dest='scene_threshold',
        action='store_const',
        const=None,
        help='let windows cross scene cuts')
    add('--self-ensemble',
        dest='ensemble',
        action='store_true',
        help='average over 8 flips and transpositions: 8 times as slow')


def add_encoder_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add('--codec',
        help='encoder of FFmpeg; default: libx264, or libvpx-vp9 for .webm')
    add('--crf',
        type=float,
        help='quality, lower is better; default: 17 (libx264), 19 (libx265), '
        '23 (libsvtav1), 20 (libvpx-vp9)')
    add('--preset',
        help='speed of the encoder; default: medium (libx264, libx265), 8 '
        '(libsvtav1), 4 (libvpx-vp9)')
    add('--pix-fmt',
        help='pixel format; default: yuv420p, or yuv420p10le for more than 8 '
        'bits, whatever chroma format INPUT has')
    add('--lossless',
        action='store_true',
        help='keep restored pixels unchanged, as RGB, which few players show')
    add('--extra',
        nargs='+',
        action='extend',
        type=key_and_value,
        metavar='KEY=VALUE',
        help='further options of the encoder, by their FFmpeg names')
    add('--leave-out',
        nargs='+',
        action='extend',
        choices=STREAM_KINDS,
        help='streams of INPUT not to copy, such as subtitles that OUTPUT '
        'cannot hold')
    add('--audio',
        choices=SOUND_CODINGS,
        help='what to do with sound; default: copy it if OUTPUT can hold it, '
        'else aac (Opus in .webm; flac in .mkv if the sound of INPUT is '
        'lossless)')


def main(args: argparse.Namespace) -> None:
    """Restore, and print a summary; with ``--estimate``, only print how much
    time and memory that would take."""
    # Set before PyTorch is loaded: waiting threads of the network would take
    # cores from those that decode and encode.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    # Ctrl-C during the imports just ends the process: nothing is begun yet
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with imports():
        from dksan_mm.apis.command import restore
        from dksan_mm.apis.processes import is_first, join_processes
        from dksan_mm.engine import finish_launcher
        from dksan_mm.utils.memory import keep_freed_memory
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_freed_memory()
    join_processes()
    try:
        text = restore(vars(args))
    except KeyboardInterrupt:
        if is_first():
            text = 'stopped'
            if not args.estimate:
                text += ('. What is done is kept; go on with\n    '
                         f'{resume_command()}')
            print(
                f'\n{os.path.basename(sys.argv[0])}: {text}', file=sys.stderr)
        sys.exit(STOPPED)
    if is_first() and text:
        print(text)
    finish_launcher()


def resume_command() -> str:
    """Return the command that resumes this run."""
    arguments = [*sys.argv[1:]]
    if '--resume' not in arguments:
        # what follows -- is no option
        end = arguments.index('--') if '--' in arguments else len(arguments)
        arguments.insert(end, '--resume')
    if sys.argv[0].startswith('dksan '):
        return shlex.join([*sys.argv[0].split(), *arguments])
    command = shlex.join(['python', sys.argv[0], *arguments])
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        # the arguments of torchrun are not known here
        return command.replace('python', 'torchrun ...', 1)
    return command
