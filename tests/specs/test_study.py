"""Loading a study: what is wrong with it is told at once, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import SpecError
from evalkit.specs.load import load_gate, load_study
from evalkit.specs.study import DataSpec, Quantization, Study

Load = Callable[[str], Study]
Mistakes = Callable[[str], list[str]]

# docs/reference §2's example, with the files of the fixture.
WHOLE = """
    study: tickets
    model: smollm2-135m-instruct-q4_1
    quantization: {type: nf4, double: true, block: 64}
    dtype: auto
    device: auto
    seed: 17
    data:
      train: rows.jsonl
      validation: 0.1
      overlong: drop
    candidates:
      - {name: few-shot, kind: prompt, fewshot: 4, system: "…"}
      - {name: r16, kind: train, trainer: qlora, settings: {rank: 16, learning_rate: 2.0e-4}}
      - {name: sweep, kind: train, trainer: qlora, grid: {rank: [8, 32], learning_rate: [1.0e-4, 5.0e-4]}, seeds: 3,
         search: {rungs: 3, keep: 0.5}}
      - {name: lora, kind: train, trainer: qlora, quantization: none}
      - {name: pref, kind: train, start: r16, data: {train: rows.jsonl}}
      - {name: prod, kind: adapter, path: adapters/prod}
      - {name: lookup, kind: rag, corpus: docs/*.md, top_k: 3}
      - {name: gpt, kind: api, model: gpt-x, base_url: https://example.org/v1, api_key_env: OPENAI_API_KEY}
      - {name: recorded, kind: replay, path: rows.jsonl}
    control: base
    tasks: [{task: tickets, limit: 200}]
    report: default
"""


def test_the_whole_of_the_contract(study: Load, project: Path) -> None:
    loaded = study(WHOLE)
    assert [candidate.name for candidate in loaded.candidates] == [
        "few-shot", "r16", "sweep", "lora", "pref", "prod", "lookup", "gpt", "recorded",
    ]  # fmt: skip
    assert loaded.quantization == Quantization(type="nf4", double=True, block=64)
    assert loaded.candidates[3].quantization == "none"
    assert (loaded.tasks[0].task, loaded.tasks[0].limit) == ("tickets", 200)


def test_paths_are_absolute_from_the_study(
    study: Load, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    study(WHOLE)
    monkeypatch.chdir(elsewhere)
    loaded = load_study("../study.yaml")
    assert loaded.data.train == project / "rows.jsonl"
    assert loaded.candidates[4].data == DataSpec(train=project / "rows.jsonl")
    assert loaded.candidates[5].path == project / "adapters" / "prod"
    assert loaded.candidates[6].corpus == str(project / "docs" / "*.md")


def test_a_model_in_a_folder_is_found_from_the_study(study: Load, project: Path) -> None:
    (project / "models" / "mine").mkdir(parents=True)
    assert study("study: s\nmodel: models/mine\n").model == str(project / "models" / "mine")
    assert study("study: s\nmodel: org/name@main\n").model == "org/name@main"
    assert study("study: s\nmodel: minilm\n").model == "minilm"


def test_defaults() -> None:
    study = Study(study="s", model="m")
    assert (study.quantization, study.dtype, study.device, study.seed, study.control) == (
        "nf4",
        "auto",
        "auto",
        17,
        "base",
    )
    assert study.trust_remote_code is False


def test_every_mistake_at_once_in_the_order_of_lines(mistakes: Mistakes) -> None:
    assert mistakes("""
        study: tickets
        modle: smollm2-135m-instruct-q4_1
        quantization: nf5
        data:
          train: row.jsonl
          validation: 2
        candidates:
          - {name: a, kind: trian}
          - {name: b, kind: train, settings: {rnak: 16}, grid: {alpha: [16, -1]}}
          - {name: B, kind: adapter, path: adapters/prodd}
          - {name: base, kind: replay, path: rows.jsonl}
          - {name: c, kind: api}
        control: d
        tasks: [ticket]
        gate: gate.yaml
        """) == [
        "study.yaml:2: modle: unknown key. Did you mean 'model'?",
        "study.yaml:3: quantization: expected one of 'nf4', 'fp4', 'int8', 'none', got 'nf5'. Did you mean 'nf4'?",
        "study.yaml:5: data.train: no such file: row.jsonl. Did you mean 'rows.jsonl'?",
        "study.yaml:6: data.validation: expected a number > 0 and < 1, or a path, got 2",
        "study.yaml:8: candidates[0].kind: expected one of 'prompt', 'train', 'adapter', 'rag', 'api', 'replay', "
        "got 'trian'. Did you mean 'train'?",
        "study.yaml:9: candidates[1].settings.rnak: unknown key. Did you mean 'rank'?",
        "study.yaml:9: candidates[1].grid.alpha[1]: expected a number > 0, got -1",
        "study.yaml:10: candidates[2].path: no such folder: adapters/prodd. Did you mean 'prod'?",
        "study.yaml:11: candidates[3].name: 'base' is the name of the untrained model; choose another",
        "study.yaml:12: candidates[4]: missing key 'model': expected text",
        "study.yaml:13: control: no candidate named 'd'. Known: base, a, b[alpha=16], b[alpha=-1], B, base, c.",
        "study.yaml:14: tasks[0]: no task named 'ticket'. Did you mean 'tickets'?",
        "study.yaml:15: gate: no such file: gate.yaml",
    ]


HEAD = "study: s\nmodel: m\ndata: {train: rows.jsonl}\ncandidates:\n"


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        (
            "  - {name: a, kind: prompt}\n  - {name: a, kind: prompt}",
            "candidates[1].name: 'a' is already there (line 5); choose another",
        ),
        (
            "  - {name: Ä, kind: prompt}\n  - {name: ä, kind: prompt}",
            "candidates[1].name: 'ä' differs from 'Ä' by case alone (line 5); choose another",
        ),
        (
            "  - {name: BASE, kind: prompt}",
            "candidates[0].name: 'BASE' is the name of the untrained model; choose another",
        ),
        (
            "  - {name: a, kind: train, grid: {rank: [8, 8]}}",
            "candidates[0].name: 'a[rank=8]' is already there (line 5); choose another",
        ),
        (
            "  - {name: a, kind: train, grid: {rank: []}}",
            "candidates[0].grid.rank: expected a list that is not empty, got an empty list",
        ),
        (
            "  - {name: a, kind: train, settings: {rank: 8}, grid: {rank: [8, 9]}}",
            "candidates[0].grid.rank: this setting is in 'settings' too; keep one of them",
        ),
        (
            "  - {name: a, kind: train, grid: {rnak: [8]}}",
            "candidates[0].grid.rnak: unknown key. Did you mean 'rank'?",
        ),
        (
            "  - {name: a, kind: train, trainer: qlroa}",
            "candidates[0].trainer: no trainer named 'qlroa'. Did you mean 'qlora'?",
        ),
        (
            "  - {name: a, kind: train, start: a}",
            "candidates[0].start: the candidates 'a' start from each other",
        ),
        (
            "  - {name: a, kind: train, start: b}\n  - {name: b, kind: prompt}",
            "candidates[0].start: expected a candidate of kind train or adapter, 'b' is prompt",
        ),
        (
            "  - {name: a, kind: train, start: base}",
            "candidates[0].start: no candidate named 'base'. Known: a.",
        ),
        (
            "  - {name: a, kind: train, search: {}}",
            "candidates[0].search: expected a 'grid' to search in, got a single candidate",
        ),
        (
            "  - {name: a, kind: adapter, path: docs}",
            "candidates[0].path: expected an adapter in peft's format, no adapter_config.json in docs",
        ),
        (
            "  - {name: a, kind: adapter, path: rows.jsonl}",
            "candidates[0].path: no such folder: rows.jsonl, it is a file",
        ),
        ("  - {name: a, kind: replay, path: docs}", "candidates[0].path: no such file: docs, it is a folder"),
        ("  - {name: a, kind: rag, corpus: docs/*.txt}", "candidates[0].corpus: no file fits docs/*.txt"),
        ("  - {name: a, kind: prompt, model: ./none}", "candidates[0].model: no such file or folder: none"),
    ],
)
def test_candidates(mistakes: Mistakes, candidates: str, expected: str) -> None:
    messages = mistakes(HEAD + candidates)
    assert [message.partition(": ")[2] for message in messages] == [expected]


def test_circles_of_starts(mistakes: Mistakes) -> None:
    circle = "  - {name: a, kind: train, start: b}\n  - {name: b, kind: train, start: a}"
    assert "start from each other" in mistakes(HEAD + circle)[0]


def test_one_of_several_members_has_to_be_named(mistakes: Mistakes, study: Load) -> None:
    grid = HEAD + "  - {name: a, kind: train, grid: {rank: [8, 9]}}\n"
    assert mistakes(f"{grid}control: a\n") == [
        "study.yaml:6: control: 'a' stands for 2 candidates; name one, such as 'a[rank=8]'"
    ]
    assert study(f"{grid}control: a[rank=9]\n").control == "a[rank=9]"
    assert study(f"{grid}control: base[fp32]\n").control == "base[fp32]"


def test_training_needs_rows(mistakes: Mistakes, study: Load) -> None:
    assert mistakes("study: s\nmodel: m\ncandidates:\n  - {name: a, kind: train}\n") == [
        "study.yaml:4: candidates[0]: candidate 'a' has nothing to train on: expected data.train in the study or in it"
    ]
    own = "study: s\nmodel: m\ncandidates:\n  - {name: a, kind: train, data: {train: {task: tickets}}}\n"
    assert study(own).candidates[0].name == "a"
    assert mistakes(own.replace("tickets", "tikets")) == [
        "study.yaml:4: candidates[0].data.train.task: no task named 'tikets'. Did you mean 'tickets'?"
    ]


def test_a_model_is_needed_where_something_runs_here(mistakes: Mistakes) -> None:
    message = mistakes("study: s\ncandidates:\n  - {name: a, kind: prompt}\n")[0]
    assert message.startswith(
        "study.yaml:1: missing key 'model': candidate 'a' (prompt) needs a base; expected "
    )
    assert "missing key 'model'" in mistakes("study: s\n")[0]


def test_without_a_model_the_first_candidate_is_the_control(study: Load, mistakes: Mistakes) -> None:
    replays = (
        "  - {name: old, kind: replay, path: rows.jsonl}",
        "  - {name: new, kind: replay, path: rows.jsonl}",
    )
    recorded = "\n".join(["study: s", "candidates:", *replays, ""])
    assert study(recorded).control == "old"
    assert study(recorded + "control: new\n").control == "new"
    assert mistakes(recorded + "control: base\n") == [
        "study.yaml:5: control: expected a candidate's name: without 'model' there is no base"
    ]


def test_a_task_once(mistakes: Mistakes) -> None:
    assert mistakes("study: s\nmodel: m\ntasks: [tickets, {task: tickets, limit: 3}]\n") == [
        "study.yaml:3: tasks[1]: 'tickets' is already there (line 3); remove one"
    ]


def test_a_task_by_its_path(study: Load, mistakes: Mistakes) -> None:
    assert study("study: s\nmodel: m\ntasks: [./tasks/tickets]\n").tasks[0].task == "./tasks/tickets"
    assert mistakes("study: s\nmodel: m\ntasks: [./tasks/none]\n") == [
        "study.yaml:3: tasks[0]: no task at tasks/none"
    ]


def test_a_wrong_gate_is_told_before_the_run(mistakes: Mistakes, study: Load, project: Path) -> None:
    gate = "gate: ci\nrules:\n  - {task: tickets, metric: exact_match, no_worse_than: base, margin: 0.1}\n"
    text = "study: s\nmodel: m\ntasks: [tickets]\ngate: ci.yaml\n"
    (project / "ci.yaml").write_text(gate)
    assert study(text).gate == project / "ci.yaml"
    (project / "ci.yaml").write_text(gate.replace("tickets", "tikets") + "candidate: r16\nconfidence: 95\n")
    assert mistakes(text) == [
        "ci.yaml:3: rules[0].task: the study study.yaml has no task named 'tikets'. Did you mean 'tickets'?",
        "ci.yaml:4: candidate: the study study.yaml has no candidate named 'r16'. It has: base, baseline.",
        "ci.yaml:5: confidence: expected a number > 0 and < 1, got 95",
    ]


def test_a_gate_on_its_own(project: Path) -> None:
    # docs/reference §6's example.
    (project / "ci.yaml").write_text("""
gate: ci
confidence: 0.95
candidate: r16
rules:
  - {task: tickets, metric: exact_match, at_least: 0.80}
  - {task: gsm8k, metric: math_answer, no_worse_than: base, margin: 0.02}
  - {task: tickets, metric: exact_match, better_than: base, by: 0.05}
inconclusive: exit3
""")
    policy = load_gate(project / "ci.yaml")
    assert [rule.kind for rule in policy.rules] == ["at_least", "no_worse_than", "better_than"]
    assert [rule.margin for rule in policy.rules] == [0.0, 0.02, 0.0]


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: no such file"):
        load_study(tmp_path / "none.yaml")
