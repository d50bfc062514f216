"""Keeps the progress bars and warnings of transformers and the Hub client off our terminal while they work.

Nothing is lost by it: what those warnings would say about weights (missing, unexpected, mismatched) is asked
for explicitly by the callers and becomes an error.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

LOGGERS = ("transformers", "accelerate", "bitsandbytes", "huggingface_hub", "peft")


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block these libraries draw no bars, log errors only, and announce no deprecations of their own."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as transformers_logging

    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    hub_bars = not are_progress_bars_disabled()
    bars = transformers_logging.is_progress_bar_enabled()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if hub_bars:
            enable_progress_bars()
        if bars:
            transformers_logging.enable_progress_bar()
