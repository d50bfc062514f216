"""What labels say about themselves: how far raters agree, how each rater does, which items to look at again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

import numpy as np

from evalkit.human.questions import Question
from evalkit.human.records import Label, LabelValue
from evalkit.human.understand import Check
from evalkit.human.weights import Tie
from evalkit.stats.agreement import Level, cohen_kappa, fleiss_kappa, krippendorff_alpha
from evalkit.stats.bootstrap import Interval
from evalkit.stats.mixed import Rated, fit_scores
from evalkit.stats.ranking import Game, rank_candidates

__all__ = ["adjudication", "mixed_rows", "question_rows", "ranking_rows", "rater_rows"]

Json = dict[str, Any]
Subject = tuple[str, str, str, str]
"""Task, sample, candidate, other."""


def question_rows(labels: Sequence[Label], questions: Iterable[Question], *, seed: int = 0) -> list[Json]:
    """How often each question was answered, with which answers, and how far raters agree.

    Agreement is over what two or more raters answered: Krippendorff's alpha, nominal, and ordinal for ratings;
    Fleiss' kappa; and with two raters in all Cohen's kappa. An answer that several candidates gave counts once.
    Intervals resample samples with all their answers: on a hard one raters differ about each of them.
    """
    rows = []
    for question in questions:
        said = _by_subject(label for label in labels if label.question == question.name)
        if not said:
            continue
        counts = Counter(_answer(label) for raters in said.values() for label in raters.values())
        row: Json = {"name": question.name, "kind": question.kind, "ask": question.ask, "items": len(said)}
        row |= {"labels": sum(counts.values()), "alpha": None, "fleiss": None, "cohen": None}
        row |= {"agreed": None, "shared": 0}
        if question.kind != "text":
            row["answers"] = {name: counts[name] for name in _order(question, counts)}
            shared = {subject: raters for subject, raters in said.items() if len(raters) > 1}
            row["shared"] = len(shared)
            if shared:
                row |= _agreement(shared, question, seed) | {"agreed": _agreed(shared.values())}
        rows.append(row)
    return rows


def rater_rows(labels: Sequence[Label], questions: Iterable[Question], checks: Sequence[Check]) -> list[Json]:
    """How each rater did.

    ``bias`` is by how much the rater's scores lie above those of the other raters of the same items, as a share of
    the scale, averaged over ratings and yes/no; None without items in common. ``repeated`` is the share of
    answers given again when an item came a second time.
    """
    by_name = {question.name: question for question in questions}
    gaps, first, again = defaultdict(list), {}, defaultdict(list)
    for name, question in by_name.items():
        if question.kind in ("pairwise", "text") or question.bounds is None:
            continue
        low, high = question.bounds
        said = _by_subject(label for label in labels if label.question == name)
        for raters in said.values():
            scores = {rater: question.score(label) or 0.0 for rater, label in raters.items()}
            for rater, score in scores.items():
                others = [value for other, value in scores.items() if other != rater]
                if others:
                    gaps[rater].append((score - fmean(others)) / (high - low))
    for label in labels:
        key = (label.rater, label.question, label.task, label.id, label.candidate, label.other)
        if not label.repeat:
            first[key] = label.label
    for label in labels:
        key = (label.rater, label.question, label.task, label.id, label.candidate, label.other)
        if label.repeat and key in first and by_name[label.question].kind != "text":
            again[label.rater].append(first[key] == label.label)
    rows = []
    for rater in sorted({label.rater for label in labels} | {check.rater for check in checks}):
        mine = [label for label in labels if label.rater == rater]
        tested = [check.passed for check in checks if check.rater == rater]
        seconds = list({label.item: label.seconds for label in mine if label.seconds is not None}.values())
        rows.append(
            {
                "name": rater,
                "items": len({label.item for label in mine}),
                "labels": len({label.key for label in mine}),
                "seconds": median(seconds) if seconds else None,
                "bias": fmean(gaps[rater]) if gaps[rater] else None,
                "repeats": len(again[rater]),
                "repeated": fmean(again[rater]) if again[rater] else None,
                "checks": len(tested),
                "passed": sum(tested),
            }
        )
    return rows


def adjudication(labels: Iterable[Label], questions: Iterable[Question]) -> list[Json]:
    """The items that raters do not agree on, the widest apart first: two steps or more of a rating, else any."""
    found = []
    for question in questions:
        if question.kind == "text":
            continue
        said = _by_subject(label for label in labels if label.question == question.name)
        for (task, id_, candidate, other), raters in said.items():
            scores = [score for label in raters.values() if (score := question.score(label)) is not None]
            spread = max(scores) - min(scores) if scores else float(len(set(raters.values())) > 1)
            apart = spread >= 2 if question.kind == "rating" else len(set(raters.values())) > 1
            if apart:
                low, high = question.bounds or (0.0, 1.0)
                row: Json = {"task": task, "id": id_, "candidate": candidate, "question": question.name}
                row |= {"other": other or None, "spread": spread / (high - low), "labels": dict(raters)}
                found.append(row)
    return sorted(found, key=lambda row: -row["spread"])


def ranking_rows(
    labels: Iterable[Label], question: Question, ties: Iterable[Tie] = (), *, seed: int = 0
) -> Json | None:
    """Candidates by Bradley, Terry and Davidson's model over one pairwise question, the best first.

    Args:
        labels: Of one run.
        question: The question.
        ties: Pairs that nobody had to be asked about.
        seed: Of the bootstrap.

    Returns:
        ``candidates``, whose strengths compare within a ``group`` only, and ``notes`` on what does not compare;
        None without a game.
    """
    games = [
        Game(f"{label.task}\0{label.id}", label.candidate, label.other, score, label.weight)
        for label in labels
        if label.question == question.name and label.other is not None and not label.repeat
        for score in [question.score(label.label)]
        if score is not None
    ]
    if not games:
        return None
    games += [
        Game(f"{tie.task}\0{tie.id}", tie.first, tie.second, 0.5, tie.weight)
        for tie in ties
        if tie.question == question.name
    ]
    ranking = rank_candidates(games, seed=seed)
    return {"candidates": [asdict(rating) for rating in ranking.ratings], "notes": list(ranking.notes)}


def mixed_rows(labels: Iterable[Label], question: Question, control: str | None = None) -> list[Json]:
    """Candidates' means and differences with raters, items and answers as random parts, and raters' biases, by task.

    Of ratings and yes/no that two raters or more gave to two candidates or more; weights are not used. The time
    grows with the labels; thousands take about a second.
    """
    by_task = defaultdict(list)
    for label in labels:
        if label.question != question.name or label.repeat or question.kind not in ("rating", "yes_no"):
            continue
        score = question.score(label.label)
        if score is not None:
            by_task[label.task].append(Rated(label.candidate, label.id, label.rater, score))
    found = []
    for task, rows in by_task.items():
        if len({row.rater for row in rows}) < 2 or len({row.candidate for row in rows}) < 2:
            continue
        fitted = fit_scores(rows, control=control if any(row.candidate == control for row in rows) else None)
        row: Json = {"task": task, "question": question.name, "deviations": fitted.deviations}
        row["candidates"] = [asdict(one) for one in fitted.candidates]
        row["raters"] = [asdict(one) for one in fitted.raters]
        found.append({**row, "differences": [asdict(one) for one in fitted.differences], "n": fitted.n})
    return found


def _by_subject(labels: Iterable[Label]) -> dict[Subject, dict[str, Any]]:
    """What each rater said of each thing that was shown; repeats left out, an answer of several candidates once."""
    found: dict[Subject, dict[str, Any]] = {}
    seen: dict[tuple[str, str, str], str] = {}  # one line, one rater: the first candidate it is about
    for label in labels:
        if label.repeat:
            continue
        about = f"{label.candidate}\0{label.other or ''}"
        if seen.setdefault(label.key, about) != about:
            continue
        subject = (label.task, label.id, label.candidate, label.other or "")
        found.setdefault(subject, {})[label.rater] = label.label
    return found


def _agreement(shared: Mapping[Subject, Mapping[str, Any]], question: Question, seed: int) -> Json:
    values = sorted(
        {label for said in shared.values() for label in said.values()}, key=lambda one: (str(type(one)), one)
    )
    raters = sorted({rater for said in shared.values() for rater in said})
    codes = np.full((len(shared), len(raters)), -1, dtype=np.int64)
    for row, said in enumerate(shared.values()):
        for rater, label in said.items():
            codes[row, raters.index(rater)] = values.index(label)
    samples = [f"{task}\0{id_}" for task, id_, _, _ in shared]
    level: Level = "ordinal" if question.kind == "rating" else "nominal"
    alpha = krippendorff_alpha(codes, level=level, clusters=samples, seed=seed)
    fleiss, items = fleiss_kappa(codes, clusters=samples, seed=seed)
    both = len(raters) == 2
    cohen = cohen_kappa(codes[:, 0], codes[:, 1], clusters=samples, seed=seed) if both else None
    return {
        "alpha": {**_ends(alpha), "level": level},
        "fleiss": {**_ends(fleiss), "items": items},
        "cohen": None if cohen is None else _ends(cohen),
    }


def _ends(interval: Interval) -> Json:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _agreed(shared: Iterable[Mapping[str, Any]]) -> float:
    """Share of pairs of raters that said the same, averaged over items."""
    shares = []
    for said in shared:
        counts, n = Counter(said.values()), len(said)
        shares.append(sum(count * (count - 1) for count in counts.values()) / (n * (n - 1)))
    return fmean(shares)


def _order(question: Question, counts: Mapping[str, int]) -> list[str]:
    order = ["preference", "tie", "both bad", *(value for value, _ in question.options)]
    return [name for name in order if name in counts] + sorted(name for name in counts if name not in order)


def _answer(label: LabelValue) -> str:
    """A label as readers want it counted: which side of a pair won says nothing before its candidates are named."""
    if isinstance(label, bool):
        return "yes" if label else "no"
    return {"win": "preference", "loss": "preference", "both_bad": "both bad"}.get(str(label), str(label))
