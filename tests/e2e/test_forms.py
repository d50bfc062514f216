"""Adapters as they are shipped, in a study: each form beside its adapter, on the same samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import evalkit
from evalkit.cli.plan import app
from evalkit.errors import UserError
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_random_adapter
from evalkit.reporting.text import results_table
from evalkit.running.folder import RunFolder
from evalkit.running.progress import Silent

Project = Callable[..., Path]
ONE = "{rank: 4, max_steps: 6, batch_size: 4, learning_rate: 5.0e-3}}"
FORMS = "{rank: 4, max_steps: 12, batch_size: 4, learning_rate: 5.0e-2}, forms: [merged, requantized]}"
NF4 = ("quantization: none", "quantization: nf4\ndtype: fp32")
NAMES = ["r4", "r4[merged]", "r4[requantized]"]


def test_forms_are_candidates_that_are_compared_with_their_adapter(project: Project) -> None:
    run = evalkit.run(project(NF4, (ONE, FORMS)))
    results, folder = run.results, RunFolder(run.path)
    assert run.exit_code == 0
    entries = {entry["name"]: entry for entry in results["candidates"]}
    assert list(entries) == ["base", "few", *NAMES, "recorded"]
    assert [entries[name]["adapter_sha256"] for name in NAMES] == [entries["r4"]["adapter_sha256"]] * 3
    assert [entries[name].get("form") for name in NAMES] == [None, "merged", "requantized"]
    assert {entries[name].get("of") for name in NAMES[1:]} == {"r4"}
    against = {(row["candidate"], row["task"]): row["control"] for row in results["comparisons"]}
    assert against["r4[merged]", "pick"] == against["r4", "pick"] == "base"

    rows = {(row["candidate"], row["task"], row["metric"]): row for row in results["forms"]}
    assert {key[0] for key in rows} == set(NAMES[1:])
    values = {(row["candidate"], row["task"], row["metric"]): row["value"] for row in results["scores"]}
    for (name, task, metric), row in rows.items():
        assert row["control"] == "r4"
        assert row["n"] == 6
        assert row["difference"] == pytest.approx(values[name, task, metric] - values["r4", task, metric])
        ours, theirs = ([r["output"] for r in folder.samples(each, task)] for each in (name, "r4"))
        assert row["changed"] == sum(a != b for a, b in zip(ours, theirs, strict=True))
    # Log-probabilities tell more than six answers: merged in fp32 is the same model, re-quantised is another.
    rated = {
        name: [choice["logprob"] for row in folder.samples(name, "pick") for choice in row["choices"]]
        for name in NAMES
    }
    assert rated["r4[merged]"] == pytest.approx(rated["r4"], abs=1e-3)
    assert max(abs(a - b) for a, b in zip(rated["r4[requantized]"], rated["r4"], strict=True)) > 1e-2
    told = results_table(results)
    assert "As shipped, r4[requantized] beside r4 on pick: " in told
    assert "of 6 answers are others, choice_accuracy differs by " in told
    assert "As shipped, r4[requantized] beside r4 on pick: " in run.report.read_text("utf-8")


def test_forms_of_a_given_adapter_come_from_the_cache_and_follow_its_bytes(project: Project) -> None:
    first = evalkit.run(project(NF4))
    given = (
        "  - {name: recorded, kind: replay, path: recorded.jsonl}\n",
        f"  - {{name: prod, kind: adapter, path: {first.path / 'adapters/r4'}, forms: [requantized]}}\n",
    )
    run = evalkit.run(project(NF4, given))
    stages: list[str] = []

    class Listening(Silent):
        def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
            stages.append(name)

    again = evalkit.run(project(NF4, given), progress=Listening())
    assert again.results["scores"] == run.results["scores"]
    assert not [stage for stage in stages if stage.startswith(("answer", "load"))]
    assert {row["candidate"] for row in run.results["forms"]} == {"prod[requantized]"}


def test_the_plan_says_what_forms_are_compared_with(project: Project) -> None:
    study = project(NF4, (ONE, FORMS))
    described = evalkit.describe(evalkit.plan(study))
    forms = [(row["of"], row["form"]) for row in described["candidates"] if "form" in row]
    assert forms == [("r4", "merged"), ("r4", "requantized")]
    told = CliRunner().invoke(app, [str(study)]).output
    assert "r4[merged] [adapter] on" in told
    assert "compared with base and r4\n" in told


def test_one_form_alone_brings_the_adapter_it_is_compared_with(project: Project) -> None:
    run = evalkit.run(project(NF4, (ONE, FORMS)), only=["r4[merged]"])
    assert [entry["name"] for entry in run.results["candidates"]] == ["base", "r4", "r4[merged]"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            [(ONE, FORMS)],
            "'requantized' quantises merged weights as the base is, to nf4 or fp4; here it is none",
        ),
        ([NF4, (ONE, ONE[:-1] + ", forms: [merged, merged]}")], "'r4[merged]' is already there"),
        ([NF4, (ONE, ONE[:-1] + ", forms: [megred]}")], "merged"),
        (
            [
                NF4,
                (ONE, FORMS),
                ("kind: prompt, system: Name the colour., fewshot: 2", "kind: train, start: 'r4[merged]'"),
            ],
            "expected an adapter, 'r4[merged]' is merged; start from 'r4'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(project: Project, changes: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(UserError) as error:
        evalkit.run(project(*changes))
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_an_adapter_that_cannot_be_merged_is_told_before_anyone_is_asked(
    project: Project, tmp_path: Path
) -> None:
    project(NF4)
    base = load_base(str(tmp_path / "tiny"), quantization="nf4", dtype="fp32", device="cpu")
    write_random_adapter(base, tmp_path / "odd")
    config = json.loads((tmp_path / "odd/adapter_config.json").read_text())
    config |= {"target_modules": [*config["target_modules"], "embed_tokens"]}
    tensors = load_file(tmp_path / "odd/adapter_model.safetensors")
    prefix = "base_model.model.model.embed_tokens.lora_embedding_"
    tensors |= {f"{prefix}A": torch.ones(4, 272), f"{prefix}B": torch.ones(64, 4)}
    (tmp_path / "odd/adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "odd/adapter_model.safetensors")
    recorded = "  - {name: recorded, kind: replay, path: recorded.jsonl}\n"
    study = project(NF4, (recorded, "  - {name: odd, kind: adapter, path: odd, forms: [merged]}\n"))
    heard: list[str] = []

    class Listening(Silent):
        def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
            heard.append(name)

        def say(self, text: str) -> None:
            heard.append(text)

    run = evalkit.run(study, progress=Listening())
    assert run.exit_code == 4
    errors = {entry["name"]: entry["error"] for entry in run.results["candidates"] if entry["error"]}
    assert list(errors) == ["odd[merged]"]
    assert "expected LoRA on linear layers" in errors["odd[merged]"]
    told = [line.startswith("odd[merged] could not be done") for line in heard].index(True)
    assert told < [line.startswith("answer") for line in heard].index(True)
