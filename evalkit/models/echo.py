"""A model without weights: it answers by a rule, always the same. For tests, demonstrations and dry runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from evalkit.records import Choice, Output, Prompt, Request

__all__ = ["EchoModel"]


class EchoModel:
    """Answers with the last user message, or with what it was given.

    A token is a word here. A choice equal to the answer has log-probability 0, the others -1, -2, … in order; a
    text has -1 a word.

    Args:
        answers: None to echo; a text to answer always; or texts by sample id.

    >>> model = EchoModel({"1": "Paris"})
    >>> [output.text for output in model.answer([Request("1", "generate", "The capital of France?")])]
    ['Paris']
    """

    lazy = True

    def __init__(self, answers: str | Mapping[str, str] | None = None) -> None:
        self._answers = answers

    def fingerprint(self) -> dict[str, Any]:
        """See ``models.base.Model``."""
        answers = self._answers
        if isinstance(answers, Mapping):
            return {"kind": "echo", "by": "id", "answers": dict(answers)}
        return {"kind": "echo", "answers": answers}

    def answer(self, requests: Iterable[Request]) -> Iterator[Output]:
        """See ``models.base.Model``."""
        for request in requests:
            words = len(_last_user_text(request.prompt).split())
            text = self._text(request)
            if text is None:
                yield Output(request.id, "", "error", words, error="no answer for this id")
            elif request.kind == "generate":
                samples = request.generation.samples
                yield Output(
                    request.id,
                    text if samples == 1 else [text] * samples,
                    prompt_tokens=words,
                    output_tokens=len(text.split()) * samples,
                )
            elif request.kind == "choice":
                rated = tuple(
                    Choice(choice, 0.0 if choice == text else -1.0 - place, max(1, len(choice.split())))
                    for place, choice in enumerate(request.choices)
                )
                yield Output(request.id, text, prompt_tokens=words, choices=rated)
            else:
                whole = Choice(text, -float(words), words)
                yield Output(request.id, "", prompt_tokens=words, choices=(whole,))

    def _text(self, request: Request) -> str | None:
        if isinstance(self._answers, Mapping):
            return self._answers.get(request.id)
        return _last_user_text(request.prompt) if self._answers is None else self._answers


def _last_user_text(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return next((turn["content"] for turn in reversed(prompt) if turn["role"] == "user"), "")
