"""A judge measured against people, and what its numbers become once its errors are known.

Labels and verdicts meet by (candidate, task, id). A judge agrees with people well enough when it agrees with a
person as well as two people do with each other; that comparison, not a threshold, stands in the result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from evalkit.errors import DataError
from evalkit.judging.people import HumanLabel
from evalkit.judging.records import Judgement
from evalkit.stats.agreement import Level, cohen_kappa, krippendorff_alpha
from evalkit.stats.bootstrap import Interval
from evalkit.stats.calibration import (
    Corrected,
    Estimate,
    Operating,
    mean_estimate,
    operating_point,
    prediction_powered,
    rogan_gladen,
)
from evalkit.stats.resampling import Array

__all__ = ["calibrate_judge", "verdict_values"]

Json = dict[str, Any]
Answer = tuple[str, str, str]
"""Candidate, task, sample id."""

ENOUGH = 10
"""Right and wrong labels from which on a candidate's own error rates are used; below, those of all candidates."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer: what people say on average, and how many samples it stands for."""

    people: float
    weight: float


def verdict_values(
    rows: Iterable[Judgement], criterion: str | None = None
) -> dict[Answer, tuple[float, float]]:
    """Return (value, weight) of every answer that a judge scored.

    Args:
        rows: Its verdicts.
        criterion: One of its criteria; None for its own value.
    """
    found = {}
    for row in rows:
        value: Any = row.value if criterion is None else (row.criteria or {}).get(criterion)
        if isinstance(value, int | float):
            found[row.candidate, row.task, row.id] = (float(value), row.weight)
    return found


def calibrate_judge(
    verdicts: Mapping[Answer, tuple[float, float]],
    labels: Sequence[HumanLabel],
    *,
    bounds: tuple[float, float],
    controls: Mapping[str, str] | None = None,
    threshold: float | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Json:
    """Measure a judge against people and correct what it says of each candidate.

    Args:
        verdicts: Answer → (value, weight), as ``verdict_values`` returns them.
        labels: People's, of a random part of the judged answers (or with weights that make it one).
        bounds: Ends of the judge's scale.
        controls: Candidate → the one it is compared with.
        threshold: Values above it are "right"; default: the middle of the scale.
        confidence: Two-sided level of all intervals.
        resamples: Of the bootstraps of agreement.
        seed: Of their draws.

    Returns:
        The object that ``evalkit calibrate --json`` prints and a run keeps; see ``docs/agreement.md``.

    Raises:
        DataError: No label is about an answer that was judged.
    """
    shared = [label for label in labels if label.answer in verdicts]
    if not shared:
        raise DataError(
            "No label is about an answer that this judge scored; expected candidate, task and id as in judgements/."
        )
    cut = sum(bounds) / 2 if threshold is None else threshold
    settings = {"confidence": confidence, "resamples": resamples, "seed": seed}
    people = _consensus(labels)
    both = [key for key in people if key in verdicts]
    pooled = _operating(both, verdicts, people, cut, confidence)
    estimates = [
        _estimates(candidate, task, verdicts, people, cut, pooled, confidence)
        for candidate, task in dict.fromkeys(key[:2] for key in verdicts)
    ]
    agreement = {
        "judge_people": _judge_agreement(shared, verdicts, bounds, settings),
        "people_people": _people_agreement(labels, bounds, settings),
    }
    return {
        "labels": len(labels),
        "raters": len({label.rater for label in labels}),
        "answers": len(both),
        "judged": len(verdicts),
        "unmatched": len(people) - len(both),
        "scale": list(bounds),
        "threshold": cut,
        "confidence": confidence,
        "agreement": agreement,
        "sensitivity": _json(pooled.sensitivity),
        "specificity": _json(pooled.specificity),
        "bias": _bias(both, verdicts, people, confidence),
        "estimates": estimates,
        "comparisons": _comparisons(controls or {}, verdicts, people, confidence),
        "notes": _notes(agreement, estimates, len(people) - len(both)),
    }


def _consensus(labels: Iterable[HumanLabel]) -> dict[Answer, _Answer]:
    said: dict[Answer, list[HumanLabel]] = defaultdict(list)
    for label in labels:
        said[label.answer].append(label)
    return {
        key: _Answer(fmean(one.value for one in given), fmean(one.weight for one in given))
        for key, given in said.items()
    }


def _judge_agreement(
    labels: Sequence[HumanLabel],
    verdicts: Mapping[Answer, tuple[float, float]],
    bounds: tuple[float, float],
    settings: Mapping[str, Any],
) -> Json:
    """The judge against one person at a time, so that it compares with two people."""
    pairs = [(verdicts[label.answer][0], label.value) for label in labels]
    return _pair_agreement(pairs, [label.answer for label in labels], bounds, settings)


def _people_agreement(
    labels: Sequence[HumanLabel], bounds: tuple[float, float], settings: Mapping[str, Any]
) -> Json | None:
    """Two people at a time; None where nobody labelled what another did."""
    said: dict[Answer, dict[str, float]] = defaultdict(dict)
    for label in labels:
        said[label.answer][label.rater] = label.value
    pairs = [
        (key, pair)
        for key, raters in said.items()
        for pair in combinations([raters[r] for r in sorted(raters)], 2)
    ]
    if not pairs:
        return None
    return _pair_agreement([pair for _, pair in pairs], [key for key, _ in pairs], bounds, settings)


def _pair_agreement(
    pairs: Sequence[tuple[float, float]],
    keys: Sequence[Answer],
    bounds: tuple[float, float],
    settings: Mapping[str, Any],
) -> Json:
    """Alpha of exact values, and kappa and plain agreement of values rounded to whole labels."""
    values = sorted({value for pair in pairs for value in pair})
    categories = set(values) <= {bounds[0], sum(bounds) / 2, bounds[1]} and bounds == (0.0, 1.0)
    level: Level = "nominal" if categories else "interval"
    place = {value: index for index, value in enumerate(values)}
    codes = np.array([[place[value] for value in pair] for pair in pairs], dtype=np.int64)
    clusters = ["\0".join(key[1:]) for key in keys]  # answers to one sample are resampled together
    alpha = krippendorff_alpha(codes, values, level=level, clusters=clusters, **settings)
    whole = np.array(pairs) if categories else np.floor(np.array(pairs) + 0.5)
    steps = {value: index for index, value in enumerate(_steps(whole, bounds, categories))}
    rounded = np.array([[steps[value] for value in pair] for pair in whole.tolist()], dtype=np.int64)
    weights: Any = None if categories else "quadratic"
    kappa = cohen_kappa(rounded[:, 0], rounded[:, 1], weights=weights, clusters=clusters, **settings)
    return {
        "pairs": len(pairs),
        "level": level,
        "alpha": _ends(alpha),
        "kappa": {**_ends(kappa), "weights": weights},
        "same": float((rounded[:, 0] == rounded[:, 1]).mean()),
    }


def _steps(whole: Array, bounds: tuple[float, float], categories: bool) -> list[float]:
    """The labels there are, in order: the scale's whole numbers where they are few, else those that occur."""
    seen = sorted(set(whole.ravel().tolist()))
    low, high = (int(np.floor(bound)) for bound in bounds)
    if categories or high - low > 100:
        return seen
    return sorted({*seen, *(float(step) for step in range(low, high + 1))})


def _operating(
    keys: Iterable[Answer],
    verdicts: Mapping[Answer, tuple[float, float]],
    people: Mapping[Answer, _Answer],
    cut: float,
    confidence: float,
) -> Operating:
    chosen = list(keys)
    judge = np.array([float(verdicts[key][0] > cut) for key in chosen])
    human = np.array([float(people[key].people > cut) for key in chosen])
    return operating_point(judge, human, confidence=confidence)


def _estimates(
    candidate: str,
    task: str,
    verdicts: Mapping[Answer, tuple[float, float]],
    people: Mapping[Answer, _Answer],
    cut: float,
    pooled: Operating,
    confidence: float,
) -> Json:
    """The three estimates of one candidate on one task: of its mean, and of its share of right answers."""
    mine = [key for key in verdicts if key[:2] == (candidate, task)]
    labelled = [key for key in mine if key in people]
    alone = [key for key in mine if key not in people]
    judge, alone_values = (np.array([verdicts[key][0] for key in keys]) for keys in (labelled, alone))
    said = np.array([people[key].people for key in labelled])
    weights = _weights([people[key].weight for key in labelled])
    layered = _weights([verdicts[key][1] for key in alone])
    whole = np.array([verdicts[key][0] for key in mine])
    mean = _powered(judge, said, alone_values, weights, layered, confidence)
    own = _operating(labelled, verdicts, people, cut, confidence)
    enough = min(own.right, own.wrong) >= ENOUGH
    share = rogan_gladen(
        int((alone_values > cut).sum()), len(alone), own if enough else pooled, confidence=confidence
    )
    if (
        weights is not None or layered is not None
    ):  # error rates among oddly chosen samples are not those of all
        share = Corrected(replace(share.estimate, value=None, low=None, high=None), 0.0, "chosen unevenly")

    def mean_of(values: Any, weights: Array | None = None) -> Json:
        return _json(mean_estimate(np.asarray(values, dtype=np.float64), weights, confidence=confidence))

    return {
        "candidate": candidate,
        "task": task,
        "judged": len(mine),
        "labelled": len(labelled),
        "judge": mean_of(whole, _weights([verdicts[key][1] for key in mine])),
        "people": mean_of(said, weights),
        "corrected": {**_json(mean.estimate), "weight": mean.weight, "note": mean.note},
        "right": {
            "judge": mean_of(whole > cut),
            "people": mean_of(said > cut, weights),
            "corrected": {
                **_json(share.estimate),
                "note": share.note,
                "errors": "own" if enough else "of all candidates",
            },
        },
    }


def _comparisons(
    controls: Mapping[str, str],
    verdicts: Mapping[Answer, tuple[float, float]],
    people: Mapping[Answer, _Answer],
    confidence: float,
) -> list[Json]:
    """Candidate minus control on the samples that both were judged on: by the judge, by people, corrected."""
    found = []
    for candidate, task in dict.fromkeys(key[:2] for key in verdicts):
        control = controls.get(candidate)
        if control is None or control == candidate:
            continue
        pairs = [
            (key, (control, *key[1:]))
            for key in verdicts
            if key[:2] == (candidate, task) and (control, *key[1:]) in verdicts
        ]
        if not pairs:
            continue
        judged = np.array([verdicts[a][0] - verdicts[b][0] for a, b in pairs])
        known = np.array([a in people and b in people for a, b in pairs])
        said = np.array(
            [people[a].people - people[b].people for a, b in pairs if a in people and b in people]
        )
        weights = _weights([people[a].weight for (a, _), kept in zip(pairs, known, strict=True) if kept])
        layered = _weights([verdicts[a][1] for (a, _), kept in zip(pairs, known, strict=True) if not kept])
        mended = _powered(judged[known], said, judged[~known], weights, layered, confidence)
        whole = _weights([verdicts[a][1] for a, _ in pairs])
        found.append(
            {
                "candidate": candidate,
                "control": control,
                "task": task,
                "judged": len(pairs),
                "labelled": int(known.sum()),
                "judge": _json(_difference(judged, whole, confidence)),
                "people": _json(_difference(said, weights, confidence)),
                "corrected": {**_json(mended.estimate), "weight": mended.weight, "note": mended.note},
            }
        )
    return found


def _powered(
    judge: Array,
    people: Array,
    alone: Array,
    weights: Array | None,
    weights_alone: Array | None,
    confidence: float,
) -> Corrected:
    """Prediction-powered mean; of all that was judged where the labelled samples were chosen unevenly."""
    if weights is None:
        return prediction_powered(judge, people, alone, weights_alone=weights_alone, confidence=confidence)
    whole = np.concatenate([judge, alone])
    layered = None if weights_alone is None else np.concatenate([np.ones(len(judge)), weights_alone])
    return prediction_powered(
        judge, people, whole, weights=weights, weights_alone=layered, nested=True, confidence=confidence
    )


def _difference(values: Array, weights: Array | None, confidence: float) -> Estimate:
    """A mean of differences: 0 and 1 are no shares there, so the interval is Student's."""
    return mean_estimate(values, np.ones(len(values)) if weights is None else weights, confidence=confidence)


def _bias(
    keys: Sequence[Answer],
    verdicts: Mapping[Answer, tuple[float, float]],
    people: Mapping[Answer, _Answer],
    confidence: float,
) -> Json:
    """By how much the judge scores higher than people do, on average."""
    gaps = np.array([verdicts[key][0] - people[key].people for key in keys])
    return _json(_difference(gaps, None, confidence))


def _notes(agreement: Mapping[str, Any], estimates: Sequence[Json], unmatched: int) -> list[str]:
    notes = []
    judge, between = agreement["judge_people"]["alpha"], agreement["people_people"]
    if between is None:
        notes.append(
            "No answer was labelled by two people, so nobody knows how far people agree among themselves."
        )
    elif None not in (judge["high"], between["alpha"]["low"]) and judge["high"] < between["alpha"]["low"]:
        notes.append("This judge agrees with people less than people do with each other.")
    few = [f"{row['candidate']} on {row['task']}" for row in estimates if row["labelled"] < 2]
    if few:
        notes.append(f"Without two labels there is no correction for {', '.join(few)}.")
    if unmatched:
        notes.append(f"{unmatched} labelled answers were not scored by this judge; they are left out.")
    return notes


def _weights(weights: Sequence[float]) -> Array | None:
    """None where all are equal: then there is nothing to weigh."""
    return np.array(weights) if len(set(weights)) > 1 else None


def _json(estimate: Estimate) -> Json:
    row = asdict(estimate)
    return {name: row[name] for name in ("value", "low", "high", "n")}


def _ends(interval: Interval) -> Json:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
