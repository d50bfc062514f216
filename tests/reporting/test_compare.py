from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import evalkit
from evalkit.errors import DataError
from evalkit.reporting.compare import merge_runs
from evalkit.reporting.runs import find_run, rewrite_report
from evalkit.reporting.text import results_table


def shown(results, *, terminal=False, width=110):
    console = Console(force_terminal=terminal, width=width, color_system=None, _environ={"TERM": "xterm"})
    return results_table(results, console)


def values(results):
    return {(row["candidate"], row["task"], row["metric"]): row["value"] for row in results["scores"]}


def rename(run, name):
    results = {**run.results(), "run": name}
    run.write_results(results)
    return run


def two(make_run, n=10, **second):
    return [
        rename(make_run("one", n=n), "20261123T174012Z-aaaaaaaa"),
        rename(make_run("two", n=n, **second), "20261124T174012Z-bbbbbbbb"),
    ]


def test_one_run_keeps_its_own_comparisons(make_run):
    run = make_run()
    merged = merge_runs([run, run])
    assert merged["comparisons"] == run.results()["comparisons"]
    assert [row["name"] for row in merged["candidates"]] == run.candidates
    assert all(row["comparable"] for row in merged["scores"])
    assert values(merged) == values(run.results())


def test_names_that_clash_say_their_run(make_run):
    merged = merge_runs(two(make_run))
    names = [row["name"] for row in merged["candidates"]]
    assert names == [
        f"{run}/{name}" for run in ("aaaaaaaa", "bbbbbbbb") for name in ("base", "few-shot", "r8", "r32")
    ]
    assert len(merged["scores"]) == 2 * len(merge_runs([make_run("third")])["scores"])


def test_names_of_one_run_alone_stay(make_run, fake_task):
    first = rename(make_run("one"), "a-1")
    second = rename(
        make_run(
            "two", tasks=[fake_task("tickets", "exact_match", {"base": 0.0, "r64": 0.9}, ())], training={}
        ),
        "b-2",
    )
    assert [row["name"] for row in merge_runs([first, second])["candidates"]] == [
        "1/base",
        "few-shot",
        "r8",
        "r32",
        "2/base",
        "r64",
    ]


def test_a_copy_of_a_run_is_told_by_its_path(make_run):
    runs = [make_run("one", n=5), make_run("two", n=5)]
    names = [row["name"] for row in merge_runs(runs)["candidates"]]
    assert names[0] == f"{runs[0].path}/base"
    assert len(set(names)) == 8


def test_differences_across_runs_are_paired_with_the_first_control(make_run):
    """Hand-worked: 3 of 5 gained, none lost: difference 0.6; McNemar's mid-p is 2·(½·0.5³) = 0.125."""

    def change(candidate, task, rows):
        for i, row in enumerate(rows):
            row["scores"]["exact_match"] = 1.0 if candidate == "r8" and i < 3 else 0.0

    runs = two(make_run, change=change, n=5)
    rename(
        make_run("one", change=lambda c, t, rows: [r["scores"].update(exact_match=0.0) for r in rows], n=5),
        "20261123T174012Z-aaaaaaaa",
    )
    merged = merge_runs(runs)
    (row,) = [
        r
        for r in merged["comparisons"]
        if (r["candidate"], r["task"], r["metric"]) == ("bbbbbbbb/r8", "tickets", "exact_match")
    ]
    assert row["control"] == "aaaaaaaa/base"
    assert row["difference"] == pytest.approx(0.6)
    assert row["p_value"] == pytest.approx(0.125)
    assert row["p_adjusted"] >= row["p_value"]
    assert row["n"] == 5
    assert row["gained"] == ["tickets-000", "tickets-001", "tickets-002"]
    assert row["lost"] == []
    assert not any(r["candidate"] == "aaaaaaaa/base" for r in merged["comparisons"])


def test_pairs_are_made_by_id_whatever_the_order(make_run):
    runs = two(make_run)
    rows = list(runs[1].samples("base", "tickets-choice"))
    runs[1].write_samples("base", "tickets-choice", rows[::-1])
    (row,) = [
        r
        for r in merge_runs(runs)["comparisons"]
        if (r["candidate"], r["metric"]) == ("bbbbbbbb/base", "choice_accuracy")
    ]
    assert (row["difference"], row["gained"], row["lost"]) == (0.0, [], [])


def test_other_weights_are_what_is_compared(make_run):
    runs = two(make_run)
    results = runs[1].results()
    for row in results["scores"]:
        row["signature"] += "|base:53aa51172d14"
    runs[1].write_results(results)
    merged = merge_runs(runs)
    assert {row["comparable"] for row in merged["scores"]} == {True}
    assert [row for row in merged["comparisons"] if row["candidate"].startswith("bbbbbbbb")]


def test_another_signature_is_shown_but_not_compared(make_run):
    runs = two(make_run)
    results = runs[1].results()
    for row in results["scores"]:
        row["signature"] = row["signature"].replace("version:0.1.0", "version:9")
    runs[1].write_results(results)
    merged = merge_runs(runs)
    assert {row["comparable"] for row in merged["scores"] if row["run"].endswith("b")} == {False}
    assert {row["comparable"] for row in merged["scores"] if row["run"].endswith("a")} == {True}
    assert not [row for row in merged["comparisons"] if row["candidate"].startswith("bbbbbbbb")]
    lines = [line for line in shown(merged).splitlines() if "bbbbbbbb/" in line]
    assert lines
    assert all("not comparable: signatures differ" in line for line in lines)
    value = next(row["value"] for row in merged["scores"] if row["candidate"] == "bbbbbbbb/r8")
    assert f"| {value:.1f}" in next(line for line in lines if "bbbbbbbb/r8" in line)


def test_a_task_with_other_rows_is_another_task(make_run):
    runs = two(make_run)
    about = runs[1].run()
    about["hashes"] = {"tasks": {"tickets": "00" * 32}}
    runs[1].write_run(about)
    comparable = {
        (row["task"], row["comparable"]) for row in merge_runs(runs)["scores"] if row["run"].endswith("b")
    }
    assert ("tickets", False) in comparable
    assert ("general-knowledge", True) in comparable


def test_a_corpus_metric_has_no_difference_across_runs(make_run):
    runs = two(make_run)
    results = runs[1].results()
    for row in results["scores"]:
        if row["metric"] == "exact_match":
            row["value"] = 0.123456  # not the mean of its samples' scores
    runs[1].write_results(results)
    made = [row for row in merge_runs(runs)["comparisons"] if row["candidate"].startswith("bbbbbbbb")]
    assert made
    assert not [row for row in made if row["metric"] == "exact_match"]


def test_no_run_and_no_candidates_are_said(make_run):
    with pytest.raises(DataError, match="No run to compare"):
        merge_runs([])
    empty = make_run("empty")
    empty.write_results({"format": 1, "run": "x", "candidates": []})
    with pytest.raises(DataError, match="no candidates"):
        merge_runs([empty, make_run("other")])


def test_a_terminal_gets_a_table_and_a_log_gets_lines(make_run):
    results = make_run().results()
    table = shown(results, terminal=True)
    assert "tickets exact_match ↑" in table
    assert re.search(
        r"r8\s+0\.800\s+\[0\.676, 0\.924\]\s+40\s+▲ better\s+\+0\.800 \[0\.676, 0\.924\] vs base", table
    )
    assert max(map(len, table.splitlines())) <= 110
    lines = shown(results).splitlines()
    assert len([line for line in lines if " | " in line]) == 16
    assert all("could not have been seen" in line for line in lines[16:])
    assert (
        lines[2]
        == "tickets exact_match ↑ | r8 | 0.800 [0.676, 0.924] | n 40 | ▲ better  +0.800 [0.676, 0.924] vs base"
    )
    assert "38 (+2 unscored)" in lines[1]


def test_a_narrow_terminal_and_brackets_in_names(make_run, fake_task):
    names = ["base", "sweep[rank=8,learning_rate=0.0001]#2", "[bold]x[/bold]"]
    run = make_run(tasks=[fake_task("t", "exact_match", dict.fromkeys(names, 0.5), ())], n=4, training={})
    table = shown(run.results(), terminal=True, width=60)
    assert max(map(len, table.splitlines())) <= 60
    assert "[bold]x[/bold]" in shown(run.results())


def test_no_tasks_is_said(make_run):
    assert "Nothing was measured" in shown(make_run(tasks=(), training={}).results())


def test_a_run_is_found_by_path_study_and_id(make_run, tmp_path):
    run = make_run("runs/tickets/20261123T174012Z-3f9a1c0e")
    (tmp_path / "runs/tickets/latest").write_text(f"{run.path.name}\n", "utf-8")
    runs = tmp_path / "runs"
    for name in (run.path, run.path / "results.json", runs / "tickets"):
        assert find_run(name).path == run.path
    for name in ("20261123T174012Z-3f9a1c0e", "20261123T17"):
        assert find_run(name, runs).path == run.path
    with pytest.raises(DataError, match="Did you mean '20261123T174012Z-3f9a1c0e'"):
        find_run("20261123T174012Z-3f9a1c0f", runs)
    with pytest.raises(DataError, match="no such path"):
        find_run("x", tmp_path / "nowhere")
    make_run("runs/tickets/20261123T174013Z-00000000")
    with pytest.raises(DataError, match="start of several runs"):
        find_run("20261123", runs)


def test_a_report_is_drawn_again(make_run):
    run = make_run()
    path = rewrite_report(run.path)
    assert path == run.path / "report.html"
    assert path.read_text("utf-8").startswith("<!doctype html>")


def command(*words, cwd):
    environment = {**os.environ, "PYTHONPATH": str(Path(evalkit.__file__).parents[1])}
    environment.pop("FORCE_COLOR", None)
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *map(str, words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_the_commands(make_run, tmp_path):
    run = make_run()
    made = command("report", run.path, cwd=tmp_path)
    assert (made.returncode, made.stdout) == (0, f"{run.path / 'report.html'}\n")
    compared = command("compare", run.path, "--json", cwd=tmp_path)
    assert compared.returncode == 0
    assert json.loads(compared.stdout)["comparisons"] == run.results()["comparisons"]
    table = command("compare", run.path, cwd=tmp_path)
    assert (table.returncode, table.stdout) == (0, "")
    assert "tickets exact_match ↑ | r8 | 0.800" in table.stderr
    missing = command("compare", "nothing-here", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.startswith("No run 'nothing-here'")
    assert "Traceback" not in missing.stderr
