"""One sentence for each rule: what was found, and what would change it."""

from __future__ import annotations

from evalkit.gates.evidence import Evidence
from evalkit.gates.rules import Check
from evalkit.gates.verdicts import Word

__all__ = ["reason", "signed"]


def signed(value: float) -> str:
    """A difference with its sign: ``+0.031``.

    >>> signed(-0.0312), signed(0.0), signed(0.0000312)
    ('-0.031', '0', '+3.1e-05')
    """
    if value == 0:
        return "0"
    return f"{value:+.3f}" if 0.001 <= abs(value) < 10_000 else f"{value:+.2g}"


def reason(
    check: Check, evidence: Evidence | None, verdict: Word, needed: int | None, confidence: float
) -> str:
    """Say in one sentence what was found and what would change it.

    Args:
        check: The rule and its candidate.
        evidence: What the samples say; None where the candidate or its reference could not be done.
        verdict: Of the rule.
        needed: Samples that would decide an inconclusive rule.
        confidence: Two-sided level of the interval.
    """
    if check.error is not None:
        return f"{check.candidate} could not be done, so it fails: {_plain(check.error)}."
    if check.reference_error is not None:
        why = _plain(check.reference_error)
        return f"{check.against} could not be done, so there is nothing to compare with: {why}."
    if evidence is None or evidence.estimate is None or evidence.low is None or evidence.high is None:
        return (
            f"{check.candidate}: {0 if evidence is None else evidence.n} samples say nothing about how far the value "
            "may be off, since they are all of one cluster; samples of other clusters would."
        )
    return f"{_found(check, evidence, confidence)}{_so(check, evidence, verdict, needed)}."


def _found(check: Check, evidence: Evidence, confidence: float) -> str:
    interval = (
        f"{100 * confidence:.4g} % interval [{signed(evidence.low or 0)}, {signed(evidence.high or 0)}]"
    )
    if check.against is None:
        plain = (
            f"{100 * confidence:.4g} % interval [{_number(evidence.low or 0)}, {_number(evidence.high or 0)}]"
        )
        return f"{check.candidate} has {_number(evidence.estimate or 0)} ({plain}, n {evidence.n})"
    series = check.series
    direction = "" if series is None or series.higher_is_better else ", where less is better"
    estimate = evidence.estimate or 0.0
    if estimate == 0:
        verb = f"is level with {check.against}"
    else:
        verb = f"is {'better' if estimate > 0 else 'worse'} than {check.against} by {_number(abs(estimate))}{direction}"
    return f"{check.candidate} {verb} (difference {signed(estimate)}, {interval}, {evidence.n} pairs)"


def _so(check: Check, evidence: Evidence, verdict: Word, needed: int | None) -> str:
    low, high, bound = evidence.low or 0.0, evidence.high or 0.0, check.bound
    upward = check.rule.kind != "at_most"
    if verdict == "pass":
        end, name = (low, "lower") if upward else (high, "upper")
        return f"; it would stop passing if the {name} end moved by {_number(abs(end - bound))} to {_number(bound)}"
    if verdict == "fail":
        end, name = (high, "upper") if upward else (low, "lower")
        return f"; it would stop failing if the {name} end moved by {_number(abs(end - bound))} to {_number(bound)}"
    if needed is None and evidence.noise_sd > 0 and abs((evidence.estimate or 0.0) - bound) > 1e-12:
        return (
            f"; the bound of {_number(bound)} is so near that answers in other batches could cross it (standard "
            f"deviation {_number(evidence.noise_sd)}), and no number of samples decides"
        )
    if needed is None:
        return f"; the estimate lies on the bound of {_number(bound)}, where no number of samples decides" + (
            ": a margin above 0 would" if check.rule.kind == "no_worse_than" and bound == 0 else ""
        )
    return (
        f"; the interval holds the bound of {_number(bound)}, and about {needed:,} samples would decide (80 % power, "
        "if what was found is the truth)"
    )


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if 0.001 <= abs(value) < 10_000 else f"{value:.3g}"


def _plain(error: str) -> str:
    return " ".join(error.split()).rstrip(".")
