"""What CI systems read: JUnit XML, Markdown, annotations."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from evalkit.gates.junit import junit_xml
from evalkit.gates.texts import github_annotations, verdict_lines, verdict_markdown
from evalkit.gates.verdicts import GateVerdict, RuleVerdict

RULE = RuleVerdict(
    rule="quiz exact_match no_worse_than base, margin 0.02",
    kind="no_worse_than",
    candidate="r<16>",
    task="quiz",
    metric="exact_match",
    verdict="pass",
    value=0.8,
    reference="base",
    reference_value=0.6,
    difference=0.2,
    low=0.13,
    high=0.29,
    bound=-0.02,
    margin=0.02,
    n=100,
    reason="r<16> is better | by 0.2",
    gained=20,
    flips=[{"id": "a`|\x00b", "candidate": 1.0, "reference": 0.0}],
)
OPEN = replace(RULE, verdict="inconclusive", n_needed=645, candidate="open", flips=[])
FAILED = replace(RULE, verdict="fail", fails_together=True, candidate="failed", flips=[])
ALONE = replace(RULE, verdict="fail", candidate="alone", flips=[])


def whole(*rules: RuleVerdict, evidence: str = "inconclusive", verdict: str = "inconclusive") -> GateVerdict:
    return GateVerdict("ci", "run-1", None, 0.95, evidence, verdict, list(rules))  # type: ignore[arg-type]


# What Jenkins' junit-10.xsd allows (jenkinsci/xunit-plugin): children and attributes of each element, and what must be
# there. The XML of these tests was held against the schema itself once, with lxml.
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testsuite", "properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}
REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors"},
    "property": {"name", "value"},
    "testcase": {"name"},
}
OPTIONAL = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"time", "skipped", "timestamp", "hostname", "id", "group", "package", "file", "log", "url"},
    "testcase": {"time", "classname", "group"},
    "skipped": {"type", "message"},
    "error": {"type", "message"},
    "failure": {"type", "message"},
}


def check(element: ElementTree.Element) -> None:
    required, given = REQUIRED.get(element.tag, set()), set(element.attrib)
    assert required <= given <= required | OPTIONAL.get(element.tag, set())
    for name in {"tests", "failures", "errors", "skipped", "time"} & given:
        float(element.attrib[name])
    for child in element:
        assert child.tag in CHILDREN.get(element.tag, set())
        check(child)


def test_junit_is_valid_and_counts() -> None:
    root = ElementTree.fromstring(
        junit_xml(whole(RULE, OPEN, FAILED, ALONE, evidence="fail", verdict="fail")).encode()
    )
    check(root)
    assert root.tag == "testsuites"
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "4",
        "1",
        "2",
        "0",
    )
    cases = suite.findall("testcase")
    assert [[child.tag for child in case][:-1] for case in cases] == [[], ["error"], ["failure"], ["error"]]
    assert cases[0].get("name") == "r<16>: quiz exact_match no_worse_than base, margin 0.02"
    out = cases[0].find("system-out")
    assert out is not None
    assert out.text == "r<16> is better | by 0.2\na`|\ufffdb: 0 -> 1"


@pytest.mark.parametrize(
    ("verdict", "tag"), [("inconclusive", "error"), ("fail", "failure"), ("pass", "skipped")]
)
def test_junit_says_of_inconclusive_what_the_exit_code_says(verdict: str, tag: str) -> None:
    root = ElementTree.fromstring(junit_xml(whole(RULE, OPEN, verdict=verdict)).encode())
    check(root)
    assert root[0].findall("testcase")[1][0].tag == tag


def test_markdown() -> None:
    text = verdict_markdown(whole(RULE, OPEN))
    assert text.startswith("### ❔ gate ci: INCONCLUSIVE\n")
    assert "| ❔ | `open` | quiz exact\\_match no\\_worse\\_than base, margin 0.02 | 0.8 | +0.200 |" in text
    assert "[+0.130, +0.290] | 100 | 645 |" in text
    assert "r&lt;16&gt; is better \\| by 0.2" in text
    assert "| `a'\\|\ufffdb` | 0 | 1 |" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert {row.replace("\\|", "").count("|") for row in rows} == {
        9,
        4,
    }  # nothing breaks out of a table's cell


def test_annotations() -> None:
    lines = github_annotations(whole(RULE, OPEN, FAILED, replace(FAILED, reason="100 %\nnew")))
    assert lines[0].startswith("::warning title=open%3A quiz exact_match no_worse_than base%2C margin 0.02::")
    assert lines[1].startswith("::error title=failed%3A")
    assert lines[2].endswith("::100 %25%0Anew")


def test_lines_tell_a_failure_that_stands_alone() -> None:
    assert verdict_lines(whole(ALONE))[1].startswith("  fail, alone")


def test_lines_name_the_samples_that_flipped() -> None:
    _, _, flips, other = verdict_lines(whole(RULE, OPEN))
    assert flips.strip() == "20 better, 0 worse: a`|\ufffdb 0 → 1, and 19 more"
    assert other.strip().startswith("inconclusive")
