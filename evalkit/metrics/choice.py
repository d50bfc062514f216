"""Multiple choice by log-likelihood: which option does the model find most probable?

Gao et al., lm-evaluation-harness: ``acc`` takes the largest summed log-probability, ``acc_norm`` the largest
per character of the option, which removes the advantage of short ones. Ties go to the first option.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.metrics.base import NO_TARGET, PerSampleMetric
from evalkit.records import Choice, Output, Sample, Score, Unscored
from evalkit.signature import signature

__all__ = ["ChoiceAccuracy", "ChoiceAccuracyNorm", "target_indices"]

VERSION = 1
"""Raised whenever the definition changes, because it changes scores."""


def target_indices(sample: Sample, options: Sequence[str]) -> list[int] | Unscored:
    """Positions of the accepted options: the target is an option's text or its index from 0; a list means
    any.

    A text that is no option but a number counts as an index.

    >>> target_indices(Sample("1", "?", "Paris"), ["Rome", "Paris"])
    [1]
    """
    if sample.target is None or sample.target == []:
        return NO_TARGET
    wanted = sample.target if isinstance(sample.target, list | tuple) else [sample.target]
    found = [_index(target, options) for target in wanted]
    indices = [index for index in found if index is not None]
    return indices or Unscored(
        f"target {sample.target!r} is none of the {len(options)} options, nor an index of one"
    )


class ChoiceAccuracy(PerSampleMetric):
    """Share of samples whose most probable option is accepted: 0–1, higher is better.

    >>> rated = (Choice("Rome", -7.0, 1), Choice("Paris", -2.0, 1))
    >>> ChoiceAccuracy().score(Sample("1", "?", target="Paris"), Output("1", "", choices=rated))
    1.0
    """

    name = "choice_accuracy"

    def score(self, sample: Sample, output: Output) -> Score:
        """1 if the best-rated option is a target, else 0; unscored without rated options."""
        rated = output.choices
        if not rated:
            return Unscored("the output carries no rated options")
        if any(math.isnan(choice.logprob) for choice in rated):
            return Unscored("an option's log-probability is not a number")
        texts = [choice.text for choice in rated]
        if sample.choices is not None and len(sample.choices) == len(rated):
            texts = list(sample.choices)  # as the row has them, without the delimiter put before an answer
        accepted = target_indices(sample, texts)
        if isinstance(accepted, Unscored):
            return accepted
        ratings = [self.rating(choice, text) for choice, text in zip(rated, texts, strict=True)]
        return float(ratings.index(max(ratings)) in accepted)

    def rating(self, choice: Choice, text: str) -> float:
        """What the options are ranked by."""
        return choice.logprob

    def signature(self) -> str:
        """Name and what the options are ranked by."""
        return signature(self.name, by="logprob", definition=VERSION)


class ChoiceAccuracyNorm(ChoiceAccuracy):
    """As ``choice_accuracy``, by log-probability per character of the option: 0–1, higher is better."""

    name = "choice_accuracy_norm"

    def rating(self, choice: Choice, text: str) -> float:
        """Log-probability per character; an empty option counts as one character long."""
        return choice.logprob / max(len(text), 1)

    def signature(self) -> str:
        """Name and what the options are ranked by."""
        return signature(self.name, by="logprob/characters", definition=VERSION)


def _index(target: object, options: Sequence[str]) -> int | None:
    if isinstance(target, str) and target in options:
        return list(options).index(target)
    if isinstance(target, str):
        if not target.strip().isdecimal():
            return None
        target = int(target)
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(options):
        return target
    return None
