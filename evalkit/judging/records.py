"""What a judge said, as rows: one a sample and candidate in ``judgements/JUDGE.jsonl``, and their reader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evalkit.errors import DataError

__all__ = ["Judgement", "Order", "Winner", "read_judgements", "write_judgements"]

Winner: TypeAlias = Literal["A", "B", "tie"]
"""In a row, A is the row's candidate and B its opponent, whichever was shown first."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a pairwise judge said in one order.

    Attributes:
        first: Who was shown first: ``A`` the candidate, ``B`` its opponent.
        winner: Who won, told as candidate (A) and opponent (B), not as places.
    """

    first: Literal["A", "B"]
    winner: Winner


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sample of one candidate as a judge rates it: a row of ``judgements/JUDGE.jsonl``.

    Exactly one of ``score``, ``winner``, ``answers`` and ``unscored`` is set.

    Attributes:
        candidate: Who is rated.
        task: On which task.
        id: The sample's id.
        score: Pointwise: on the rubric's scale; with several criteria their mean. A local judge gives the expected
            score, which need not be whole.
        winner: Pairwise: who won in both orders; ``tie`` where the orders disagree (Zheng et al. 2023).
        answers: Checklist: one answer a question.
        unscored: Why there is no verdict.
        value: The number that enters the statistics: the score; 1 a win, 0.5 a tie, 0 a loss, averaged over the
            orders; the weighted share of yes. None where unscored.
        criteria: Criterion → score, or ``{"unscored": why}``; empty for a judge without criteria.
        reason: The judge's own words.
        replies: Raw replies, those that could not be read included, in the order of the calls.
        orders: Pairwise: the verdict in each order.
        opponent: Pairwise: who the candidate was compared with.
        probabilities: Where the judge's log-probabilities were read: verdict → probability, a call.
        repeats: Of questions that were asked more than once: the verdicts of each, None for one that gave none.
        votes: A jury's members: name → value, or None where unscored.
        disagreement: A jury's spread on this sample, in 0–1; None for a single judge.
        weight: 1 / the probability of being judged, where a layer judges a sample of the rows.
        characters: Length of the rated answer.
        opponent_characters: Length of the opponent's answer.
        output_sha256: Of the rated answer: a recorded verdict holds for it alone.
        opponent_output_sha256: Of the opponent's.
        calls: Calls to the judge, repairs included.
        tokens: Tokens of prompts and replies over all calls, 0 where unknown.
        seconds: Time over all calls.
        cost: Money over all calls; None where no price is known.
        judge: Whose verdict: the judge's name, version and the hash of its files; empty where nobody wrote it down.
        model: Which model gave it.
    """

    candidate: str
    task: str
    id: str
    score: float | None = None
    winner: Winner | None = None
    answers: tuple[bool, ...] | None = None
    unscored: str | None = None
    value: float | None = None
    criteria: Mapping[str, float | dict[str, str]] | None = None
    reason: str = ""
    replies: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    opponent: str | None = None
    probabilities: tuple[Mapping[str, float], ...] = ()
    repeats: tuple[tuple[Any, ...], ...] = ()
    votes: Mapping[str, float | None] | None = None
    disagreement: float | None = None
    weight: float = 1.0
    characters: int = 0
    opponent_characters: int | None = None
    output_sha256: str = ""
    opponent_output_sha256: str | None = None
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None
    judge: str = ""
    model: str = ""

    @property
    def kind(self) -> str | None:
        """``pointwise``, ``pairwise`` or ``checklist``, as the verdict tells; None where unscored."""
        kinds = {"score": "pointwise", "winner": "pairwise", "answers": "checklist"}
        return next((kind for name, kind in kinds.items() if getattr(self, name) is not None), None)

    def to_json(self) -> dict[str, Any]:
        """The row of docs/reference §5; what a kind of judge has no use for is left out.

        >>> Judgement("r16", "tickets", "7", score=4.0, value=4.0, calls=1).to_json()["score"]
        4.0
        """
        row: dict[str, Any] = {"candidate": self.candidate, "task": self.task, "id": self.id}
        for name in ("score", "winner", "answers", "unscored", "value", "criteria"):
            if getattr(self, name) is not None:
                row[name] = getattr(self, name)
        row |= {"reason": self.reason, "replies": list(self.replies)}
        if self.answers is not None:
            row["answers"] = list(self.answers)
        if self.orders:
            row["orders"] = [{"first": order.first, "winner": order.winner} for order in self.orders]
        for name in (
            "opponent",
            "votes",
            "disagreement",
            "opponent_characters",
            "opponent_output_sha256",
            "cost",
        ):
            if getattr(self, name) is not None:
                row[name] = getattr(self, name)
        if self.probabilities:
            row["probabilities"] = [dict(one) for one in self.probabilities]
        if self.repeats:
            row["repeats"] = [list(one) for one in self.repeats]
        if self.weight != 1:
            row["weight"] = self.weight
        row |= {name: getattr(self, name) for name in ("judge", "model") if getattr(self, name)}
        return {
            **row,
            "characters": self.characters,
            "output_sha256": self.output_sha256,
            "calls": self.calls,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 6),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Judgement:
        """Read a row back; keys that are not known here are left out.

        Raises:
            DataError: ``candidate``, ``task`` or ``id`` is missing, or not exactly one verdict is there.
        """
        names = ("candidate", "task", "id")
        missing = [name for name in names if not isinstance(row.get(name), str)]
        if missing:
            raise DataError(f"expected the texts 'candidate', 'task' and 'id', no {', '.join(missing)}.")
        kinds = [name for name in ("score", "winner", "answers", "unscored") if row.get(name) is not None]
        if len(kinds) != 1:
            raise DataError(
                "expected one of 'score', 'winner', 'answers' and 'unscored', "
                f"got {' and '.join(kinds) or 'none'}."
            )
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in row.items() if key in known and value is not None}
        if row.get("winner", "tie") not in ("A", "B", "tie"):
            raise DataError(f"'winner' must be A, B or tie; got {row['winner']!r}.")
        if row.get("score") is not None:
            values.setdefault("value", row["score"])
        for name in ("answers", "replies", "probabilities"):
            if name in values:
                values[name] = tuple(values[name])
        if "repeats" in values:
            values["repeats"] = tuple(tuple(one) for one in values["repeats"])
        if "orders" in values:
            values["orders"] = tuple(Order(order["first"], order["winner"]) for order in values["orders"])
        return cls(**values)


def read_judgements(path: Path) -> list[Judgement]:
    """Return the rows of ``judgements/JUDGE.jsonl``.

    Raises:
        DataError: The file is missing or cannot be read, or a line is no such row; each with its number.
    """
    try:
        lines = path.read_text("utf-8", "surrogatepass").split("\n")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): judge the run first, with "
            "evalkit judge RUN --judge NAME."
        ) from error
    rows: list[Judgement] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise DataError(f"expected an object, got {type(row).__name__}.")
            rows.append(Judgement.from_json(row))
        except DataError as error:
            problems += [f"{path}:{number}: {message}" for message in error.messages]
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path}:{number}: no row of judgements: {error}.")
    if problems:
        raise DataError(*problems[:20])
    return rows


def write_judgements(rows: Iterable[Judgement]) -> str:
    """Return the text of ``judgements/JUDGE.jsonl``."""
    return "".join(json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
