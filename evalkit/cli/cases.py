"""A task's ``cases.yaml``: outputs with the scores they have to get, run through the task's own metrics.

cases:
  - row: {question: "2 + 2?", answer: "4"}     # a row as in the task's data
    output: "It is 4."
    expect: {math_answer: 1.0}                 # a number, or {unscored: true}
  - row: {…}
    choices: [{text: "Paris", logprob: -1.2, tokens: 2}, …]      # kind: choice
    expect: {choice_accuracy: 1.0}
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from evalkit.data.cards import TaskCard
from evalkit.data.extract import extract
from evalkit.errors import SpecError, UserError, nearest
from evalkit.metrics import Metric, get_metric
from evalkit.records import Choice, Output, Sample, Unscored
from evalkit.running.plan import metric_settings
from evalkit.specs.explain import Mistake, explain
from evalkit.specs.model import Spec
from evalkit.specs.yaml import read

__all__ = ["CASES", "Case", "Cases", "RatedChoice", "run_cases"]

CASES = "cases.yaml"
TOLERANCE = 1e-3
"""Expected scores are written by hand: 0.667 is meant as two thirds."""


class RatedChoice(Spec):
    """One option as a model might rate it."""

    text: str
    logprob: float
    tokens: Annotated[int, Field(ge=1)] = 1


class Case(Spec):
    """One output and what it has to score."""

    name: str = ""
    row: dict[str, Any]
    output: str | list[str] = ""
    choices: list[RatedChoice] | None = None
    expect: Annotated[dict[str, float | dict[str, bool]], Field(min_length=1)]


class Cases(Spec):
    """All cases of a task."""

    cases: Annotated[list[Case], Field(min_length=1)]


def run_cases(card: TaskCard) -> int:
    """Score a task's cases and return how many there are.

    Raises:
        SpecError: A case is malformed or does not get the score it should; each with file and line.
    """
    document = read(card.entry.path / CASES)
    document.refuse(explain(Cases, document.data))
    cases = Cases.model_validate(document.data).cases
    samples = _samples(card, cases)
    metrics = {
        metric.name: metric
        for metric in (
            get_metric(use.metric, **metric_settings(use, card.entry.path)) for use in card.metrics
        )
    }
    mistakes: list[Mistake] = []
    for i, (case, sample) in enumerate(zip(cases, samples, strict=True)):
        output = extract(card, _output(sample, case))
        for name, expected in case.expect.items():
            message = _wrong(metrics, name, expected, sample, output)
            if message:
                mistakes.append(Mistake(("cases", i, "expect", name), message))
    document.refuse(mistakes)
    return len(cases)


def _samples(card: TaskCard, cases: list[Case]) -> list[Sample]:
    """Read the cases' rows as the task reads its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / CASES.replace(".yaml", ".jsonl")
        id_field = card.spec.id
        rows = [{**({id_field: str(i)} if id_field else {}), **case.row} for i, case in enumerate(cases)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        data = card.spec.data.model_copy(update={"test": str(file)})
        spec = card.spec.model_copy(update={"data": data, "attacks": [], "slices": []})
        try:
            return TaskCard(card.entry, spec, card.seed).read("test")
        except UserError as error:
            place = str(card.entry.path / CASES)
            raise SpecError(
                *(f"{place}: {message.replace(f'{file}:', 'case ')}" for message in error.messages)
            ) from error


def _output(sample: Sample, case: Case) -> Output:
    rated = None
    if case.choices is not None:
        rated = tuple(Choice(choice.text, choice.logprob, choice.tokens) for choice in case.choices)
    return Output(sample.id, case.output, choices=rated)


def _wrong(
    metrics: dict[str, Metric], name: str, expected: float | dict[str, bool], sample: Sample, output: Output
) -> str:
    if name not in metrics:
        return f"the task has no metric {name!r}.{nearest(name, metrics) or ' It has: ' + ', '.join(metrics) + '.'}"
    (score,) = metrics[name].measure([sample], [output]).scores
    if isinstance(score, Unscored):
        return "" if isinstance(expected, dict) else f"expected {expected:g}, got unscored: {score.reason}"
    if isinstance(expected, dict):
        return f"expected it unscored, got {score:g}"
    return "" if abs(score - expected) <= TOLERANCE else f"expected {expected:g}, got {score:g}"
