"""What sways a judge besides the answer: position, length, form, kinship, chance; measured on its own verdicts.

Zheng et al. 2023 (arXiv:2306.05685: position, verbosity and self-enhancement bias); Shi et al. 2024
(arXiv:2406.07791: position); Dubois et al. 2024 (arXiv:2404.04475: length). Kinship: ``kinship.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.judging.kinship import Answer, self_preference
from evalkit.judging.records import Judgement
from evalkit.stats.bootstrap import Interval, bootstrap_interval
from evalkit.stats.calibration import Estimate
from evalkit.stats.proportions import wilson_interval
from evalkit.stats.resampling import Array
from evalkit.stats.slopes import ControlledWins, controlled_wins, squashed, within_slopes

__all__ = [
    "JudgeBias",
    "PositionBias",
    "WinRate",
    "markdown_marks",
    "measure_bias",
    "position_bias",
    "repeat_consistency",
    "win_rates",
]

Json = dict[str, Any]
_MARKS = re.compile(
    r"^\s{0,3}(?:#{1,6}\s|[-*+]\s|\d+[.)]\s|>\s|\|.*\||```)|\*\*[^*\n]+\*\*|__[^_\n]+__", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How much the order of showing decides.

    Attributes:
        flips: Share of pairs in which the judge named the other answer after the sides were exchanged.
        inconsistent: Share of pairs whose two verdicts differ at all, ties included.
        first: Share of decided verdicts that went to the answer shown first; 0.5 is none.
        pairs: Pairs judged in both orders.
    """

    flips: Interval
    inconsistent: Interval
    first: Interval
    pairs: int


@dataclass(frozen=True, slots=True)
class WinRate:
    """One candidate against one opponent, averaged over both orders.

    Attributes:
        candidate: Whose wins.
        opponent: Against whom.
        raw: Share of points: 1 a win, 0.5 a tie.
        controlled: The same as if both answers were equally long, and the slope of that.
        format: Log-odds of a win on Markdown marks, at equal length; None without the answers' texts.
        n: Samples.
    """

    candidate: str
    opponent: str
    raw: Interval
    controlled: ControlledWins
    format: Estimate | None
    n: int


@dataclass(frozen=True, slots=True)
class JudgeBias:
    """All that was measured; what a kind of judge has no data for is None or empty.

    Attributes:
        position: Of a pairwise judge that was asked in both orders.
        wins: Of a pairwise judge.
        length: Of a pointwise or checklist judge: change of the value per doubling of the answer's length, among
            answers to one sample.
        format: The same per doubling of (1 + Markdown marks), at equal length.
        own_family: By how much it rates candidates of its own family higher than others do.
        repeats: How often it said the same of a question that it was asked more than once.
    """

    position: PositionBias | None
    wins: tuple[WinRate, ...]
    length: Estimate | None
    format: Estimate | None
    own_family: Interval | None
    repeats: Interval | None

    def to_json(self) -> Json:
        """An object with value, low and high of each measure that there is."""
        found: Json = {}
        if self.position is not None:
            found |= {
                "position_flips": _ends(self.position.flips),
                "inconsistent": _ends(self.position.inconsistent),
                "first_shown": _ends(self.position.first),
                "pairs": self.position.pairs,
            }
        if self.wins:
            found["wins"] = [
                {
                    "candidate": one.candidate,
                    "opponent": one.opponent,
                    "n": one.n,
                    "win_rate": _ends(one.raw),
                    "length_controlled": _ends(one.controlled.win_rate),
                    "length_slope": _ends(one.controlled.slopes[0]),
                    "format_slope": None if one.format is None else _ends(one.format),
                }
                for one in self.wins
            ]
        names = {"length": "length_slope", "format": "format_slope"}
        for name in ("length", "format", "own_family", "repeats"):
            if getattr(self, name) is not None:
                found[names.get(name, name)] = _ends(getattr(self, name))
        return found


def measure_bias(
    rows: Iterable[Judgement],
    *,
    texts: Mapping[Answer, str] | None = None,
    families: Mapping[str, str | None] | None = None,
    own: str | None = None,
    reference: Mapping[Answer, float] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> JudgeBias:
    """Measure everything that a judge's verdicts and what is beside them allow.

    Args:
        rows: Its verdicts; unscored ones are left out.
        texts: The answers, for their Markdown marks.
        families: Candidate → family of its model.
        own: The judge's family.
        reference: What others (people, another judge) gave the same answers, on the judge's scale.
        confidence: Two-sided level of the intervals.
        seed: Of bootstraps.
    """
    rows = list(rows)
    scored = [row for row in rows if row.value is not None]
    pairs = [row for row in scored if row.winner is not None]
    alone = [row for row in scored if row.winner is None]
    length, form = _pointwise(alone, texts, confidence)
    kin = None
    if own is not None and families:
        mine = {name for name, f in families.items() if f == own}
        kin = self_preference(scored, mine, reference or {}, confidence=confidence, seed=seed)
    asked = [row for row in rows if row.repeats]
    return JudgeBias(
        position=position_bias(pairs, confidence=confidence, seed=seed),
        wins=tuple(win_rates(pairs, texts=texts, confidence=confidence, seed=seed)),
        length=length,
        format=form,
        own_family=kin,
        repeats=_repeats(asked, confidence, seed) if asked else None,
    )


def position_bias(
    rows: Iterable[Judgement], *, confidence: float = 0.95, seed: int = 0
) -> PositionBias | None:
    """Return how much the order of showing decides; None where nothing was judged in both orders."""
    both = [row.orders for row in rows if {order.first for order in row.orders} == {"A", "B"}]
    if not both:
        return None
    flips = [{order.winner for order in orders} == {"A", "B"} for orders in both]
    differ = [len({order.winner for order in orders}) > 1 for orders in both]
    decided = np.array(
        [
            [sum(o.winner == o.first for o in orders), sum(o.winner != "tie" for o in orders)]
            for orders in both
            if any(o.winner != "tie" for o in orders)
        ],
        dtype=np.float64,
    ).reshape(-1, 2)
    first = bootstrap_interval(
        decided, _ratio, confidence=confidence, resamples=2_000, seed=seed, bounds=(0.0, 1.0)
    )
    if first.value in (0.0, 1.0):  # no resample can differ: as many pairs that all say the same
        first = _share([bool(first.value)] * len(decided), confidence)
    return PositionBias(_share(flips, confidence), _share(differ, confidence), first, len(both))


def win_rates(
    rows: Iterable[Judgement],
    *,
    texts: Mapping[Answer, str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[WinRate]:
    """Return raw and length-controlled win rates of every candidate against every opponent.

    Args:
        rows: Pairwise verdicts, each averaged over its orders (``value``).
        texts: The answers, for their Markdown marks.
        confidence: Two-sided level.
        seed: Of the bootstrap over prompts.
    """
    groups: dict[tuple[str, str], list[Judgement]] = {}
    for row in rows:
        if row.value is not None and row.opponent is not None:
            groups.setdefault((row.candidate, row.opponent), []).append(row)
    found = []
    for (candidate, opponent), members in groups.items():
        points = np.array([row.value for row in members], dtype=np.float64)
        prompts = [(row.task, row.id) for row in members]
        gaps = squashed(np.array([float(row.characters - (row.opponent_characters or 0)) for row in members]))
        raw = bootstrap_interval(
            np.stack([points, np.ones(len(points))], axis=1),
            _ratio,
            clusters=[f"{task}\0{id_}" for task, id_ in prompts],
            confidence=confidence,
            resamples=2_000,
            seed=seed,
            bounds=(0.0, 1.0),
        )
        form = None
        if texts is not None:
            marks = squashed(np.array([_mark_gap(row, texts) for row in members]))
            both = controlled_wins(points, np.stack([gaps, marks], axis=1), prompts, confidence=confidence)
            form = both.slopes[1]
        controlled = controlled_wins(points, gaps[:, None], prompts, confidence=confidence)
        found.append(WinRate(candidate, opponent, raw, controlled, form, len(members)))
    return found


def repeat_consistency(
    repeats: Iterable[Sequence[Any]],
    *,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return how often a judge says the same when it is asked the same again.

    Args:
        repeats: For each question its verdicts, two or more; None among them is no verdict.
        clusters: For each question what it is about: questions about one sample are resampled together.
        confidence: Two-sided level.
        seed: Of the bootstrap over questions.

    Returns:
        Share of pairs of verdicts on one question that are equal, each question counting once.

    >>> repeat_consistency([[4, 4], [3, 4], [5, 5], [2, 2]], seed=1).value
    0.75
    """
    shares, about = [], []
    for place, verdicts in enumerate(repeats):
        given = [verdict for verdict in verdicts if verdict is not None]
        n = len(given)
        if n > 1:
            same = sum(given.count(verdict) - 1 for verdict in given)
            shares.append(same / (n * (n - 1)))
            about.append(str(place) if clusters is None else clusters[place])
    rows = np.stack([np.array(shares), np.ones(len(shares))], axis=1)
    right = bool(np.isin(rows[:, 0], (0.0, 1.0)).all())
    return bootstrap_interval(
        rows,
        _ratio,
        shares=right,
        clusters=None if clusters is None else about,
        confidence=confidence,
        resamples=2_000,
        seed=seed,
        bounds=(0.0, 1.0),
    )


def markdown_marks(text: str) -> int:
    """Count headings, list items, quotes, table rows, code fences and bold words.

    >>> markdown_marks("# Plan\\n- **first**\\n- second\\nplain * text")
    4
    """
    return len(_MARKS.findall(text))


def _pointwise(
    rows: Sequence[Judgement], texts: Mapping[Answer, str] | None, confidence: float
) -> tuple[Estimate | None, Estimate | None]:
    known = [row for row in rows if row.characters > 0]
    if len(known) < 3:
        return None, None
    values = np.array([row.value for row in known], dtype=np.float64)
    lengths = np.log2(np.array([row.characters for row in known], dtype=np.float64))[:, None]
    who, what = [row.candidate for row in known], [(row.task, row.id) for row in known]
    (length,) = within_slopes(values, lengths, who, what, confidence=confidence)
    if texts is None:
        return length, None
    marks = [math.log2(1 + markdown_marks(texts.get((row.candidate, row.task, row.id), ""))) for row in known]
    both = np.concatenate([lengths, np.array(marks)[:, None]], axis=1)
    return length, within_slopes(values, both, who, what, confidence=confidence)[1]


def _repeats(rows: Sequence[Judgement], confidence: float, seed: int) -> Interval:
    asked = [(verdicts, f"{row.task}\0{row.id}") for row in rows for verdicts in row.repeats]
    about = [sample for _, sample in asked]
    verdicts = [said for said, _ in asked]
    return repeat_consistency(verdicts, clusters=about, confidence=confidence, seed=seed)


def _mark_gap(row: Judgement, texts: Mapping[Answer, str]) -> float:
    mine = texts.get((row.candidate, row.task, row.id), "")
    other = texts.get((row.opponent or "", row.task, row.id), "")
    return float(markdown_marks(mine) - markdown_marks(other))


def _share(flags: Sequence[bool], confidence: float) -> Interval:
    return Interval(
        sum(flags) / len(flags), *wilson_interval(float(sum(flags)), len(flags), confidence), "wilson"
    )


def _ratio(totals: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., 0] / totals[..., 1])


def _ends(value: Interval | Estimate) -> Json:
    return {"value": value.value, "low": value.low, "high": value.high}
