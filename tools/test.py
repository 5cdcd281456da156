"""Test a model.

See ``python tools/test.py --help``; ``dksan test`` is the same.
"""
from dksan_mm.cli import run_tool
from dksan_mm.cli.test import main, parse_args

if __name__ == '__main__':
    run_tool(parse_args, main)
