"""What holds for a recipe that was trained with several seeds, not only for the adapters that came out of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.records import Unscored
from evalkit.running.noise import Sds
from evalkit.running.score import Scored
from evalkit.stats import LEAST_SEEDS, add_noise, noisy_p, recipe_difference, variance_parts

__all__ = ["recipe_of", "recipes"]

Array = NDArray[np.float64]
Json = dict[str, Any]


def recipe_of(candidate: str) -> str | None:
    """The recipe that a candidate is one seed of, or None.

    >>> recipe_of("sweep[rank=8]#2"), recipe_of("r16")
    ('sweep[rank=8]', None)
    """
    name, _, seed = candidate.rpartition("#")
    return name if name and seed.isdigit() else None


def recipes(
    scored: Mapping[tuple[str, str], Scored],
    primaries: Mapping[str, str],
    controls: Mapping[str, str | None],
    *,
    dropped: Collection[str] = (),
    confidence: float = 0.95,
    sds: Sds | None = None,
) -> list[Json]:
    """Compare recipes with their control and with each other on each task's primary metric.

    Args:
        scored: (candidate, task) → its scores.
        primaries: Task → its primary metric.
        controls: Candidate → its control.
        dropped: Candidates that a search dropped: the seeds that are left of their recipes are picked ones.
        confidence: Two-sided level of the intervals.
        sds: Of the shift between numerical realisations. Seeds of a recipe have one each, so that theirs is part of
            what differs between seeds; a control's is added.

    Returns:
        Objects with ``recipe``, ``against`` (a control, or another recipe), ``task``, ``metric``, ``seeds``,
        ``difference``, ``low``, ``high``, ``p_value`` (for new seeds and new samples), ``variance`` (``seed``,
        ``sample`` and ``rest`` of one score of the recipe; None with one seed) and ``note`` where nothing can be said
        about the recipe. Metrics that are no mean of their samples' scores have none.
    """
    families: dict[str, list[str]] = {}
    for candidate, _ in scored:
        if (recipe := recipe_of(candidate)) is not None and candidate not in families.setdefault(recipe, []):
            families[recipe].append(candidate)
    found: list[Json] = []
    for task, metric in primaries.items():
        done = {
            recipe: [scored[name, task] for name in names if (name, task) in scored]
            for recipe, names in families.items()
        }
        done = {
            recipe: members
            for recipe, members in done.items()
            if members and metric in members[0].metrics and members[0].metrics[metric].additive_mean
        }
        for recipe, members in done.items():
            control = controls.get(families[recipe][0])
            if control is not None and (control, task) in scored:
                row = {"recipe": recipe, "against": control, "task": task, "metric": metric}
                sd = (sds or {}).get((control, task, metric), 0.0)
                told = _compared(members, [scored[control, task]], metric, confidence, sd)
                found.append(row | _without_picked(told, [recipe], dropped))
        for first, second in combinations(done, 2):
            row = {"recipe": first, "against": second, "task": task, "metric": metric}
            told = _compared(done[first], done[second], metric, confidence)
            found.append(row | _without_picked(told, [first, second], dropped))
    return found


def _without_picked(told: Json, between: Sequence[str], dropped: Collection[str]) -> Json:
    """Take back what is said of recipes whose worse seeds a search dropped."""
    lost = sum(recipe_of(name) in between for name in dropped)
    if not lost:
        return told
    note = (
        f"{lost} seed{'' if lost == 1 else 's'} dropped by a search: the others were picked by validation loss, so "
        "nothing is said about the recipe, only about its adapters"
    )
    return told | {"low": None, "high": None, "p_value": None, "variance": None, "note": note}


def _compared(
    first: Sequence[Scored], second: Sequence[Scored], metric: str, confidence: float, sd: float = 0.0
) -> Json:
    ours, theirs = _matrices(first, second, metric)
    told: Json = {"seeds": len(first), "n": ours.shape[1], "difference": None, "low": None, "high": None}
    told |= {"p_value": None, "confidence": confidence, "variance": None, "note": None}
    if ours.shape[1]:
        told["difference"] = float(ours.mean() - theirs.mean())
    if len(ours) > 1 and ours.shape[1] > 1:
        parts = variance_parts(ours)
        told["variance"] = {"seed": parts.seed, "sample": parts.sample, "rest": parts.rest}
    result = recipe_difference(ours, theirs, confidence)
    if result is None:
        fewest = min(len(ours), len(theirs) if len(theirs) > 1 else len(ours))
        told["note"] = (
            f"{fewest} seed{'' if fewest == 1 else 's'}: nothing is said about the recipe, only about its adapters; "
            f"{LEAST_SEEDS} at least are needed"
        )
        return told
    found = (result.difference, result.low, result.high)
    low, high = add_noise(*found, sd, confidence)
    return told | {"low": low, "high": high, "p_value": noisy_p(result.p_value, *found, sd, confidence)}


def _matrices(first: Sequence[Scored], second: Sequence[Scored], metric: str) -> tuple[Array, Array]:
    """(seeds, samples) of both sides, on the samples that every one of them was scored on."""
    known = [
        {
            id_: float(score)
            for id_, score in zip(one.ids, one.measured[metric].scores, strict=True)
            if not isinstance(score, Unscored)
        }
        for one in (*first, *second)
    ]
    ids = [id_ for id_ in known[0] if all(id_ in scores for scores in known)]
    rows = np.array([[scores[id_] for id_ in ids] for scores in known], dtype=np.float64).reshape(
        len(known), len(ids)
    )
    return rows[: len(first)], rows[len(first) :]
