"""Checkpoints that are complete at every instant, and resuming from them."""
import hashlib
import io
import logging
import os
import os.path as osp
import re
from typing import Any, Dict, List, Optional, Sequence, Set

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from dksan_mm.utils.files import write_whole
from .checkpoint import check_checkpoint, load_checkpoint_file

_LAST = 'last_checkpoint'


class DivergenceError(RuntimeError):
    """Losses or weights of a training are not finite."""


def has_finite_weights(runner: Runner) -> bool:
    """Whether all parameters of the runner's model are finite."""
    return all(
        bool(parameter.detach().isfinite().all())
        for parameter in runner.model.parameters())


class WholeFileBackend(LocalBackend):
    """mmengine's local files, each written completely or not at all."""

    def put(self, obj: Any, filepath: Any) -> None:
        """Write a file; it is on disk when this returns."""
        write_whole(os.fspath(filepath), bytes(obj), durable=True)


class _RemovesNothing(WholeFileBackend):
    """Hides files from mmengine while it would remove one too early."""

    def isfile(self, filepath: Any) -> bool:
        return False

    isdir = isfile


register_backend('dksan_mm.whole', WholeFileBackend, force=True)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's :class:`CheckpointHook`, from which a training that is
    killed at any instant can be resumed.

    Files are written completely, in this order: the new checkpoint, then its
    name in ``last_checkpoint``; only then are old ones removed. Leftovers of a
    kill are removed when the training resumes. Paths stored in a checkpoint
    are not trusted: only file names are taken from them, for checkpoints in
    its own folder. Arguments are those of mmengine's hook, which also handles
    folders that are not local.

    Raises:
        OutputError: The disk is full, the folder read-only, ...
        DivergenceError: Weights to be saved are not finite.
    """

    def before_train(self, runner: Runner) -> None:
        """Prepare to save; remove leftovers of a killed run."""
        local = isinstance(
            get_file_backend(self.out_dir or runner.work_dir), LocalBackend)
        if local and self.backend_args is None:
            self.backend_args = dict(backend='dksan_mm.whole')
        super().before_train(runner)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = list(self.keep_ckpt_ids)
        for key in self._best_keys():
            name = runner.message_hub.runtime_info.get(key)
            self._set_best(key, self._own_path(name) if name else None)
        info = runner.message_hub.runtime_info
        self._remove(set(info.get('old_best_ckpts') or []) - self._bests())
        if is_main_process() and osp.isdir(self.out_dir):
            self._remove(
                name for name in os.listdir(self.out_dir)
                if name.endswith('.pth.partial'))

    def before_train_epoch(self, runner: Runner) -> None:
        """Validate a checkpoint that a killed run saved but did not validate.
        """
        owes = getattr(runner.train_loop, 'owes_validation', None)
        if self.save_best and owes is not None and owes():
            runner.val_loop.run()

    def _own_path(self, name: Any) -> str:
        """Return the path of a file in the folder of checkpoints, by its name.
        """
        return osp.join(self.out_dir, osp.basename(str(name)))

    def _best_keys(self) -> List[str]:
        """Return the keys under which mmengine stores the best checkpoints."""
        if not self.save_best:
            return []
        if len(self.key_indicators) == 1:
            return ['best_ckpt']
        return [f'best_ckpt_{name}' for name in self.key_indicators]

    def _set_best(self, key: str, path: Optional[str]) -> None:
        if key == 'best_ckpt':
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[key[len('best_ckpt_'):]] = path

    def _bests(self) -> Set[str]:
        """Return the names of the best checkpoints."""
        paths = list(getattr(self, 'best_ckpt_path_dict', {}).values())
        paths.append(getattr(self, 'best_ckpt_path', None))
        return {osp.basename(path) for path in paths if path}

    def _remove(self, names: Sequence[str]) -> None:
        """Remove checkpoints of this hook, only from its folder."""
        if not is_main_process():
            return
        for name in map(osp.basename, map(str, names)):
            path = osp.join(self.out_dir, name)
            if re.search(r'\.pth(\.partial)?$', name) and osp.isfile(path):
                os.remove(path)

    def _save_checkpoint_with_step(self, runner: Runner, step: int,
                                   meta: Dict[str, Any]) -> None:
        """Save a checkpoint, record its name, and remove surplus ones."""
        if not has_finite_weights(runner):
            raise DivergenceError(
                f'the weights after iteration {step} must be finite to be '
                'saved, found values that are not; --resume goes on from the '
                'last checkpoint, which is')
        ids = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0:
            if step not in ids:
                ids.append(step)
            # including those to be removed, so that a resumed run removes them
            runner.message_hub.update_info('keep_ckpt_ids', list(ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args)
        if is_main_process():
            write_whole(
                osp.join(runner.work_dir, _LAST),
                self.last_ckpt.encode(),
                durable=True)
        surplus = max(0, len(ids) - self.max_keep_ckpts) if ids else 0
        self._remove(self.filename_tmpl.format(old) for old in ids[:surplus])
        del ids[:surplus]

    def _save_best_checkpoint(self, runner: Runner,
                              metrics: Dict[str, Any]) -> None:
        """Save the best checkpoint, then remove the previous best.

        It is saved again with a note that it has been validated, see
        :meth:`before_train_epoch`.
        """
        old = self._bests()
        info = runner.message_hub
        info.update_info('old_best_ckpts', sorted(old))
        info.update_info('validated_iter', runner.iter)
        backend, self.file_backend = self.file_backend, _RemovesNothing()
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        self._remove(old - self._bests())

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """Write a checkpoint's ``published_keys`` beside it, with a hash in
        the name."""
        checkpoint = {
            key: value
            for key, value in load_checkpoint_file(ckpt_path).items()
            if key in self.published_keys
        }
        data = io.BytesIO()
        torch.save(checkpoint, data)
        digest = hashlib.sha256(data.getbuffer()).hexdigest()
        path = f'{osp.splitext(ckpt_path)[0]}-{digest[:8]}.pth'
        write_whole(path, data.getvalue(), durable=True)
        print_log(f'{ckpt_path} is published as {path}.', 'current')


def find_checkpoint(work_dir: str,
                    out_dir: Optional[str] = None) -> Optional[str]:
    """Return the newest complete checkpoint of a work folder, None if there is
    no checkpoint. It is looked for where the hook saves with this ``out_dir``,
    then in the work folder, even if the folders were copied from elsewhere.

    Raises:
        ValueError: There are checkpoints, but none is complete.
    """
    named = ''
    if osp.isfile(osp.join(work_dir, _LAST)):
        with open(osp.join(work_dir, _LAST), errors='replace') as file:
            named = osp.basename(file.read().strip())
    if out_dir:
        folder = osp.join(out_dir, osp.basename(osp.abspath(work_dir)))
        if named and '://' in out_dir:  # there is no list of its files
            return f'{folder}/{named}'
        found = _newest(folder, named)
        if found:
            return found
    return _newest(work_dir, named)


def _newest(folder: str, named: str) -> Optional[str]:
    """Return the newest complete checkpoint in a folder, which should be the
    one that ``last_checkpoint`` named."""
    steps = {
        name: int(name[5:-4])
        for name in (os.listdir(folder) if osp.isdir(folder) else [])
        if re.fullmatch(r'iter_\d+\.pth', name)
    }
    # an earlier, longer run may have left later ones
    most = steps.get(
        named,
        int(named[5:-4]) if re.fullmatch(r'iter_\d+\.pth', named) else max(
            steps.values(), default=0))
    names = sorted((name for name in steps if steps[name] <= most),
                   key=steps.get,
                   reverse=True)
    if named and named not in names and osp.isfile(osp.join(folder, named)):
        names.insert(0, named)
    faults = []
    for name in names:
        path = osp.join(folder, name)
        try:
            check_checkpoint(path)
        except ValueError as error:
            faults.append(str(error))
            continue
        if name != named:
            print_log(
                f'{_LAST} must name a whole checkpoint of {folder}, found '
                f'{named!r}; going on from {path}, the newest that is whole. '
                f'{" ".join(faults)}', 'current', logging.WARNING)
        return path
    if faults:
        raise ValueError(
            f'{folder} must have a whole checkpoint to resume from, found '
            f'none: {faults[0]}; move the damaged files away to start anew')
    return None
