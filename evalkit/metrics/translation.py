"""BLEU, chrF and TER: sacrebleu's values, for the corpus and for each sample.

Papineni et al. 2002 (BLEU), Popović 2015 and 2017 (chrF, chrF++), Snover et al. 2006 (TER), in the form of
Post 2018 ("A Call for Clarity in Reporting BLEU Scores"). Texts are tokenised and counted by sacrebleu
itself; its sufficient statistics per segment are the rows here, and the formulas over their sums are written
for whole arrays of sums, so that a bootstrap costs no more than a matrix product.

Values are 0–100 as sacrebleu prints them. A sample's own score is sacrebleu's sentence score (BLEU with
``effective_order``, as sacrebleu recommends for sentences). Several targets are several references.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from evalkit.errors import MetricError
from evalkit.metrics.base import NO_TARGET, Array, Measured, Metric, answers, failed, one_of, targets
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["Bleu", "Chrf", "Ter"]


class _Sacrebleu(Metric):
    """What the three share: a sacrebleu metric that counts, and a formula over the counts."""

    additive_mean: ClassVar[bool] = False
    streams = True
    slow: ClassVar[bool] = True
    bounds = (0.0, 100.0)
    width: int
    counter: Any

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Several answers to a sample count as the mean of their statistics."""
        rows = np.zeros((len(samples), self.width))
        scores: list[Score] = []
        counted: list[list[float]] = []
        owners: list[slice] = []  # of each sample, its answers among the counted
        for sample, output in zip(samples, outputs, strict=True):
            accepted, texts = targets(sample), answers(output)
            reason = failed(output) or (None if accepted else NO_TARGET)
            if reason is None and not texts:
                reason = Unscored("the output holds no answer")
            scores.append(0.0 if reason is None else reason)
            if reason is None:
                counted += [self.count(text, accepted) for text in texts]
            owners.append(slice(len(counted) - (len(texts) if reason is None else 0), len(counted)))
        counts = np.array(counted, dtype=np.float64).reshape(len(counted), self.width)
        values = self.sentence_value(
            counts
        )  # of all at once: of one at a time it would cost more than the counting
        for place, own in enumerate(owners):
            if not isinstance(scores[place], Unscored):
                rows[place] = counts[own].mean(0)
                scores[place] = float(values[own].mean())
        return Measured(rows, scores)

    def count(self, text: str, references: list[str]) -> list[float]:
        """Sacrebleu's sufficient statistics of one segment."""
        stats: list[list[float]] = self.counter._extract_corpus_statistics(
            [text], [[reference] for reference in references]
        )
        return stats[0]

    def sentence_value(self, rows: Array) -> Array:
        """Scores of single segments, (n, k) → (n,)."""
        return self.value(rows)

    def signature(self) -> str:
        """Sacrebleu's signature without the number of references, which is the data's."""
        self.counter.num_refs = 1  # its signature insists on one
        info = {key: value for key, value in self.counter.get_signature().info.items() if key != "nrefs"}
        version = info.pop("version")
        return signature(self.name, **info, version=version)


class Bleu(_Sacrebleu):
    """BLEU: 0–100, higher is better.

    Args:
        tokenize: ``13a`` (default), ``intl``, ``char``, ``none``, ``zh``, ``ja-mecab``, ``ko-mecab``,
            ``spm``, ``flores101``, ``flores200``; some need a package or a download of their own.
        smooth_method: ``exp`` (default), ``floor``, ``add-k`` or ``none``.
        smooth_value: Of ``floor`` (0.1) and ``add-k`` (1).
        lowercase: Ignore case.
        max_ngram_order: Longest n-gram, ≥ 1.
        effective_order: Leave out orders without any n-gram, also for the corpus.

    Raises:
        MetricError: An unknown tokenizer or smoothing, or a tokenizer that cannot be had here.

    >>> metric = Bleu(tokenize="none")
    >>> measured = metric.measure([Sample("1", "", "the cat sat on the mat")], [Output("1", "the cat sat on a mat")])
    >>> round(float(metric.value(measured.statistics.sum(0))), 3)
    53.728
    """

    name = "bleu"

    def __init__(
        self,
        *,
        tokenize: str = "13a",
        smooth_method: str = "exp",
        smooth_value: float | None = None,
        lowercase: bool = False,
        max_ngram_order: int = 4,
        effective_order: bool = False,
    ) -> None:
        reference = _sacrebleu("BLEU")
        one_of(self.name, "tokenize", tokenize, tuple(reference.TOKENIZERS))
        one_of(self.name, "smooth_method", smooth_method, reference.SMOOTH_DEFAULTS)
        _at_least_one(self.name, "max_ngram_order", max_ngram_order)
        self.smooth_method = smooth_method
        default = reference.SMOOTH_DEFAULTS[smooth_method]
        self.smooth_value = float(default or 0.0) if smooth_value is None else float(smooth_value)
        self.orders = max_ngram_order
        self.effective_order = effective_order
        self.width = 2 + 2 * max_ngram_order
        self.counter = _made(
            self.name,
            lambda: reference(
                lowercase=lowercase,
                force=True,
                tokenize=tokenize,
                smooth_method=smooth_method,
                smooth_value=smooth_value,
                max_ngram_order=max_ngram_order,
                effective_order=effective_order,
            ),
        )

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        return self._bleu(totals, effective=self.effective_order)

    def sentence_value(self, rows: Array) -> Array:
        """Sentence BLEU, with ``effective_order``."""
        return self._bleu(rows, effective=True)

    def _bleu(self, totals: Array, *, effective: bool) -> Array:
        answered, reference = totals[..., 0], totals[..., 1]
        matches = totals[..., 2 : 2 + self.orders]
        possible = totals[..., 2 + self.orders :]
        log_sum = np.zeros(totals.shape[:-1])
        orders = np.zeros(totals.shape[:-1])
        alive = np.ones(totals.shape[:-1], dtype=bool)  # until an order has no n-gram at all
        halvings = np.zeros(totals.shape[:-1])
        for order in range(self.orders):
            extra = self.smooth_value if self.smooth_method == "add-k" and order > 0 else 0.0
            hit, whole = matches[..., order] + extra, possible[..., order] + extra
            alive = alive & (whole > 0)
            missed = alive & (hit == 0)
            halvings = halvings + missed
            with np.errstate(divide="ignore", invalid="ignore"):
                log_sum = log_sum + np.where(alive, np.log(self._smoothed(hit, halvings) / whole), 0.0)
            orders = orders + alive
        if not effective:
            log_sum = np.where(alive, log_sum, -np.inf)
            orders = np.full_like(orders, self.orders)
        with np.errstate(divide="ignore", invalid="ignore"):
            brevity = np.where(answered < reference, np.exp(1 - reference / answered), 1.0)
            values = 100 * brevity * np.exp(log_sum / orders)
        return np.where(matches.any(-1), values, 0.0)

    def _smoothed(self, hit: Array, halvings: Array) -> Array:
        """Matches, with what the smoothing puts in place of none."""
        if self.smooth_method == "exp":
            return np.where(hit == 0, 0.5**halvings, hit)
        if self.smooth_method == "floor":
            return np.where(hit == 0, self.smooth_value, hit)
        return hit


class Chrf(_Sacrebleu):
    """chrF, character n-gram F-score: 0–100, higher is better.

    Args:
        char_order: Longest character n-gram, ≥ 1.
        word_order: Longest word n-gram; 2 makes it chrF++.
        beta: Weight of recall against precision.
        lowercase: Ignore case.
        whitespace: Count white space as characters.
        eps_smoothing: Smooth as chrF++.py does instead of leaving out empty orders.
    """

    name = "chrf"

    def __init__(
        self,
        *,
        char_order: int = 6,
        word_order: int = 0,
        beta: float = 2,
        lowercase: bool = False,
        whitespace: bool = False,
        eps_smoothing: bool = False,
    ) -> None:
        _at_least_one(self.name, "char_order", char_order)
        self.orders = char_order + word_order
        self.beta_squared = beta**2
        self.eps_smoothing = eps_smoothing
        self.width = 3 * self.orders
        self.counter = _sacrebleu("CHRF")(
            char_order=char_order,
            word_order=word_order,
            beta=beta,
            lowercase=lowercase,
            whitespace=whitespace,
            eps_smoothing=eps_smoothing,
        )

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        counts = totals.reshape(*totals.shape[:-1], self.orders, 3)
        answered, reference, matches = counts[..., 0], counts[..., 1], counts[..., 2]
        tiny = 1e-16  # sacrebleu's own
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(answered > 0, matches / answered, tiny)
            recall = np.where(reference > 0, matches / reference, tiny)
        if self.eps_smoothing:
            return np.asarray(100 * self._f(precision, recall, empty=tiny).mean(-1))
        both = (answered > 0) & (reference > 0)
        orders = np.maximum(both.sum(-1), 1)
        mean_precision = np.where(both, precision, 0.0).sum(-1) / orders
        mean_recall = np.where(both, recall, 0.0).sum(-1) / orders
        return 100 * self._f(mean_precision, mean_recall, empty=0.0)

    def _f(self, precision: Array, recall: Array, *, empty: float) -> Array:
        weighted = self.beta_squared * precision + recall
        with np.errstate(divide="ignore", invalid="ignore"):
            score = (1 + self.beta_squared) * precision * recall / weighted
        return np.where(weighted > 0, score, empty)


class Ter(_Sacrebleu):
    """Translation edit rate: edits with block shifts per reference word, in per cent; ≥ 0, lower is better.

    Args:
        normalized: Tokenise as Tercom does.
        no_punct: Drop punctuation.
        asian_support: Tokenise Asian characters one by one.
        case_sensitive: Tell upper from lower case.
    """

    name = "ter"
    higher_is_better = False
    bounds = (0.0, math.inf)
    width = 2

    def __init__(
        self,
        *,
        normalized: bool = False,
        no_punct: bool = False,
        asian_support: bool = False,
        case_sensitive: bool = False,
    ) -> None:
        self.counter = _sacrebleu("TER")(
            normalized=normalized,
            no_punct=no_punct,
            asian_support=asian_support,
            case_sensitive=case_sensitive,
        )

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``. With empty references: 100 if anything was answered, else 0."""
        edits, length = totals[..., 0], totals[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = edits / length
        return 100 * np.where(length > 0, rate, np.where(edits > 0, 1.0, 0.0))


def _sacrebleu(name: str) -> Any:
    return getattr(importlib.import_module("sacrebleu.metrics"), name)


def _made(metric: str, make: Callable[[], Any]) -> Any:
    """Make a sacrebleu metric whose tokenizer may need a package or a download."""
    try:
        return make()
    except (ImportError, RuntimeError, OSError, SystemExit) as error:  # it exits where a download fails
        raise MetricError(f"{metric}: its tokenizer cannot be had here: {error}") from error


def _at_least_one(metric: str, setting: str, value: int) -> None:
    if value < 1:
        raise MetricError(f"{metric}: setting {setting!r} must be at least 1; got {value}.")
