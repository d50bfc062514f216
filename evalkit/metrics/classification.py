"""Accuracy, precision, recall, F1 and Matthews correlation of labels: scikit-learn's values.

The answer and the target are compared as labels: exactly, after stripping white space at both ends. Like
scikit-learn, an average runs over every class that occurs as a target *or as an answer*, so that an answer
outside the label set is a class of its own with F1 0 and pulls a macro average down; ``labels="targets"``
averages over the classes of the targets alone (an answer outside them is then only a miss of the right
class). What would be 0/0 counts as 0, as scikit-learn's ``zero_division`` does by default.

Matthews correlation for several classes: Gorodkin 2004.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from evalkit.errors import MetricError
from evalkit.metrics.base import (
    NO_TARGET,
    Array,
    Measured,
    Metric,
    TextMetric,
    answers,
    failed,
    one_of,
    targets,
)
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["F1", "Accuracy", "Mcc", "Precision", "Recall"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""

OWN_COLUMNS = 64
"""Classes that only answers have, not targets, and that get columns of their own. Rarer ones share two
columns:
exact for the value; their share in the spread is an approximation."""


class Accuracy(TextMetric):
    """Share of answers that are the target's label: 0–1, higher is better.

    >>> Accuracy().score_text(Sample("1", "?", "refund"), " refund\\n")
    1.0
    """

    name = "accuracy"

    def score_text(self, sample: Sample, text: str) -> Score:
        """1 if the answer is an accepted label, else 0; unscored without a target."""
        accepted = [target.strip() for target in targets(sample)]
        return float(text.strip() in accepted) if accepted else NO_TARGET

    def signature(self) -> str:
        """Name and normalisation."""
        return signature(self.name, normalize="strip", definition=VERSION)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Totals per class, the last axis over K classes; the classes without own columns beside them."""

    hits: Array  # (..., K) answers of this class that are right
    answered: Array  # (..., K) answers of this class
    wanted: Array  # (..., K) targets of this class
    rest_classes: Array  # (...) number of further classes, none of which is a target
    rest_squares: Array  # (...) sum of their squared counts
    n: Array  # (...) samples

    @classmethod
    def of(cls, totals: Array) -> _Counts:
        hits, answered, wanted = np.split(totals[..., :-3], 3, axis=-1)
        return cls(hits, answered, wanted, totals[..., -3], totals[..., -2], totals[..., -1])


class _Labels(Metric):
    """What precision, recall, F1 and MCC share: counts per class.

    Statistics, for K classes: ``hits``, ``answered`` and ``wanted`` (K columns each), then three of
    ``_Counts``. A sample's own score is 1 where its answer is right, else 0.
    """

    additive_mean: ClassVar[bool] = False
    labels: str | list[str]

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``."""
        pairs: list[list[tuple[str, str]]] = []  # (label wanted, label answered), one for each answer
        scores: list[Score] = []
        for sample, output in zip(samples, outputs, strict=True):
            score, row = _label_pairs(sample, output)
            scores.append(score)
            pairs.append(row)
        classes, rest = self._classes(pairs)
        return Measured(_statistics(pairs, classes, rest), scores, {"classes": classes})

    def align(self, first: Measured, second: Measured) -> tuple[Array, Array]:
        """Give both the columns of the union of their classes."""
        union = sorted({*first.labels["classes"], *second.labels["classes"]})
        return _widen(first, union), _widen(second, union)

    def _classes(self, pairs: list[list[tuple[str, str]]]) -> tuple[list[str], Counter[str]]:
        """Classes with columns of their own, sorted, and how often each further class was answered."""
        if isinstance(self.labels, list):
            return sorted(self.labels), Counter()
        wanted = {want for row in pairs for want, _ in row}
        if self.labels == "targets":
            return sorted(wanted), Counter()
        extra = Counter(answer for row in pairs for _, answer in row if answer not in wanted)
        often = sorted(extra, key=lambda label: (-extra[label], label))[:OWN_COLUMNS]
        rest = Counter({label: count for label, count in extra.items() if label not in set(often)})
        return sorted({*wanted, *often}), rest


class _Averaged(_Labels):
    """Precision, recall or F1 of each class, averaged.

    Args:
        average: ``macro`` (default): every class counts alike. ``weighted``: by its share of the targets.
            ``micro``: over all decisions together. ``binary``: the one class named by ``positive``.
        labels: ``data`` (default): classes of targets and answers; ``targets``: of the targets; or a list.
        positive: The class that counts with ``average="binary"``.

    Raises:
        MetricError: An unknown average, or ``binary`` without ``positive``.
    """

    _averages = ("macro", "micro", "weighted", "binary")

    def __init__(
        self, *, average: str = "macro", labels: str | Sequence[str] = "data", positive: str | None = None
    ) -> None:
        self.average = one_of(self.name, "average", average, self._averages)
        if (average == "binary") != (positive is not None):
            raise MetricError(f'{self.name}: average="binary" and positive="LABEL" go together.')
        if positive is not None:
            self.labels = [str(positive)]
        elif isinstance(labels, str):
            self.labels = one_of(self.name, "labels", labels, ("data", "targets"))
        else:
            self.labels = sorted({str(label) for label in labels})

    @abstractmethod
    def per_class(self, hits: Array, answered: Array, wanted: Array) -> Array:
        """The value of each class from its counts; 0 where undefined."""

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        counts = _Counts.of(totals)
        if self.average == "micro":
            everything = self.labels == "data"
            answered = counts.n if everything else counts.answered.sum(-1)
            values = self.per_class(counts.hits.sum(-1), answered, counts.wanted.sum(-1))
        else:
            each = self.per_class(counts.hits, counts.answered, counts.wanted)  # (..., K)
            values = _ratio((each * self._weights(counts)).sum(-1), self._weight_total(counts))
        return np.where(counts.n > 0, values, np.nan)

    def signature(self) -> str:
        """Name, average and label set."""
        labels = self.labels if isinstance(self.labels, str) else ",".join(self.labels)
        return signature(self.name, average=self.average, labels=labels, definition=VERSION)

    def _weights(self, counts: _Counts) -> Array:
        if self.average == "weighted":
            return counts.wanted
        if self.labels == "data":
            return ((counts.wanted + counts.answered) > 0).astype(np.float64)
        if self.labels == "targets":
            return (counts.wanted > 0).astype(np.float64)
        return np.ones_like(counts.wanted)

    def _weight_total(self, counts: _Counts) -> Array:
        total = self._weights(counts).sum(-1)
        counted = self.average != "weighted" and self.labels == "data"
        return np.asarray(total + counts.rest_classes if counted else total)


class Precision(_Averaged):
    """Share of the answers of a class that are right, averaged over classes: 0–1, higher is better."""

    name = "precision"

    def per_class(self, hits: Array, answered: Array, wanted: Array) -> Array:
        """``hits / answered``."""
        return _ratio(hits, answered)


class Recall(_Averaged):
    """Share of the targets of a class that were answered right, averaged over classes: 0–1, higher is
    better."""

    name = "recall"

    def per_class(self, hits: Array, answered: Array, wanted: Array) -> Array:
        """``hits / wanted``."""
        return _ratio(hits, wanted)


class F1(_Averaged):
    """Harmonic mean of precision and recall of a class, averaged over classes: 0–1, higher is better.

    >>> samples = [Sample("1", "?", "cat"), Sample("2", "?", "cat"), Sample("3", "?", "dog")]
    >>> outputs = [Output("1", "cat"), Output("2", "dog"), Output("3", "dog")]
    >>> float(F1().value(F1().measure(samples, outputs).statistics.sum(0)))
    0.6666666666666666
    """

    name = "f1"

    def per_class(self, hits: Array, answered: Array, wanted: Array) -> Array:
        """``2 hits / (answered + wanted)``."""
        return _ratio(2 * hits, answered + wanted)


class Mcc(_Labels):
    """Matthews correlation of answers and targets: −1 to 1, 0 is chance, higher is better."""

    name = "mcc"
    bounds = (-1.0, 1.0)
    labels = "data"

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``. 0 where all targets, or all answers, are of one class."""
        counts = _Counts.of(totals)
        n = counts.n
        covariance = counts.hits.sum(-1) * n - (counts.answered * counts.wanted).sum(-1)
        answered = n**2 - (counts.answered**2).sum(-1) - counts.rest_squares
        wanted = n**2 - (counts.wanted**2).sum(-1)
        values = _ratio(covariance, np.sqrt(np.maximum(answered, 0) * np.maximum(wanted, 0)))
        return np.where(n > 0, values, np.nan)

    def signature(self) -> str:
        """Name."""
        return signature(self.name, definition=VERSION)


def _ratio(part: Array, whole: Array) -> Array:
    """``part / whole``, 0 where ``whole`` is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) != 0)


def _label_pairs(sample: Sample, output: Output) -> tuple[Score, list[tuple[str, str]]]:
    if reason := failed(output):
        return reason, []
    accepted = [target.strip() for target in targets(sample)]
    if not accepted:
        return NO_TARGET, []
    given = [text.strip() for text in answers(output)]
    if not given:
        return Unscored("the output holds no answer"), []
    # Of several accepted labels the one that was answered counts as wanted, else the first.
    row = [(answer if answer in accepted else accepted[0], answer) for answer in given]
    return sum(want == answer for want, answer in row) / len(row), row


def _statistics(pairs: list[list[tuple[str, str]]], classes: list[str], rest: Counter[str]) -> Array:
    place = {label: index for index, label in enumerate(classes)}
    k = len(classes)
    rows = np.zeros((len(pairs), 3 * k + 3))
    for row, given in zip(rows, pairs, strict=True):
        share = 1 / len(given) if given else 0.0
        for wanted, answer in given:
            if answer in place:
                row[k + place[answer]] += share
            elif answer in rest:
                row[-3] += share / rest[answer]  # sums to 1 over the rows that answered it
                row[-2] += share * rest[answer]  # sums to the square of their number
            if wanted in place:
                row[2 * k + place[wanted]] += share
                row[place[wanted]] += share * (answer == wanted)
            row[-1] += share
    return rows


def _widen(measured: Measured, union: list[str]) -> Array:
    own: list[str] = measured.labels["classes"]
    k, wide = len(own), len(union)
    columns = [union.index(label) for label in own]
    statistics = np.zeros((len(measured.scores), 3 * wide + 3))
    for block in range(3):
        statistics[:, [block * wide + column for column in columns]] = measured.statistics[
            :, block * k : (block + 1) * k
        ]
    statistics[:, -3:] = measured.statistics[:, -3:]
    return statistics
