"""Answers as the model would generate them: the evaluator's prompt ids, then the answer up to its end token.

For each assistant turn the prompt is what the evaluator sends for the chat before it, and the answer is what
the template writes after that prompt, cut after the first end token. So a model is trained on exactly the ids
it will see, with any chat template, and markers inside templates are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.errors import DataError
from evalkit.models import chat
from evalkit.records import Message

__all__ = ["Turn", "chat_turns", "completion_turn", "end_id", "merge_turns"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer to learn.

    Attributes:
        index: Index of the message in its chat; 0 for a completion.
        prompt: The ids the evaluator sends.
        response: The ids to generate, the last of them an end token.
        content: The answer as the data has it.
    """

    index: int
    prompt: list[int]
    response: list[int]
    content: str


def chat_turns(tokenizer: Any, messages: Sequence[Message], ends: frozenset[int]) -> list[Turn]:
    """Return every assistant turn of a chat, in order.

    Args:
        tokenizer: The model's tokenizer.
        messages: The chat.
        ends: Ids that end an answer (``Base.eos_ids``).

    Raises:
        DataError: The template cannot write the chat, does not write an answer after its own generation
            prompt, or does not end it with an end token.
    """
    turns = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if index == 0:
            raise DataError(
                "the chat starts with an assistant turn: expected a user or system turn before it"
            )
        before = list(messages[:index])
        ids = chat.prompt_ids(tokenizer, before)
        prompt = chat.render(tokenizer, before, add_generation_prompt=True)
        whole = chat.render(tokenizer, messages[: index + 1], add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise DataError(
                f"message {index + 1}: the chat template does not write this answer after its own generation "
                f"prompt: expected the chat to go on from {prompt[-40:]!r}, got "
                f"{_divergence(prompt, whole)!r}"
            )
        response = chat.encode_continuation(tokenizer, ids, prompt, whole[len(prompt) :])
        turns.append(Turn(index, ids, _until_end(tokenizer, response, ends, index), message["content"]))
    return turns


def completion_turn(tokenizer: Any, prompt: str, completion: str, ends: frozenset[int]) -> Turn:
    """Return a plain-text completion as a turn, the tokenizer's end token added after it.

    Raises:
        DataError: The tokenizer has no end token.
    """
    ids = chat.prompt_ids(tokenizer, prompt)
    response = chat.encode_continuation(tokenizer, ids, prompt, completion)
    return Turn(0, ids, _until_end(tokenizer, [*response, end_id(tokenizer, ends)], ends, 0), completion)


def end_id(tokenizer: Any, ends: frozenset[int]) -> int:
    """Return the id to put after plain text: the tokenizer's end token, else the least of ``ends``.

    Raises:
        DataError: There is none.
    """
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    if not ends:
        raise DataError(
            "the tokenizer has no end token (eos_token): a model trained with it would never stop"
        )
    return min(ends)


def merge_turns(turns: Sequence[Turn]) -> list[tuple[list[int], list[bool]]]:
    """Merge the turns of one chat into as few rows as their ids allow: the leaves of their token trie.

    Where the template leaves earlier turns alone, every turn is a beginning of the last one and all become
    one row. Where it rewrites them (Qwen3 drops the thoughts of earlier answers), the branches stay rows of
    their own. Every response is supervised in exactly one row.

    >>> merge_turns([Turn(1, [5], [6, 2], ""), Turn(3, [5, 6, 2, 7], [8, 2], "")])
    [([5, 6, 2, 7, 8, 2], [False, True, True, False, True, True])]
    """
    rows: list[tuple[list[int], list[bool]]] = []
    for turn in sorted(turns, key=lambda turn: -len(turn.prompt) - len(turn.response)):
        ids = turn.prompt + turn.response
        row = next((row for row in rows if row[0][: len(ids)] == ids), None)
        if row is None:
            row = (ids, [False] * len(ids))
            rows.insert(0, row)
        row[1][len(turn.prompt) : len(ids)] = [True] * len(turn.response)
    return rows


def _until_end(tokenizer: Any, response: list[int], ends: frozenset[int], index: int) -> list[int]:
    for position, token in enumerate(response):
        if token in ends:
            return response[: position + 1]
    names = ", ".join(repr(tokenizer.decode([token])) for token in sorted(ends)) or "none"
    raise DataError(
        f"message {index + 1}: the chat template does not end an answer with an end token of the model, "
        f"which would never learn to stop: expected one of {names} after the answer, got "
        f"{tokenizer.decode(response[-8:])!r}. Add the template's own end token to eos_token_id in the "
        "model's generation_config.json"
    )


def _divergence(prompt: str, whole: str) -> str:
    same = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
    return whole[max(0, same - 20) : same + 20]
