"""From evidence to verdicts: three-way for each rule, then one for all of them.

A rule looks at the two-sided interval at the policy's confidence, so it passes or fails wrongly with probability at
most α = (1 − confidence) / 2 each. **All pass** needs every rule to pass at its own level: an intersection-union test
(Berger 1982, Technometrics 24), which needs no correction. **Any fail** looks at many rules for one that fails, so it
is corrected by Holm (1979): with m rules, first the intervals at confidence 1 − (1 − confidence) / m; each rule that
fails there is counted out, and the rest are looked at again with the smaller m. Holm is applied to intervals rather
than to p-values because the score and bootstrap intervals at hand have no p-value for a shifted null in closed form;
a rule's p-value is by definition the least α whose interval excludes the bound, so both give the same verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from evalkit.gates.evidence import Evidence
from evalkit.stats import bonferroni_confidence

__all__ = ["EXIT_CODES", "GateVerdict", "RuleVerdict", "Word", "judge_rule", "judge_whole", "samples_needed"]

Word = Literal["pass", "fail", "inconclusive"]
Kind = Literal["at_least", "at_most", "no_worse_than", "better_than"]

EXIT_CODES: dict[Word, int] = {"pass": 0, "fail": 1, "inconclusive": 3}

POWER = 0.8


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule for one candidate.

    Attributes:
        rule: The rule in words: ``tickets exact_match no_worse_than base, margin 0.02``.
        kind: Which of the four rules.
        candidate: Who is held to it.
        task: On which task.
        metric: By which metric.
        verdict: At the rule's own level.
        fails_together: It fails after Holm over all rules, so that the whole fails.
        value: The candidate's, in the metric's unit.
        reference: What it is compared with, or None.
        reference_value: Its value over the pairs.
        difference: To the reference, oriented so that higher is better; None for ``at_least`` and ``at_most``.
        low: Lower end of the interval: of the difference as it is oriented, or of the value.
        high: Upper end.
        bound: What the interval is held against: −margin, ``by``, or the value asked for.
        margin: Of ``no_worse_than``, or ``by`` of ``better_than``; else None.
        n: Samples, or pairs.
        unscored: Samples of the task that could not be used.
        n_needed: Samples that would decide an inconclusive rule (see ``samples_needed``); None where it is decided.
        reason: One sentence: what was found and what would change it.
        gained: Samples the candidate does better than the reference.
        lost: Samples it does worse.
        flips: Up to ten of them, the worst first: id, candidate, reference.
        higher_is_better: Direction of the metric.
    """

    rule: str
    kind: Kind
    candidate: str
    task: str
    metric: str
    verdict: Word
    fails_together: bool = False
    value: float | None = None
    reference: str | None = None
    reference_value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    margin: float | None = None
    n: int = 0
    unscored: int = 0
    n_needed: int | None = None
    reason: str = ""
    gained: int = 0
    lost: int = 0
    flips: list[dict[str, Any]] = field(default_factory=list)
    higher_is_better: bool = True

    @property
    def decision(self) -> Word:
        """What counts for the whole: a failure that does not survive Holm is inconclusive."""
        return "inconclusive" if self.verdict == "fail" and not self.fails_together else self.verdict

    def to_json(self) -> dict[str, Any]:
        """The object of docs/reference §6, and what else is known."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """A policy's verdict over a run.

    Attributes:
        gate: The policy's name.
        run: The run's ID.
        baseline: What ``baseline`` meant, or None.
        confidence: Of the two-sided intervals.
        evidence: What the samples say: ``pass``, ``fail`` or ``inconclusive``.
        verdict: The same, or what the policy makes of an inconclusive one.
        rules: One for every rule and candidate.
        self_test: How often the policy would err at this n, where that was asked for.
        sequential: How many samples a sequential gate looked at, and in which order; None for a plain one.
    """

    gate: str
    run: str
    baseline: str | None
    confidence: float
    evidence: Word
    verdict: Word
    rules: list[RuleVerdict]
    self_test: dict[str, Any] | None = None
    sequential: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """The object of ``gate.json`` and of ``--json``."""
        told = {
            "format": 1,
            "gate": self.gate,
            "run": self.run,
            "baseline": self.baseline,
            "confidence": self.confidence,
            "verdict": self.verdict,
            "evidence": self.evidence,
            "exit_code": self.exit_code,
            "rules": [rule.to_json() for rule in self.rules],
        }
        more = {"self_test": self.self_test, "sequential": self.sequential}
        return {**told, **{name: value for name, value in more.items() if value is not None}}


def judge_rule(kind: Kind, low: float, high: float, bound: float) -> Word:
    """The three-way verdict of one interval.

    Args:
        kind: Which rule.
        low: Lower end: of the oriented difference, or of the value.
        high: Upper end.
        bound: −margin for ``no_worse_than``, ``by`` for ``better_than``, else the value asked for.

    >>> judge_rule("no_worse_than", -0.03, 0.04, bound=-0.02), judge_rule("better_than", 0.01, 0.05, bound=0.0)
    ('inconclusive', 'pass')
    """
    passes = {
        "at_least": low >= bound,
        "at_most": high <= bound,
        "no_worse_than": low > bound,
        "better_than": low > bound,
    }[kind]
    fails = {
        "at_least": high < bound,
        "at_most": low > bound,
        "no_worse_than": high < bound,
        "better_than": high <= bound,
    }[kind]
    return "pass" if passes else "fail" if fails else "inconclusive"


def judge_whole(
    checks: Sequence[tuple[Kind, Evidence | None, float]], confidence: float
) -> tuple[Word, list[Word], list[bool]]:
    """Verdict of every rule, whether it fails after Holm, and the verdict of all together.

    Args:
        checks: Kind, evidence and bound of each; no evidence where the candidate could not be done, which fails.
        confidence: Two-sided level.

    Returns:
        The whole's verdict, each rule's verdict at its own level, and whether it fails together with the others.
    """
    verdicts: list[Word] = [
        "fail" if evidence is None else _judge(kind, evidence, bound, confidence)
        for kind, evidence, bound in checks
    ]
    out = [evidence is None for _, evidence, _ in checks]  # no chance is at work there
    while True:
        level = bonferroni_confidence(confidence, len(checks) - sum(out))
        found = [
            index
            for index, (kind, evidence, bound) in enumerate(checks)
            if verdicts[index] == "fail"
            and not out[index]
            and evidence is not None
            and _judge(kind, evidence, bound, level) == "fail"
        ]
        if not found:
            break
        for index in found:
            out[index] = True
    whole: Word = "fail" if any(out) else "pass" if all(v == "pass" for v in verdicts) else "inconclusive"
    return whole, verdicts, out


def samples_needed(evidence: Evidence, bound: float, confidence: float) -> int | None:
    """Samples at which the rule would be decided with 80 % power, if what was measured is the truth.

    With an interval whose arm towards the bound has length h at n samples, and an estimate at distance δ from the
    bound, arms shrink as 1/√n, so that

        n_needed = n · (h / δ)² · ((z₁₋α + z₀.₈) / z₁₋α)²,   α = (1 − confidence) / 2

    (the usual normal-theory sample size, as in Chow, Shao and Wang 2008, ch. 3, with the measured spread). A shift
    between numerical realisations does not shrink: its share of the arm, z · sd, is taken out of h and of the room
    that δ leaves.

    Returns:
        The least such n; None where no n decides: the estimate lies on the bound, or within the shift of it.

    >>> e = Evidence(0.02, -0.03, 0.07, 200, lambda confidence: (-0.03, 0.07))
    >>> samples_needed(e, bound=0.0, confidence=0.95)
    2555
    """
    from scipy.special import ndtri

    if evidence.estimate is None or evidence.low is None or evidence.high is None:
        return None
    distance = abs(evidence.estimate - bound)
    arm = evidence.estimate - evidence.low if evidence.estimate > bound else evidence.high - evidence.estimate
    if distance <= 1e-12 or arm <= 0:
        return None
    z = float(ndtri((1 + confidence) / 2))
    fixed = (z * evidence.noise_sd) ** 2
    room = (distance * z / (z + float(ndtri(POWER)))) ** 2 - fixed
    needed = evidence.n * (arm**2 - fixed) / room if room > 0 else math.inf
    return math.ceil(needed) if needed < 1e12 else None


def _judge(kind: Kind, evidence: Evidence, bound: float, confidence: float) -> Word:
    if evidence.low is None or evidence.high is None:
        return "inconclusive"
    return judge_rule(kind, *evidence.at(confidence), bound)
