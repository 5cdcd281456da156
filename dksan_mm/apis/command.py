"""Restoration, as the command line asks for it."""
from dataclasses import fields
from typing import Any, Dict

from .estimate import estimate
from .job import check_places
from .loading import load_model
from .options import RestoreOptions
from .processes import own_device
from .restore_video import Summary, restore_video


def restore(arguments: Dict[str, Any]) -> str:
    """Restore as the arguments of :mod:`dksan_mm.cli.restore` say; with
    ``estimate``, only estimate time and memory.

    Returns:
        str: A summary of the run, or the estimate.
    """
    source, output = arguments['input'], arguments['output']
    device = own_device(arguments['device'])
    options = options_of(arguments).updated(device=device)
    check_places(source, [output])  # before loading a model
    model = load_model(arguments['config'], arguments['checkpoint'], device)
    if arguments['estimate']:
        return str(estimate(model, source, output, options))
    return describe(restore_video(model, source, output, options))


def options_of(arguments: Dict[str, Any]) -> RestoreOptions:
    """Return the options given on the command line."""
    known = {field.name for field in fields(RestoreOptions)}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in arguments.items() if name in known
    }
    return RestoreOptions(**given, progress=not arguments['quiet'])


def describe(summary: Summary) -> str:
    """Return a summary of the run for the user."""
    if summary.was_there:
        return (f'{summary.output}: there already, finished, perhaps with '
                'other settings (--overwrite makes it anew)')
    text = (f'{summary.output}: {summary.frames} frames, {summary.restored} '
            f'of them restored in {summary.seconds:.1f} s '
            f'({summary.frames_per_second:.3g} a second)')
    if summary.reused:
        text += (f'; {summary.reused} of {summary.segments} segments were '
                 'there already')
    else:
        text += f'; {len(summary.cuts)} scene cuts found'
    if summary.comparison:
        text += f'\n{summary.comparison}: bicubic and the result'
    return text
