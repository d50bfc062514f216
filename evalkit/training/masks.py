"""From conversations to token rows with a loss mask, verified row by row.

The method is "as generated" (``turns.py``), the proof is in ``verify.py``, and it fails closed: a row that
cannot be shown to be right stops the training with an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from evalkit.data.conversation import Conversation
from evalkit.errors import DataError
from evalkit.models import chat
from evalkit.training.rows import TokenRow
from evalkit.training.turns import chat_turns, completion_turn, end_id, merge_turns
from evalkit.training.verify import Frame, check_roles, check_turns

__all__ = ["LossOn", "mask_rows"]

LossOn = Literal["assistant", "last", "all"]
_MOST_MESSAGES = 10


def mask_rows(
    conversations: Sequence[Conversation], tokenizer: Any, ends: frozenset[int], loss_on: LossOn = "assistant"
) -> list[TokenRow]:
    """Return the rows to train on, in order; a chat whose template rewrites earlier turns gives several.

    Args:
        conversations: Chats, prompts with completions, and raw texts.
        tokenizer: The model's tokenizer.
        ends: Ids that end an answer (``Base.eos_ids``).
        loss_on: ``assistant`` learns every answer and its end token, ``last`` only the last answer of a chat,
            ``all`` every token. Raw text is always learned as a whole.

    Raises:
        DataError: Rows whose mask cannot be shown to be right; one message each, with the row's number.
    """
    rows: list[TokenRow] = []
    messages: list[str] = []
    frames: dict[tuple[str, ...], dict[int, Frame]] = {}
    for conversation in conversations:
        try:
            rows += _rows(conversation, tokenizer, ends, loss_on, frames)
        except DataError as error:
            messages += [f"training row {conversation.row}: {message}" for message in error.messages]
    if messages:
        more = [f"and {len(messages) - _MOST_MESSAGES} more"] if len(messages) > _MOST_MESSAGES else []
        raise DataError(*messages[:_MOST_MESSAGES], *more)
    return rows


def _rows(
    conversation: Conversation,
    tokenizer: Any,
    ends: frozenset[int],
    loss_on: LossOn,
    frames: dict[tuple[str, ...], dict[int, Frame]],
) -> list[TokenRow]:
    if conversation.text is not None:
        return [_text_row(conversation, conversation.text, tokenizer, ends)]
    shape: dict[int, Frame] = {}
    if conversation.messages is not None:
        roles = tuple(message["role"] for message in conversation.messages)
        if "assistant" not in roles:
            raise DataError(
                f"the chat has no assistant turn to learn, only the roles {' '.join(roles) or 'none'}"
            )
        if roles not in frames:
            frames[roles] = check_roles(tokenizer, roles, ends, last=loss_on == "last")
        shape = frames[roles]
        turns = chat_turns(tokenizer, conversation.messages, ends)[-1 if loss_on == "last" else 0 :]
    else:
        prompt, completion = str(conversation.prompt), str(conversation.completion)
        turns = [completion_turn(tokenizer, prompt, completion, ends)]
    merged = merge_turns(turns)
    check_turns(tokenizer, turns, merged, ends, shape)
    if loss_on == "all":
        merged = _learn_all(merged)
    return [TokenRow(tuple(ids), tuple(mask), conversation.row, conversation.weight) for ids, mask in merged]


def _text_row(conversation: Conversation, text: str, tokenizer: Any, ends: frozenset[int]) -> TokenRow:
    ids = chat.prompt_ids(tokenizer, text)
    if not text or not ids:
        raise DataError("expected text to learn, got an empty one")
    if ids[-1] not in ends:
        ids = [*ids, end_id(tokenizer, ends)]
    mask = (False, *[True] * (len(ids) - 1))
    return TokenRow(tuple(ids), mask, conversation.row, conversation.weight, raw=True)


def _learn_all(rows: list[tuple[list[int], list[bool]]]) -> list[tuple[list[int], list[bool]]]:
    """Supervise every token once: what a branch shares with an earlier one is learned there."""
    learned = []
    for number, (ids, _) in enumerate(rows):
        shared = max([1, *(_common_prefix(ids, other) for other, _ in rows[:number])])
        learned.append((ids, [position >= shared for position in range(len(ids))]))
    return learned


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
