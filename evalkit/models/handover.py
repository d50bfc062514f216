"""From the thread that asks a server to the one that wants the answers."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator

from evalkit.records import Output

__all__ = ["Handover"]

SHARE = 8
"""An eighth of what may be open is gathered at most: a change of threads for each costs more than its verdict."""
LONGEST = 0.005
"""Seconds for which an output is held back at most."""


class Handover:
    """Outputs on their way, some at a time; none is lost when the asking fails.

    Args:
        loop: Of the thread that asks, in which ``put`` and ``end`` are called.
        concurrency: Calls that may be open at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, concurrency: int) -> None:
        self._loop, self._enough = loop, max(1, concurrency // SHARE)
        self._ready: list[Output] = []
        self._late: asyncio.TimerHandle | None = None
        self._sent: queue.SimpleQueue[list[Output] | BaseException | None] = queue.SimpleQueue()

    def put(self, output: Output) -> None:
        """Give an output."""
        self._ready.append(output)
        if len(self._ready) == self._enough:
            self._send()
        elif len(self._ready) == 1:
            self._late = self._loop.call_later(LONGEST, self._send)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more, because of the error or because all is done."""
        self._send()
        self._sent.put(error)

    def __iter__(self) -> Iterator[Output]:
        """In the other thread: outputs as they come. Raises what ``end`` was given."""
        while (item := self._sent.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield from item

    def _send(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._ready:
            self._sent.put(self._ready)
            self._ready = []
