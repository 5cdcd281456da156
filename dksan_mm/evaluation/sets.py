"""The one or several data sets that a config tests on."""
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from torch.utils.data import Dataset

from dksan_mm.datasets.layout import read_metadata


class EvaluationSet(NamedTuple):
    """A data set of a config, and the metrics for it."""
    name: str
    dataloader: dict
    metrics: List[dict]


def name_of(data_root: Optional[str], metainfo: Optional[dict]) -> str:
    """Return a data set's name, also used for its result files: from its
    ``metadata.json``, else from its ``metainfo['dataset_type']``.

    Raises:
        ValueError: The name cannot be used for a file.
    """
    metadata = read_metadata(data_root or '') or {}
    name = metadata.get('name') or (metainfo or {}).get('dataset_type')
    name = str(name or 'video_sr')
    if not re.fullmatch(r'\w[\w.-]*', name):
        raise ValueError(
            f'the name of the data in {data_root} must be letters, digits, '
            f"'.', '-' and '_', found {name!r}; change 'name' in its "
            "metadata.json, or metainfo=dict(dataset_type=...) of the config")
    return name


def read_test_sets(cfg: Config) -> List[EvaluationSet]:
    """Return the data sets that a config tests on.

    Like MMagic's loops, it accepts one ``test_dataloader`` with one list of
    metrics (or ``dict(metrics=[...])``), or lists of both.

    Raises:
        ValueError: The lists differ in length.
    """
    loaders = cfg.get('test_dataloader') or []
    loaders = list(loaders) if isinstance(loaders,
                                          (list, tuple)) else [loaders]
    evaluators = cfg.get('test_evaluator') or []
    if isinstance(evaluators, dict) or _is_metrics(evaluators):
        evaluators = [evaluators]
    if len(loaders) != len(evaluators) or not loaders:
        raise ValueError(
            'test_dataloader and test_evaluator must be one each, or lists of '
            f'equal length, found {len(loaders)} and {len(evaluators)}; a '
            'config that replaces one must replace the other')
    sets = []
    for loader, evaluator in zip(loaders, evaluators):
        metrics = evaluator
        if isinstance(evaluator, dict):
            metrics = evaluator['metrics']
        metrics = [metrics] if isinstance(metrics, dict) else list(metrics)
        dataset = loader['dataset']
        name = name_of(dataset.get('data_root'), dataset.get('metainfo'))
        sets.append(EvaluationSet(name, loader, metrics))
    return sets


def _is_metrics(evaluator: Any) -> bool:
    """Whether this is one list of metrics, not a list of evaluators."""
    return bool(evaluator) and all(
        isinstance(item, dict) and 'metrics' not in item for item in evaluator)


def write_test_sets(cfg: Config, sets: List[EvaluationSet]) -> None:
    """Make a config test on these sets."""
    cfg.test_dataloader = [test_set.dataloader for test_set in sets]
    cfg.test_evaluator = [
        dict(type='Evaluator', metrics=test_set.metrics) for test_set in sets
    ]


def choose_test_sets(sets: List[EvaluationSet],
                     names: Sequence[str]) -> List[EvaluationSet]:
    """Return the sets with these names.

    Raises:
        ValueError: There is no set with one of the names.
    """
    known = [test_set.name for test_set in sets]
    for name in names:
        if name not in known:
            raise ValueError('--dataset must be of those of the config, '
                             f'{known}, got {name!r}')
    return [test_set for test_set in sets if test_set.name in names]


def add_metric(sets: List[EvaluationSet], metric: dict) -> None:
    """Add a metric to each set, with the prefix of its other metrics."""
    for test_set in sets:
        prefix = next((other['prefix']
                       for other in test_set.metrics if other.get('prefix')),
                      None)
        test_set.metrics.append(dict(metric, prefix=prefix))


def drop_metric(sets: List[EvaluationSet], kind: str) -> List[EvaluationSet]:
    """Return the sets without metrics of a type."""
    return [
        test_set._replace(metrics=[
            metric for metric in test_set.metrics if metric['type'] != kind
        ]) for test_set in sets
    ]


def sets_of_loop(loop: Any) -> Dict[str, Tuple[Evaluator, Dataset]]:
    """Return the evaluators and data sets, by name, of a test loop of MMagic
    or mmengine.

    Raises:
        ValueError: Two data sets have the same name, so that their results
            could not be told apart.
    """
    evaluators = getattr(loop, 'evaluators', None) or [loop.evaluator]
    loaders = getattr(loop, 'dataloaders', None) or [loop.dataloader]
    sets: Dict[str, Tuple[Evaluator, Dataset]] = {}
    for evaluator, loader in zip(evaluators, loaders):
        name = name_of(
            getattr(loader.dataset, 'data_root', None),
            getattr(loader.dataset, 'metainfo', None))
        if name in sets:
            raise ValueError(
                'test data sets must have names of their own, found two '
                f"called {name!r}; set metainfo=dict(dataset_type=...), or "
                "'name' in metadata.json, or test one alone")
        sets[name] = evaluator, loader.dataset
    return sets
