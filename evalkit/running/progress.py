"""How a run tells its reader where it is. The CLI draws bars; Python users hear nothing unless they ask."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Receives what happens, as it happens."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A stage begins, such as ``train r16`` with 48 steps or ``answer base · tickets`` with 80 samples."""
        ...

    def advance(self, steps: int = 1, note: str = "") -> None:
        """The stage went on; ``note`` is a short reading such as ``loss 0.42``."""
        ...

    def done(self, note: str = "") -> None:
        """The stage ended; ``note`` says what came of it."""
        ...

    def say(self, text: str) -> None:
        """One line worth reading: a fallback, a warning, something that was left out."""
        ...


class Silent:
    """Says nothing."""

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Ignore."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Ignore."""

    def done(self, note: str = "") -> None:
        """Ignore."""

    def say(self, text: str) -> None:
        """Ignore."""
