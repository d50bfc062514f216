"""How often a policy would err at this n: simulations on the run's own samples, where the truth is known.

*A/A*: samples are drawn anew with replacement, and candidate and reference change places by a coin for each sample, so
that there is no difference by construction and every rule is asked about one. *At the bound* and *known effect*: from
there, a random share of the candidate's scores is replaced by the worst (or best) one, until the true difference is
the bound itself, where each verdict may be wrong with probability at most α = (1 − confidence) / 2, or twice the
margin. Samples of one cluster are drawn, and change places, together. Where numerical noise was measured, every data
set is moved by a shift of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.gates.evidence import Drawing, Evidence, Pairs, Values, values_of
from evalkit.gates.rules import Check
from evalkit.gates.verdicts import judge_rule, judge_whole

__all__ = ["self_test"]

Array = NDArray[np.float64]
Json = dict[str, Any]

SIMULATIONS = 1_000
BOOTSTRAPPED = 200
"""Simulations of a rule whose interval is a bootstrap, of ``RESAMPLES`` resamples each."""
RESAMPLES = 1_000
EFFECT = 0.1
"""Known effect of a rule without a margin, as a share of the scores' range."""


def self_test(checks: Sequence[Check], pairs: Sequence[Pairs | None], drawing: Drawing) -> Json:
    """Simulate the policy where the truth is known.

    Args:
        checks: Rules and candidates.
        pairs: Of each rule on a difference; None for the others.
        drawing: Confidence and seed of the policy's intervals.

    Returns:
        ``whole``: rates of the whole policy's verdicts in A/A; its ``false_alarm`` is that a rule which holds makes it
        fail. ``rules``: for every rule and scenario the true value,
        the rates of its verdicts, ``false_alarm`` (fails though it holds), ``miss`` (passes though it does not hold)
        and the number of simulations. Rules whose candidate could not be done are left out.
    """
    usable = [(check, pair) for check, pair in zip(checks, pairs, strict=True) if check.series is not None]
    usable = [(check, pair) for check, pair in usable if check.reference_error is None]
    rows = [
        row for index, (check, pair) in enumerate(usable) for row in _rule_rows(check, pair, index, drawing)
    ]
    return {"seed": drawing.seed, "whole": _whole(usable, drawing), "rules": rows}


def _rule_rows(check: Check, pairs: Pairs | None, index: int, drawing: Drawing) -> Iterator[Json]:
    source = pairs if pairs is not None else _values(check)
    for number, (name, truth, draw) in enumerate(_scenarios(check, source)):
        times, light = _budget(source, drawing)
        rng = np.random.default_rng([drawing.seed, index, number])
        counts = {"pass": 0, "fail": 0, "inconclusive": 0}
        for _ in range(times):
            evidence = draw(rng).evidence(replace(light, seed=int(rng.integers(2**31))))
            evidence = _shifted(evidence, rng)
            counts[_verdict(check, evidence)] += 1
        rates = {word: count / times for word, count in counts.items()}
        holds, breaks = _truth(check, truth)
        yield {
            "rule": check.words,
            "candidate": check.candidate,
            "scenario": name,
            "true": truth,
            **rates,
            "false_alarm": rates["fail"] if holds else None,
            "miss": rates["pass"] if breaks else None,
            "simulations": times,
        }


def _whole(usable: Sequence[tuple[Check, Pairs | None]], drawing: Drawing) -> Json | None:
    """Rates of the whole policy where no candidate differs from its reference, and values are as measured."""
    if not usable:
        return None
    sources = [pair if pair is not None else _values(check) for check, pair in usable]
    budgets = [_budget(source, drawing) for source in sources]
    truths = [next(_scenarios(check, source))[1] for (check, _), source in zip(usable, sources, strict=True)]
    holding = [_truth(check, truth)[0] for (check, _), truth in zip(usable, truths, strict=True)]
    breaking = any(_truth(check, truth)[1] for (check, _), truth in zip(usable, truths, strict=True))
    times = min(times for times, _ in budgets)
    counts = {"pass": 0, "fail": 0, "inconclusive": 0}
    alarms = 0
    for simulation in range(times):
        # One seed for all rules: rules on the same samples draw the same ones, as they do in a real run.
        judged = []
        for (check, _), source, (_, light) in zip(usable, sources, budgets, strict=True):
            rng = np.random.default_rng([drawing.seed, simulation])
            drawn = _swapped(source, rng) if isinstance(source, Pairs) else _drawn(source, rng)
            evidence = _shifted(drawn.evidence(replace(light, seed=simulation)), rng)
            judged.append((check.rule.kind, evidence, check.bound))
        whole, _, together = judge_whole(judged, drawing.confidence)
        counts[whole] += 1
        alarms += any(fails and holds for fails, holds in zip(together, holding, strict=True))
    return {
        "scenario": "A/A",
        **{word: count / times for word, count in counts.items()},
        "false_alarm": alarms / times,
        "miss": counts["pass"] / times if breaking else None,
        "simulations": times,
    }


Draw = Callable[[np.random.Generator], "Pairs | Values"]


def _scenarios(check: Check, source: Pairs | Values) -> Iterator[tuple[str, float, Draw]]:
    """(name, true difference or value, how to draw a data set of it)."""
    if isinstance(source, Values):
        yield "as measured", float(source.value(source.statistics.sum(0))), lambda rng: _drawn(source, rng)
        if (moved := _towards(source, check.bound)) is not None:
            yield "at the bound", check.bound, moved
        return
    yield "A/A", 0.0, lambda rng: _swapped(source, rng)
    if not source.mean:
        return  # no share of a corpus metric's samples can be set to the worst: it has no value of a sample
    low, high = _range(np.concatenate(source.scores), source.shares)
    down = check.rule.kind == "no_worse_than"
    twice = 2 * check.bound if check.bound else EFFECT * (high - low) * (-1 if down else 1)
    middle = float(np.concatenate(source.scores).mean())
    for name, target in (("at the bound", check.bound), ("known effect", twice)):
        end = low if target * source.sign < 0 else high
        if target and abs(target) <= abs(end - middle):
            share = abs(target) / abs(end - middle)
            yield name, target, lambda rng, q=share, e=end: _moved(_swapped(source, rng), q, e, rng)  # type: ignore[misc]


def _truth(check: Check, value: float) -> tuple[bool, bool]:
    """Whether the rule holds, and whether it does not; at the bound itself either verdict counts as wrong."""
    if abs(value - check.bound) < 1e-12:
        return True, True
    above = value > check.bound
    holds = not above if check.rule.kind == "at_most" else above
    return holds, not holds


def _verdict(check: Check, evidence: Evidence) -> str:
    if evidence.low is None or evidence.high is None:
        return "inconclusive"
    return judge_rule(check.rule.kind, evidence.low, evidence.high, check.bound)


def _shifted(evidence: Evidence, rng: np.random.Generator) -> Evidence:
    """The same in a numerical realisation of its own: all samples together are moved by what noise was measured."""
    if not evidence.noise_sd or evidence.estimate is None or evidence.low is None or evidence.high is None:
        return evidence
    shift, ends = float(rng.normal(0.0, evidence.noise_sd)), evidence.at

    def at(confidence: float) -> tuple[float, float]:
        low, high = ends(confidence)
        return low + shift, high + shift

    moved = {name: getattr(evidence, name) + shift for name in ("estimate", "low", "high")}
    return replace(evidence, **moved, at=at)


def _values(check: Check) -> Values:
    if check.series is None:
        raise ValueError("a candidate that could not be done has no samples")
    return values_of(check.series)


def _budget(source: Pairs | Values, drawing: Drawing) -> tuple[int, Drawing]:
    """How many simulations, and with what intervals."""
    alone = all(cluster is None for cluster in source.clusters)
    if source.shares and alone:
        return SIMULATIONS, drawing
    return BOOTSTRAPPED, replace(drawing, resamples=RESAMPLES)


def _units(
    clusters: Sequence[str | None], rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[str | None], Array]:
    """Draw units with replacement: rows drawn, their clusters under new names, and the number of each row's unit."""
    members: dict[object, list[int]] = {}
    for row, name in enumerate(clusters):
        members.setdefault(("alone", row) if name is None else ("named", name), []).append(row)
    groups = list(members.values())
    if len(groups) == len(clusters):
        rows = rng.integers(0, len(clusters), len(clusters))
        return rows, [None] * len(rows), np.arange(len(rows), dtype=np.float64)
    drawn = [groups[i] for i in rng.integers(0, len(groups), len(groups))]
    number = np.repeat(np.arange(len(drawn)), [len(group) for group in drawn])
    return np.concatenate([np.array(g) for g in drawn]), [str(i) for i in number], number.astype(np.float64)


def _drawn(source: Values, rng: np.random.Generator) -> Values:
    rows, clusters, _ = _units(source.clusters, rng)
    return replace(source, statistics=source.statistics[rows], scores=source.scores[rows], clusters=clusters)


def _swapped(source: Pairs, rng: np.random.Generator) -> Pairs:
    """A data set in which candidate and reference are exchangeable."""
    rows, clusters, unit = _units(source.clusters, rng)
    swap = (rng.random(int(unit.max()) + 1) < 0.5)[unit.astype(np.int64)]
    first, second = source.first[rows], source.second[rows]
    mine, other = source.scores[0][rows], source.scores[1][rows]
    return replace(
        source,
        ids=[],
        first=np.where(swap[:, None], second, first),
        second=np.where(swap[:, None], first, second),
        scores=(np.where(swap, other, mine), np.where(swap, mine, other)),
        clusters=clusters,
    )


def _range(scores: Array, shares: bool) -> tuple[float, float]:
    return (0.0, 1.0) if shares else (float(scores.min()), float(scores.max()))


def _moved(pairs: Pairs, share: float, end: float, rng: np.random.Generator) -> Pairs:
    """The same with a random share of the candidate's scores replaced by ``end``."""
    scores = np.where(rng.random(len(pairs.first)) < share, end, pairs.scores[0])
    return replace(
        pairs, first=np.stack([scores, np.ones(len(scores))], axis=1), scores=(scores, pairs.scores[1])
    )


def _towards(source: Values, bound: float) -> Draw | None:
    """Data sets whose true value is the bound; None for a corpus metric and for a bound out of reach."""
    mean = float(source.scores.mean())
    low, high = _range(source.scores, source.shares)
    whole = float(source.value(source.statistics.sum(0)))
    end = low if bound < mean else high
    if abs(whole - mean) > 1e-9 or source.statistics.shape[1] != 2 or not low <= bound <= high or end == mean:
        return None
    share = (mean - bound) / (mean - end)

    def draw(rng: np.random.Generator) -> Values:
        drawn = _drawn(source, rng)
        scores = np.where(rng.random(len(drawn.scores)) < share, end, drawn.scores)
        return replace(drawn, scores=scores, statistics=np.stack([scores, np.ones(len(scores))], axis=1))

    return draw
