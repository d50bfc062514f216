"""Scores that people gave, freed of who gave them: candidates fixed, raters, items and answers random.

    score = candidate + rater + item + answer (candidate × item) + error

A candidate that happened to be rated by the strict, or on the hard items, is not punished for it, and an interval
says what other raters and other items would have said. Restricted maximum likelihood by the penalised least squares
of Bates et al. 2015 (lme4); degrees of freedom by Satterthwaite's method (Kuznetsova, Brockhoff and Christensen 2017,
lmerTest), without which intervals are too short with few raters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.stats.resampling import Array

__all__ = ["CandidateMean", "MeanDifference", "MixedScores", "Rated", "RaterBias", "fit_scores"]

_NEGLIGIBLE = 1e-3  # a random part whose SD is below this share of the error's is taken as absent
_STEP = 0.02  # of the numerical derivatives, in logarithms of variances


@dataclass(frozen=True, slots=True)
class Rated:
    """One score that one rater gave to one candidate's answer to one item."""

    candidate: str
    item: str
    rater: str
    score: float


@dataclass(frozen=True, slots=True)
class CandidateMean:
    """A candidate's mean score for other raters and items of the same kind; None where it cannot be said."""

    candidate: str
    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """``candidate`` minus ``control``; raters and items that both have cancel."""

    candidate: str
    control: str
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class RaterBias:
    """How much higher than the raters' average one rater scores the same answers."""

    rater: str
    bias: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class MixedScores:
    """What the scores say.

    Attributes:
        candidates: In the order they first occur.
        differences: Every other candidate against the control.
        raters: By name, estimated as fixed so that extreme ones are not drawn to the middle; empty with one rater
            and where nothing tells raters from candidates (everybody rated a candidate of their own).
        deviations: Standard deviation of each random part that could be told apart: ``rater``, ``item``,
            ``answer``, ``error``; in units of the score.
        n: Scores.
    """

    candidates: tuple[CandidateMean, ...]
    differences: tuple[MeanDifference, ...]
    raters: tuple[RaterBias, ...]
    deviations: dict[str, float]
    n: int


def fit_scores(rows: Iterable[Rated], *, control: str | None = None, confidence: float = 0.95) -> MixedScores:
    """Estimate candidates' means, their differences and raters' biases.

    Args:
        rows: The scores, in any design: not every rater need see every answer.
        control: The candidate that the others are compared with; None: the first.
        confidence: Two-sided level of the intervals.

    Raises:
        ValueError: No scores, one that is not finite, or a control without scores.

    >>> strict = [Rated(c, str(i), "ann", 2.0 + (c == "b") + i % 3) for c in "ab" for i in range(6)]
    >>> mild = [Rated(c, str(i), "ben", 3.0 + (c == "b") + i % 3) for c in "ab" for i in range(6)]
    >>> found = fit_scores(strict + mild)
    >>> round(found.differences[0].difference, 6), [round(rater.bias, 2) for rater in found.raters]
    (1.0, [-0.5, 0.5])
    """
    given = list(rows)
    scores = np.array([row.score for row in given], dtype=np.float64)
    if not len(given) or not np.isfinite(scores).all():
        raise ValueError("expected one finite score or more")
    names = list(dict.fromkeys(row.candidate for row in given))
    control = names[0] if control is None else control
    if control not in names:
        raise ValueError(f"no scores of the control {control!r}")
    fixed = _codes([row.candidate for row in given])
    parts = _parts(given)
    columns = np.eye(len(names))[fixed]
    solved = _maximise(_Design(scores, columns, parts))
    contrasts = np.eye(len(names))
    counts = np.bincount(fixed)
    ends = [solved.ends(contrast, confidence, 1.0) for contrast in contrasts]
    reference = contrasts[names.index(control)]
    others = [(name, contrasts[i] - reference) for i, name in enumerate(names) if name != control]
    return MixedScores(
        candidates=tuple(
            CandidateMean(name, *end, int(count))
            for name, end, count in zip(names, ends, counts, strict=True)
        ),
        differences=tuple(
            MeanDifference(name, control, *solved.ends(contrast, confidence)) for name, contrast in others
        ),
        raters=_biases(given, scores, columns, parts, confidence),
        deviations=solved.deviations,
        n=len(given),
    )


def _codes(names: Sequence[object]) -> NDArray[np.int64]:
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def _parts(rows: Sequence[Rated]) -> dict[str, NDArray[np.int64]]:
    """Random parts that the design can tell from one another and from the error."""
    parts = {
        "rater": _codes([row.rater for row in rows]),
        "item": _codes([row.item for row in rows]),
        "answer": _codes([(row.candidate, row.item) for row in rows]),
    }
    levels = {name: int(codes.max()) + 1 for name, codes in parts.items()}
    if levels["answer"] == levels["item"]:  # every item has one candidate's answer: the same grouping twice
        del parts["answer"]
    return {name: codes for name, codes in parts.items() if 1 < levels[name] < len(rows)}


class _Design:
    """Cross-products of the model, computed once.

    An answer belongs to one item, so the levels of ``answer`` and, when those are eliminated, of ``item`` meet no
    other level of their own part: both are divided out one by one, and what is left to factorise is as large as there
    are raters and candidates, however many labels there are.
    """

    def __init__(self, scores: Array, fixed: Array, parts: dict[str, NDArray[np.int64]]) -> None:
        self.parts = parts
        self.mean = float(scores.mean())
        y = scores - self.mean
        self.scale = float(y.std()) or 1.0
        self.n, self.p = fixed.shape
        raters = np.eye(int(parts["rater"].max()) + 1)[parts["rater"]] if "rater" in parts else fixed[:, :0]
        self.raters = raters.shape[1]
        columns = np.concatenate(
            [raters, fixed, y[:, None] / self.scale], axis=1
        )  # (n, w): raters, candidates, score
        self.products = columns.T @ columns
        self.sums = {name: _totals(codes, columns) for name, codes in parts.items() if name != "rater"}
        self.counts = {name: np.bincount(codes) for name, codes in parts.items()}
        self.item_of: NDArray[np.int64] | None = None
        if "answer" in parts and "item" in parts:
            self.item_of = np.zeros(len(self.counts["answer"]), dtype=np.int64)
            self.item_of[parts["answer"]] = parts["item"]


def _totals(codes: NDArray[np.int64], columns: Array) -> Array:
    """(n, w) rows added up by level: (levels, w)."""
    found = np.zeros((int(codes.max()) + 1, columns.shape[1]))
    np.add.at(found, codes, columns)
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    """The model at given relative standard deviations of the random parts."""

    log_determinants: float
    squares: float
    beta: Array
    inverse: Array  # (p, p): covariance of beta / error variance


def _fit(design: _Design, theta: Array) -> _Fit:
    from scipy.linalg import solve_triangular

    spread = dict(zip(design.parts, theta.tolist(), strict=True))
    left, determinants = _eliminated(design, spread)
    r = design.raters
    scaled = np.ones(len(left))
    scaled[:r] = spread.get("rater", 1.0)
    left = left * scaled[:, None] * scaled
    lower = np.linalg.cholesky(left[:r, :r] + np.eye(r))
    across = solve_triangular(lower, left[:r, r:], lower=True)
    left = left[r:, r:] - across.T @ across
    schur, right = left[:-1, :-1], left[:-1, -1]
    inverse = np.linalg.inv(schur)
    beta = inverse @ right
    squares = float(left[-1, -1] - right @ beta)
    determinants += 2 * float(np.log(np.diag(lower)).sum()) + float(np.linalg.slogdet(schur)[1])
    return _Fit(determinants, max(squares, 1e-12 * float(design.products[-1, -1] or 1.0)), beta, inverse)


def _eliminated(design: _Design, spread: dict[str, float]) -> tuple[Array, float]:
    """Products of raters, candidates and score without what answers and items take, and the log-determinant of those.

    With C the products of a part's levels and these columns and D its diagonal, elimination takes Cᵀ D⁻¹ C away.
    """
    left, determinants, own_answer = design.products, 0.0, spread.get("answer", 0.0)
    for name in ("answer", "item"):
        if name not in design.parts:
            continue
        own, sums, counts = spread[name], design.sums[name], design.counts[name].astype(float)
        if name == "item" and design.item_of is not None:  # what its answers have left of it
            above = own_answer**2 * design.counts["answer"] + 1.0
            sums = _totals(design.item_of, design.sums["answer"] / above[:, None])
            counts = np.bincount(design.item_of, design.counts["answer"] / above, len(counts))
        diagonal, across = own**2 * counts + 1.0, own * sums
        left = left - across.T @ (across / diagonal[:, None])
        determinants += float(np.log(diagonal).sum())
    return left, determinants


class _Solved:
    """The maximum of the restricted likelihood and what can be read from it."""

    def __init__(self, design: _Design, theta: Array) -> None:
        self.design = design
        self.fit = _fit(design, theta)
        freedom = design.n - design.p
        self.error = self.fit.squares / freedom if freedom > 0 else math.nan  # variance
        self.theta = theta
        self.deviations = {
            name: float(relative) * math.sqrt(self.error) * design.scale
            for name, relative in zip(design.parts, theta, strict=True)
        } | {"error": math.sqrt(self.error) * design.scale}
        self._uncertainty = self._of_variances() if freedom > 0 else None

    def ends(
        self, contrast: Array, confidence: float, level: float = 0.0
    ) -> tuple[float, float | None, float | None]:
        """Value and interval of a combination of the fixed effects; ``level``: times the overall mean on top."""
        value = float(contrast @ self.fit.beta) * self.design.scale + self.design.mean * level
        variance = self.error * float(contrast @ self.fit.inverse @ contrast)
        if self._uncertainty is None:
            return value, None, None
        reach = _t(self._freedom(contrast, variance), confidence) * math.sqrt(variance) * self.design.scale
        return value, value - reach, value + reach

    def _kept(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.theta > _NEGLIGIBLE)

    def _at(self, logs: Array) -> tuple[_Fit, float]:
        """The model at logarithms of the kept parts' variances and of the error's."""
        error = math.exp(logs[-1])
        theta = np.zeros_like(self.theta)
        theta[self._kept()] = np.exp((logs[:-1] - logs[-1]) / 2)
        return _fit(self.design, theta), error

    def _logs(self) -> Array:
        return np.asarray(np.log(np.append(self.theta[self._kept()] ** 2 * self.error, self.error)))

    def _of_variances(self) -> Array:
        """Covariance of the estimated log-variances: twice the inverse of the deviance's second derivatives."""
        freedom = self.design.n - self.design.p

        def deviance(logs: Array) -> float:
            fit, error = self._at(logs)
            return float(fit.log_determinants + freedom * math.log(error) + fit.squares / error)

        start = self._logs()
        k = len(start)
        steps = np.eye(k) * _STEP
        middle = deviance(start)
        second = np.zeros((k, k))
        for i in range(k):
            for j in range(i + 1):
                if i == j:
                    ends = deviance(start + steps[i]) + deviance(start - steps[i])
                    second[i, i] = (ends - 2 * middle) / _STEP**2
                else:
                    same = deviance(start + steps[i] + steps[j]) + deviance(start - steps[i] - steps[j])
                    cross = deviance(start + steps[i] - steps[j]) + deviance(start - steps[i] + steps[j])
                    second[i, j] = second[j, i] = (same - cross) / (4 * _STEP**2)
        values, vectors = np.linalg.eigh(second)
        values = np.maximum(values, 1e-6)  # a flat direction is one that the data say nothing about
        return np.asarray(2 * (vectors / values) @ vectors.T)

    def _freedom(self, contrast: Array, variance: float) -> float:
        """Satterthwaite: 2 · variance² / variance of the variance."""
        start = self._logs()
        slopes = np.zeros(len(start))
        for i, step in enumerate(np.eye(len(start)) * _STEP):
            above, below = (
                error * float(contrast @ fit.inverse @ contrast)
                for fit, error in (self._at(start + step), self._at(start - step))
            )
            slopes[i] = (above - below) / (2 * _STEP)
        spread = 0.0 if self._uncertainty is None else float(slopes @ self._uncertainty @ slopes)
        limit = float(self.design.n - self.design.p)
        return min(max(2 * variance**2 / spread, 1.0), limit) if spread > 0 else limit


def _maximise(design: _Design) -> _Solved:
    """Maximise the restricted likelihood over the relative standard deviations of the random parts."""
    from scipy.optimize import minimize

    freedom = design.n - design.p
    if not design.parts or freedom <= 0:
        return _Solved(design, np.zeros(len(design.parts)))

    def deviance(theta: Array) -> float:
        fit = _fit(design, theta)
        return float(fit.log_determinants + freedom * math.log(fit.squares))

    k = len(design.parts)
    found = minimize(
        deviance,
        np.full(k, 0.7),
        method="L-BFGS-B",
        bounds=[(0.0, 1e3)] * k,
        options={"ftol": 1e-13, "gtol": 1e-7},
    )
    theta = np.where(found.x > _NEGLIGIBLE, found.x, 0.0)
    return _Solved(design, theta)


def _biases(
    rows: Sequence[Rated],
    scores: Array,
    candidates: Array,
    parts: dict[str, NDArray[np.int64]],
    confidence: float,
) -> tuple[RaterBias, ...]:
    """The same model with raters fixed: a shrunken estimate would hide the extreme ones, and its interval too."""
    codes = _codes([row.rater for row in rows])
    names = list(dict.fromkeys(row.rater for row in rows))
    m, k = len(names), candidates.shape[1]
    columns = np.concatenate([candidates, np.eye(m)[codes][:, 1:]], axis=1)
    if m < 2 or np.linalg.matrix_rank(columns) < columns.shape[1]:
        return ()
    solved = _maximise(
        _Design(scores, columns, {name: part for name, part in parts.items() if name != "rater"})
    )
    counts = np.bincount(codes)
    against = np.concatenate(
        [np.zeros((m, k)), (np.eye(m) - 1 / m)[:, 1:]], axis=1
    )  # the first rater is the origin
    found = [
        RaterBias(name, *solved.ends(contrast, confidence), int(count))
        for name, contrast, count in zip(names, against, counts, strict=True)
    ]
    return tuple(sorted(found, key=lambda bias: bias.rater))


def _t(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
