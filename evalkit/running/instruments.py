"""What a run says about its own instruments: judges' leanings, and how well each metric predicts people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from evalkit.judging.bias import measure_bias
from evalkit.judging.kinship import family_of
from evalkit.judging.records import Judgement, read_judgements
from evalkit.running.answers import final_answer, whole_answer
from evalkit.running.folder import RunFolder, safe_name
from evalkit.stats.ranking import Game, rank_candidates
from evalkit.stats.validity import pairwise_accuracy, rank_correlation

__all__ = ["apply_instruments", "judge_kin", "metric_validity"]

Json = dict[str, Any]
FEWEST = 10
"""Answers with people's labels below which nothing is said about a metric."""


@dataclass(frozen=True, slots=True)
class _Rater:
    """One model that judged: a judge with one model, or a member of a jury."""

    name: str
    card: str
    family: str | None
    rows: list[Judgement]


def apply_instruments(folder: RunFolder) -> None:
    """Put ``bias`` of every judge and ``validity`` of every metric into ``results.json``."""
    results = folder.results()
    judges = results.get("judges") or []
    validity = metric_validity(folder, results)
    if not judges and not validity and "validity" not in results:
        return
    raters = {entry["name"]: list(_raters(folder, entry)) for entry in judges}
    everyone = [rater for own in raters.values() for rater in own]
    for entry in judges:
        own = raters[entry["name"]]
        if entry.get("members"):
            whole = _Rater(str(entry["name"]), str(entry["judge"]), None, _rows(folder, entry["name"]))
            members = {rater.name: _judge_bias(folder, results, rater, everyone) for rater in own}
            entry["bias"] = {**_judge_bias(folder, results, whole, []), "members": members}
        else:
            entry["bias"] = _judge_bias(folder, results, own[0], everyone) if own[0].rows else {}
        ranking = _ranking(
            _rows(folder, entry["name"]), int((folder.run().get("seeds") or {}).get("study", 0))
        )
        if ranking is not None:
            entry["ranking"] = ranking
    results["validity"] = validity
    folder.write_results(results)


def _judge_bias(
    folder: RunFolder, results: Mapping[str, Any], rater: _Rater, others: Iterable[_Rater]
) -> Json:
    """Measure what sways a judge; see ``evalkit.judging.bias``.

    Args:
        folder: The run, for the answers.
        results: Its results.
        rater: The judge, or a member of a jury.
        others: All that judged in this run: what those of other families gave the same answers by the same rubric
            is what a judge is compared with for favouring its own, unless people labelled them.

    Returns:
        ``JudgeBias.to_json`` with the judge's ``family``, its ``kin`` among the candidates, and under ``kinship``
        who it was compared with, or why it could not be.
    """
    rows = rater.rows
    answer = whole_answer if any(row.opponent is not None for row in rows) else final_answer
    names = [candidate["name"] for candidate in results["candidates"]]
    texts = {
        (name, task, str(sample["id"])): answer(sample)
        for task in {row.task for row in rows}
        for name in names
        for sample in folder.samples(name, task)
    }
    seed = int((folder.run().get("seeds") or {}).get("study", 0))
    families = {row["name"]: family_of(row.get("model")) for row in results["candidates"]}
    kin = [name for name, family in families.items() if rater.family is not None and family == rater.family]
    strangers = [
        one
        for one in others
        if one.card == rater.card and one.family not in (None, rater.family) and one.rows
    ]
    reference = _means(row for one in strangers for row in one.rows)
    found = measure_bias(
        rows, texts=texts, families=families, own=rater.family, reference=reference, seed=seed
    ).to_json()
    by_people = _by_people(results, rater.name)
    if by_people is not None:
        found["own_family"] = by_people
    told = "people" if by_people is not None else ", ".join(one.name for one in strangers)
    apart = _apart(rater.family, kin, names) if "own_family" not in found else ""
    return {**found, "family": rater.family, "kin": kin, "kinship": apart or f"measured against {told}"}


def _raters(folder: RunFolder, entry: Mapping[str, Any]) -> Iterator[_Rater]:
    members = entry.get("members") or [entry["name"]]
    models = entry.get("models") or []
    given = entry.get("families") or []
    for place, name in enumerate(members):
        told = given[place] if place < len(given) else None
        single = models[place] if place < len(models) and (len(members) > 1 or len(models) == 1) else None
        yield _Rater(name, str(entry["judge"]), told or family_of(single), _rows(folder, name))


def _rows(folder: RunFolder, name: str) -> list[Judgement]:
    path = folder.path / "judgements" / f"{safe_name(name)}.jsonl"
    return read_judgements(path) if path.is_file() else []


def _means(rows: Iterable[Judgement]) -> dict[tuple[str, str, str], float]:
    said: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row.value is not None:
            said.setdefault((row.candidate, row.task, row.id), []).append(row.value)
    return {answer: fmean(values) for answer, values in said.items()}


def _ranking(rows: Iterable[Judgement], seed: int) -> Json | None:
    """Three candidates or more by a pairwise judge's verdicts, each order a game; None where there are fewer."""
    worth = {"A": 1.0, "tie": 0.5, "B": 0.0}
    games = []
    for row in rows:
        if row.opponent is not None and row.value is not None:
            points = [worth[order.winner] for order in row.orders] or [row.value]
            prompt = f"{row.task}\0{row.id}"
            games += [Game(prompt, row.candidate, row.opponent, one, row.weight) for one in points]
    if len({name for game in games for name in (game.first, game.second)}) < 3:
        return None
    found = rank_candidates(games, seed=seed)
    return {"candidates": [asdict(rating) for rating in found.ratings], "notes": list(found.notes)}


def _by_people(results: Mapping[str, Any], judge: str) -> Json | None:
    found = [row.get("own_family") for row in results.get("calibrations") or [] if row["judge"] == judge]
    return next((row for row in found if row), None)


def _apart(family: str | None, kin: list[str], names: list[str]) -> str:
    """Why nobody can say whether a judge favours its own."""
    if family is None:
        return "not measured: its family is not known (family: NAME beside its model says it)"
    if not kin:
        return f"no candidate is known to be of its family, {family}"
    if len(kin) == len(names):
        return f"every candidate is of its family, {family}: it cannot favour one of them for that"
    return (
        f"not measured: it is of the family {family}, as {', '.join(kin)}, and neither people nor a judge of another "
        "family rated the same answers"
    )


def judge_kin(results: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """Return the candidates of a judge's family, as the study says it or its name tells."""
    models = entry.get("models") or []
    given = [family for family in entry.get("families") or [] if family]
    own = given[0] if given else family_of(models[0]) if len(models) == 1 else None
    names = [row["name"] for row in results["candidates"] if family_of(row.get("model")) == own]
    return names if own is not None else []


def metric_validity(folder: RunFolder, results: Mapping[str, Any]) -> list[Json]:
    """How well each metric and judge predicts what people said of the same answers.

    Returns:
        One object a task, human question and metric: ``{"task", "question", "metric", "n", "spearman", "accuracy",
        "pairs"}``; empty where people labelled fewer than 10 answers.
    """
    higher = {
        (row["task"], row["metric"]): bool(row["higher_is_better"]) for row in results.get("scores") or []
    }
    names = [candidate["name"] for candidate in results["candidates"]]
    seed = int((folder.run().get("seeds") or {}).get("study", 0))
    found: list[Json] = []
    for task in dict.fromkeys(task for task, _ in higher):
        metrics = [metric for other, metric in higher if other == task]
        questions = [metric for metric in metrics if metric.startswith("human:")]
        if not questions:
            continue
        rows = [row for name in names for row in folder.samples(name, task)]
        for question in questions:
            for metric in metrics:
                if not metric.startswith("human:"):
                    row = _validity(
                        rows, metric, question, higher[task, metric] == higher[task, question], seed
                    )
                    found += [] if row is None else [{"task": task, **row}]
    return found


def _validity(
    rows: Sequence[Mapping[str, Any]], metric: str, question: str, same: bool, seed: int
) -> Json | None:
    both = [
        row
        for row in rows
        if all(_is_number((row.get("scores") or {}).get(name)) for name in (metric, question))
    ]
    if len(both) < FEWEST:
        return None
    samples = [str(row["id"]) for row in both]
    scores = np.array([float(row["scores"][metric]) for row in both]) * (1 if same else -1)
    people = np.array([float(row["scores"][question]) for row in both])
    weights = np.array([(row.get("weights") or {}).get(question, 1.0) for row in both])
    correlation = rank_correlation(scores, people, samples, weights=weights, seed=seed)
    accuracy, pairs = pairwise_accuracy(scores, people, samples, weights=weights, seed=seed)
    return {
        "question": question,
        "metric": metric,
        "n": len(both),
        "spearman": {"value": correlation.value, "low": correlation.low, "high": correlation.high},
        "accuracy": {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high},
        "pairs": pairs,
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
