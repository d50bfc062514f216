"""Intervals, paired tests and corrections, on arrays only: rows of statistics in, numbers out."""

from __future__ import annotations

from evalkit.stats.bootstrap import UNBOUNDED, Interval, ValueOf, bootstrap_interval
from evalkit.stats.corrections import benjamini_hochberg, bonferroni_confidence, holm, widen
from evalkit.stats.noise import add_noise, change_of, noisy_p, shift_sd
from evalkit.stats.paired import PairedDifference, paired_difference
from evalkit.stats.power import detectable, needed, spread
from evalkit.stats.proportions import (
    clopper_pearson_interval,
    mcnemar_exact_p,
    mcnemar_mid_p,
    paired_proportions_interval,
    wilson_interval,
)
from evalkit.stats.recipes import LEAST_SEEDS, Parts, RecipeDifference, recipe_difference, variance_parts
from evalkit.stats.resampling import unit_of_sample
from evalkit.stats.sequential import confidence_sequence, e_process
from evalkit.stats.winner import corrected_lead, max_t_confidence

__all__ = [
    "LEAST_SEEDS",
    "UNBOUNDED",
    "Interval",
    "PairedDifference",
    "Parts",
    "RecipeDifference",
    "ValueOf",
    "add_noise",
    "benjamini_hochberg",
    "bonferroni_confidence",
    "bootstrap_interval",
    "change_of",
    "clopper_pearson_interval",
    "confidence_sequence",
    "corrected_lead",
    "detectable",
    "e_process",
    "holm",
    "max_t_confidence",
    "mcnemar_exact_p",
    "mcnemar_mid_p",
    "needed",
    "noisy_p",
    "paired_difference",
    "paired_proportions_interval",
    "recipe_difference",
    "shift_sd",
    "spread",
    "unit_of_sample",
    "variance_parts",
    "widen",
    "wilson_interval",
]
