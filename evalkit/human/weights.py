"""What each label stands for, and what is known without asking, over all exports of a run.

An export draws its samples with known chances, and may come back in part. Where several exports asked one question,
each is a survey of its own, and the estimate is their mean, weighted by the samples that came back (a multiple-frame
estimator: Hartley 1962; Lohr 2011); where none of them preferred any sample, all samples stand for the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.human.key import Export
from evalkit.human.questions import Question
from evalkit.human.records import Label

__all__ = ["Tie", "weigh"]


@dataclass(frozen=True, slots=True)
class Tie:
    """Two candidates that gave the same answer: a tie that nobody was asked about.

    Attributes:
        question: The pairwise question.
        task: The task.
        id: The sample's id.
        first: A candidate.
        second: The other.
        weight: How many samples it stands for; less than the sample's own where only a part of the sheets came
            back, so that ties do not outweigh the pairs that people were asked about.
    """

    question: str
    task: str
    id: str
    first: str
    second: str
    weight: float


@dataclass(slots=True)
class _Survey:
    """One export's samples of one question and task: id → how many samples it stands for."""

    asked: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    same: dict[str, float] = field(default_factory=dict)
    """Samples without a line: all that are shown of them is the same."""
    pairs: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def back(self) -> float:
        """Share of what was asked that has a label."""
        return sum(self.seen.values()) / sum(self.asked.values()) if self.asked else 1.0

    def stands_for(self) -> dict[str, float]:
        """Of every sample with a label or without a line."""
        return self.seen | {id_: weight * self.back for id_, weight in self.same.items()}


def weigh(
    labels: Sequence[Label], exports: Mapping[str, Export], same_answers: Iterable[Mapping[str, Any]] = ()
) -> tuple[list[Label], list[Tie]]:
    """Give labels the weights they have over all exports of their question, and add the ties that nobody was asked.

    Args:
        labels: Of one run.
        exports: By id.
        same_answers: Of ``Export.identical`` those whose answers are still the same.

    Returns:
        The labels in their order, and ties of the pairwise questions that have labels.
    """
    kept = {(pair["task"], pair["id"], *pair["candidates"]) for pair in same_answers}
    surveys: dict[tuple[str, str], dict[str, _Survey]] = defaultdict(dict)
    for name in sorted({label.item[:8] for label in labels if label.item[:8] in exports}):
        export = exports[name]
        said = {label.question for label in labels if label.item[:8] == name}
        for question in export.asked.questions:
            if question.name in said:
                for task, survey in _surveys(export, question, kept).items():
                    surveys[question.name, task][name] = survey
    for label in labels:
        export_of = surveys.get((label.question, label.task), {}).get(label.item[:8])
        if export_of is not None:
            export_of.seen[label.id] = label.weight
    weights: dict[tuple[str, str], dict[str, float]] = {}
    ties = []
    for (name, task), of_task in surveys.items():
        mine = [survey for survey in of_task.values() if survey.seen or not survey.asked]
        weights[name, task] = found = _combined(mine)
        pairs = {(id_, *pair) for survey in mine for id_, same in survey.pairs.items() for pair in same}
        ties += [
            Tie(name, task, id_, first, second, found[id_])
            for id_, first, second in sorted(pairs)
            if id_ in found
        ]
    changed = [
        replace(label, weight=weights.get((label.question, label.task), {}).get(label.id, label.weight))
        for label in labels
    ]
    return changed, ties


def _surveys(
    export: Export, question: Question, kept: set[tuple[str, str, str, str]]
) -> Mapping[str, _Survey]:
    """By task. No label has been seen yet."""
    found: dict[str, _Survey] = defaultdict(_Survey)
    for row in export.rows.values():
        if row.check is None:
            found[row.task].asked[row.id] = row.weight
    if question.kind != "pairwise":
        return found
    for pair in export.identical:
        survey = found[pair["task"]]
        if (pair["task"], pair["id"], *pair["candidates"]) not in kept:
            continue
        survey.pairs[pair["id"]].append(tuple(pair["candidates"]))
        if pair["id"] not in survey.asked:
            survey.same[pair["id"]] = pair["weight"]
    return found


def _combined(surveys: Sequence[_Survey]) -> dict[str, float]:
    """Sample → what it stands for over several surveys."""
    if len(surveys) == 1:
        return surveys[0].stands_for()
    if all(len({*survey.asked.values(), *survey.same.values()}) == 1 for survey in surveys):
        asked = {id_ for survey in surveys for id_ in survey.asked}
        seen = {id_ for survey in surveys for id_ in survey.seen}
        same = {id_ for survey in surveys for id_ in survey.same} - asked
        share = len(seen) / len(asked) if asked else 1.0
        return dict.fromkeys(seen, 1.0) | dict.fromkeys(same, share)
    parts = [survey.stands_for() for survey in surveys]
    counts = [len(part) for part in parts]
    totals = [sum(part.values()) for part in parts]
    found: dict[str, float] = defaultdict(float)
    for part, count, total in zip(parts, counts, totals, strict=True):
        for id_, weight in part.items():
            # the surveys' shares times the samples they stand for, so that weights stay numbers of samples
            found[id_] += count / sum(counts) * weight / total * max(totals)
    return dict(found)
