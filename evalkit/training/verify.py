"""Proof that a mask is right, for every row that is trained on; in doubt, an error that names the row.

1. Sentinels: with every message replaced by a unique string, learned answers lie inside the mask as a whole,
   and no part of any other message does (once per order of roles).
2. Every learned answer ends with an end token.
3. Before it stand exactly the ids that the evaluator sends.
4. The learned ids decode to the answer's text, with nothing around it but what the template writes around
   every answer.
5. Nothing else is learned, and nothing twice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.errors import DataError
from evalkit.records import Message
from evalkit.training.turns import Turn, chat_turns, merge_turns

__all__ = ["Frame", "check_roles", "check_turns"]

_CONTEXT = 16  # tokens of the prompt decoded with the answer, so that a word's leading space is seen


@dataclass(frozen=True, slots=True)
class Frame:
    """What the template writes around an answer, inside the learned text.

    Attributes:
        before: Such as the empty thought that Qwen3 puts before an answer without one.
        after: Between the answer and its end token.
    """

    before: str = ""
    after: str = ""


def check_roles(tokenizer: Any, roles: Sequence[str], ends: frozenset[int], last: bool) -> dict[int, Frame]:
    """Check masks with sentinels, for chats with these roles.

    Args:
        tokenizer: The model's tokenizer.
        roles: Role of each message, in order.
        ends: Ids that end an answer.
        last: Whether only the last answer is learned.

    Returns:
        What the template writes around the answer, for the index of each learned message.

    Raises:
        DataError: A sentinel is on the wrong side of the mask.
    """
    messages: list[Message] = [
        {"role": role, "content": _sentinel(index)} for index, role in enumerate(roles)
    ]
    turns = chat_turns(tokenizer, messages, ends)[-1 if last else 0 :]
    rows = merge_turns(turns)
    learned = [text for ids, mask in rows for text in _learned_texts(tokenizer, ids, mask)]
    answers = {turn.index for turn in turns}
    for index, message in enumerate(messages):
        inside = [text for text in learned if message["content"] in text]
        touched = [text for text in learned if _parts(index).search(text)]
        if (index in answers and (len(inside) != 1 or touched != inside)) or (
            index not in answers and touched
        ):
            side = "inside" if index in answers else "outside"
            raise DataError(
                f"chats with the roles {' '.join(roles)}: message {index + 1} ({message['role']}) is on the "
                f"wrong side of the training mask: expected it {side}, the mask covers {learned!r}"
            )
    return {turn.index: _frame(tokenizer, turn) for turn in turns}


def check_turns(
    tokenizer: Any,
    turns: Sequence[Turn],
    rows: Sequence[tuple[Sequence[int], Sequence[bool]]],
    ends: frozenset[int],
    frames: dict[int, Frame],
) -> None:
    """Check the rows made of one conversation against its turns.

    Args:
        tokenizer: The model's tokenizer.
        turns: The answers to learn, each with the evaluator's prompt ids.
        rows: (ids, mask) of each row made of them.
        ends: Ids that end an answer.
        frames: Of ``check_roles``; empty for plain text.

    Raises:
        DataError: What is wrong, without the number of the row.
    """
    expected: dict[tuple[int, ...], int] = {}
    for turn in turns:
        if not turn.response or turn.response[-1] not in ends:
            raise DataError(f"message {turn.index + 1}: the last learned token is not an end token")
        sequence = tuple(turn.prompt + turn.response)
        expected[sequence] = len(turn.response)
        holding = [mask for ids, mask in rows if tuple(ids[: len(sequence)]) == sequence]
        if not any(all(mask[len(turn.prompt) : len(sequence)]) for mask in holding):
            raise DataError(
                f"message {turn.index + 1}: no training row starts with the evaluator's prompt ids and this "
                "answer"
            )
        _check_text(tokenizer, turn, frames.get(turn.index, Frame()))
    supervised = sum(sum(mask) for _, mask in rows)
    if supervised != sum(expected.values()) or supervised == 0:
        raise DataError(
            f"the mask covers {supervised} tokens, expected the {sum(expected.values())} of the answers alone"
        )


def _answer_text(tokenizer: Any, turn: Turn) -> str:
    """Decode a turn's response without its end token, as it reads after the prompt."""
    context = turn.prompt[-_CONTEXT:]
    head = _decode(tokenizer, context)
    whole = _decode(tokenizer, context + turn.response[:-1])
    return whole[len(head) :] if whole.startswith(head) else _decode(tokenizer, turn.response[:-1])


def _check_text(tokenizer: Any, turn: Turn, frame: Frame) -> None:
    # NFKC: tokenizers such as Qwen's normalise text to NFC before they encode it
    learned, content = _plain(_answer_text(tokenizer, turn)), _plain(turn.content).strip()
    before, found, after = learned.partition(content) if content else (learned, "", "")
    allowed = before.strip() in ("", _plain(frame.before).strip()), after.strip() in ("", frame.after.strip())
    if (content and not found) or not all(allowed):
        raise DataError(
            f"message {turn.index + 1}: the learned text is not the answer of the data: expected "
            f"{_short(turn.content)}, got {_short(learned)}. The template or the tokenizer rewrites it, or "
            "the answer holds the text of an end token"
        )


def _frame(tokenizer: Any, turn: Turn) -> Frame:
    before, _, after = _answer_text(tokenizer, turn).partition(turn.content)
    return Frame(before, after)


def _learned_texts(tokenizer: Any, ids: Sequence[int], mask: Sequence[bool]) -> list[str]:
    runs: list[list[int]] = []
    for position, token in enumerate(ids):
        if mask[position]:
            if position == 0 or not mask[position - 1]:
                runs.append([])
            runs[-1].append(token)
    return [_decode(tokenizer, run) for run in runs]


def _sentinel(index: int) -> str:
    return f"kx{index}a words in between kx{index}z"


def _parts(index: int) -> re.Pattern[str]:
    return re.compile(f"kx{index}a|kx{index}z")


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _short(text: str, most: int = 80) -> str:
    return repr(text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}")
