"""JUnit XML: one suite a gate, one testcase a rule and candidate, as CI viewers read it.

What stands in the file is what the exit code says. A rule that fails is a ``failure``. JUnit knows no "inconclusive":
with ``inconclusive: exit3`` such a rule is an ``error`` (the question could not be answered, and the job is not
green), with ``fail`` a ``failure``, with ``pass`` ``skipped`` (the job is green, and the case stays visible). The
form is that of the JUnit schema that Jenkins and GitLab check against.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from evalkit.gates.verdicts import GateVerdict, RuleVerdict

__all__ = ["junit_xml"]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(verdict: GateVerdict) -> str:
    """Return the JUnit XML of a verdict.

    >>> junit_xml(GateVerdict("ci", "r", None, 0.95, "pass", "pass", [])).splitlines()[1]
    '<testsuites name="evalkit" tests="0" failures="0" errors="0" time="0">'
    """
    marks = [_mark(rule, verdict) for rule in verdict.rules]
    counts = {
        "tests": str(len(marks)),
        "failures": str(marks.count("failure")),
        "errors": str(marks.count("error")),
    }
    whole = ElementTree.Element("testsuites", {"name": "evalkit", **counts, "time": "0"})
    skipped = {"skipped": str(marks.count("skipped")), "time": "0"}
    suite = ElementTree.SubElement(
        whole, "testsuite", {"name": _clean(f"gate {verdict.gate}"), **counts, **skipped}
    )
    properties = ElementTree.SubElement(suite, "properties")
    told = {
        "run": verdict.run,
        "baseline": verdict.baseline or "",
        "confidence": f"{verdict.confidence:g}",
        "verdict": verdict.verdict,
        "evidence": verdict.evidence,
    }
    for name, value in told.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for rule, mark in zip(verdict.rules, marks, strict=True):
        _case(suite, rule, mark, verdict.gate)
    ElementTree.indent(whole)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + ElementTree.tostring(whole, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, rule: RuleVerdict, mark: str | None, gate: str) -> None:
    name = {
        "name": _clean(f"{rule.candidate}: {rule.rule}"),
        "classname": _clean(f"evalkit.{gate}"),
        "time": "0",
    }
    case = ElementTree.SubElement(suite, "testcase", name)
    if mark is not None:
        told = {"message": _clean(rule.reason)}
        if mark != "skipped":
            told["type"] = rule.decision
        ElementTree.SubElement(case, mark, told).text = None if mark == "skipped" else _clean(rule.reason)
    lines = [
        rule.reason,
        *(f"{flip['id']}: {flip['reference']:g} -> {flip['candidate']:g}" for flip in rule.flips),
    ]
    ElementTree.SubElement(case, "system-out").text = _clean("\n".join(lines))


def _mark(rule: RuleVerdict, verdict: GateVerdict) -> str | None:
    """The element that says what came of a rule; None for a pass."""
    if rule.decision != "inconclusive":
        return "failure" if rule.decision == "fail" else None
    if verdict.evidence == "fail":  # the policy's word about an inconclusive whole was not needed
        return "error"
    return {"inconclusive": "error", "fail": "failure", "pass": "skipped"}[verdict.verdict]


def _clean(text: str) -> str:
    """The text without what XML 1.0 cannot hold, such as control characters in a sample's id."""
    return _NOT_XML.sub("\ufffd", text)
