"""mmengine's log, which is imported when there is something to say: with it
comes PyTorch, which reading a video needs not."""
import logging
from typing import Any


def print_log(message: str, logger: Any, level: int = logging.INFO) -> None:
    """As :func:`mmengine.logging.print_log`."""
    from mmengine.logging import print_log as log
    log(message, logger, level)
