"""Sandboxes that are started ahead: each waits for one program, so that no program waits for its sandbox.

A start is mostly waiting, for the kernel to make namespaces; one that is made while other programs run costs nothing.
It is used once all the same, and those that are left over end with the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from threading import Lock
from types import TracebackType

from evalkit.sandbox.bubblewrap import ENVIRONMENT

__all__ = ["Started", "start_one"]


def start_one(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a process that waits for its job on standard input."""
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


class Started:
    """Processes of one command, some started ahead of their use.

    Args:
        arguments: The command.
        number: How many will be taken.
        ahead: How many wait at a time; at least 1.
    """

    def __init__(self, arguments: list[str], number: int, *, ahead: int) -> None:
        self._arguments, self._left = arguments, number
        self._ready: deque[subprocess.Popen[bytes]] = deque()
        self._lock = Lock()
        self._ahead = ahead

    def __enter__(self) -> Started:
        with self._lock:
            self._fill()
        return self

    def take(self) -> subprocess.Popen[bytes]:
        """Return one that nobody has used; another is started in its place."""
        with self._lock:
            self._fill()
            process = self._ready.popleft()
            self._fill()
        return process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._ready:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def _fill(self) -> None:
        while self._left > 0 and len(self._ready) < self._ahead:
            self._ready.append(start_one(self._arguments))
            self._left -= 1
