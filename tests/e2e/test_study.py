"""A whole study on a tiny model: what it writes, what it does the second time, what it survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import evalkit
from evalkit.running.folder import RunFolder
from evalkit.running.noise import EXACT

Project = Callable[..., Path]


class Recording:
    """Remembers the stages that were begun and the lines that were said."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.said: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.stages.append(name)

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def done(self, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


def without_times(value: Any) -> Any:
    """The same value without what a clock or a memory meter made."""
    clocked = ("seconds", "seconds_by_phase", "tokens_per_second", "peak_memory_bytes", "costs")
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in clocked}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def everything(run: evalkit.Run) -> dict[str, Any]:
    """All that a run says, without times."""
    folder = RunFolder(run.path)
    return without_times(
        {
            "results": folder.results(),
            "samples": {
                f"{candidate}/{task}": list(folder.samples(candidate, task))
                for candidate in folder.candidates
                for task in folder.tasks
            },
            "training": {candidate: folder.training(candidate) for candidate in folder.candidates},
        }
    )


def test_the_noise_floor_is_measured_and_told(project: Project) -> None:
    """Local candidates answer a slice again, recorded ones say why not; a second run asks nobody."""
    study = project(("device: cpu", "device: cpu\ndtype: bf16"))
    run = evalkit.run(study)
    rows = {(row["candidate"], row["task"]): row for row in run.results["noise"]}
    assert {name for name, _ in rows} == {"base", "few", "r4", "recorded"}
    assert rows["recorded", "pick"]["note"] == "recorded answers"
    for candidate in ("base", "few", "r4"):
        row = rows[candidate, "colours"]
        assert (row["n"], row["note"]) == (6, None)
        assert set(row["metrics"]) == {"exact_match", "f1"}
        assert row["metrics"]["exact_match"]["flips"] <= row["answers"] <= 6
    for row in run.results["scores"]:
        assert ("noise_sd" in row) == (row["candidate"] != "recorded")
    for row in run.results["comparisons"]:
        assert row["noise_sd"] is not None  # of the control, where the candidate is recorded
    told = evalkit.results_table(run.results)
    assert "Noise floor of colours, pick: answered again in other batches and order, " in told
    assert "Noise floor not measured: recorded (recorded answers)." in told
    page = run.report.read_text("utf-8")
    assert "not measured: recorded answers" in page
    told_again = Recording()
    assert evalkit.run(study, progress=told_again).results["noise"] == run.results["noise"]
    assert told_again.stages == []

    plan = evalkit.describe(evalkit.plan(study))
    assert [task["noise"] for task in plan["tasks"]] == [6, 6]
    assert plan["totals"]["answered_again"] == 3 * 12


def test_in_fp32_the_noise_floor_is_none(project: Project) -> None:
    fp32 = ("device: cpu", "device: cpu\ndtype: fp32\nstatistics: {noise: 9}")
    rows = evalkit.run(project(fp32), only=["few"]).results["noise"]
    assert {row["candidate"] for row in rows} == {"base", "few"}
    assert all((row["n"], row["answers"]) == (6, 0) for row in rows)
    assert all(part["sd"] == 0 and part["flips"] == 0 for row in rows for part in row["metrics"].values())


def test_without_a_word_fp32_answers_nothing_again(project: Project) -> None:
    run = evalkit.run(project(("device: cpu", "device: cpu\ndtype: fp32")), only=["few"])
    assert {row["note"] for row in run.results["noise"]} == {EXACT}
    assert not any("noise_sd" in row for row in run.results["scores"])
    none = ("device: cpu", "device: cpu\ndtype: bf16\nstatistics: {noise: 0}")
    run = evalkit.run(project(none), only=["few"])
    assert {row["note"] for row in run.results["noise"]} == {"not asked for"}


def test_a_study_writes_the_run_folder(project: Project) -> None:
    run = evalkit.run(project())
    results = run.results
    assert run.exit_code == 0
    assert results["status"] == "complete"
    assert [row["name"] for row in results["candidates"]] == ["base", "few", "r4", "recorded"]
    assert [row["kind"] for row in results["candidates"]] == ["base", "prompt", "train", "replay"]
    names = {(row["candidate"], row["task"], row["metric"]) for row in results["scores"]}
    assert ("r4", "pick", "choice_accuracy") in names
    assert ("base", "colours", "f1") in names

    by_name = {(row["candidate"], row["metric"]): row for row in results["scores"]}
    assert by_name["recorded", "exact_match"]["value"] == 1.0
    assert by_name["recorded", "exact_match"]["n"] == 6
    recorded = {(row["candidate"], row["metric"]): row for row in results["comparisons"]}[
        "recorded", "exact_match"
    ]
    base = by_name["base", "exact_match"]["value"]
    assert recorded["control"] == "base"
    assert recorded["difference"] == pytest.approx(1.0 - base)
    assert len(recorded["gained"]) - len(recorded["lost"]) == round(6 * (1.0 - base))

    weights = RunFolder(run.path).run()["hashes"]["models"][results["candidates"][0]["model"]]
    assert by_name["r4", "exact_match"]["signature"].endswith(f"|base:{weights[:12]}")
    assert by_name["recorded", "exact_match"]["signature"].endswith("|rs:3")

    rows = list(run.samples("r4", "colours"))
    assert [row["id"] for row in rows] == ["red-4", "red-5", "green-4", "green-5", "blue-4", "blue-5"]
    assert rows[0]["input"] == [{"role": "user", "content": "What colour is ketchup?"}]
    assert rows[0]["target"] == "red"
    assert set(rows[0]["scores"]) == {"exact_match", "f1"}
    assert len(rows[0]["prompt_ids_sha256"]) == 64
    choices = next(run.samples("base", "pick"))["choices"]
    assert [choice["text"] for choice in choices] == ["red", "green", "blue"]
    few = next(run.samples("few", "colours"))["input"]
    assert [message["role"] for message in few] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]

    training = RunFolder(run.path).training("r4")
    assert [row["step"] for row in training] == [1, 2, 3, 4, 5, 6]
    assert training[-1]["validation_loss"] > 0
    trained = results["candidates"][2]
    assert trained["training"]["steps"] == 6
    assert trained["training"]["tokens"] == sum(row["tokens"] for row in training)
    assert trained["settings"]["rank"] == 4
    assert run.report.read_text("utf-8").startswith("<!doctype html>")
    assert (run.path.parent / "latest").read_text().strip() == run.path.name


def test_the_adapter_loads_with_peft(project: Project, tiny: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = evalkit.run(project(), only=["r4"])
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny), run.path / "adapters" / "r4"
    )
    assert any(parameter.abs().sum() > 0 for name, parameter in model.named_parameters() if "lora_B" in name)


def test_the_second_run_does_nothing_again(project: Project) -> None:
    study = project()
    first = evalkit.run(study)
    before = everything(first)
    heard = Recording()
    second = evalkit.run(study, progress=heard)
    assert second.path == first.path
    assert heard.stages == [], "nothing is trained, answered or even loaded"
    assert everything(second) == before


def test_a_change_does_again_only_what_it_changes(project: Project) -> None:
    evalkit.run(project())
    heard = Recording()
    evalkit.run(project(("Name the colour.", "Which colour?")), progress=heard)
    assert [name for name in heard.stages if not name.startswith("load")] == [
        "answer few · colours",
        "answer few · colours · again",
        "answer few · pick",
        "answer few · pick · again",
    ]
    heard = Recording()
    evalkit.run(project(("rank: 4", "rank: 2")), progress=heard)
    assert [name for name in heard.stages if not name.startswith("load")] == [
        "train r4",
        "answer r4 · colours",
        "answer r4 · colours · again",
        "answer r4 · pick",
        "answer r4 · pick · again",
    ]


def test_the_command_does_the_same_as_the_function(
    project: Project, evalkit_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    study = project()
    first = evalkit.run(study, out=tmp_path / "a")
    done = evalkit_command("run", study, "--out", tmp_path / "b", check=True)
    printed = Path(done.stdout.strip().splitlines()[-1])
    second = evalkit.Run(RunFolder(printed), {})
    assert printed.parent == tmp_path / "b" / "colours"
    same = everything(first)
    same["results"]["run"] = printed.name
    assert everything(second) == same
    assert "exact_match" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("broken_in", ["training", "answering"])
def test_kill_9_and_the_same_command_again(project: Project, broken_in: str, tmp_path: Path) -> None:
    """A run that is killed and run again gives what an unbroken run gives."""
    study = project(("max_steps: 6", "max_steps: 40"))
    whole = everything(evalkit.run(study, out=tmp_path / "whole"))

    os.environ["EVALKIT_CACHE_DIR"] = str(tmp_path / "fresh-cache")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(evalkit.__file__).parents[1])])}
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", "run", str(study), "--out", str(tmp_path / "broken")],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
    )
    assert process.stderr is not None
    mark = "train r4: 40" if broken_in == "training" else "answer r4 · colours"
    for line in process.stderr:
        if line.startswith(mark):
            break
    time.sleep(0.3 if broken_in == "training" else 0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    again = evalkit.run(study, out=tmp_path / "broken")
    found = everything(again)
    found["results"]["run"] = whole["results"]["run"]
    for side in (found, whole):  # that a training was resumed stands in the notes, and only there
        for row in side["results"]["candidates"]:
            row.pop("notes")
    assert found == whole


def test_replay_alone_needs_no_model(project: Project) -> None:
    study = project()
    study.write_text(
        "study: replayed\n"
        "candidates:\n"
        "  - {name: a, kind: replay, path: recorded.jsonl}\n"
        "  - {name: b, kind: replay, path: recorded.jsonl}\n"
        "control: a\n"
        "tasks: [colours]\n",
        "utf-8",
    )
    run = evalkit.run(study)
    assert [row["name"] for row in run.results["candidates"]] == ["a", "b"]
    assert [(row["candidate"], row["control"], row["difference"]) for row in run.results["comparisons"]][
        :1
    ] == [("b", "a", 0.0)]


def test_recorded_answers_go_by_id_and_not_by_prompt(project: Project) -> None:
    """Two samples that ask the same may have different answers, also from the cache."""
    study = project()
    folder = study.parent / "tasks" / "colours"
    rows = [{"id": "a", "thing": "it", "colour": "red"}, {"id": "b", "thing": "it", "colour": "blue"}]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    answers = [{"task": "colours", "id": row["id"], "output": row["colour"]} for row in rows]
    (study.parent / "recorded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers), "utf-8")
    study.write_text(
        "study: replayed\ncandidates: [{name: a, kind: replay, path: recorded.jsonl}]\ncontrol: a\n"
        "tasks: [colours]\n",
        "utf-8",
    )
    for _ in range(2):
        run = evalkit.run(study)
        assert [row["output"] for row in run.samples("a", "colours")] == ["red", "blue"]
        assert run.results["scores"][0]["value"] == 1.0


def test_training_alone_keeps_what_a_finished_run_says(project: Project) -> None:
    study = project()
    before = everything(evalkit.run(study))
    again = evalkit.run(study, train_only=True)
    assert everything(again) == before
    assert before["results"]["status"] == "complete"


def test_other_training_rows_are_another_run(project: Project) -> None:
    study = project()
    first = evalkit.run(study, train_only=True)
    file = study.parent / "tasks" / "colours" / "train.jsonl"
    file.write_text(file.read_text("utf-8").replace("grass", "lawns"), "utf-8")
    second = evalkit.run(study, train_only=True)
    assert second.path != first.path
    shas = [
        next(row["adapter_sha256"] for row in run.results["candidates"] if row["kind"] == "train")
        for run in (first, second)
    ]
    assert shas[0] != shas[1]
    described = first.folder.run()
    assert [Path(name).name for name in described["hashes"]["models"]] == ["tiny"]
    assert described["threads"] >= 1


def test_another_dtype_or_quantization_has_its_own_base(project: Project) -> None:
    run = evalkit.run(
        project(("  - {name: few", "  - {name: four, kind: prompt, quantization: nf4}\n  - {name: few")),
        only=["few", "four"],
    )
    controls = {row["candidate"]: row["control"] for row in run.results["comparisons"]}
    assert controls == {"few": "base", "four": "base[nf4]"}


def test_limit_takes_a_part_and_says_so(project: Project) -> None:
    run = evalkit.run(project(), limit=2, only=["few"])
    assert {row["n"] for row in run.results["scores"]} == {2}
    told = json.loads((run.path / "run.json").read_text())
    assert told["limit"] == 2
    assert told["origins"]["limit"] == "flag"


def test_grid_and_seeds_are_named_and_trained_each(project: Project) -> None:
    run = evalkit.run(
        project(
            (
                "settings: {rank: 4, max_steps: 6, batch_size: 4, learning_rate: 5.0e-3}}",
                "settings: {max_steps: 2, batch_size: 4}, grid: {rank: [2, 4]}, seeds: 2}",
            )
        ),
        only=["r4[rank=2]#1", "r4[rank=2]#2", "r4[rank=4]#1"],
    )
    trained = [row for row in run.results["candidates"] if row["kind"] == "train"]
    assert [row["name"] for row in trained] == ["r4[rank=2]#1", "r4[rank=2]#2", "r4[rank=4]#1"]
    assert len({row["adapter_sha256"] for row in trained}) == 3
    assert (run.path / "adapters" / "r4[rank=2]#1" / "adapter_model.safetensors").is_file()


def test_every_adapter_is_checked_before_anyone_is_asked(project: Project, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
    }
    (tmp_path / "foreign/adapter_config.json").write_text(json.dumps(settings))
    save_file(
        {"base_model.model.q.lora_A.weight": torch.ones(2, 2)}, tmp_path / "foreign/adapter_model.safetensors"
    )
    given = "  - {name: foreign, kind: adapter, path: foreign}\n"
    last = "  - {name: recorded, kind: replay, path: recorded.jsonl}\n"

    class Ordered(Recording):
        def say(self, text: str) -> None:
            self.stages.append(text)

    heard = Ordered()
    run = evalkit.run(project((last, last + given)), progress=heard)
    assert run.exit_code == 4
    asked = [stage.startswith("answer") for stage in heard.stages].index(True)
    told = [stage.startswith("foreign could not be done") for stage in heard.stages].index(True)
    trained = [stage.startswith("train") for stage in heard.stages].index(True)
    assert trained < told < asked
