"""A judge's ``cases.yaml``: clear answers with the verdict they have to get, checked as far as it goes without a model.

cases:
  - name: wrong year
    input: When did the wall fall?
    output: In 1991.
    reference: "1989"                # for a judge that is shown one
    fields: {context: …}             # of the sample's row
    opponent: In 1989.               # pairwise
    expect: {at_most: 2}             # at_least, at_most (score or share of yes), winner, answers
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from evalkit.catalog import Entry
from evalkit.errors import EvalkitError
from evalkit.judging.card import Judge
from evalkit.judging.cases import Case, questions_of
from evalkit.judging.prompts import fence_mark, menu_of, question_messages
from evalkit.judging.verdicts import read_verdict
from evalkit.specs.explain import Mistake, explain
from evalkit.specs.load import load_judge
from evalkit.specs.model import Spec
from evalkit.specs.yaml import read

__all__ = ["Expected", "JudgeCase", "JudgeCases", "check_judge"]

CASES = "cases.yaml"


class Expected(Spec):
    """The verdict that a case has to get."""

    at_least: float | None = None
    at_most: float | None = None
    winner: Literal["A", "B", "tie"] | None = None
    answers: list[bool] | None = None


class JudgeCase(Spec):
    """One answer."""

    name: str = ""
    input: str = ""
    output: str
    reference: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    opponent: str | None = None
    expect: Expected


class JudgeCases(Spec):
    """All cases of a judge."""

    cases: Annotated[list[JudgeCase], Field(min_length=1)]


def check_judge(entry: Entry) -> None:
    """Check a judge's card, its template on every case, and that the expected verdicts are on its menu.

    Raises:
        SpecError: One message a mistake, with file and line.
    """
    judge = Judge(entry, load_judge(entry.card))
    path = entry.path / CASES
    if not path.is_file():
        return
    document = read(path)
    document.refuse(explain(JudgeCases, document.data))
    cases = JudgeCases.model_validate(document.data).cases
    mistakes: list[Mistake] = []
    for i, case in enumerate(cases):
        mistakes += [Mistake(("cases", i, "expect"), wrong) for wrong in _wrong(judge, case)]
        try:
            _rendered(judge, case)
        except EvalkitError as error:
            mistakes.append(Mistake(("cases", i), str(error)))
    document.refuse(mistakes)


def _wrong(judge: Judge, case: JudgeCase) -> Iterator[str]:
    """Expectations that no verdict of this judge can meet."""
    kind, expect = judge.spec.kind, case.expect
    low, high = judge.bounds
    told = [
        name for name in ("at_least", "at_most", "winner", "answers") if getattr(expect, name) is not None
    ]
    allowed = {
        "pointwise": {"at_least", "at_most"},
        "pairwise": {"winner"},
        "checklist": {"at_least", "at_most", "answers"},
    }[kind]
    if not told or not set(told) <= allowed:
        yield f"expected {' or '.join(sorted(allowed))} for kind {kind}, got {', '.join(told) or 'nothing'}"
    for name in ("at_least", "at_most"):
        value = getattr(expect, name)
        if value is not None and not low <= value <= high:
            yield f"{name}: expected a value from {low:g} to {high:g}, got {value:g}"
    if expect.answers is not None and len(expect.answers) != len(judge.spec.questions):
        yield f"answers: expected {len(judge.spec.questions)}, got {len(expect.answers)}"
    if kind == "pairwise" and case.opponent is None:
        yield "a pairwise case needs an 'opponent'"


def _rendered(judge: Judge, case: JudgeCase) -> None:
    """Ask every question as a judge would read it, and read a reply that meets the expectation."""
    whole = Case(
        "candidate",
        "task",
        "1",
        case.input,
        case.output,
        case.reference,
        case.fields,
        "opponent" if case.opponent is not None else None,
        case.opponent,
    )
    for question in questions_of(judge, whole, "case"):
        question_messages(question, fence_mark(question))
        menu = menu_of(judge)
        verdict: Any = menu.low
        if judge.spec.kind == "pairwise":
            verdict = case.expect.winner or "tie"
        elif judge.spec.kind == "checklist":
            verdict = case.expect.answers or [True] * menu.questions
        reply = json.dumps({"reason": "checked", menu.key: verdict})
        read_verdict(reply, menu, question.outputs)
