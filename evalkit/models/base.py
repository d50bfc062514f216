"""The seam between evalkit and whatever answers: one method.

``echo`` and ``replay`` are shipped implementations that need no weights; ``local`` runs transformers, peft and
bitsandbytes in this process; ``openai_http`` asks a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from evalkit.records import Output, Request

__all__ = ["Model"]


@runtime_checkable
class Model(Protocol):
    """Something that answers requests."""

    def fingerprint(self) -> Mapping[str, Any]:
        """Everything about the model that can change an answer, as JSON values: it is part of cache keys.

        ``by: id`` in it says that the sample's id decides the answer, and not the prompt: recorded answers.
        """
        ...

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        """Answer every request once, in any order, yielding each output as soon as it is finished.

        An answer that could not be had is an ``Output`` with ``finish="error"`` and the reason, not an
        exception; an exception means that the model as a whole cannot go on.

        A model with the attribute ``lazy`` takes any iterable and asks it for a request when it gets to it.
        """
        ...
