"""Print what DKSAN needs and what is here; exit with 1 if it cannot run.

See ``python tools/check_env.py --help``; ``dksan check`` is the same.
"""
import os.path as osp
import sys

# the answer must not depend on whether the package is installed
sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))

from dksan_mm.cli import run_tool  # noqa: E402
from dksan_mm.cli.check import main, parse_args  # noqa: E402

if __name__ == '__main__':
    run_tool(parse_args, main)
