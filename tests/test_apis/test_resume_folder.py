"""The folder of an unfinished output: whatever moment a run ends at."""
import os
import subprocess
import sys

import pytest

from dksan_mm.apis import resume_folder as module
from dksan_mm.apis.resume_folder import ResumeFolder
from dksan_mm.utils.files import OutputError

SETTINGS = dict(source=dict(sha256='ab'), options=dict(crf=18, tile=(4, 5)))


@pytest.fixture
def output(tmp_path):
    return tmp_path / 'out.mkv'


def begin(output, resume=False, overwrite=False, settings=SETTINGS):
    folder = ResumeFolder(str(output))
    folder.lock()
    try:
        folder.begin(settings, resume, overwrite)
    except BaseException:
        folder.release()
        raise
    return folder


def write(folder, name, text='x'):
    with open(folder.file(name), 'w') as file:
        file.write(text)
    return folder.file(name)


def test_publish_moves_and_cleans(output):
    output.write_text('old')
    other = output.with_name('other.mkv')
    folder = begin(output)
    write(folder, 'segment_00000.mkv')
    made = [(write(folder, 'a', 'new'), str(output)),
            (write(folder, 'b', 'newer'), str(other))]
    folder.publish(made, SETTINGS)
    folder.release()
    assert output.read_text() == 'new' and other.read_text() == 'newer'
    assert sorted(os.listdir(output.parent)) == ['other.mkv', 'out.mkv']


def test_everything_is_on_the_disk_before_and_after_it_moves(
        output, monkeypatch):
    calls = []
    for name in ('sync', 'write_whole'):
        original = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda path, *args, _name=name, _do=original, **more:
            (calls.append(
                (_name, os.path.basename(path))), _do(path, *args, **more)))
    move = ResumeFolder._move
    monkeypatch.setattr(
        ResumeFolder, '_move', lambda self, made, path: (calls.append(
            ('move', os.path.basename(path))), move(self, made, path)))
    folder = begin(output)
    calls.clear()
    folder.publish([(write(folder, 'a', 'new'), str(output))], SETTINGS)
    folder.release()
    assert calls == [('sync', 'out.mkv.partial'),
                     ('write_whole', 'ready.json'), ('move', 'out.mkv'),
                     ('sync', output.parent.name)]


def test_a_folder_replaces_a_folder(tmp_path):
    output = tmp_path / 'frames'
    output.mkdir()
    (output / 'old').write_text('')
    folder = begin(output)
    os.mkdir(folder.file('made'))
    write(folder, 'made/new')
    folder.publish([(folder.file('made'), str(output))], SETTINGS)
    folder.release()
    assert os.listdir(output) == ['new']
    assert os.listdir(tmp_path) == ['frames']


@pytest.mark.parametrize('moves', [0, 1, 2])
def test_finish_after_a_kill_between_moves(output, monkeypatch, moves):
    """What was moved is recognised and left, the rest is moved."""
    folder = begin(output)
    other = output.with_name('other.mkv')
    made = [(write(folder, name, name), str(path))
            for name, path in (('a', other), ('b', output))]
    moved = []

    def move_or_die(self, source, target):
        if len(moved) == moves:
            raise KeyboardInterrupt
        moved.append(target)
        os.replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, '_move', move_or_die)
        if moves == 2:  # all is moved, and the rest is not yet removed
            patch.setattr(ResumeFolder, '_clear', lambda self: 1 / 0)
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            folder.publish(made, SETTINGS)
    folder.release()
    folder = ResumeFolder(str(output))
    folder.lock()
    assert folder.finish(SETTINGS)
    folder.release()
    assert other.read_text() == 'a' and output.read_text() == 'b'
    assert sorted(os.listdir(output.parent)) == ['other.mkv', 'out.mkv']


def test_finish_from_another_working_directory(output, monkeypatch):
    """The place of the output is that which it had from the first one."""
    inner = output.parent / 'inner'
    inner.mkdir()
    monkeypatch.chdir(inner)
    folder = begin('out.mkv')
    made = write(folder, 'a', 'ours')
    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, '_move', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            folder.publish([(made, 'out.mkv')], SETTINGS)
    folder.release()
    monkeypatch.chdir(output.parent)
    folder = ResumeFolder('inner/out.mkv')
    folder.lock()
    with pytest.raises(ValueError, match='options.crf 20 instead of 18'):
        folder.finish(dict(SETTINGS, options=dict(crf=20, tile=(4, 5))))
    assert folder.finish(SETTINGS)
    folder.release()
    assert os.listdir(inner) == ['out.mkv'] and os.listdir('.') == ['inner']


def test_finish_has_nothing_to_do(output):
    folder = begin(output)
    assert not folder.finish(SETTINGS)
    write(folder, 'segment_00000.mkv')
    folder.release()
    assert os.path.exists(folder.file('segment_00000.mkv'))


def test_a_foreign_output_is_not_taken_for_ours(output, monkeypatch):
    folder = begin(output)
    made = write(folder, 'a', 'ours')
    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, 'finish', lambda *args: False)
        with pytest.raises(OutputError, match='keeps files as they are'):
            folder.publish([(made, str(output))], SETTINGS)
    os.remove(made)
    output.write_text('foreign')
    assert not folder.finish(SETTINGS)
    assert output.read_text() == 'foreign'
    folder.release()


def test_resume_keeps_and_overwrite_clears(output):
    folder = begin(output)
    write(folder, 'segment_00000.mkv')
    folder.release()
    with pytest.raises(
            ValueError, match='go on with it with --resume .* --overwrite'):
        begin(output)
    folder = begin(output, resume=True)
    assert os.path.exists(folder.file('segment_00000.mkv'))
    folder.release()
    folder = begin(output, resume=True, overwrite=True)
    assert os.path.exists(folder.file('segment_00000.mkv'))
    folder.release()
    folder = begin(output, overwrite=True)
    assert not os.path.exists(folder.file('segment_00000.mkv'))
    folder.release()


def test_other_settings_are_named(output):
    folder = begin(output)
    write(folder, 'segment_00000.mkv')
    folder.release()
    other = dict(SETTINGS, options=dict(crf=20, tile=(4, 5)))
    with pytest.raises(
            ValueError,
            match=r'options.crf 20 instead of 18; use what it was begun'):
        begin(output, resume=True, settings=other)
    with pytest.raises(ValueError, match='extra 1 instead of null'):
        begin(output, resume=True, settings=dict(SETTINGS, extra=1))


@pytest.mark.parametrize('how', [dict(resume=True), dict(overwrite=True), {}])
@pytest.mark.parametrize('names',
                         [('settings.json.partial', ), ('settings.json', ),
                          ('settings.json', 'segment_00000.mkv.partial'),
                          ('settings.json', 'frames/')])
def test_what_nobody_would_miss(output, how, names):
    """A run that was stopped before it had anything done: the next one may
    be another, and leaves nothing if it does no better."""
    folder = ResumeFolder(str(output))
    os.mkdir(folder.path)
    for name in names:
        if name.endswith('/'):
            os.mkdir(folder.file(name))
        else:
            write(folder, name, '{"sou')
    begin(output, **how).release()
    assert not os.listdir(output.parent)


def test_damaged_settings(output):
    folder = begin(output)
    write(folder, 'settings.json', '{')
    write(folder, 'segment_00000.mkv')
    folder.release()
    with pytest.raises(ValueError, match='must hold the settings'):
        begin(output, resume=True)


@pytest.mark.parametrize('how', [dict(resume=True), dict(overwrite=True)])
def test_a_foreign_folder_is_left_alone(output, how):
    folder = output.with_name('out.mkv.partial')
    folder.mkdir()
    (folder / 'thesis.txt').write_text('')
    with pytest.raises(ValueError, match='found files of something else'):
        begin(output, **how)
    assert (folder / 'thesis.txt').exists()


def test_one_run_at_a_time(output):
    """Also before the first has written anything; who is refused leaves all
    as it is."""
    folder = ResumeFolder(str(output))
    folder.lock()
    for _ in range(2):
        other = ResumeFolder(str(output))
        with pytest.raises(
                OutputError,
                match=r'another run that works in it \(process '
                f'{os.getpid()} on .*\\); wait'):
            other.lock()
        other.release()
    folder.begin(SETTINGS, False, False)
    folder.release()
    begin(output, resume=True).release()


def test_no_run_beside_one_whose_first_process_was_killed(output):
    first, other = ResumeFolder(str(output)), ResumeFolder(str(output))
    first.lock()
    first.begin(SETTINGS, False, False)
    write(first, 'segment_00000.mkv')
    other.join()
    first.release()  # as a kill does
    with pytest.raises(OutputError, match='another run'):
        begin(output, resume=True)
    other.release()
    begin(output, resume=True).release()


def test_a_killed_process_lets_go(output):
    """Of several processes of a run the last one that ends."""
    code = ('import sys, time\n'
            'from dksan_mm.utils.locking import RunLock\n'
            'lock = RunLock(sys.argv[1])\n'
            'lock.join() if sys.argv[2] == "join" else lock.acquire()\n'
            'print("held", flush=True)\n'
            'time.sleep(60)\n')
    folder = ResumeFolder(str(output))
    os.mkdir(folder.path)
    others = []
    try:
        for how in ('acquire', 'join'):
            others.append(
                subprocess.Popen(
                    [sys.executable, '-c', code,
                     folder.file('lock'), how],
                    stdout=subprocess.PIPE,
                    text=True))
            assert others[-1].stdout.readline() == 'held\n'
        for other in others:
            with pytest.raises(
                    OutputError, match=rf'\(process {other.pid} on'):
                folder.lock()
            folder.release()
            other.kill()
            other.wait()
    finally:
        for other in others:
            other.kill()
            other.communicate()
    folder.lock()
    folder.release()
    assert not os.listdir(output.parent)


def test_a_place_that_cannot_be_written_to():
    with pytest.raises(OutputError, match='could not be made'):
        ResumeFolder('/proc/out.mkv').lock()


def test_a_full_disk_is_said(output, monkeypatch):

    def full(path, data, durable):
        raise OutputError(f'{path} could not be written: full')

    monkeypatch.setattr(module, 'write_whole', full)
    with pytest.raises(OutputError, match='full'):
        begin(output)
    # nothing was begun, so nothing is left
    assert not os.listdir(output.parent)


def test_what_only_joining_depends_on_is_no_other_setting(output):
    partial = ResumeFolder(output)
    partial.lock()
    partial.begin(
        dict(encoder=dict(crf=1, leave_out=[])), resume=False, overwrite=False)
    open(partial.file('segment_00000.mkv'), 'w').close()
    partial.begin(
        dict(encoder=dict(crf=1, leave_out=['audio'], audio='aac')),
        resume=True,
        overwrite=False)
    with pytest.raises(ValueError, match='encoder.crf 2 instead of 1'):
        partial.begin(dict(encoder=dict(crf=2)), resume=True, overwrite=False)
    partial.release()
