"""Start and end of every tool. Needs only Python's standard library, so that
``--help`` is quick."""
import argparse
import gc
import io
import logging
import os.path as osp
import re
import sys
import warnings
from contextlib import contextmanager
from typing import Callable, Iterator

STOPPED = 130  # the exit code that shells use for Ctrl-C
_FOLDER = osp.dirname(osp.dirname(osp.abspath(__file__)))
# raised by this package, these say what is wrong and what to do
_PLAIN = (OSError, ValueError, ImportError, RuntimeError)
_WORKER = re.compile(r'Caught \w+ in DataLoader worker process')

# Packages that MMagic imports warn about their own imports. python -W or
# PYTHONWARNINGS shows these warnings.
if not sys.warnoptions:
    warnings.filterwarnings('ignore', category=FutureWarning)
    warnings.filterwarnings('ignore', message='Overwriting tiny_vit')


def run_tool(parse_args: Callable[[], argparse.Namespace],
             main: Callable[[argparse.Namespace], None]) -> None:
    """Run a tool; an error becomes one sentence and exit code 1.

    The sentence goes to standard error. With ``--debug``, which
    :func:`add_debug_argument` adds, it is followed by the traceback; a
    training's log file has that in any case. The exit code is 2 for wrong
    arguments, as in argparse, and 130 for Ctrl-C.

    Args:
        parse_args (Callable): Returns the arguments.
        main (Callable): Does the work.
    """
    gc.freeze()  # what the tool has imported at its top
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names of files need not be UTF-8; standard error is like that already
        sys.stdout.reconfigure(errors='backslashreplace')
    args = parse_args()
    try:
        main(args)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Exception as error:
        path = _log_traceback()
        if args.debug:
            raise
        sys.exit(f'{osp.basename(sys.argv[0])}: {describe(error, path)}')


@contextmanager
def imports() -> Iterator[None]:
    """Import modules without the garbage collector.

    What MMagic and the packages below it make when they are imported, a
    million objects, stays until the process ends. The collector would search
    all of it many times meanwhile, and once more at the end, which takes as
    long as a third of a tool's start and end. Here it does not run, and it
    never looks at these objects afterwards.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def whole_number(least: int = 1) -> Callable[[str], int]:
    """Return a type of argparse's arguments: whole numbers from ``least`` on.
    """

    def parse(text: str) -> int:
        if not re.fullmatch(r'[+-]?\d+', text) or int(text) < least:
            raise argparse.ArgumentTypeError(
                f'must be a whole number of at least {least}, got {text!r}')
        return int(text)

    return parse


def add_debug_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``."""
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of an error')


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that MMagic's train.py and test.py both have."""
    parser.add_argument(
        '--work-dir', help='folder for logs, checkpoints and results')
    parser.add_argument(
        '--data-root',
        help="use only this data set, made by a converter in "
        "tools/dataset_converters, instead of the config's; or the folder of "
        "the config's public data set, such as REDS")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs; lists like '
        'key="[a,b]" or key=a,b, nested ones like key="[(a,b),(c,d)]", with '
        'the quotation marks and without white space')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher')
    # torch.distributed.launch passes --local-rank
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    add_debug_argument(parser)


class DictAction(argparse.Action):
    """mmengine's DictAction, imported only when it is used."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        from mmengine.config import DictAction as Action
        try:
            Action(
                self.option_strings, self.dest,
                nargs='+')(parser, namespace, values, option_string)
        except ValueError as error:
            raise argparse.ArgumentError(
                self, 'must be KEY=VALUE pairs, got '
                f'{" ".join(values)!r}') from error


def describe(error: Exception, log: str = '') -> str:
    """Return an error as one sentence.

    Errors of this package name the file or argument, what is wrong and the
    cure. Of other errors, the type and the place of the traceback are named.

    Args:
        error (Exception): The error.
        log (str): The log file that has its traceback. Default: '', none.
    """
    name, text = type(error).__name__, str(error).strip()
    ours = _is_ours(error)
    if _WORKER.match(text):
        # the message is a traceback from a data loader's process
        places = re.findall('File "(.*)", line', text)
        ours = ours or (places or [''])[-1].startswith(_FOLDER)
        name, _, text = text.splitlines()[-1].partition(': ')
    text = text or 'no message'
    if ours:
        return text
    cure = f'its traceback is in {log}' if log else (
        'run it again with --debug to see where')
    return f'{name}: {text.splitlines()[0]}; {cure}'


def _is_ours(error: Exception) -> bool:
    """Whether an error comes from this package or a tool, by its class or by
    the place where it was raised."""
    if type(error).__module__.partition('.')[0] == 'dksan_mm':
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = trace.tb_frame.f_globals.get('__name__', '') if trace else ''
    return isinstance(
        error, _PLAIN) and place.partition('.')[0] in ('dksan_mm', '__main__')


def _log_traceback() -> str:
    """Write the traceback to mmengine's log file, if there is one; return its
    path."""
    module = sys.modules.get('mmengine.logging')
    if module is None or not module.MMLogger._instance_dict:
        return ''
    record = logging.LogRecord('dksan_mm', logging.ERROR, __file__, 0,
                               'The run ended with an error.', (),
                               sys.exc_info())
    path = ''
    for handler in module.MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(record)
            path = handler.baseFilename
    return path
