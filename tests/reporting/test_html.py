from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from evalkit.catalog import Entry, find
from evalkit.errors import CatalogError, OutputFolderError, SpecError
from evalkit.reporting.html import render, script_json, write_report

VOID = {"meta", "br", "input", "line", "circle", "path", "polyline", "link", "img", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.tags, self.text, self.raw = [], [], [], [], {}
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:]} at {self.getpos()}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.raw.setdefault(self.tags[-1][1].get("type", "script"), []).append(data)
        elif self.open[-1:] == ["style"]:
            self.raw.setdefault("style", []).append(data)
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def entry():
    return find("reports", "default")


def test_the_page_is_well_formed_html(make_run, entry):
    page = Page(render(make_run(), entry))
    assert page.problems == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a" and a.get("href", "").startswith("#")}
    assert targets <= set(ids)


def test_the_same_run_gives_the_same_bytes(make_run):
    run = make_run()
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert list(run.path.glob(".*tmp")) == []


def test_nothing_in_the_page_points_outside_it(make_run, entry):
    page = Page(render(make_run(), entry))
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"url\(|@import", "".join(page.raw["style"]))


def test_the_policy_forbids_all_but_the_pages_own_style_and_script(make_run, entry):
    page = Page(render(make_run(), entry))
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for rule, kind in (("style-src", "style"), ("script-src", "script")):
        digest = base64.b64encode(hashlib.sha256("".join(page.raw[kind]).encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


@pytest.mark.parametrize(
    "text",
    ["</script><script>alert(1)</script>", "<!--<script>", "a\u2028b\u2029c", "&lt;", "\ud83d", "\x00"],
)
def test_no_text_leaves_the_data_element(text):
    written = script_json({"x": text})
    assert not set("<>&\u2028\u2029\x00\ud83d") & set(written)
    assert json.loads(written) == {"x": text}


def test_hostile_names_and_reasons_are_text(make_run, entry):
    run = make_run()
    results, about = run.results(), run.run()
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m"
    about["warnings"], about["notes"], about["study"]["model"] = [evil], [evil], evil
    results["candidates"][1]["error"] = evil
    results["candidates"][2]["settings"]["targets"] = evil
    run.write_run(about)
    run.write_results({**results, "study": evil})
    page = Page(render(run, entry))
    assert page.problems == []
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in page.tags]
    shown = "".join(page.text)
    assert shown.count("<script>alert(1)</script><img src=x onerror=alert(2)>␀␛[31m") >= 6


def test_every_number_of_the_results_is_in_its_cell(make_run, entry):
    run = make_run()
    page = Page(render(run, entry))
    cells = {
        (a["data-candidate"], a["data-task"], a["data-metric"]): a["data-value"]
        for tag, a in page.tags
        if "data-value" in a
    }
    scores = run.results()["scores"]
    assert len(cells) == len(scores)
    for row in scores:
        assert float(cells[row["candidate"], row["task"], row["metric"]]) == row["value"]


def test_settings_signatures_versions_and_notes_are_there(make_run, entry):
    run = make_run()
    shown = " ".join("".join(Page(render(run, entry)).text).split())
    for row in run.results()["scores"]:
        assert row["signature"] in shown
    for text in (
        "2.13.0",
        "ab" * 32,
        "data.train",
        "file",
        "default",
        "Prefix sharing is off",
        "23 November 2026, 17:40 UTC",
        "complete",
    ):
        assert text in shown


def test_a_partial_run_says_what_is_missing(make_run, entry):
    run = make_run()
    results = run.results()
    results["status"] = "partial"
    results["candidates"][3]["error"] = "the loss is NaN at step 3"
    results["scores"] = [row for row in results["scores"] if row["candidate"] != "r32"]
    results["comparisons"] = [row for row in results["comparisons"] if row["candidate"] != "r32"]
    run.write_results(results)
    shown = " ".join("".join(Page(render(run, entry)).text).split())
    assert "Not everything could be done" in shown
    assert "the loss is NaN at step 3" in shown
    assert "partial" in shown
    assert "not measured" in shown


def test_the_samples_that_are_left_out_are_counted(make_run, tmp_path):
    copied = copy_of(
        tmp_path,
        lambda name, text: (
            text.replace("max_bytes: 5000000", "max_bytes: 1000") if name == "report.yaml" else text
        ),
    )
    shown = " ".join("".join(Page(render(make_run(n=30), copied)).text).split())
    assert "4 of 120 samples are in this page" in shown


@pytest.mark.parametrize(
    "case",
    [
        {"tasks": (), "training": {}},
        {"n": 0},
        {"training": {}},
        {"control": None},
        {
            "change": lambda c, t, rows: [
                row.update(scores={k: {"unscored": "no target"} for k in row["scores"]}) for row in rows
            ]
        },
    ],
    ids=["no tasks", "no samples", "nothing trained", "nothing compared", "nothing scored"],
)
def test_an_empty_case_is_still_a_page(make_run, entry, case):
    page = Page(render(make_run(**case), entry))
    assert page.problems == []
    shown = "".join(page.text)
    for word in (r"\bNone\b", r"\bnan\b", "undefined", r"\binf\b"):
        assert not re.search(word, shown)


def test_forty_candidates(make_run, fake_task, entry):
    names = ["base", *(f"sweep[rank={i}]#{i % 3}" for i in range(40)), "قديم", "naïve α β"]
    task = fake_task("t", "exact_match", dict.fromkeys(names, 0.5))
    page = Page(render(make_run(tasks=[task], n=5, training=dict.fromkeys(names[1:], 4)), entry))
    assert page.problems == []


def test_minimal_results_render(make_run, entry):
    run = make_run()
    run.write_results({"format": 1, "study": "x", "run": "y", "status": "partial"})
    run.write_run({"format": 1})
    assert Page(render(run, entry)).problems == []


def copy_of(folder, change):
    """A user's copy of the default report, with a change."""
    original = find("reports", "default")
    target = folder / "reports" / "mine"
    target.mkdir(parents=True)
    for path in original.path.iterdir():
        (target / path.name).write_text(change(path.name, path.read_text("utf-8")), "utf-8")
    return Entry("reports", "mine", target, "project")


def test_a_users_copy_is_used(make_run, tmp_path):
    mine = copy_of(
        tmp_path,
        lambda name, text: text.replace("evalkit report", "Our lab") if name.endswith("j2") else text,
    )
    assert "Our lab" in render(make_run(), mine)


@pytest.mark.parametrize(
    ("name", "old", "new", "error", "said"),
    [
        ("report.html.j2", "{{ run_id }}", "{{ runid }}", CatalogError, "runid"),
        ("report.html.j2", "{% endfor %}", "", CatalogError, "report.html.j2:"),
        ("report.js", '"use strict";', "'</script>'", CatalogError, "report.js"),
        ("report.yaml", "max_text", "max_texts", SpecError, "max_text"),
        ("report.yaml", "style.css", "none.css", CatalogError, "none.css"),
        ("report.yaml", "report.html.j2", "none.j2", CatalogError, "none.j2"),
    ],
)
def test_a_wrong_copy_says_which_file_and_why(make_run, tmp_path, name, old, new, error, said):
    mine = copy_of(tmp_path, lambda path, text: text.replace(old, new, 1) if path == name else text)
    with pytest.raises(error, match=re.escape(said)):
        render(make_run(), mine)


def test_a_folder_that_cannot_be_written_to_is_said(make_run):
    run = make_run()
    (run.path / "report.html").mkdir()
    with pytest.raises(OutputFolderError, match=r"report\.html"):
        write_report(run)


def test_half_an_emoji_does_not_break_the_file(make_run):
    run = make_run()
    results = run.results()
    results["candidates"][1]["error"] = "the answer ended in \ud83d"
    run.path.joinpath("results.json").write_text(json.dumps(results), "utf-8")
    assert "the answer ended in \\ud83d" in write_report(run).read_text("utf-8")
