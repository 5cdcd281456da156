"""The folder beside an output that holds its finished parts."""
import json
import os
import os.path as osp
import shutil
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from dksan_mm.utils.files import OutputError, sync, write_whole
from dksan_mm.utils.locking import RunLock

_SETTINGS = 'settings.json'
_READY = 'ready.json'
# names of lock files begin with this
_LOCK = 'lock'
# settings that only the joining of segments depends on
_OF_JOINING = ('encoder.leave_out', 'encoder.audio')
_ANEW = (
    '; use what it was begun with, or begin anew with --overwrite instead '
    'of --resume')


class ResumeFolder:
    """``OUTPUT.partial``: finished segments, and the settings that they were
    made with.

    A run can be resumed from this folder at whatever moment it, or the
    machine, was stopped. Files get their names only when they are complete and
    on disk. Before outputs are moved to their places, a note of which files
    they are (``ready.json``) is written, so that a resumed run recognises
    those that were moved already.

    Args:
        output (str): File or folder that is being made.
    """

    def __init__(self, output: str) -> None:
        self.path = f'{osp.normpath(output)}.partial'
        self._lock = RunLock(self.file(_LOCK))

    def file(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return osp.join(self.path, name)

    def has_work(self) -> bool:
        """Return whether the folder holds work that would be lost with it."""
        return osp.isdir(self.path) and any(
            map(self._is_work, os.listdir(self.path)))

    def _is_work(self, name: str) -> bool:
        half_written = f'{_SETTINGS}.partial'
        if osp.exists(self.file(_SETTINGS)):  # the folder is ours
            half_written = '.partial'
        if (name == _SETTINGS or _is_lock(name)
                or name.endswith(half_written)):
            return False
        path = self.file(name)
        return not osp.isdir(path) or any(not inner.endswith('.partial')
                                          for inner in os.listdir(path))

    def lock(self) -> None:
        """Make the folder if need be, and keep other runs out of it until
        :meth:`release` or the end of this process.

        Raises:
            OutputError: The folder cannot be made, or another run works in it.
        """
        try:
            os.makedirs(self.path, exist_ok=True)
            try:
                taken = self._lock.acquire()
            except FileNotFoundError:
                taken = False  # another run removed the folder
        except OSError as error:
            raise self._not_made(error) from error
        if not taken:
            raise OutputError(
                f'{self.path} must not be in use, found another run that '
                f'works in it ({self._lock.owner}); wait for its end, or '
                'stop it')

    def join(self) -> None:
        """Keep other runs out until :meth:`release` or the end of this
        process. Every process of a job calls this after its first process has
        called :meth:`lock`.

        Raises:
            OutputError: The folder is gone, or cannot be written to.
        """
        try:
            self._lock.join()
        except OSError as error:
            raise self._not_made(error) from error

    def _not_made(self, error: OSError) -> OutputError:
        return OutputError(
            f'{self.path} could not be made: {error}; choose an output in a '
            'folder that can be written to')

    def release(self) -> None:
        """Undo :meth:`lock` and :meth:`join`; an empty folder is removed."""
        empty = self._lock.holds() and not self.has_work()
        if empty:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        if empty and os.name == 'nt':  # it keeps open files
            shutil.rmtree(self.path, ignore_errors=True)

    def begun_with(self) -> Dict[str, Any]:
        """Return the settings of the work in the folder; an empty dict if
        there are none or they cannot be read."""
        for name in (_SETTINGS, _READY):
            try:
                with open(self.file(name)) as file:
                    found: Dict[str, Any] = json.load(file)
            except (OSError, ValueError):
                continue
            return found['settings'] if name == _READY else found
        return {}

    def begin(self, settings: Mapping[str, Any], resume: bool,
              overwrite: bool) -> None:
        """Prepare the folder for a run with these settings.

        Args:
            settings (Mapping): Everything that the bits of the segments depend
                on; must be valid JSON.
            resume (bool): Whether to continue the work in the folder.
            overwrite (bool): Whether to discard that work instead.

        Raises:
            ValueError: There is work, and neither is asked for; or it has
                other settings; or the files are not from a run.
            OutputError: It cannot be written to.
        """
        if self.has_work() and not any(
                osp.exists(self.file(name)) for name in (_SETTINGS, _READY)):
            raise ValueError(
                f'{self.path} must be the folder of an earlier run, found '
                'files of something else; remove or rename it')
        if self.has_work() and resume:
            self._compare(settings)
            return
        if self.has_work() and not overwrite:
            raise ValueError(
                f'{self.path} must not exist when a video is begun, found '
                'what an earlier run left; go on with it with --resume '
                '(resume=True), or throw it away with --overwrite '
                '(overwrite=True)')
        self._clear()
        write_whole(
            self.file(_SETTINGS),
            json.dumps(settings, indent=1).encode(),
            durable=True)

    def _compare(self, settings: Mapping[str, Any]) -> None:
        path = self.file(_SETTINGS)
        try:
            with open(path) as file:
                begun = json.load(file)
        except (OSError, ValueError) as error:
            raise ValueError(
                f'{path} must hold the settings of what is in its folder, '
                f'found: {error}{_ANEW}') from error
        self._check_equal(begun, settings)

    def _check_equal(self, begun: Mapping[str, Any],
                     settings: Mapping[str, Any]) -> None:
        # through JSON, which turns tuples into lists
        found = json.loads(json.dumps(settings))
        begun, found = _flatten(begun), _flatten(found)
        unlike = [
            f'{key} {json.dumps(found.get(key))} instead of '
            f'{json.dumps(begun.get(key))}' for key in sorted({*begun, *found})
            if begun.get(key) != found.get(key) and key not in _OF_JOINING
        ]
        if unlike:
            raise ValueError(
                f'--resume needs the settings that {self.path} was begun '
                f'with, found {"; ".join(unlike)}{_ANEW}')

    def publish(self, made: Sequence[Tuple[str, str]],
                settings: Mapping[str, Any]) -> None:
        """Move the finished outputs to their places, and remove the rest.

        Args:
            made (Sequence[tuple[str, str]]): Pairs of a path in this folder
                and the final path; a file or folder there is replaced.
            settings (Mapping): The settings that :meth:`begin` got.

        Raises:
            OutputError: A final path cannot be written to.
        """
        files = [
            dict(
                made=osp.relpath(source, self.path),
                # relative, so that it is found from any working directory
                output=osp.relpath(output, self.path),
                identity=_identity(source)) for source, output in made
        ]
        sync(self.path)
        write_whole(
            self.file(_READY),
            json.dumps(dict(settings=settings, files=files)).encode(),
            durable=True)
        if not self.finish(settings):
            raise OutputError(
                f'{made[-1][1]} must be on a file system that keeps files as '
                f'they are when they get another name; what is made is in '
                f'{self.path}: move it by hand')

    def finish(self, settings: Mapping[str, Any]) -> bool:
        """Finish a :meth:`publish` that was killed; return False if it had not
        begun, or if its files are gone.

        Raises:
            ValueError: It was begun with other settings.
            OutputError: A final path cannot be written to.
        """
        try:
            with open(self.file(_READY)) as file:
                ready: Dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return False
        except ValueError as error:
            raise ValueError(
                f'{self.file(_READY)} must hold a note of what is to be '
                f'moved, found: {error}{_ANEW}') from error
        self._check_equal(ready['settings'], settings)
        for note in ready['files']:
            output = osp.normpath(self.file(note['output']))
            if _identity(output) == note['identity']:
                continue
            source = self.file(note['made'])
            if _identity(source) != note['identity']:
                return False
            self._move(source, output)
            sync(osp.dirname(osp.abspath(output)))
        self._clear()
        return True

    def _move(self, source: str, output: str) -> None:
        try:
            if osp.isdir(output):  # renaming does not replace a folder
                replaced = self.file('replaced')
                shutil.rmtree(replaced, ignore_errors=True)
                os.rename(output, replaced)
            os.replace(source, output)
        except OSError as error:
            raise OutputError(
                f'{output} could not be written: {error}; what is made is in '
                f'{self.path}: remove what is in the way, then go on with '
                '--resume') from error

    def _clear(self) -> None:
        """Remove everything but the locks; settings and note go last."""
        last = [_SETTINGS, _READY]
        names = [
            name for name in os.listdir(self.path)
            if name not in last and not _is_lock(name)
        ]
        for name in [*names, *last]:
            path = self.file(name)
            if osp.isdir(path) and not osp.islink(path):
                shutil.rmtree(path)
            elif osp.lexists(path):
                os.remove(path)


def _is_lock(name: str) -> bool:
    return name.split('.')[0] == _LOCK


def _flatten(settings: Any, prefix: str = '') -> Dict[str, Any]:
    """Return nested settings as a flat dict with keys such as ``encoder.crf``.
    """
    if not isinstance(settings, dict):
        return {prefix: settings}
    flat: Dict[str, Any] = {}
    for key, value in settings.items():
        flat.update(_flatten(value, f'{prefix}.{key}' if prefix else key))
    return flat


def _identity(path: str) -> Optional[List[int]]:
    """Return what stays the same when a file or folder is moved within a file
    system; None if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if osp.isdir(path):
        return [found.st_ino]
    return [found.st_ino, found.st_size, found.st_mtime_ns]
