"""Train a model.

See ``python tools/train.py --help``; ``dksan train`` is the same.
"""
from dksan_mm.cli import run_tool
from dksan_mm.cli.train import main, parse_args

if __name__ == '__main__':
    run_tool(parse_args, main)
