"""Export the network of a config to ONNX.

See ``python tools/export_onnx.py --help``; ``dksan export`` is the same.
"""
from dksan_mm.cli import run_tool
from dksan_mm.cli.export import main, parse_args

if __name__ == '__main__':
    run_tool(parse_args, main)
