"""bitsandbytes without torch's compiler, which takes half a second to load and is seldom used.

bitsandbytes passes some functions to ``torch.compile`` when it is imported, which loads the compiler whether or not
one of them is ever called: a sixth of the time from a command to a model that is ready.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["compiled_when_called"]


@contextmanager
def compiled_when_called() -> Iterator[None]:
    """Within the block ``torch.compile`` gives functions that are compiled when they are first called.

    What they compute is what they would: bitsandbytes itself runs the plain function where compiling fails, which it
    finds out by calling.
    """
    import torch

    real = torch.compile

    def later(model: Callable[..., Any] | None = None, **settings: Any) -> Any:
        if model is None:
            return lambda function: later(function, **settings)

        compiled: Callable[..., Any] | None = None

        @functools.wraps(model)
        def called(*arguments: Any, **named: Any) -> Any:
            nonlocal compiled
            if compiled is None:
                compiled = real(model, **settings)
            return compiled(*arguments, **named)

        return called

    torch.compile = later
    try:
        yield
    finally:
        torch.compile = real
