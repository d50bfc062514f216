"""Ranking candidates from pairwise verdicts: Bradley and Terry's model with Davidson's ties.

A candidate of strength a meets one of strength b: it wins, loses or ties in the proportions e^a : e^b :
ν e^((a+b)/2). Strengths are natural log-odds with mean 0 (× 173.7 for the scale of Elo), found by maximum
likelihood; their intervals resample *prompts* with all their games: both orders of a pair, and all pairs of a
prompt, are no independent games.

Bradley and Terry 1952; Davidson 1970; Ford 1957 (where strengths exist: every group of candidates must have lost
or tied against the rest).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evalkit.stats.bootstrap import Replicates, bca_interval
from evalkit.stats.resampling import Array, group_rows, resample_counts, unit_of_sample

__all__ = ["Game", "Ranking", "Rating", "fit_davidson", "rank_candidates"]

_WEAK_PRIOR = 0.04
"""1/SD² of a normal prior for resamples in which a strength has no limit: SD 5 log-odds, 0.16 of a game."""
_STEPS, _TOLERANCE = 200, 1e-10
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Game:
    """One comparison of two candidates.

    Attributes:
        prompt: What both answered; games with one prompt are resampled together.
        first: A candidate.
        second: Another one.
        points: Of the first: 1 it won, 0.5 a tie, 0 it lost.
        weight: How many games it stands for.
    """

    prompt: str
    first: str
    second: str
    points: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Rating:
    """How strong one candidate is.

    Attributes:
        candidate: Its name.
        rank: 1 is the best.
        rank_low: Best rank that 95 % (or what level was asked for) of the resamples give it.
        rank_high: Worst.
        strength: Log-odds against the mean of its group; None where it is the only one of its group.
        low: Lower end of the interval; None with fewer than two prompts.
        high: Upper end.
        wins: Games won, weighted.
        ties: Games tied.
        losses: Games lost.
        group: Strengths compare within a group only.
    """

    candidate: str
    rank: int
    rank_low: int
    rank_high: int
    strength: float | None
    low: float | None
    high: float | None
    wins: float
    ties: float
    losses: float
    group: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, the best first.

    Attributes:
        ratings: One a candidate.
        tie: Davidson's ν of the largest group: 0 no ties; two equals tie with ν/(2 + ν).
        prompts: Prompts with a game.
        games: Games.
        notes: What the numbers cannot say, in words.
    """

    ratings: tuple[Rating, ...]
    tie: float
    prompts: int
    games: int
    notes: tuple[str, ...]


def rank_candidates(
    games: Iterable[Game], *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Ranking:
    """Rank candidates by their games.

    Where somebody won every game against the rest, its strength has no upper limit, and where nobody of one half
    met one of the other they do not compare: candidates then fall into groups, strengths are given within each,
    and the notes say so.

    Args:
        games: At least one.
        confidence: Two-sided level of the intervals.
        resamples: Of the bootstrap over prompts.
        seed: Of its draws.

    Raises:
        ValueError: No games, one of a candidate with itself, or points that are not 0, 0.5 or 1.

    >>> games = [Game(str(i), "a", "b", 1.0 if i < 30 else 0.0) for i in range(40)]
    >>> best = rank_candidates(games, resamples=200).ratings[0]
    >>> best.candidate, round(best.strength, 4)  # half of ln(30/10): against the mean of both
    ('a', 0.5493)
    """
    played = list(games)
    if not played:
        raise ValueError("expected at least one game")
    wrong = [game for game in played if game.first == game.second or game.points not in (0.0, 0.5, 1.0)]
    if wrong:
        raise ValueError(f"expected two candidates and points 0, 0.5 or 1, got {wrong[0]}")
    names = list(dict.fromkeys(name for game in played for name in (game.first, game.second)))
    prompts, rows = _rows(played, names)
    totals = rows.sum(0).reshape(len(names), len(names), 2)
    groups, notes = _groups(totals, names)
    ratings: list[Rating] = []
    tie, largest = 0.0, 0
    for number, members in enumerate(groups, start=1):
        fitted = _fit_group(rows, members, len(names), confidence, resamples, seed)
        if len(members) > largest:
            tie, largest = fitted.tie, len(members)
        if fitted.unlimited > (1 - confidence) / 2:
            notes.append(
                f"In {fitted.unlimited:.0%} of the resamples a candidate of {_said(names, members)} won or lost "
                "all of its games: the outer ends of the intervals are rough."
            )
        for position, member in enumerate(fitted.order):
            ratings.append(_rating(names, totals, members, member, position, number, len(ratings), fitted))
    return Ranking(tuple(ratings), tie, prompts, len(played), tuple(notes))


def fit_davidson(wins: Array, ties: Array, prior: Array | None = None) -> tuple[Array, Array]:
    """Fit many data sets at once by Newton's method; the likelihood has one maximum.

    Args:
        wins: (sets, m, m) games that the row won against the column.
        ties: (sets, m, m) ties, symmetric.
        prior: (sets,) 1/variance of a normal prior on strengths and ln ν; None: hardly any.

    Returns:
        (sets, m) strengths with mean 0, and (sets,) ν.

    >>> wins = np.array([[[0.0, 6.0], [2.0, 0.0]]])
    >>> strengths, tie = fit_davidson(wins, np.array([[[0.0, 4.0], [4.0, 0.0]]]))
    >>> np.round(strengths[0], 4).tolist(), round(float(tie[0]), 4)  # ±ln(6/2)/2; 4/√(6·2)
    ([0.5493, -0.5493], 1.1547)
    """
    sets, m = wins.shape[:2]
    high, low = np.triu_indices(m, 1)
    observed = np.stack(
        [wins[:, high, low], wins[:, low, high], ties[:, high, low]], axis=2
    )  # (sets, pairs, 3)
    drawn = bool(ties.any())
    penalty = np.full(sets, 1e-12) if prior is None else np.maximum(prior, 1e-12)
    parameters = np.zeros((sets, m + 1))  # m strengths, ln ν
    gauge = np.pad(np.ones((m, m)), (0, 1)) + np.diag([0.0] * m + [0.0 if drawn else 1.0])
    blocks = _blocks(m, high, low)
    for _ in range(_STEPS):
        gradient, information = _derivatives(parameters, observed, high, low, blocks, drawn)
        gradient -= penalty[:, None] * parameters
        information += gauge + penalty[:, None, None] * np.eye(m + 1)
        step = np.clip(np.linalg.solve(information, gradient[..., None])[..., 0], -2, 2)
        parameters += step
        parameters[:, :m] -= parameters[:, :m].mean(1, keepdims=True)
        if np.abs(step).max() < _TOLERANCE:
            break
    tie = np.exp(parameters[:, m]) if drawn else np.zeros(sets)
    return parameters[:, :m], tie


def _derivatives(
    parameters: Array,
    observed: Array,
    high: NDArray[np.int64],
    low: NDArray[np.int64],
    blocks: Array,
    drawn: bool,
) -> tuple[Array, Array]:
    """Gradient (sets, m + 1) of the log-likelihood and its information (sets, m + 1, m + 1)."""
    sets, width = parameters.shape
    a, b = parameters[:, high], parameters[:, low]
    tied = parameters[:, -1:] + (a + b) / 2 if drawn else np.full_like(a, -np.inf)
    logits = np.stack([a, b, tied], axis=2)
    shares = np.exp(logits - logits.max(2, keepdims=True))
    shares /= shares.sum(2, keepdims=True)
    n = observed.sum(2)
    p, q, t = shares[..., 0], shares[..., 1], shares[..., 2]
    surplus = observed - n[..., None] * shares
    local = [surplus[..., 0] + surplus[..., 2] / 2, surplus[..., 1] + surplus[..., 2] / 2, surplus[..., 2]]
    gradient = np.zeros((sets, width))
    for slot, which in ((local[0], high), (local[1], low)):
        np.add.at(gradient.T, which, slot.T)
    gradient[:, -1] = local[2].sum(1)
    first, second = p + t / 2, q + t / 2  # expected points
    moments = [
        p + t / 4 - first**2,
        q + t / 4 - second**2,
        t / 4 - first * second,
        t / 2 - first * t,
        t / 2 - second * t,
        t - t * t,
    ]
    packed = np.stack([n * moment for moment in moments], axis=2).reshape(sets, -1)
    return gradient, (packed @ blocks).reshape(sets, width, width)


def _blocks(m: int, high: NDArray[np.int64], low: NDArray[np.int64]) -> Array:
    """(pairs · 6, (m + 1)²): where each second moment of a pair stands in the information."""
    blocks = np.zeros((len(high), 6, m + 1, m + 1))
    for pair, (i, j) in enumerate(zip(high, low, strict=True)):
        for slot, (row, column) in enumerate([(i, i), (j, j), (i, j), (i, m), (j, m), (m, m)]):
            blocks[pair, slot, row, column] = blocks[pair, slot, column, row] = 1.0
    return blocks.reshape(len(high) * 6, -1)


@dataclass(frozen=True, slots=True)
class _Group:
    order: list[int]  # positions among the members, the strongest first
    strengths: Array
    ends: list[tuple[float | None, float | None]]
    ranks: list[tuple[int, int]]
    tie: float
    unlimited: float


def _fit_group(
    rows: Array, members: Sequence[int], candidates: int, confidence: float, resamples: int, seed: int
) -> _Group:
    m = len(members)
    if m == 1:
        return _Group([0], np.zeros(1), [(None, None)], [(0, 0)], 0.0, 0.0)
    inside = rows.reshape(len(rows), candidates, candidates, 2)[:, members][:, :, members]
    inside = inside[inside.any((1, 2, 3))].reshape(-1, m * m * 2)
    whole, tie, _ = _fit_totals(inside.sum(0)[None], m)
    order = [int(i) for i in np.argsort(-whole[0], kind="stable")]
    if len(inside) < 2:
        return _Group(order, whole[0], [(None, None)] * m, [(0, m - 1)] * m, float(tie[0]), 0.0)
    units = group_rows(inside, unit_of_sample(len(inside), None, seed))
    fits: list[Array] = []
    unlimited = 0
    for counts in resample_counts(len(units), resamples, seed):
        for part in np.array_split(counts, -(-len(counts) * units.shape[1] * 9 // _CHUNK)):
            strengths, _, rough = _fit_totals(part @ units, m)
            fits.append(strengths)
            unlimited += int(rough.sum())
    drawn = np.concatenate(fits)
    total = units.sum(0)
    left_out = np.concatenate(
        [_fit_totals(total - part, m)[0] for part in np.array_split(units, -(-units.size * 9 // _CHUNK))]
    )
    ends: list[tuple[float | None, float | None]] = [
        bca_interval(Replicates(float(whole[0, i]), drawn[:, i], left_out[:, i]), confidence)
        for i in range(m)
    ]
    places = np.argsort(np.argsort(-drawn, axis=1, kind="stable"), axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(places, [tail, 1 - tail], axis=0, method="closest_observation")
    ranks = [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    return _Group(order, whole[0], ends, ranks, float(tie[0]), unlimited / len(drawn))


def _fit_totals(totals: Array, m: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Fit (sets, m · m · 2) totals; the third says in which sets only the weak prior keeps a strength finite."""
    games = totals.reshape(-1, m, m, 2)
    wins, ties = games[..., 0], games[..., 1]
    beaten = (wins + ties > 0) | np.eye(m, dtype=bool)
    reach = beaten.astype(np.float64)
    for _ in range(max(1, int(np.ceil(np.log2(m))))):
        reach = np.minimum(reach @ reach, 1.0)
    rough = np.asarray(~(reach > 0).all((1, 2)), dtype=np.bool_)
    no_ties_or_no_wins = ~(ties.any((1, 2)) & wins.any((1, 2)))
    prior = np.where(rough | no_ties_or_no_wins, _WEAK_PRIOR, 0.0)
    if not ties.any():
        prior = np.where(rough, _WEAK_PRIOR, 0.0)
    strengths, tie = fit_davidson(wins, ties, prior)
    return strengths, tie, rough


def _rows(games: Sequence[Game], names: Sequence[str]) -> tuple[int, Array]:
    """Number of prompts, and (prompts, m · m · 2): wins of the row and ties, per prompt."""
    index = {name: position for position, name in enumerate(names)}
    prompts: dict[str, int] = {}
    for game in games:
        prompts.setdefault(game.prompt, len(prompts))
    rows = np.zeros((len(prompts), len(names), len(names), 2))
    for game in games:
        here, i, j = rows[prompts[game.prompt]], index[game.first], index[game.second]
        if game.points == 0.5:
            here[i, j, 1] += game.weight
            here[j, i, 1] += game.weight
        elif game.points == 1:
            here[i, j, 0] += game.weight
        else:
            here[j, i, 0] += game.weight
    return len(prompts), rows.reshape(len(prompts), -1)


def _groups(totals: Array, names: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """Candidates whose strengths exist together, the stronger groups first, and what keeps them apart."""
    from scipy.sparse.csgraph import connected_components

    m = len(names)
    not_lost = totals.sum(2) > 0
    _, strong = connected_components(not_lost, connection="strong")
    parts, weak = connected_components(not_lost, connection="weak")
    reach = np.linalg.matrix_power(not_lost.astype(float) + np.eye(m), m) > 0
    points = totals[..., 0].sum(1) + totals[..., 1].sum(1) / 2
    played = totals[..., 0].sum(1) + totals[..., 0].sum(0) + totals[..., 1].sum(1)
    groups = [np.flatnonzero(strong == label).tolist() for label in dict.fromkeys(strong.tolist())]
    # A group that beat another reaches all that the other does and itself.
    groups.sort(
        key=lambda group: (-int(reach[group[0]].sum()), -float(np.mean(points[group] / played[group])))
    )
    notes = []
    if parts > 1:
        sets = [_said(names, np.flatnonzero(weak == part).tolist()) for part in range(parts)]
        notes.append(
            f"No games connect {' with '.join(sets)}: their order says nothing; compare within each."
        )
    for upper, lower in pairwise(groups):
        if reach[upper[0], lower[0]]:
            notes.append(
                f"{_said(names, upper)} won every game against {_said(names, lower)} (no ties either): by how much "
                "it is stronger has no upper limit, so their strengths do not compare."
                if not_lost[np.ix_(upper, lower)].any()
                else f"{_said(names, upper)} and {_said(names, lower)} are apart only by way of others' games; "
                "their strengths do not compare."
            )
    return groups, notes


def _rating(
    names: Sequence[str],
    totals: Array,
    members: Sequence[int],
    member: int,
    position: int,
    group: int,
    before: int,
    fitted: _Group,
) -> Rating:
    who = members[member]
    low, high = fitted.ends[member]
    start = before - position
    return Rating(
        candidate=names[who],
        rank=before + 1,
        rank_low=start + fitted.ranks[member][0] + 1,
        rank_high=start + fitted.ranks[member][1] + 1,
        strength=float(fitted.strengths[member]) if len(members) > 1 else None,
        low=low,
        high=high,
        wins=float(totals[who, :, 0].sum()),
        ties=float(totals[who, :, 1].sum()),
        losses=float(totals[:, who, 0].sum()),
        group=group,
    )


def _said(names: Sequence[str], members: Sequence[int]) -> str:
    shown = [names[member] for member in members]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
