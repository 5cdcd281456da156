"""PSNR and SSIM by sequence, as the paper's tables have them."""
import os.path as osp
from collections import defaultdict
from typing import Dict, List, Sequence

import numpy as np
from mmagic.evaluation import PSNR, SSIM
from mmagic.registry import METRICS


class _BySequence:
    """Makes a sample-wise metric of MMagic report each sequence's mean over
    frames and, as the average, the unweighted mean over sequences."""

    def process(self, data_batch: Sequence[dict],
                data_samples: Sequence[dict]) -> None:
        """Process a batch; the sequence is the folder of the HR frame."""
        start = len(self.results)
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[start:], data_samples):
            path = sample['gt_path']
            path = path if isinstance(path, str) else path[0]
            result['sequence'] = osp.basename(osp.dirname(path))

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Return ``{metric: average, metric/000: ..., metric/001: ...}``."""
        sequences = defaultdict(list)
        for result in results:
            sequences[result['sequence']].append(result[self.metric])
        means = {
            f'{self.metric}/{name}': float(np.mean(values))
            for name, values in sorted(sequences.items())
        }
        return {self.metric: float(np.mean(list(means.values()))), **means}


@METRICS.register_module()
class SequencePSNR(_BySequence, PSNR):
    """:class:`mmagic.evaluation.PSNR` in dB, by sequence.

    Arguments are the same: RGB without a border crop by default. The average
    is the unweighted mean over sequences.
    """


@METRICS.register_module()
class SequenceSSIM(_BySequence, SSIM):
    """:class:`mmagic.evaluation.SSIM`, by sequence, as
    :class:`SequencePSNR`."""
