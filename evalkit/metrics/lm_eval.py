"""``lm_eval:NAME``: a metric of a task of lm-evaluation-harness, with intervals and paired tests of ours.

The task scores each answer itself. Its aggregation has to be a function of sums over samples (a mean, a perplexity,
bits per byte): then it is bootstrapped as our own metrics are. A metric with another one is unscored, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from evalkit.harness import MEANS, PREFIX, Harness, open_harness
from evalkit.metrics.base import Array, Measured, Metric, failed
from evalkit.records import Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["LmEvalMean", "LmEvalRatio", "lm_eval_metric"]


class LmEvalRatio(Metric):
    """A function of two sums over the samples, such as a perplexity. Statistics: what is summed, and its weight."""

    additive_mean: ClassVar[bool] = False
    bounds = (-math.inf, math.inf)

    def __init__(
        self, *, name: str, task: str, aggregation: str, higher_is_better: bool = True, chat: bool = False
    ) -> None:
        self.name = PREFIX + name
        self.higher_is_better = higher_is_better
        self._metric, _, self._filter = name.partition(",")
        self._place, self._aggregation, self._chat = task, aggregation, chat

    @property
    def harness(self) -> Harness:
        """The task whose metric it is."""
        return open_harness(self._place, Path(), chat=self._chat)

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Measured:
        """See ``Metric.measure``."""
        scores: list[Score] = [self._fault(output) or 0.0 for output in outputs]
        statistics = np.zeros((len(outputs), 2))
        rows = [row for row, score in enumerate(scores) if not isinstance(score, Unscored)]
        kept = self._filter or "none"
        made = self.harness.scores([samples[row] for row in rows], [outputs[row] for row in rows], kept)
        for row, values in zip(rows, made, strict=True):
            found = values.get(self._metric)
            pair = found if isinstance(found, tuple | list) else (found, 1.0)
            if found is None or len(pair) != 2 or math.isnan(float(pair[0])):
                scores[row] = Unscored(f"lm-evaluation-harness gives {self._metric} no value here")
                continue
            statistics[row] = float(pair[0]), float(pair[1])
            scores[row] = float(self.value(statistics[row]))
        return Measured(statistics, scores)

    def value(self, totals: Array) -> Array:
        """See ``Metric.value``."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = np.asarray(totals[..., 0] / totals[..., 1])
            if self._aggregation in ("perplexity", "weighted_perplexity"):
                return np.asarray(np.exp(-mean))
            return np.asarray(-mean / math.log(2)) if self._aggregation == "bits_per_byte" else mean

    def signature(self) -> str:
        """The task with its version and hash, and the package's version."""
        return signature(self.name, agg=self._aggregation, chat=self._chat, **self.harness.versions)

    def _fault(self, output: Output) -> Unscored | None:
        if self._aggregation not in MEANS:
            return Unscored(
                f"lm-evaluation-harness aggregates it by {self._aggregation}, which is no mean over samples"
            )
        if self.harness.kind != "generate" and not output.choices:
            return failed(output) or Unscored("the answer has no log-probabilities")
        return failed(output)


class LmEvalMean(LmEvalRatio):
    """The mean of what the task gives each sample."""

    additive_mean: ClassVar[bool] = True


def lm_eval_metric(
    *, name: str, task: str, aggregation: str, higher_is_better: bool = True, chat: bool = False
) -> Metric:
    """A metric of a task of lm-evaluation-harness; studies and cards fill its settings in.

    Args:
        name: As it is there: ``acc``, or ``exact_match,strict-match`` after a filter.
        task: The task's name there, or the path of its YAML.
        aggregation: Name of the function that makes the value of the samples' scores.
        higher_is_better: Direction.
        chat: Whether its prompts are chats.
    """
    made: dict[str, Any] = {"name": name, "task": task, "aggregation": aggregation, "chat": chat}
    kind = LmEvalMean if aggregation in ("mean", "nanmean") else LmEvalRatio
    return kind(**made, higher_is_better=higher_is_better)
