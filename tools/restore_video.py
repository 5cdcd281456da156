"""Restore a video, or a folder of frames.

See ``python tools/restore_video.py --help``; ``dksan restore`` is the same.
"""
from dksan_mm.cli import run_tool
from dksan_mm.cli.restore import main, parse_args

if __name__ == '__main__':
    run_tool(parse_args, main)
