"""The command ``dksan``: the tools, from wherever the package is installed.

    dksan restore dksan-lite_x4 in.mp4 out.mp4
    dksan restore|train|test|export|check --help
"""
import importlib
import sys

from dksan_mm import __version__
from . import run_tool

COMMANDS = {
    'restore': 'restore a video, or a folder of frames',
    'train': 'train a model',
    'test': 'test a model',
    'export': 'export the network of a config to ONNX',
    'check': 'print what DKSAN needs and what is here',
}


def main() -> None:
    """Run the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in COMMANDS:
        sys.argv[:2] = [f'dksan {name}']
        command = importlib.import_module(f'dksan_mm.cli.{name}')
        run_tool(command.parse_args, command.main)
        return
    if name == '--version':
        print(f'dksan_mm {__version__}')
        return
    lines = [f'  {name:<9}{text}' for name, text in COMMANDS.items()]
    usage = ('usage: dksan COMMAND ..., dksan COMMAND --help, dksan --version'
             '\n\n' + '\n'.join(lines))
    if name not in ('-h', '--help'):
        sys.stderr.write(f'{usage}\n\ndksan: there is no command {name!r}\n')
        sys.exit(2)
    print(usage)


if __name__ == '__main__':
    main()
