"""Progress of a run for people: bars with the time left on a terminal, plain lines in CI. All on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich takes 0.1 s to import, and `evalkit run --help` has no use for it
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["Bar", "Lines", "shown"]

_EVERY_SECONDS = 15.0  # a plain log that says nothing for longer looks hung; one line a step floods CI


class Bar:
    """One live bar on a terminal; finished stages stay above it as lines."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._started = 0.0

    def __enter__(self) -> Bar:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A stage begins."""
        self._drop()
        self._name, self._started = name, time.monotonic()
        self._task = self._bars.add_task(name, total=total, note=unit)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """The stage went on."""
        if self._task is not None:
            self._bars.update(self._task, advance=steps)
            if note:
                self._bars.update(self._task, note=note)

    def done(self, note: str = "") -> None:
        """The stage ended: its line stays."""
        self._drop()
        self._print("✓ ", "green", _ended(self._name, self._started, note))

    def say(self, text: str) -> None:
        """One line worth reading."""
        self._print("• ", "yellow", text)

    def _print(self, mark: str, style: str, text: str) -> None:
        self._console.print(mark, style=style, end="")
        self._console.print(text, markup=False, highlight=False)

    def _drop(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


class Lines:
    """One line when a stage begins and ends, and one now and then between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name = ""
        self._total: int | None = None
        self._count = 0
        self._warm = 0
        self._started = self._last = self._warmed = 0.0

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A stage begins."""
        self._name, self._total, self._count, self._warm = name, total, 0, 0
        self._started = self._last = time.monotonic()
        self._print(f"{name} …" if total is None else f"{name}: {total} {unit or 'steps'} …")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """The stage went on: a line if the last one is long ago."""
        self._count += steps
        now = time.monotonic()
        if not self._warm:  # the first step pays for loading: it would foretell many times the truth
            self._warm, self._warmed = self._count, now
        if now - self._last >= _EVERY_SECONDS:
            self._last = now
            self._print(
                f"  {self._name}: {self._count}/{self._total or '?'}{self._left(now)} {note}".rstrip()
            )

    def done(self, note: str = "") -> None:
        """The stage ended."""
        self._print(_ended(self._name, self._started, note))

    def say(self, text: str) -> None:
        """One line worth reading."""
        self._print(f"note: {text}")

    def _left(self, now: float) -> str:
        if self._total is None or self._count <= self._warm:
            return ""
        seconds = (now - self._warmed) / (self._count - self._warm) * (self._total - self._count)
        return f", about {seconds:.0f} s left"

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def shown() -> Bar | Lines:
    """Return bars on a terminal, else lines."""
    from rich.console import Console

    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines(console)


def _ended(name: str, started: float, note: str) -> str:
    took = time.monotonic() - started
    return f"{name} — {took:.1f} s{'; ' + note if note else ''}"
