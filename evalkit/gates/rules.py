"""Which candidates a policy's rules hold for, and the samples each of them needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evalkit.errors import DataError, UserError, nearest
from evalkit.running.done import dropped_at
from evalkit.running.scores import Scores, Series
from evalkit.signature import measured_as
from evalkit.specs.gate import GatePolicy, GateRule

__all__ = ["BASELINE", "Check", "checks_of", "held_candidates", "left_out", "reference_in", "unknown_metrics"]

BASELINE = "baseline"
HELD = ("train", "adapter")


@dataclass(frozen=True, slots=True)
class Check:
    """One rule for one candidate, with what it reads.

    Attributes:
        rule: The rule.
        candidate: Who is held to it.
        series: The candidate's samples; None where it could not be done.
        reference: The reference's samples; None for a bound on a value, and where either could not be done.
        error: Why the candidate could not be done, or None.
        reference_error: Why the reference could not be done, or None.
    """

    rule: GateRule
    candidate: str
    series: Series | None
    reference: Series | None
    error: str | None = None
    reference_error: str | None = None

    @property
    def against(self) -> str | None:
        """Name of the reference, or None."""
        return self.rule.no_worse_than or self.rule.better_than

    @property
    def bound(self) -> float:
        """What the interval is held against."""
        rule = self.rule
        values = {
            "at_least": rule.at_least,
            "at_most": rule.at_most,
            "no_worse_than": 0.0 - rule.margin,
            "better_than": rule.by,
        }
        return float(values[rule.kind] or 0.0)

    @property
    def words(self) -> str:
        """The rule as a person says it.

        >>> rule = GateRule(task="tickets", metric="f1", no_worse_than="base", margin=0.02)
        >>> Check(rule, "r16", None, None).words
        'tickets f1 no_worse_than base, margin 0.02'
        """
        rule = self.rule
        head = f"{rule.task} {rule.metric} {rule.kind}"
        if rule.kind in ("at_least", "at_most"):
            return f"{head} {self.bound:g}"
        setting = f"margin {rule.margin:g}" if rule.kind == "no_worse_than" else f"by {rule.by:g}"
        return f"{head} {self.against}, {setting}"


def checks_of(policy: GatePolicy, run: Scores, baseline: Scores | None) -> list[Check]:
    """Resolve every name in a policy and read the samples behind it.

    Raises:
        UserError: One message for each mistake: an unknown task, metric or candidate, samples or signatures that do
            not match, nothing scored, a single sample.
    """
    problems: list[str] = []
    checks: list[Check] = []
    for number, rule, candidate in held_candidates(policy, run, baseline):
        try:
            checks.append(_check(rule, candidate, run, baseline))
        except UserError as error:
            problems += [f"gate {policy.gate}, rule {number}: {message}" for message in error.messages]
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return checks


def held_candidates(
    policy: GatePolicy, run: Scores, baseline: Scores | None
) -> list[tuple[int, GateRule, str]]:
    """Resolve every name in a policy: the number of a rule from 1, the rule, a candidate that is held to it.

    Raises:
        UserError: One message for each unknown task, metric or candidate.
    """
    problems: list[str] = []
    held: list[tuple[int, GateRule, str]] = []
    for number, rule in enumerate(policy.rules, start=1):
        here = f"gate {policy.gate}, rule {number}"
        problem = _unknown(rule, run, baseline)
        if problem:
            problems.append(f"{here}: {problem}")
            continue
        try:
            held += [(number, rule, name) for name in _held(rule.candidate or policy.candidate, rule, run)]
        except UserError as error:
            problems += [f"{here}: {message}" for message in error.messages]
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return held


def unknown_metrics(policy: GatePolicy, measured: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which rules name a metric that their task does not measure; judges' and people's scores come later.

    Args:
        policy: The rules.
        measured: Task → names of its metrics.

    >>> rule = GateRule(task="tickets", metric="exact_mach", at_least=0.8)
    >>> unknown_metrics(GatePolicy(gate="ci", rules=[rule]), {"tickets": ["exact_match"]})
    ["rule 1: tickets has no metric named 'exact_mach'; it has exact_match. Did you mean 'exact_match'?"]
    """
    return [
        f"rule {number}: {_no_metric(rule, list(measured[rule.task]))}"
        for number, rule in enumerate(policy.rules, start=1)
        if rule.task in measured
        and rule.metric not in measured[rule.task]
        and not rule.metric.startswith(("judge:", "human:"))
    ]


def left_out(policy: GatePolicy, kinds: Mapping[str, str]) -> str:
    """Name what a policy needs and a part of a run does not have; empty where all is there.

    Args:
        policy: The rules.
        kinds: Candidate → kind, of the candidates that are there.
    """
    for rule in policy.rules:
        held = rule.candidate or policy.candidate
        if held is None and not set(kinds.values()) & set(HELD):
            return "every train and adapter candidate"
        against = rule.no_worse_than or rule.better_than
        for name in (held, None if against == BASELINE else against):
            if name is not None and not _members(name, kinds):
                return name
    return ""


def _no_metric(rule: GateRule, known: list[str]) -> str:
    return f"{rule.task} has no metric named {rule.metric!r}; it has {_list(known)}.{nearest(rule.metric, known)}"


def _members(name: str, known: Iterable[str]) -> list[str]:
    """The candidate of this name, or every member of a grid or of repeated seeds."""
    names = list(known)
    return (
        [name] if name in names else [other for other in names if other.startswith((f"{name}[", f"{name}#"))]
    )


def _unknown(rule: GateRule, run: Scores, baseline: Scores | None) -> str | None:
    """What is wrong with the names of a rule, or None."""
    if rule.task not in run.task_names:
        return f"{run.where} has no task named {rule.task!r}; it has {_list(run.task_names)}." + nearest(
            rule.task, run.task_names
        )
    metrics = run.metric_names(rule.task)
    if rule.metric not in metrics:
        return _no_metric(rule, metrics)
    against = rule.no_worse_than or rule.better_than
    if against == BASELINE and BASELINE not in run.names:
        if baseline is None:
            return (
                "it compares with 'baseline', and there is none: name one with --baseline RUN, or keep one with "
                "`evalkit baseline set RUN`."
            )
        return None
    if against is not None and against not in run.names:
        return f"{run.where} has no candidate named {against!r}; it has {_list(run.names)}." + nearest(
            against, run.names
        )
    return None


def _held(name: str | None, rule: GateRule, run: Scores) -> Iterator[str]:
    """Names of the candidates that a rule holds for; a grid or repeated seeds by their common name."""
    against = rule.no_worse_than or rule.better_than
    if name is None:
        members = [
            str(row["name"])
            for row in run.candidates
            if row.get("kind") in HELD and row["name"] != against and dropped_at(row) is None
        ]
        if not members:
            raise DataError(
                f"names no candidate, and {run.where} has no train or adapter candidate besides its references: say "
                f"who is held to it with `candidate:`, one of {_list(run.names)}."
            )
        yield from members
        return
    members = _members(name, run.names)
    lost = {str(row["name"]) for row in run.candidates if dropped_at(row) is not None}
    members = [member for member in members if member == name or member not in lost]
    if not members:
        raise DataError(
            f"{run.where} has no candidate named {name!r}; it has {_list(run.names)}.{nearest(name, run.names)}"
        )
    if against in members:
        raise DataError(f"compares {against!r} with itself.")
    yield from members


def _check(rule: GateRule, candidate: str, run: Scores, baseline: Scores | None) -> Check:
    series = run.series(candidate, rule.task, rule.metric)
    error = run.error(candidate)
    if series is None:
        if error is not None:
            return Check(rule, candidate, None, None, error=error)
        raise _unfinished(candidate, rule, run)
    _enough(series, rule.metric)
    against = rule.no_worse_than or rule.better_than
    if against is None:
        return Check(rule, candidate, series, None)
    if against == BASELINE and baseline is not None and BASELINE not in run.names:
        reference = reference_in(rule, candidate, baseline)
    else:
        found = run.series(against, rule.task, rule.metric)
        if found is None:
            if (why := run.error(against)) is not None:
                return Check(rule, candidate, series, None, reference_error=why)
            raise _unfinished(against, rule, run)
        reference = found
    _matching(series, reference, rule)
    return Check(rule, candidate, series, reference)


def reference_in(rule: GateRule, candidate: str, baseline: Scores) -> Series:
    """What ``baseline`` stands for in a rule: the candidate of the same name in the baseline.

    Raises:
        DataError: The baseline lacks the candidate or its score.
    """
    if candidate not in baseline.names:
        raise DataError(
            f"the baseline {baseline.where} has no candidate named {candidate!r}; it has {_list(baseline.names)}."
            + nearest(candidate, baseline.names)
        )
    found = baseline.series(candidate, rule.task, rule.metric)
    if found is None:
        raise DataError(f"the baseline {baseline.where} has no {rule.metric} of {candidate} on {rule.task}.")
    return found


def _unfinished(candidate: str, rule: GateRule, run: Scores) -> DataError:
    return DataError(
        f"{candidate} has no {rule.metric} on {rule.task} in {run.where}: the run is not finished. Run the study "
        "again; what is finished is not done again."
    )


def _enough(series: Series, metric: str) -> None:
    n = int(series.scored.sum())
    if n == 0:
        raise DataError(
            f"{series.where}: none of {len(series.ids)} samples has a {metric}; there is nothing to judge."
        )
    if n == 1:
        raise DataError(
            f"{series.where}: only one sample has a {metric}; one sample has no spread to judge by."
        )


def _matching(series: Series, reference: Series, rule: GateRule) -> None:
    """Refuse to compare numbers that do not mean the same."""
    if measured_as(series.signature) != measured_as(reference.signature):
        raise DataError(
            f"{rule.metric} was not made the same way: {series.where} has {series.signature!r}, {reference.where} has "
            f"{reference.signature!r}. Only numbers with equal signatures compare; run one of them again."
        )
    _enough(reference, rule.metric)
    ours = dict(zip(series.ids, series.contents, strict=True))
    theirs = dict(zip(reference.ids, reference.contents, strict=True))
    alone = sorted(ours.keys() ^ theirs.keys())
    if alone:
        raise DataError(
            f"not the same samples: {len(alone)} of {len(ours.keys() | theirs.keys())} are in only one of "
            f"{series.where} and {reference.where}, such as {alone[0]!r}. Make both with the same task and --limit."
        )
    changed = sorted(id_ for id_, content in ours.items() if theirs[id_] != content)
    if changed:
        raise DataError(
            f"not the same samples: {len(changed)} of {len(ours)} ask or accept something else in {reference.where} "
            f"than in {series.where}, such as {changed[0]!r}. Make the baseline again with today's task."
        )
    usable = {id_ for id_, scored in zip(reference.ids, reference.scored, strict=True) if scored}
    shared = sum(
        bool(scored) and id_ in usable for id_, scored in zip(series.ids, series.scored, strict=True)
    )
    if shared < 2:
        raise DataError(
            f"{series.where} and {reference.where} share {shared} scored samples; two at least are needed."
        )


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:12])
    return (shown or "none") if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
