"""From an answer to a judge's questions, and from the replies to one row."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from evalkit.judging.ask import Asked
from evalkit.judging.card import Judge
from evalkit.judging.prompts import Question
from evalkit.judging.records import Judgement, Order, Winner
from evalkit.judging.verdicts import Verdict
from evalkit.records import Prompt

__all__ = ["Case", "judgement_of", "questions_of"]


@dataclass(frozen=True, slots=True)
class Case:
    """One answer to judge.

    Attributes:
        candidate: Whose.
        task: On which task.
        id: The sample's id.
        input: What was asked, as text; of a conversation its messages before the answer.
        output: The answer; None where there is none, with ``error``.
        reference: The target as text.
        fields: Of the sample's row.
        opponent: Pairwise: whom it is compared with.
        opponent_output: The opponent's answer.
        error: Why there is no answer.
        weight: See ``Judgement.weight``.
    """

    candidate: str
    task: str
    id: str
    input: Prompt
    output: str | None
    reference: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    opponent: str | None = None
    opponent_output: str | None = None
    error: str | None = None
    weight: float = 1.0


def questions_of(judge: Judge, case: Case, name: str, *, words: bool = False) -> list[Question]:
    """Return what a judge has to be asked about a case; nothing where there is nothing to ask.

    Args:
        judge: Who.
        case: About what.
        name: Begins the questions' ids.
        words: Ask each question of a checklist on its own (see ``ask_by_words``).
    """
    spec = judge.spec
    if case.output is None or (spec.kind == "pairwise" and case.opponent_output in (None, case.output)):
        return []
    reference = case.reference if spec.reference else None
    first = Question(name, judge, case.input, (case.output,), reference, case.fields)
    asked: list[Question]
    if spec.kind == "pairwise":
        pair = (case.output, str(case.opponent_output))
        asked = [
            replace(first, id=f"{name}|A", outputs=pair),
            replace(first, id=f"{name}|B", outputs=pair[::-1]),
        ]
    elif spec.criteria:
        asked = [replace(first, id=f"{name}|{c.criterion}", criterion=c) for c in spec.criteria]
    elif spec.kind == "checklist" and words:
        asked = [replace(first, id=f"{name}|{i}", item=i) for i in range(len(spec.questions))]
    else:
        asked = [first]
    votes = 1 if words else spec.votes  # probabilities are the same every time
    return [replace(q, id=f"{q.id}|v{vote}", vote=vote) for q in asked for vote in range(votes)]


def judgement_of(
    judge: Judge, case: Case, questions: Sequence[Question], asked: Mapping[str, Asked]
) -> Judgement:
    """Put the outcomes of a case's questions together.

    Args:
        judge: Who was asked.
        case: About what.
        questions: What ``questions_of`` returned.
        asked: Question id → outcome.
    """
    found = [asked[question.id] for question in questions]
    costs = [one.cost for one in found if one.cost is not None]
    row = Judgement(
        candidate=case.candidate,
        task=case.task,
        id=case.id,
        replies=tuple(reply for one in found for reply in one.replies),
        probabilities=tuple(one.probabilities for one in found if one.probabilities is not None),
        opponent=case.opponent,
        weight=case.weight,
        characters=len(case.output or ""),
        opponent_characters=None if case.opponent_output is None else len(case.opponent_output),
        calls=sum(one.calls for one in found),
        tokens=sum(one.tokens for one in found),
        seconds=sum(one.seconds for one in found),
        cost=sum(costs) if costs else None,
    )
    if case.output is None:
        return replace(row, unscored=f"no answer: {case.error or 'unknown error'}")
    kinds = {"pointwise": _pointwise, "pairwise": _pairwise, "checklist": _checklist}
    return kinds[judge.spec.kind](judge, case, row, questions, asked)


def _pointwise(
    judge: Judge, case: Case, row: Judgement, questions: Sequence[Question], asked: Mapping[str, Asked]
) -> Judgement:
    criteria = judge.spec.criteria
    if not criteria:
        score, reason, why = _score(questions, asked)
        return _scored(row, score, reason, why)
    scores: dict[str, float | dict[str, str]] = {}
    reasons: list[str] = []
    for criterion in criteria:
        own = [question for question in questions if question.criterion == criterion]
        score, reason, why = _score(own, asked)
        scores[criterion.criterion] = score if score is not None else {"unscored": why}
        if reason:
            reasons.append(f"{criterion.criterion}: {reason}")
    row = replace(row, criteria=scores)
    numbers = [score for score in scores.values() if isinstance(score, float)]
    if len(numbers) < len(criteria):  # the mean of some criteria is another number than the mean of all
        why = "; ".join(f"{name}: {s['unscored']}" for name, s in scores.items() if isinstance(s, dict))
        return replace(row, unscored=why, reason="\n".join(reasons))
    return _scored(row, statistics.fmean(numbers), "\n".join(reasons), "")


def _scored(row: Judgement, score: float | None, reason: str, why: str) -> Judgement:
    if score is None:
        return replace(row, unscored=why, reason=reason)
    return replace(row, score=score, value=score, reason=reason)


def _score(questions: Iterable[Question], asked: Mapping[str, Asked]) -> tuple[float | None, str, str]:
    """Median over the votes, the reason of a vote nearest to it, and why there is none."""
    verdicts, why = _verdicts(questions, asked)
    if not verdicts:
        return None, "", why
    values = [float(cast(float, verdict.value)) for verdict in verdicts]
    score = statistics.median(values)
    nearest = min(range(len(values)), key=lambda i: abs(values[i] - score))
    return score, verdicts[nearest].reason, ""


def _pairwise(
    judge: Judge, case: Case, row: Judgement, questions: Sequence[Question], asked: Mapping[str, Asked]
) -> Judgement:
    if case.opponent_output is None:
        return replace(row, unscored=f"no answer of {case.opponent} to compare with")
    if case.output == case.opponent_output:
        return replace(row, winner="tie", value=0.5, reason="Both answers are the same text.")
    orders: list[Order] = []
    reasons: list[str] = []
    for first in ("A", "B"):
        shown = case.output if first == "A" else case.opponent_output
        own = [question for question in questions if question.outputs[0] == shown]
        verdicts, why = _verdicts(own, asked)
        if not verdicts:
            return replace(row, unscored=why, orders=tuple(orders))
        place = _majority(verdicts)
        # Shown second, the candidate is the judge's B.
        winner = place if first == "A" or place == "tie" else ("B" if place == "A" else "A")
        orders.append(Order("A" if first == "A" else "B", cast(Winner, winner)))
        reasons.append(next((verdict.reason for verdict in verdicts if verdict.value == place), ""))
    worth = {"A": 1.0, "tie": 0.5, "B": 0.0}
    agreed = orders[0].winner == orders[1].winner
    return replace(
        row,
        winner=orders[0].winner if agreed else "tie",
        value=statistics.fmean(worth[order.winner] for order in orders),
        orders=tuple(orders),
        reason="\n".join(filter(None, dict.fromkeys(reasons))),
    )


def _checklist(
    judge: Judge, case: Case, row: Judgement, questions: Sequence[Question], asked: Mapping[str, Asked]
) -> Judgement:
    checks = judge.spec.questions
    answers: list[bool] = []
    reasons: list[str] = []
    by_item: list[list[Question]] = [list(questions)]
    if any(question.item is not None for question in questions):
        by_item = [[question for question in questions if question.item == i] for i in range(len(checks))]
    for own in by_item:
        verdicts, why = _verdicts(own, asked)
        if not verdicts:
            return replace(row, unscored=why)
        columns = zip(*(cast("tuple[bool, ...]", verdict.value) for verdict in verdicts), strict=True)
        answers += [sum(column) * 2 > len(column) for column in columns]
        reasons += [verdicts[0].reason]
    total = sum(check.weight for check in checks)
    share = sum(check.weight for check, yes in zip(checks, answers, strict=True) if yes) / total
    return replace(row, answers=tuple(answers), value=share, reason="\n".join(filter(None, reasons)))


def _verdicts(questions: Iterable[Question], asked: Mapping[str, Asked]) -> tuple[list[Verdict], str]:
    found = [asked[question.id] for question in questions]
    verdicts = [one.verdict for one in found if one.verdict is not None]
    # Votes are repetitions of one question: those that came through count, and one is enough.
    why = next((one.unscored or "" for one in found if one.verdict is None), "")
    return verdicts, why


def _majority(verdicts: Sequence[Verdict]) -> str:
    """The most frequent winner; a draw between winners is a tie."""
    counts = Counter(str(verdict.value) for verdict in verdicts).most_common()
    return counts[0][0] if len(counts) == 1 or counts[0][1] > counts[1][1] else "tie"
