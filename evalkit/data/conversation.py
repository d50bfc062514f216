"""One training row, normalised: a chat, a prompt with its completion, or raw text."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.records import Message

__all__ = ["Conversation"]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One training row. Exactly one of ``messages``, ``completion`` (with ``prompt``) and ``text`` is set.

    Attributes:
        row: Line or row number in its file, from 1; errors name it.
        messages: A chat with at least one assistant turn.
        prompt: Plain text before the completion.
        completion: Plain text to learn after the prompt.
        text: Raw text or source code, learned as a whole.
        weight: Factor of the row's loss, > 0.
        id: The row's own id, else its number.
        source: Where the row comes from, such as ``real`` or ``synthetic``; empty if unknown.

    >>> Conversation(row=1, prompt="2+2=", completion="4").id
    '1'
    """

    row: int
    messages: list[Message] | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    weight: float = 1.0
    id: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        forms = [self.messages is not None, self.completion is not None, self.text is not None]
        if sum(forms) != 1 or (self.completion is None) != (self.prompt is None):
            raise ValueError(
                f"row {self.row}: expected messages, prompt with completion, or text; got "
                f"{sum(forms)} of these forms"
            )
        if not self.id:
            object.__setattr__(self, "id", str(self.row))
