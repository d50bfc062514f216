"""Asking a judge: questions in, replies out, as each is finished. Any ``models.base.Model`` can judge.

A model behind a server, or one that replies by a rule, is asked for JSON; a reply that cannot be read is told so,
twice at most, and then the question is unscored with the reason, its raw replies kept. A model in this process
is not asked to write at all: the probabilities it gives the verdicts are read, and the score is their mean
(G-Eval, Liu et al. 2023, arXiv 2303.16634), which cannot fail to parse and is the same every time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.judging.prompts import Question, fence_mark, menu_of, question_messages
from evalkit.judging.verdicts import NoVerdictError, Verdict, read_verdict
from evalkit.models.base import Model
from evalkit.models.prices import SPENT
from evalkit.records import Choice, Generation, Message, Output, Request

__all__ = ["REPAIRS", "Asked", "ask", "ask_by_words"]

REPAIRS = 2
"""Further tries after a reply that cannot be read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one question.

    Attributes:
        id: Of the question.
        verdict: None where unscored.
        unscored: Why.
        replies: Raw, in order.
        probabilities: Verdict → probability, where they were read.
        calls: Calls to the model.
        tokens: Of prompts and replies together.
        seconds: Over all calls.
        cost: Over all calls; None where unknown.
        final: False where asking again may help: the server failed, or the budget is spent.
    """

    id: str
    verdict: Verdict | None = None
    unscored: str | None = None
    replies: tuple[str, ...] = ()
    probabilities: dict[str, float] | None = None
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None
    final: bool = True

    def to_json(self) -> dict[str, Any]:
        """The form it has in the cache."""
        value = self.verdict.value if self.verdict is not None else None
        return {
            "value": list(value) if isinstance(value, tuple) else value,
            "reason": self.verdict.reason if self.verdict is not None else "",
            "unscored": self.unscored,
            "replies": list(self.replies),
            "probabilities": self.probabilities,
            "calls": self.calls,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "cost": self.cost,
        }

    @classmethod
    def from_json(cls, id: str, row: dict[str, Any]) -> Asked:
        """Read what ``to_json`` made."""
        value = row["value"]
        value = tuple(value) if isinstance(value, list) else value
        verdict = None if value is None else Verdict(value, row["reason"])
        rest = {key: row[key] for key in ("unscored", "probabilities", "calls", "tokens", "seconds", "cost")}
        return cls(id, verdict, replies=tuple(row["replies"]), **rest)


@dataclass(slots=True)
class _Open:
    """A question on its way."""

    question: Question
    mark: str
    messages: list[Message]
    asked: Asked
    told: list[Message] = field(default_factory=list)


class _Feed:
    """What is to be asked next: questions whose reply could not be read, then new ones.

    A message is written when it is asked for and forgotten when its verdict is there, and a reply that cannot be
    read is sent back at once: what is open at any time, and lost when a run is killed, is what the model works on.
    """

    def __init__(self, questions: Iterable[Question], seed: int | None) -> None:
        self._new, self._seed = iter(questions), seed
        self._open: dict[str, _Open] = {}
        self.again: deque[_Open] = deque()

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        if self.again:
            one = self.again.popleft()
        else:
            question = next(self._new)
            mark = fence_mark(question, self._seed)
            one = _Open(question, mark, question_messages(question, mark), Asked(question.id))
            self._open[question.id] = one
        return _request(one, self._seed or 0)

    def settled(self, output: Output) -> Asked | None:
        """What came of a question with this reply; None: it is to be asked again."""
        one = self._open[output.id]
        if output.finish == "error":
            spent = (output.error or "").startswith(SPENT)
            reason = output.error if spent else f"no reply: {output.error}"
            told = _counted(one.asked, output, unscored=reason, final=False)
        else:
            menu = menu_of(one.question.judge)
            try:
                verdict = read_verdict(output.first, menu, one.question.under_test, one.mark)
            except NoVerdictError as error:
                if len(one.asked.replies) < REPAIRS:
                    one.asked = _counted(one.asked, output)
                    one.told = _repair(one.question, output.first, str(error))
                    self.again.append(one)
                    return None
                cut = " (it was cut at max_new_tokens)" if output.finish == "length" else ""
                reason = f"no verdict in {REPAIRS + 1} replies: {error}{cut}"
                told = _counted(one.asked, output, unscored=reason)
            else:
                told = _counted(one.asked, output, verdict=verdict)
        del self._open[output.id]
        return told


def ask(model: Model, questions: Iterable[Question], *, seed: int | None = None) -> Iterator[Asked]:
    """Ask for JSON and yield each question's outcome as soon as it is known.

    Args:
        model: Who judges. One that is ``lazy`` is given the questions as it gets to them.
        questions: With distinct ids.
        seed: Makes the delimiters' marks follow from the texts instead of chance (see ``fence_mark``).

    Raises:
        CandidateError: The model as a whole cannot go on.
    """
    feed = _Feed(questions, seed)
    while True:
        requests: Any = feed if getattr(model, "lazy", False) else list(feed)
        for output in model.answer(requests):
            asked = feed.settled(output)
            if asked is not None:
                yield asked
        if not feed.again:
            return


def ask_by_words(model: Model, questions: Sequence[Question], *, seed: int = 0) -> Iterator[Asked]:
    """Read the probabilities of the verdicts instead of asking for JSON; one call a question.

    Args:
        model: One that rates choices after a chat, as ``LocalModel`` does.
        questions: With distinct ids; of a checklist one item each.
        seed: Of the delimiters' marks.
    """
    by_id = {question.id: question for question in questions}
    requests = [
        Request(
            question.id,
            "choice",
            question_messages(question, fence_mark(question, seed), word=True),
            choices=menu_of(question.judge).words,
        )
        for question in questions
    ]
    for output in model.answer(requests):
        asked = _counted(Asked(output.id), output)
        if output.choices is None:
            yield replace(asked, unscored=f"no reply: {output.error}")
            continue
        shares = _shares(output.choices)
        asked = replace(asked, probabilities=shares, replies=(max(shares, key=lambda word: shares[word]),))
        kind = by_id[output.id].judge.spec.kind
        likeliest = asked.replies[0]
        if kind == "pointwise":
            expected = sum(int(word) * share for word, share in shares.items())
            yield replace(asked, verdict=Verdict(expected, ""))
        elif kind == "pairwise":
            yield replace(asked, verdict=Verdict(likeliest, ""))
        else:
            yield replace(asked, verdict=Verdict((likeliest == "yes",), ""))


def _request(one: _Open, seed: int) -> Request:
    spec = one.question.judge.spec
    generation = Generation(
        max_new_tokens=spec.max_new_tokens,
        temperature=spec.temperature,
        seed=seed + one.question.vote,
    )
    return Request(one.question.id, "generate", [*one.messages, *one.told], generation)


def _repair(question: Question, reply: str, error: str) -> list[Message]:
    told = (
        f"Your reply cannot be read: {error}. Judge the same text again and reply with one JSON object and nothing "
        f"else: {menu_of(question.judge).form}."
    )
    shown = reply.strip()[:2000] or "(empty)"
    return [Message(role="assistant", content=shown), Message(role="user", content=told)]


def _counted(asked: Asked, output: Output, **outcome: Any) -> Asked:
    cost = asked.cost if output.cost is None else (asked.cost or 0.0) + output.cost
    return replace(
        asked,
        replies=asked.replies if output.finish == "error" else (*asked.replies, output.first),
        calls=asked.calls + 1,
        tokens=asked.tokens + output.prompt_tokens + output.output_tokens,
        seconds=asked.seconds + output.seconds,
        cost=cost,
        **outcome,
    )


def _shares(choices: Sequence[Choice]) -> dict[str, float]:
    """Probabilities of the verdicts among themselves."""
    top = max(choice.logprob for choice in choices)
    raw = {choice.text: math.exp(choice.logprob - top) for choice in choices}
    total = sum(raw.values())
    return {word: value / total for word, value in raw.items()}
