"""How much a model computes at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is computed at once.

    Attributes:
        tokens: Of a pass over prompts.
        slots: Answers that are written at once.
        logits: Values of all logits of a pass.
        memory: Share of the free memory that keys and values of answers may take.
        requests: Encoded and merged together; the next are begun when these are answered, so that the memory of
            prompts does not grow with the task.
    """

    tokens: int = 1024
    slots: int = 128
    logits: int = 1 << 26
    memory: float = 0.5
    requests: int = 1024

    @classmethod
    def of(cls, device: str) -> Limits:
        """Limits that keep this kind of device busy: beyond them a pass takes longer by what it does more."""
        return cls(tokens=8192, slots=256, logits=1 << 29, memory=0.8) if device.startswith("cuda") else cls()

    def other(self, requests: int) -> Limits:
        """Other batches than so many requests have under these limits: half as much at once, in the order asked.

        >>> Limits().other(1000).slots, Limits().other(50).slots, Limits().other(1).slots
        (64, 25, 1)
        """
        half = max(1, min(self.slots, requests) // 2)
        tokens, logits = max(1, self.tokens // 2), max(1, self.logits // 2)
        return replace(self, tokens=tokens, slots=half, logits=logits, requests=half)
