"""A gate that answers only as many samples as its verdict needs: ``evalkit gate --sequential STUDY``.

Samples are taken in a seeded random order, ``BATCH`` at a time; after each batch every rule is looked at
(``gates.looks``), and the gate stops when the whole is decided or the samples are used up. The same works on a
finished run: it says how many samples would have done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from evalkit.errors import SpecError
from evalkit.gates.baseline import find_baseline
from evalkit.gates.evaluate import taken, write_verdict
from evalkit.gates.evidence import Evidence
from evalkit.gates.looks import judge_looks
from evalkit.gates.opened import Opened, opened_of_run, opened_of_study, scores_to_come
from evalkit.gates.reasons import reason
from evalkit.gates.rules import held_candidates
from evalkit.gates.verdicts import GateVerdict, RuleVerdict, Word, samples_needed
from evalkit.running.find import find_run
from evalkit.running.lineage import check_starts
from evalkit.running.plan import plan_study
from evalkit.running.progress import Progress, Silent
from evalkit.running.run import opened_run
from evalkit.running.scores import run_scores
from evalkit.running.searching import searches
from evalkit.running.stepwise import Stepwise
from evalkit.specs.gate import GatePolicy
from evalkit.specs.load import load_gate

__all__ = ["BATCH", "gate_sequentially"]

BATCH = 16
"""Samples of each task between two looks; more where a cluster has more."""

FLIPS = 10
Errors = Callable[[Opened], tuple[str | None, str | None]]
"""Why the candidate, and why its reference, could not be done."""


def gate_sequentially(
    what: str | Path,
    policy: str | Path,
    *,
    baseline: str | Path | None = None,
    out: str | Path | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> GateVerdict:
    """Hold a study to a policy, looking at no more samples than that takes; writes ``gate.json``.

    What is answered is kept: an interrupted gate goes on where it stopped, and a later run of the study asks only
    for the rest.

    Args:
        what: A study's YAML (its candidates are trained and asked as far as needed), or a finished run.
        policy: The policy's YAML.
        baseline: A run, a baseline file or a name that ``baseline`` in a rule stands for.
        out: Folder that takes the place of ``runs/``.
        limit: At most this many samples a task.
        progress: Told where the work is.

    Raises:
        UserError: A wrong study, policy or name; a metric that is no bounded mean over the samples.
    """
    rules, told = load_gate(policy), progress or Silent()
    if Path(what).suffix.lower() in (".yaml", ".yml"):
        return _gate_study(Path(what), rules, baseline, None if out is None else Path(out), limit, told)
    folder = find_run(what)
    run = run_scores(folder)
    opened = opened_of_run(rules, run, find_baseline(baseline, rules, run))
    return write_verdict(_decide(opened, rules, run.run, told, lambda item: (None, None)), folder)


def _gate_study(
    path: Path,
    policy: GatePolicy,
    baseline: str | Path | None,
    out: Path | None,
    limit: int | None,
    progress: Progress,
) -> GateVerdict:
    plan = plan_study(path, limit=limit)
    check_starts(plan)
    if searches(plan):
        raise SpecError(
            f"{path}: a study with a `search` finds out while it trains who will be scored. Run it first: "
            f"`evalkit run {path}`, then `evalkit gate RUN --sequential` over the run."
        )
    known = scores_to_come(plan)
    stored = find_baseline(baseline, policy, known, plan.roots)
    held = held_candidates(policy, known, stored)
    with opened_run(plan, out) as (cache, folder):
        steps = Stepwise(plan, cache, folder, progress)
        opened = opened_of_study(held, policy, plan, steps, stored)

        def errors(item: Opened) -> tuple[str | None, str | None]:
            against = item.check.against
            asked = against is not None and against in known.names
            return steps.error(item.check.candidate), steps.error(str(against)) if asked else None

        return write_verdict(_decide(opened, policy, folder.path.name, progress, errors), folder)


def _decide(
    opened: list[Opened], policy: GatePolicy, run: str, progress: Progress, errors: Errors
) -> GateVerdict:
    """Look after every batch until the whole is decided or nothing is left to look at."""
    looks = [item.look for item in opened]
    rounds = 0
    whole, words, together = judge_looks(looks, policy.confidence)
    while whole == "inconclusive":
        waiting = [item for item, word in zip(opened, words, strict=True) if _goes_on(item, word)]
        if not waiting:
            break
        rounds += 1
        for item in waiting:
            item.take(BATCH)
            error, other = errors(item)
            item.look.error, item.look.undecided = error or item.look.error, other or item.look.undecided
        whole, words, together = judge_looks(looks, policy.confidence)
        seen = {(item.check.candidate, item.check.rule.task): item.asked for item in opened}
        far = ", ".join(f"{candidate} {n} on {task}" for (candidate, task), n in seen.items())
        progress.say(f"look {rounds}: {'goes on' if whole == 'inconclusive' else whole} after {far}")
    return GateVerdict(
        gate=policy.gate,
        run=run,
        baseline=None,
        confidence=policy.confidence,
        evidence=whole,
        verdict=taken(whole, policy),
        rules=[
            _told(item, word, fails, policy.confidence)
            for item, word, fails in zip(opened, words, together, strict=True)
        ],
        sequential={
            "looks": rounds,
            "batch": BATCH,
            "samples": [
                {
                    "candidate": item.check.candidate,
                    "task": item.check.rule.task,
                    "asked": item.asked,
                    "of": len(item.ids),
                }
                for item in opened
            ],
        },
    )


def _goes_on(item: Opened, word: Word) -> bool:
    """Whether a rule needs more samples: one that fails alone goes on until it survives Holm."""
    if item.look.error is not None or item.look.undecided is not None:
        return False
    return word != "pass" and item.seen < len(item.order)


def _told(item: Opened, word: Word, together: bool, confidence: float) -> RuleVerdict:
    look, rule = item.look, item.check.rule
    check = replace(item.check, error=look.error, reference_error=look.undecided)
    low, high = look.interval(confidence)
    known = look.estimate is not None
    evidence = Evidence(look.estimate, low if known else None, high if known else None, look.n, look.interval)
    needed = samples_needed(evidence, look.bound, confidence) if word == "inconclusive" else None
    compared = check.against is not None
    gains = [(item.sign * (mine - other), id_, mine, other) for id_, mine, other in item.flips]
    worst = sorted(gains, key=lambda flip: (flip[0] > 0, -abs(flip[0])))[:FLIPS]
    return RuleVerdict(
        rule=check.words,
        kind=rule.kind,
        candidate=check.candidate,
        task=rule.task,
        metric=rule.metric,
        verdict=word,
        fails_together=together,
        value=None if compared else look.estimate,
        reference=check.against,
        difference=look.estimate if compared else None,
        low=evidence.low,
        high=evidence.high,
        bound=look.bound,
        margin={"no_worse_than": rule.margin, "better_than": rule.by}.get(rule.kind),
        n=look.n,
        unscored=look.unscored,
        n_needed=needed,
        reason=reason(check, evidence, word, needed, confidence),
        gained=sum(flip[0] > 0 for flip in gains),
        lost=sum(flip[0] < 0 for flip in gains),
        flips=[{"id": id_, "candidate": mine, "reference": other} for _, id_, mine, other in worst],
        higher_is_better=item.sign > 0,
    )
