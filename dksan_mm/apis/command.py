"""What the command line asks of restoration."""
from typing import Any, Dict

from .estimate import estimate
from .job import check_places
from .loading import load_model
from .processes import own_device
from .restore_video import Summary, restore_video


def restore(options: Dict[str, Any]) -> str:
    """Restore as the options of :mod:`dksan_mm.cli.restore` say; with
    ``estimate`` see what that would take instead.

    Args:
        options (dict): It is emptied.

    Returns:
        str: What was done, or what it would take.
    """
    for name in ('extra', 'leave_out'):
        if name in options:
            options[name] = tuple(options[name])
    device = own_device(options.pop('device'))
    check_places(options['input'], [options['output']])  # models are large
    model = load_model(
        options.pop('config'), options.pop('checkpoint'), device)
    source, output = options.pop('input'), options.pop('output')
    quiet = options.pop('quiet')
    if options.pop('estimate'):
        return str(estimate(model, source, output, device=device, **options))
    return describe(
        restore_video(
            model,
            source,
            output,
            device=device,
            progress=not quiet,
            **options))


def describe(summary: Summary) -> str:
    """Return what was done, for a user."""
    if summary.was_there:
        return (f'{summary.output}: there already, finished; whether with '
                'these settings is not known (--overwrite makes it anew)')
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
