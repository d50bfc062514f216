"""A policy over a run: the verdict, and ``gate.json`` in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import OutputFolderError
from evalkit.gates.baseline import find_baseline
from evalkit.gates.evidence import Drawing, Evidence, Pairs, pairs_of, values_of
from evalkit.gates.reasons import reason
from evalkit.gates.rules import Check, checks_of
from evalkit.gates.selftest import self_test as test_policy
from evalkit.gates.verdicts import GateVerdict, RuleVerdict, Word, judge_whole, samples_needed
from evalkit.judging.trust import UNCALIBRATED, trust_in
from evalkit.running.find import find_run
from evalkit.running.folder import RunFolder, write_json
from evalkit.running.scores import Scores, run_scores
from evalkit.specs.gate import GatePolicy
from evalkit.specs.load import load_gate

__all__ = ["evaluate", "evaluate_run", "gate", "taken", "write_verdict"]

FLIPS = 10


def gate(
    run: str | Path,
    policy: str | Path,
    *,
    baseline: str | Path | None = None,
    self_test: bool = False,
) -> GateVerdict:
    """Hold a finished run to a policy and write its ``gate.json``; the same as ``evalkit gate``.

    Args:
        run: A run folder, a study's folder (its newest run), or a run's ID.
        policy: The policy's YAML.
        baseline: A run, a baseline file or a baseline's name that ``baseline`` in a rule stands for.
        self_test: Also simulate how often this policy would err at this n.

    Raises:
        UserError: No such run, a wrong policy, or samples or signatures that do not match.
    """
    return evaluate_run(find_run(run), load_gate(policy), baseline=baseline, self_test=self_test)


def evaluate_run(
    folder: RunFolder,
    policy: GatePolicy,
    *,
    baseline: str | Path | None = None,
    roots: Sequence[Path] = (),
    self_test: bool = False,
) -> GateVerdict:
    """Hold a run to a policy and write ``gate.json`` into its folder.

    Args:
        folder: The run.
        policy: The rules.
        baseline: A run, a baseline file or a baseline's name; None: the study's own baseline, where a rule needs one.
        roots: Folders whose ``baselines/`` are looked through.
        self_test: Also simulate how often this policy would err at this n.

    Raises:
        UserError: A name is unknown, or samples or signatures do not match; nothing is written then.
        OutputFolderError: ``gate.json`` cannot be written.
    """
    run = run_scores(folder)
    stored = find_baseline(baseline, policy, run, roots)
    verdict, results = evaluate(policy, run, stored, self_test=self_test), folder.results()
    rules = [
        replace(rule, reason=f"{rule.reason} The number is an {UNCALIBRATED}'s.")
        if trust_in(rule.metric, results) == UNCALIBRATED
        else rule
        for rule in verdict.rules
    ]
    return write_verdict(replace(verdict, rules=rules), folder)


def write_verdict(verdict: GateVerdict, folder: RunFolder) -> GateVerdict:
    """Write ``gate.json`` into a run folder and return the verdict.

    Raises:
        OutputFolderError: It cannot be written.
    """
    try:
        write_json(folder.path / "gate.json", verdict.to_json())
    except OSError as error:
        raise OutputFolderError(
            f"Cannot write {folder.path / 'gate.json'}: {error.strerror or error}."
        ) from error
    return verdict


def evaluate(
    policy: GatePolicy, run: Scores, baseline: Scores | None = None, *, self_test: bool = False
) -> GateVerdict:
    """Hold scores to a policy. See ``evaluate_run``."""
    checks = checks_of(policy, run, baseline)
    drawing = Drawing(policy.confidence, run.seed)
    pairs = [pairs_of(c.series, c.reference) if c.series and c.reference else None for c in checks]
    found = [_evidence(check, pair, drawing) for check, pair in zip(checks, pairs, strict=True)]
    judged = [(check.rule.kind, item, check.bound) for check, item in zip(checks, found, strict=True)]
    whole, verdicts, together = judge_whole(judged, policy.confidence)
    return GateVerdict(
        gate=policy.gate,
        run=run.run,
        baseline=None if baseline is None else baseline.where,
        confidence=policy.confidence,
        evidence=whole,
        verdict=taken(whole, policy),
        rules=[
            _rule(check, pair, evidence, verdict, fails, run, policy.confidence)
            for check, pair, evidence, verdict, fails in zip(
                checks, pairs, found, verdicts, together, strict=True
            )
        ],
        self_test=test_policy(checks, pairs, drawing) if self_test else None,
    )


def _evidence(check: Check, pairs: Pairs | None, drawing: Drawing) -> Evidence | None:
    """What the samples say; None where the candidate could not be done."""
    if check.series is None:
        return None
    if check.reference_error is not None:
        return Evidence(None, None, None, 0, lambda confidence: (float("-inf"), float("inf")))
    return values_of(check.series).evidence(drawing) if pairs is None else pairs.evidence(drawing)


def taken(whole: Word, policy: GatePolicy) -> Word:
    """What the policy makes of the samples' verdict: an inconclusive one may count as a fail or a pass."""
    taken: dict[str, Word] = {"exit3": "inconclusive", "fail": "fail", "pass": "pass"}
    return taken[policy.inconclusive] if whole == "inconclusive" else whole


def _rule(
    check: Check,
    pairs: Pairs | None,
    evidence: Evidence | None,
    verdict: Word,
    together: bool,
    run: Scores,
    confidence: float,
) -> RuleVerdict:
    rule, series = check.rule, check.series
    needed = None
    if verdict == "inconclusive" and evidence is not None:
        needed = samples_needed(evidence, check.bound, confidence)
    plain = RuleVerdict(
        rule=check.words,
        kind=rule.kind,
        candidate=check.candidate,
        task=rule.task,
        metric=rule.metric,
        verdict=verdict,
        fails_together=together,
        reference=check.against,
        bound=check.bound,
        margin={"no_worse_than": rule.margin, "better_than": rule.by}.get(rule.kind),
        n_needed=needed,
        reason=reason(check, evidence, verdict, needed, confidence),
    )
    if series is None or evidence is None:
        return plain
    told = replace(
        plain,
        value=run.entries[check.candidate, rule.task, rule.metric]["value"],
        low=evidence.low,
        high=evidence.high,
        n=evidence.n,
        unscored=len(series.ids) - evidence.n,
        higher_is_better=series.higher_is_better,
    )
    if pairs is None:
        return told
    return replace(
        told,
        reference_value=pairs.reference(),
        difference=evidence.estimate,
        gained=int((pairs.gains > 0).sum()),
        lost=int((pairs.gains < 0).sum()),
        flips=_flips(pairs),
    )


def _flips(pairs: Pairs) -> list[dict[str, Any]]:
    """The samples that changed most: what got worse first, then what got better."""
    gains = pairs.gains
    order = [int(i) for i in np.lexsort((-np.abs(gains), gains > 0)) if gains[i] != 0]
    return [
        {"id": pairs.ids[i], "candidate": float(pairs.scores[0][i]), "reference": float(pairs.scores[1][i])}
        for i in order[:FLIPS]
    ]
