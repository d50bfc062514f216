"""What goes wrong is said in one line each, with the exit code of the contract, and the others go on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evalkit
from evalkit.errors import DataError, ModelError, OutputFolderError, SpecError, UserError

Project = Callable[..., Path]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_typo_in_a_key(project: Project, evalkit_command: Command) -> None:
    study = project(("candidates:", "candidate:"))
    done = evalkit_command("run", study)
    assert done.returncode == 2
    assert "study.yaml:7" in done.stderr
    assert "'candidates'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_all_mistakes_of_a_file_at_once(project: Project, evalkit_command: Command) -> None:
    study = project(("seed: 3", "sead: 3"), ("rank: 4", "rnak: 4"), ("recorded.jsonl", "missing.jsonl"))
    done = evalkit_command("run", study)
    assert done.returncode == 2
    for word in ("sead", "rnak", "missing.jsonl"):
        assert word in done.stderr


def test_missing_and_empty_data(project: Project) -> None:
    study = project(("{task: colours}, validation: 0.2", "rows.jsonl"))
    with pytest.raises(SpecError, match=r"rows\.jsonl"):
        evalkit.run(study)
    (study.parent / "rows.jsonl").write_text("")
    with pytest.raises(DataError, match=r"rows\.jsonl.*empty|rows\.jsonl.*no rows"):
        evalkit.run(study)


def test_rows_without_an_assistant_turn_and_with_roles_out_of_order(project: Project) -> None:
    study = project(("{task: colours}, validation: 0.2", "rows.jsonl"))
    rows = [
        [{"role": "user", "content": "a"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        [{"role": "assistant", "content": "b"}, {"role": "user", "content": "a"}],
    ]
    (study.parent / "rows.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    with pytest.raises(DataError) as caught:
        evalkit.run(study)
    assert "rows.jsonl:1" in str(caught.value)
    assert "rows.jsonl:3" in str(caught.value)
    assert "rows.jsonl:2" not in str(caught.value)


def test_overlong_rows_are_dropped_counted_and_named(project: Project) -> None:
    study = project(
        ("{task: colours}, validation: 0.2", "rows.jsonl, validation: null"),
        ("rank: 4,", "rank: 4, max_length: 64,"),
    )
    rows = [{"prompt": f"{i}?", "completion": "yes"} for i in range(5)]
    rows.insert(2, {"prompt": "long " * 200, "completion": "no"})
    (study.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = evalkit.run(study, only=["r4"])
    notes = " ".join(run.results["candidates"][1]["notes"])
    assert "1 of 6" in notes or "1 row" in notes
    assert "3" in notes, "the row is named by its number"


def test_nan_stops_that_candidate_only(project: Project, evalkit_command: Command) -> None:
    """The losses explode at a learning rate of 1 with a huge alpha and no clipping."""
    study = project(
        (
            "  - {name: recorded",
            "  - {name: bang, kind: train, settings: {rank: 4, alpha: 1.0e+30, max_steps: 30, batch_size: 4, "
            "learning_rate: 1.0, max_grad_norm: null, warmup: 0}}\n  - {name: recorded",
        )
    )
    done = evalkit_command("run", study)
    assert done.returncode == 4, done.stderr
    assert "bang could not be done" in done.stderr
    results = json.loads((Path(done.stdout.strip()) / "results.json").read_text())
    assert results["status"] == "partial"
    scored = {row["candidate"] for row in results["scores"]}
    assert scored == {"base", "few", "r4", "recorded"}
    bang = {row["name"]: row for row in results["candidates"]}["bang"]
    assert "at step" in bang["error"]
    assert (Path(done.stdout.strip()) / "report.html").is_file()


def test_unknown_model_names_the_nearest(project: Project) -> None:
    with pytest.raises(ModelError, match="smollm2-135m-instruct-q4_1"):
        evalkit.run(project(("./tiny", "smolm2-135m-instruct-q4_1")))


def test_a_model_that_is_not_here_says_what_to_type(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "none"))
    with pytest.raises(ModelError, match="evalkit model pull smollm2-135m-instruct-q4_1"):
        evalkit.run(project(("./tiny", "smollm2-135m-instruct-q4_1")))


def test_unknown_task_and_metric(project: Project) -> None:
    with pytest.raises(SpecError, match=r"Did you mean .colours.\?"):
        evalkit.run(project(("tasks: [colours, pick]", "tasks: [colors]")))
    study = project()
    card = study.parent / "tasks/colours/task.yaml"
    card.write_text(card.read_text().replace("exact_match", "exact_mach"))
    with pytest.raises(UserError, match="exact_match"):
        evalkit.run(study)


def test_too_few_examples_are_found_before_anything_is_spent(project: Project) -> None:
    study = project(("fewshot: 2", "fewshot: 50"))
    with pytest.raises(SpecError, match="50 examples"):
        evalkit.plan(study)


def test_an_adapter_of_another_base(project: Project, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    study = project()
    first = evalkit.run(study, only=["r4"])
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "tiny", other)
    config = LlamaConfig.from_pretrained(other)
    config.hidden_size, config.head_dim = 32, 8
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    shutil.copytree(first.path / "adapters" / "r4", tmp_path / "foreign")
    text = study.read_text().replace("./tiny", "./other")
    kept = [line for line in text.splitlines() if "name: r4" not in line]
    kept.insert(-1, "  - {name: foreign, kind: adapter, path: foreign}")
    study.write_text("\n".join(kept) + "\n")
    run = evalkit.run(study)
    assert run.exit_code == 4
    assert "another base" in run.failed["foreign"]
    assert {row["candidate"] for row in run.results["scores"]} == {"base", "few", "recorded"}


def test_an_unwritable_output_folder(project: Project, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputFolderError, match="--out"):
        evalkit.run(project(), out=tmp_path / "taken")


def test_a_full_disk_says_so_and_loses_nothing(project: Project, tmp_path: Path) -> None:
    """A file system of 48 KB, mounted in a namespace of its own, fills up while the run writes its folder."""
    study = project()
    small = tmp_path / "small"
    small.mkdir()
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    if shutil.which("unshare") is None or subprocess.run([*mounted, "true"], capture_output=True).returncode:
        mounted = ["unshare", "--mount", "--"]
    script = f"mount -t tmpfs -o size=48k none {small} && exec {sys.executable} -m evalkit run {study} --out {small}"
    environment = {**os.environ, "PYTHONPATH": str(Path(evalkit.__file__).parents[1])}
    done = subprocess.run(
        [*mounted, "sh", "-c", script], env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 2, done.stderr
    assert "No space is left" in done.stderr
    assert "Traceback" not in done.stderr
    again = evalkit.run(study, out=tmp_path / "large")
    assert again.exit_code == 0


def test_two_runs_at_once_do_not_meet(project: Project) -> None:
    from filelock import FileLock

    study = project()
    first = evalkit.run(study, only=["few"])
    with FileLock(first.path / ".lock"), pytest.raises(UserError, match="at work"):
        evalkit.run(study, only=["few"])


def test_a_judge_without_a_model_is_refused(project: Project) -> None:
    study = project(("tasks: [colours", "judges: [{judge: helpfulness}]\ntasks: [colours"))
    with pytest.raises(SpecError, match="no model"):
        evalkit.run(study)


def test_recorded_answers_for_other_tasks_alone(project: Project) -> None:
    study = project()
    (study.parent / "recorded.jsonl").write_text('{"task": "colour", "id": "red-4", "output": "red"}\n')
    with pytest.raises(DataError, match=r"'colour', which is not in the study.*Did you mean 'colours'"):
        evalkit.run(study)


def test_recorded_answers_that_lack_a_sample_say_so(project: Project) -> None:
    study = project()
    rows = (study.parent / "recorded.jsonl").read_text("utf-8").splitlines(keepends=True)
    (study.parent / "recorded.jsonl").write_text("".join(rows[1:]), "utf-8")
    run = evalkit.run(study, only=["recorded"])
    notes = next(row["notes"] for row in run.results["candidates"] if row["name"] == "recorded")
    assert notes == [
        "colours: 1 of 6 samples have no answer: recorded.jsonl has no answer with this id for task 'colours'"
    ]


def test_lines_that_are_no_rows_beside_rows_that_are_no_conversations(project: Project) -> None:
    study = project(("{task: colours}, validation: 0.2", "rows.jsonl"))
    good = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    bad = {"messages": [{"role": "bot", "content": "x"}]}
    lines = [json.dumps(good), "[1]", json.dumps(bad), "{broken"]
    (study.parent / "rows.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as raised:
        evalkit.run(study)
    assert [message.partition(": ")[0][-1] for message in raised.value.messages] == ["2", "3", "4"]
    assert "turn 1 has the role 'bot'" in raised.value.messages[1]


def test_rows_that_cannot_be_split_are_told_before_a_base_is_loaded(
    project: Project, evalkit_command: Command
) -> None:
    study = project(("{task: colours}, validation: 0.2", "rows.jsonl, validation: 0.2"))
    rows = [{"prompt": f"What is the colour of thing {i} here?", "completion": "red"} for i in (1, 1, 1)]
    (study.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    done = evalkit_command("run", study)
    assert done.returncode == 2
    assert "of the 3 training rows cannot be set aside" in done.stderr
    assert "validation: null" in done.stderr
    assert "load " not in done.stderr
