"""mmengine's log, imported only when it is used: it imports PyTorch, which
reading a video does not need."""
import logging
from typing import Any


def print_log(message: str, logger: Any, level: int = logging.INFO) -> None:
    """Like :func:`mmengine.logging.print_log`."""
    from mmengine.logging import print_log as log
    log(message, logger, level)
