"""How many calls to a server are open at once: it grows while all goes well and is halved when the server balks.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989); a ``Retry-After`` holds every
call back, not only the one that was told.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections import deque
from collections.abc import Mapping

__all__ = ["Pace", "backoff", "retry_after"]

START = 16
"""Calls open at once in the beginning."""
LONGEST_WAIT = 300.0
"""Seconds; a server that asks for more is asked again after this."""


class Pace:
    """A limit on open calls that follows the server.

    Args:
        most: Calls that may ever be open at once.

    Attributes:
        limit: Calls that may be open now.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(START, most))
        self._open = 0
        self._steady = False
        self._held_until = 0.0
        self._cut_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> float:
        """Wait for a place; return the moment of the start, which ``balked`` asks for."""
        loop = asyncio.get_running_loop()
        while True:
            held = self._held_until - loop.time()
            if held > 0:
                await asyncio.sleep(held)
            elif self._open < int(self.limit):
                self._open += 1
                return loop.time()
            else:
                turn = loop.create_future()
                self._waiting.append(turn)
                await turn

    def leave(self) -> None:
        """Give the place back."""
        self._open -= 1
        self._wake()

    def went_well(self) -> None:
        """One more place a success until the first trouble, then one a round."""
        if self.limit < self.most:
            self.limit = min(self.most, self.limit + (1 / self.limit if self._steady else 1))
            self._wake()

    def balked(self, started: float, wait: float | None = None) -> None:
        """The server was busy or failed: halve, once for all calls that were under way; hold all where it says so.

        Args:
            started: What ``enter`` returned.
            wait: Seconds that the server asked for.
        """
        now = asyncio.get_running_loop().time()
        self._steady = True
        if started >= self._cut_at:
            self.limit = max(1.0, self.limit / 2)
            self._cut_at = now
        if wait is not None:
            self._held_until = max(self._held_until, now + min(wait, LONGEST_WAIT))

    def _wake(self) -> None:
        free = int(self.limit) - self._open
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


def backoff(attempt: int, *, first: float = 0.25, longest: float = 20.0) -> float:
    """Seconds before the next try: a random share of a span that doubles ("full jitter").

    Args:
        attempt: Tries made so far, ≥ 1.
        first: The span after the first try.
        longest: Where the span ends.
    """
    span: float = min(longest, first * 2.0 ** (attempt - 1))
    return random.uniform(0.1, 1.0) * span


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date.

    >>> retry_after({"retry-after": "2"}), retry_after({"retry-after-ms": "50"}), retry_after({})
    (2.0, 0.05, None)
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        moment = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError, TypeError):
        return None
    return max(0.0, moment.timestamp() - time.time())
