"""Intervals, paired tests and corrections, on arrays only: rows of statistics in, numbers out."""

from __future__ import annotations

from evalkit.stats.bootstrap import Interval, bootstrap_interval
from evalkit.stats.corrections import bonferroni_confidence, holm, widen
from evalkit.stats.paired import PairedDifference, paired_difference
from evalkit.stats.proportions import mcnemar_mid_p, paired_proportions_interval, wilson_interval

__all__ = [
    "Interval",
    "PairedDifference",
    "bonferroni_confidence",
    "bootstrap_interval",
    "holm",
    "mcnemar_mid_p",
    "paired_difference",
    "paired_proportions_interval",
    "widen",
    "wilson_interval",
]
