"""What a run says about its own instruments: judges' leanings, and how well each metric predicts people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evalkit.judging.bias import family_of, measure_bias
from evalkit.judging.records import Judgement, read_judgements
from evalkit.running.answers import final_answer
from evalkit.running.folder import RunFolder, safe_name
from evalkit.stats.validity import pairwise_accuracy, rank_correlation

__all__ = ["apply_instruments", "judge_bias", "judge_kin", "metric_validity"]

Json = dict[str, Any]
FEWEST = 10
"""Answers with people's labels below which nothing is said about a metric."""


def apply_instruments(folder: RunFolder) -> None:
    """Put ``bias`` of every judge and ``validity`` of every metric into ``results.json``."""
    results = folder.results()
    judges = results.get("judges") or []
    validity = metric_validity(folder, results)
    if not judges and not validity and "validity" not in results:
        return
    for entry in judges:
        path = folder.path / "judgements" / f"{safe_name(str(entry['name']))}.jsonl"
        entry["bias"] = judge_bias(folder, results, read_judgements(path), entry) if path.is_file() else {}
    results["validity"] = validity
    folder.write_results(results)


def judge_bias(
    folder: RunFolder, results: Mapping[str, Any], rows: list[Judgement], entry: Mapping[str, Any]
) -> Json:
    """Measure what sways a judge; see ``evalkit.judging.bias``.

    Args:
        folder: The run, for the answers.
        results: Its results.
        rows: The judge's verdicts.
        entry: The judge's object in ``results``.

    Returns:
        ``JudgeBias.to_json`` with the judge's ``family`` and its ``kin`` among the candidates.
    """
    tasks = {row.task for row in rows}
    names = [candidate["name"] for candidate in results["candidates"]]
    texts = {}
    for name in names:
        for task in tasks:
            for sample in folder.samples(name, task):
                texts[name, task, str(sample["id"])] = final_answer(sample)
    seed = int((folder.run().get("seeds") or {}).get("study", 0))
    found = measure_bias(rows, texts=texts, seed=seed).to_json()
    own, kin = judge_kin(results, entry)
    return {**found, "family": own, "kin": kin}


def judge_kin(results: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Return a judge's family, as the study says it or its name tells, and the candidates of that family."""
    models = entry.get("models") or []
    given = [family for family in entry.get("families") or [] if family]
    own = given[0] if given else family_of(models[0]) if len(models) == 1 else None
    kin = [
        row["name"] for row in results["candidates"] if own is not None and family_of(row.get("model")) == own
    ]
    return own, kin


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
