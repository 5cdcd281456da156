"""Measure how fast a config's training data are loaded.

    python tools/analysis_tools/benchmark_dataloader.py CONFIG \
        [--data-root ROOT ...] [--workers N] [--samples N] [--repeat N]

One line per data set: samples per second and core, and the size of a frame on
disk. Several roots (for example the same data in another storage) take turns,
and are compared with the first. Files are read once beforehand, and so come
from memory if it suffices: the times are those of decoding, cropping and
flipping.
"""
# First: it hides the warnings of what is imported next.
from dksan_mm.cli import (DictAction, add_debug_argument, imports, run_tool,
                          whole_number)

# isort: split
import argparse
import math
import os
import os.path as osp
from typing import Any, Dict, List, Optional

with imports():
    import cv2
    import torch
    from mmagic.registry import DATASETS
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from dksan_mm.engine.cli import use_data_root
    from dksan_mm.engine.config import (merge_options, naming_config,
                                        read_config)
    from dksan_mm.utils.benchmark import (alternate, hardware, make_table,
                                          number, show_hardware, summary,
                                          write_json)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure how fast training data are loaded')
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--data-root',
        nargs='+',
        default=[None],
        help='folders of data sets that a converter made, which are compared. '
        "Default: the config's")
    parser.add_argument(
        '--workers',
        type=whole_number(0),
        default=0,
        help='processes of the data loader; 0 loads in this process, without '
        'a data loader. Default: 0')
    parser.add_argument(
        '--samples',
        type=whole_number(),
        default=64,
        help='samples that are loaded in a round. Default: 64')
    parser.add_argument(
        '--repeat',
        type=whole_number(),
        default=5,
        help='number of rounds. Default: 5')
    parser.add_argument('--out', help='JSON file to write the results to')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config')
    add_debug_argument(parser)
    return parser.parse_args()


class Contestant:
    """A data set, and the draws of its samples."""

    def __init__(self, args: argparse.Namespace, root: Optional[str]) -> None:
        cfg = read_config(args.config)
        if root is not None:
            use_data_root(cfg, root)
        merge_options(cfg, args.cfg_options)
        loader = cfg.get('train_dataloader')
        if loader is None:
            raise ValueError(f'{args.config} must have a train_dataloader, '
                             'found none; name a config that trains')
        init_default_scope(cfg.get('default_scope', 'mmagic'))
        self.root = root or loader.dataset.get('data_root', args.config)
        with naming_config(cfg):
            self.dataset = DATASETS.build(loader.dataset)
        # drawn as in training, the same for all contestants
        self.dataset.augmentation_seed = self.drawn = 0
        self.samples = args.samples
        self.loader = None
        if args.workers:
            loader.update(
                dataset=self.dataset,
                num_workers=args.workers,
                persistent_workers=True)
            batches = math.ceil(args.samples / loader.batch_size)
            self.samples = batches * loader.batch_size
            self.loader = iter(Runner.build_dataloader(loader, seed=0))

    def run(self) -> None:
        """Load a number of samples."""
        count = 0
        while count < self.samples:
            if self.loader is not None:
                count += len(next(self.loader)['inputs'])
                continue
            # indices beyond the length are further draws; a prime's multiples
            # go through all sequences
            self.dataset[self.drawn * 7919]
            self.drawn, count = self.drawn + 1, count + 1

    def bytes_a_frame(self) -> Optional[float]:
        """Return what an HR frame takes on the disk; None, where frames come
        of several data sets, or are rendered."""
        folder = getattr(self.dataset, 'data_prefix', {}).get('gt')
        if folder is None:
            return None
        total = sum(
            osp.getsize(osp.join(path, name))
            for path, _, names in os.walk(folder) for name in names)
        return total / len(self.dataset)


def measure(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Let the contestants take turns; return a row for each."""
    contestants = [Contestant(args, root) for root in args.data_root]
    times = alternate({c.root: c.run
                       for c in contestants}, torch.device('cpu'), args.repeat)
    rows: List[Dict[str, Any]] = []
    for contestant in contestants:
        found = summary(times[contestant.root])
        rate = 1e3 * contestant.samples / found['median_ms']
        rows.append(
            dict(
                data_root=contestant.root,
                samples=contestant.samples,
                samples_per_second=rate,
                samples_per_second_and_core=rate / max(args.workers, 1),
                bytes_per_hr_frame=contestant.bytes_a_frame(),
                **found))
    return rows


def show(rows: List[Dict[str, Any]]) -> None:
    """Print the table."""
    table = [[
        'data', 'samples/s', 'samples/s and core', 'over the first',
        'MB an HR frame'
    ]]
    for row in rows:
        rate, size = row['samples_per_second'], row['bytes_per_hr_frame']
        table.append([
            row['data_root'],
            number(rate),
            number(row['samples_per_second_and_core']),
            number(rate / rows[0]['samples_per_second']),
            number(size and size / 1e6)
        ])
    print(make_table(table))


def main(args: argparse.Namespace) -> None:
    # one core a process, whatever the machine
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found = hardware(torch.device('cpu'))
    show_hardware(found)
    rows = measure(args)
    show(rows)
    if args.out:
        write_json(args.out, dict(hardware=found, rows=rows))


if __name__ == '__main__':
    run_tool(parse_args, main)
