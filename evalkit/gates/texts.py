"""A verdict for people: lines for a terminal, Markdown for a pull request, annotations for GitHub."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from evalkit.gates.reasons import signed
from evalkit.gates.verdicts import GateVerdict, RuleVerdict

__all__ = ["github_annotations", "self_test_lines", "verdict_lines", "verdict_markdown"]

SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}


def verdict_lines(verdict: GateVerdict) -> list[str]:
    """One line for the whole, one for each rule, and one for the samples that flipped under it.

    >>> verdict_lines(GateVerdict("ci", "r", None, 0.95, "inconclusive", "pass", []))
    ['gate ci: PASS (the samples leave it open; this policy takes that as pass)']
    """
    rules = [
        line
        for rule in verdict.rules
        for line in [f"  {_word(rule):<12}  {rule.rule}: {rule.reason}", *_flipped(rule)]
    ]
    return [_head(verdict), *rules, *_looked(verdict)]


def verdict_markdown(verdict: GateVerdict) -> str:
    """Return the verdict as Markdown for a pull-request comment or a job summary."""
    against = f", baseline `{_code(verdict.baseline)}`" if verdict.baseline else ""
    lines = [
        f"### {SIGNS[verdict.verdict]} {_escape(_head(verdict))}",
        "",
        f"Run `{_code(verdict.run)}`{against}, intervals at {100 * verdict.confidence:.4g} %.",
        "",
        "| | candidate | rule | value | difference | interval | n | n needed |",
        "|---|---|---|---:|---:|---|---:|---:|",
        *(_row(rule) for rule in verdict.rules),
        "",
        *(f"- {SIGNS[rule.decision]} {_escape(rule.reason)}" for rule in verdict.rules),
        *(f"- {_escape(line.strip())}" for line in _looked(verdict)),
    ]
    for rule in verdict.rules:
        if rule.flips:
            lines += ["", *_details(rule)]
    if verdict.self_test is not None:
        lines += ["", "```", *self_test_lines(verdict.self_test), "```"]
    return "\n".join(lines) + "\n"


def github_annotations(verdict: GateVerdict) -> list[str]:
    """Workflow commands that show each rule that did not pass beside the job's log."""
    levels = {"fail": "error", "inconclusive": "warning"}
    return [
        f"::{levels[rule.decision]} title={_property(f'{rule.candidate}: {rule.rule}')}::{_command(rule.reason)}"
        for rule in verdict.rules
        if rule.decision != "pass"
    ]


def self_test_lines(found: Mapping[str, Any]) -> list[str]:
    """How often the policy would err, one line a rule and scenario."""
    lines = ["self-test: how often this policy would err on as many samples"]
    if found["whole"] is not None:
        lines.append(f"  all rules, A/A: {_rates(found['whole'])}")
    for row in found["rules"]:
        where = f"{row['candidate']}: {row['rule']} | {row['scenario']} (true {signed(row['true'])})"
        lines.append(f"  {where}: {_rates(row)}")
    return lines


def _flipped(rule: RuleVerdict) -> list[str]:
    """Which samples changed, the worst first, in one line."""
    if not rule.flips:
        return []
    shown = ", ".join(f"{_shown(f['id'])} {f['reference']:.4g} → {f['candidate']:.4g}" for f in rule.flips)
    rest = rule.gained + rule.lost - len(rule.flips)
    more = f", and {rest} more" if rest > 0 else ""
    return [f"{'':14}  {rule.gained} better, {rule.lost} worse: {shown}{more}"]


def _looked(verdict: GateVerdict) -> list[str]:
    """How many samples a sequential gate needed."""
    if verdict.sequential is None:
        return []
    seen = {(row["candidate"], row["task"]): row for row in verdict.sequential["samples"]}
    told = [f"{name} {row['asked']} of {row['of']} on {task}" for (name, task), row in seen.items()]
    looks = verdict.sequential["looks"]
    return [f"  stopped after {looks} look{'' if looks == 1 else 's'}: samples of {', '.join(told)}"]


def _rates(row: Mapping[str, Any]) -> str:
    words = ", ".join(f"{word} {row[word]:.1%}" for word in ("pass", "fail", "inconclusive"))
    wrong = [
        f"{name} {row[key]:.1%}"
        for key, name in (("false_alarm", "false alarm"), ("miss", "miss"))
        if row[key] is not None
    ]
    return f"{words} → {', '.join(wrong)} ({row['simulations']} simulations)"


def _head(verdict: GateVerdict) -> str:
    taken = (
        ""
        if verdict.evidence == verdict.verdict
        else f" (the samples leave it open; this policy takes that as {verdict.verdict})"
    )
    return f"gate {verdict.gate}: {verdict.verdict.upper()}{taken}"


def _word(rule: RuleVerdict) -> str:
    return "fail, alone" if rule.verdict != rule.decision else rule.verdict


def _row(rule: RuleVerdict) -> str:
    value = "–" if rule.value is None else f"{rule.value:.4g}"
    difference = "–" if rule.difference is None else signed(rule.difference)
    ends = [rule.low, rule.high]
    shown = [f"{end:.3f}" if rule.difference is None else signed(end) for end in ends if end is not None]
    interval = f"[{', '.join(shown)}]" if shown else "–"
    needed = "–" if rule.n_needed is None else f"{rule.n_needed:,}"
    cells = [SIGNS[rule.decision], f"`{_code(rule.candidate)}`", _escape(rule.rule)]
    return "| " + " | ".join([*cells, value, difference, interval, str(rule.n), needed]) + " |"


def _details(rule: RuleVerdict) -> list[str]:
    rows = [f"| `{_code(f['id'])}` | {f['reference']:g} | {f['candidate']:g} |" for f in rule.flips]
    summary = f"{rule.candidate}: {rule.gained} samples better, {rule.lost} worse than {rule.reference}"
    return [
        f"<details><summary>{html.escape(summary)} ({html.escape(rule.task)}, {html.escape(rule.metric)})</summary>",
        "",
        f"| sample | {_escape(str(rule.reference))} | {_escape(rule.candidate)} |",
        "|---|---:|---:|",
        *rows,
        "",
        "</details>",
    ]


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, in a table's cell too."""
    plain = html.escape(_shown(text), quote=False)
    return "".join(f"\\{char}" if char in "\\`*_[]|~#@" else char for char in plain)


def _code(text: str) -> str:
    """Text for a code span in a table's cell: backticks would end the span, and bars the cell."""
    return _shown(text).replace("`", "'").replace("|", "\\|")


def _shown(text: str) -> str:
    """One line, without control characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(str(text).split()))


def _command(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _command(text).replace(":", "%3A").replace(",", "%2C")
