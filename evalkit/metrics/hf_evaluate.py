"""``evaluate:NAME``: any metric of Hugging Face's *evaluate*, from the Hub or from a script on this machine.

Such a metric is a function of a whole corpus and keeps no statistics per sample. Where its value is the mean of what
it gives for each sample alone, those are the statistics. Where it is not (a ratio of sums, an F1), each sample has a
jackknife pseudo-value in their place (Tukey 1958; groups are left out in turn): their mean is the metric's own value,
and their spread is that of the value, so that intervals and paired tests hold to first order.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from evalkit.errors import MetricError, nearest
from evalkit.metrics.base import NO_TARGET, Array, Measured, Metric, answers, failed, targets
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import file_sha256, signature

__all__ = ["EvaluateMetric"]

GROUPS = 50
"""Most groups that the jackknife leaves out, one at a time."""

FIRST_LABEL = 1_000_000
"""Number of the first label that is a text."""

SAME = 1e-9
"""How near the mean of the samples' values has to be to count as the value itself."""


class EvaluateMetric(Metric):
    """A metric of Hugging Face's *evaluate*, on its own scale; better is up unless said.

    Args:
        name: Of the metric on the Hub (``exact_match``, ``user/metric``), or the path of a script or its folder.
        script: A script on this machine to take instead; a card may name one beside it.
        field: Which of the metric's results to read; its name unless said, or the only number there is.
        config: The metric's configuration, where it has several.
        higher_is_better: Direction, which *evaluate* does not know.
        options: Further arguments of the metric's ``compute``.

    Raises:
        MetricError: The script cannot be had, or needs a package that is not installed; says what to type.
    """

    additive_mean: ClassVar[bool] = False
    bounds = (-math.inf, math.inf)

    def __init__(
        self,
        *,
        name: str,
        script: str | None = None,
        field: str | None = None,
        config: str | None = None,
        higher_is_better: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.name = f"evaluate:{Path(name).stem if Path(name).exists() else name}"
        self.place, self.config, self.field = script or name, config, field
        self.higher_is_better = higher_is_better
        self.options = dict(options or {})
        self.module = _load(self.name, self.place, config)
        self.inputs = _Inputs(self.name, self.module)

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``. Several answers to a sample count as several predictions, its score as their mean.

        Raises:
            MetricError: The metric raised, or has no such result.
        """
        pairs = [self.inputs.pairs(sample, output) for sample, output in zip(samples, outputs, strict=True)]
        kept = [pair for pair in pairs if not isinstance(pair, Unscored)]
        found = iter(self._values(kept))
        rows = np.zeros((len(pairs), 2))
        scores: list[Score] = []
        for row, pair in zip(rows, pairs, strict=True):
            if isinstance(pair, Unscored):
                scores.append(pair)
                continue
            statistic, score = next(found)
            row[:] = statistic, 1.0
            scores.append(score)
        return Measured(rows, scores)

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        """Name, what is read of its results, version of *evaluate*, and hash of the script."""
        return signature(
            self.name,
            field=self.field,
            config=self.config,
            **{str(key): value for key, value in sorted(self.options.items())},
            evaluate=importlib.import_module("evaluate").__version__,
            script=file_sha256(Path(inspect.getfile(type(self.module))))[:12],
        )

    def _values(self, pairs: list[_Pairs]) -> list[tuple[float, float]]:
        """Statistic and score of every sample."""
        if not pairs:
            return []
        whole = self._compute(pairs)
        if isinstance(whole, list):  # one result a prediction, as BERTScore gives
            counts = np.cumsum([0, *(len(pair) for pair in pairs)])
            means = [float(np.mean(whole[a:b])) for a, b in pairwise(counts)]
            return [(mean, mean) for mean in means]
        each = [self._alone(pair) for pair in pairs]
        if abs(float(np.mean(each)) - whole) <= SAME * max(1.0, abs(whole)):
            return [(value, value) for value in each]
        return list(zip(self._pseudo_values(pairs, whole), each, strict=True))

    def _alone(self, pair: _Pairs) -> float:
        found = self._compute([pair])
        return float(np.mean(found)) if isinstance(found, list) else found

    def _pseudo_values(self, pairs: list[_Pairs], whole: float) -> list[float]:
        """Values whose mean is ``whole`` and whose mean varies as the metric does."""
        n = len(pairs)
        groups = min(n, GROUPS)
        if groups < 2:
            return [whole] * n
        member = np.arange(n) % groups
        without = np.array(
            [
                self._number([pair for pair, group in zip(pairs, member, strict=True) if group != left_out])
                for left_out in range(groups)
            ]
        )
        pseudo = groups * whole - (groups - 1) * without
        # A sample's part of its group's deviation: scaled so that the mean over n samples varies as that over groups.
        spread = (pseudo - pseudo.mean()) * math.sqrt(n / groups)
        values = spread[member]
        return [float(value) for value in whole + values - values.mean()]

    def _number(self, pairs: list[_Pairs]) -> float:
        found = self._compute(pairs)
        return float(np.mean(found)) if isinstance(found, list) else found

    def _compute(self, pairs: list[_Pairs]) -> float | list[float]:
        predictions = [prediction for pair in pairs for prediction, _ in pair]
        references = [reference for pair in pairs for _, reference in pair]
        try:
            results = self.module.compute(predictions=predictions, references=references, **self.options)
        except Exception as error:  # the script is anybody's
            raise MetricError(f"{self.name} raised {type(error).__name__}: {error}") from error
        return self._read(results, len(predictions))

    def _read(self, results: dict[str, Any], n: int) -> float | list[float]:
        usable = {key: value for key, value in results.items() if _is_number(value) or _is_row(value, n)}
        own = self.name.removeprefix("evaluate:").rsplit("/", 1)[-1]
        wanted = self.field or (own if own in usable else None)
        if wanted is None and len(usable) == 1:
            wanted = next(iter(usable))
        if wanted is None or wanted not in usable:
            raise MetricError(
                f"{self.name}: set `field:` to one of its results: {', '.join(usable) or 'it has no number'}; "
                f"got {self.field!r}.{nearest(str(self.field), usable)}"
            )
        value = usable[wanted]
        return float(value) if _is_number(value) else [float(item) for item in value]


_Pairs = list[tuple[Any, Any]]
"""Prediction and reference of each answer of a sample, in the form that the metric takes."""


class _Inputs:
    """What form of predictions and references a metric takes: texts, numbers or labels; one reference or several."""

    def __init__(self, name: str, module: Any) -> None:
        features = module.features[0] if isinstance(module.features, list) else module.features
        kinds = {}
        for side in ("predictions", "references"):
            feature = features.get(side)
            several = type(feature).__name__ in ("List", "LargeList", "Sequence") or isinstance(feature, list)
            inner = (feature[0] if isinstance(feature, list) else feature.feature) if several else feature
            kinds[side] = getattr(inner, "dtype", None), several
        (self.kind, many), (wanted, self.several) = kinds["predictions"], kinds["references"]
        plain = all(
            str(kind).startswith(("string", "int", "float", "large_string")) for kind in (self.kind, wanted)
        )
        if many or not plain or set(features) - {"predictions", "references"}:
            raise MetricError(
                f"{name} takes rows of another form ({features}); evalkit gives it a text, number or label "
                "as prediction and as reference."
            )
        self.labels: dict[str, int] = {}

    def pairs(self, sample: Sample, output: Output) -> _Pairs | Unscored:
        """The sample's predictions with its references."""
        if reason := failed(output):
            return reason
        wanted, texts = targets(sample), answers(output)
        if not wanted:
            return NO_TARGET
        if not texts:
            return Unscored("the output holds no answer")
        reference = [self._as(text) for text in wanted]
        prediction = [self._as(text) for text in texts]
        if any(value is None for value in [*reference, *prediction]):
            return Unscored("the metric compares numbers, and the answer or the target is none")
        return [(value, reference if self.several else reference[0]) for value in prediction]

    def _as(self, text: str) -> Any:
        if str(self.kind).startswith("float"):
            try:
                return float(text)
            except ValueError:
                return None
        if str(self.kind).startswith("int"):  # a label: its number, or one made for it
            bare = text.strip()
            made = FIRST_LABEL + len(self.labels)  # beyond any number that is a label itself
            return int(bare) if bare.lstrip("-").isdecimal() else self.labels.setdefault(bare, made)
        return text


def _load(name: str, place: str, config: str | None) -> Any:
    evaluate = importlib.import_module("evaluate")
    try:
        return evaluate.load(place, config, module_type=None, keep_in_memory=True)
    except ImportError as error:
        raise MetricError(f"{name}: {error}") from error
    except (OSError, ValueError, TypeError) as error:
        told = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise MetricError(
            f"{name}: no metric {place!r} on this machine, and the Hugging Face Hub does not give it: {told}",
            f'Where there is a network, type: python -c "import evaluate; evaluate.load({place!r})"; it is then '
            "kept in the cache. Or give the path of a script: {metric: evaluate:NAME, script: NAME.py}.",
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_row(value: object, n: int) -> bool:
    return (
        isinstance(value, list | np.ndarray) and len(value) == n and all(_is_number(item) for item in value)
    )
