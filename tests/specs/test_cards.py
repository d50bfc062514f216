"""Cards of the catalog: tasks, trainers, judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.catalog import builtin_root
from evalkit.errors import SpecError
from evalkit.specs.load import load_judge, load_task, load_trainer
from evalkit.specs.trainer import QloraSettings, TrainerSpec, resolve_settings

Told = Callable[[Callable[[Path], object], str], list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Write a card into the folder ``x`` and return what is wrong with it."""

    def told(load: Callable[[Path], object], text: str) -> list[str]:
        kind = load.__name__.removeprefix("load_")
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / f"{kind}.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SpecError) as caught:
            load(tmp_path / "x")
        return [message.replace(f"{tmp_path}/x/", "") for message in caught.value.messages]

    return told


def test_a_task_by_folder_or_card(project: Path) -> None:
    folder = project / "tasks" / "tickets"
    assert load_task(folder) == load_task(folder / "task.yaml") == load_task(str(folder))
    assert load_task(folder).metrics[0].metric == "exact_match"


def test_a_task_with_everything_wrong(told: Told) -> None:
    text = """
task: y
data: {test: none.jsonl, train: {hf: a, spilt: b}}
kind: chioce
fewshot: 2
prompt: none.j2
extract: scorer.py:find
metrics: [exact_match]
primary: bleu
generation: {max_new_tokens: 0, stop: [""]}
"""
    assert told(load_task, text) == [
        "task.yaml:2: task: expected 'x', the name of its folder, got 'y'; rename one of them",
        "task.yaml:3: data.train.spilt: unknown key. Did you mean 'split'?",
        "task.yaml:3: data.test: no such file: none.jsonl",
        "task.yaml:4: kind: expected one of 'generate', 'choice', 'perplexity', 'code', 'conversation', got 'chioce'."
        " Did you mean 'choice'?",
        "task.yaml:5: fewshot: examples need rows: expected data.fewshot",
        "task.yaml:6: prompt: no such file: none.j2",
        "task.yaml:7: extract: no such file: scorer.py",
        "task.yaml:9: primary: expected one of the task's metrics (exact_match), got 'bleu'",
        "task.yaml:10: generation.max_new_tokens: expected a whole number ≥ 1, got 0",
        "task.yaml:10: generation.stop[0]: expected text that is not empty, got ''",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "kind: choice",
            "task.yaml:1: missing key 'choices': kind: choice needs a field of the row, or a list",
        ),
        ("choices: options", "task.yaml:4: choices: expected kind: choice beside 'choices', got 'generate'"),
        ("messages: turns", "task.yaml:4: messages: expected either 'prompt' or 'messages', got both"),
        (
            "kind: conversation",
            "task.yaml:1: missing key 'turns': kind: conversation needs a field with the user's turns",
        ),
        ("turns: says", "task.yaml:4: turns: expected kind: conversation beside 'turns', got 'generate'"),
        (
            "kind: conversation\nturns: says\nchat: false",
            "task.yaml:6: chat: a conversation is a chat: expected auto or true, got false",
        ),
        (
            "kind: conversation\nturns: says\ngeneration: {samples: 2}",
            "task.yaml:6: generation.samples: a conversation goes on from one answer: expected 1, got 2",
        ),
    ],
)
def test_keys_that_go_together(told: Told, tmp_path: Path, lines: str, expected: str) -> None:
    text = f'task: x\ndata: {{test: {{hf: a}}}}\nprompt: "{{{{ a }}}}"\n{lines}\nmetrics: [bleu]\n'
    assert told(load_task, text) == [expected]


def test_a_task_without_prompt_needs_prompt_j2(told: Told) -> None:
    assert told(load_task, "task: x\ndata: {test: {hf: a}}\nmetrics: [bleu]\n") == [
        "task.yaml:1: prompt: no such file: prompt.j2"
    ]


def test_a_trainer(told: Told) -> None:
    text = "trainer: x\nsettings: {rnak: 8, rank: 0}\nadds: {beta: 0.1, rank: 4, deep: [1]}\n"
    assert told(load_trainer, text) == [
        "trainer.yaml:3: adds.deep: expected true or false, or a whole number, or a number, or text, got a list of 1"
    ]
    assert told(load_trainer, text.replace(", deep: [1]", "")) == [
        "trainer.yaml:2: settings.rnak: unknown key. Did you mean 'rank'?",
        "trainer.yaml:2: settings.rank: expected a whole number ≥ 1 and ≤ 1024, got 0",
        "trainer.yaml:3: adds.rank: every trainer has this setting; put it under 'settings'",
    ]


def test_the_built_in_trainers_load() -> None:
    cards = sorted((builtin_root() / "trainers").glob("*/trainer.yaml"))
    assert "qlora" in [load_trainer(card).trainer for card in cards]


def test_the_defaults_are_those_of_the_references() -> None:
    """QLoRA (Dettmers et al. 2023) and "LoRA Without Regret" (Schulman et al. 2025); see trainers/qlora/README.md."""
    settings = QloraSettings()
    assert (settings.rank, settings.alpha, settings.dropout, settings.targets) == (16, 32, 0, "all-linear")
    assert (settings.learning_rate, settings.schedule, settings.warmup) == (2e-4, "cosine", 0.03)
    assert (settings.weight_decay, settings.max_grad_norm, settings.epochs, settings.batch_size) == (
        0.01,
        1.0,
        3,
        16,
    )
    assert (settings.loss_on, settings.rslora, settings.dora, settings.init) == (
        "assistant",
        False,
        False,
        "default",
    )


def test_the_settings_of_the_contract_are_all_there() -> None:
    named = (
        "rank alpha dropout targets init rslora dora learning_rate schedule warmup weight_decay max_grad_norm epochs "
        "max_steps batch_size batch_tokens micro_batch max_length loss_on early_stopping model_dropout optimizer "
        "gradient_checkpointing offload precision seed speed"
    )
    assert set(QloraSettings.model_fields) == set(named.split())


def test_the_last_one_to_say_a_setting_wins() -> None:
    card = TrainerSpec(trainer="t", settings={"rank": 4, "epochs": 1, "alpha": 8}, adds={"beta": 0.1})
    settings, origins = resolve_settings(card, {"rank": 8, "alpha": 16}, {"rank": 32})
    assert (settings.rank, settings.alpha, settings.epochs, settings.beta) == (32, 16, 1, 0.1)
    wanted = {
        "rank": "grid",
        "alpha": "study",
        "epochs": "trainer.yaml",
        "beta": "default",
        "dora": "default",
    }
    assert {name: origins[name] for name in wanted} == wanted
    assert set(origins) == {*QloraSettings.model_fields, "beta"}


def test_settings_that_cannot_be() -> None:
    card = TrainerSpec(trainer="t", adds={"beta": 0.1})
    with pytest.raises(SpecError) as caught:
        resolve_settings(card, {"rnak": 8, "beta": "high"}, {"epochs": 0})
    assert caught.value.messages == [
        "trainer t: settings.rnak: unknown key. Did you mean 'rank'?",
        "trainer t: settings.epochs: expected a number > 0 and ≤ 1000, got 0",
        "trainer t: settings.beta: expected a number, got 'high'",
    ]


def test_a_judge(told: Told, tmp_path: Path) -> None:
    assert told(load_judge, "judge: x\nkind: pointwise\nscale: {low: 5, high: 1}\n") == [
        "judge.yaml:1: prompt: no such file: prompt.j2",
        "judge.yaml:3: scale: expected 'low' below 'high', got 5 and 1",
    ]
    (tmp_path / "x" / "prompt.j2").write_text("{{ output }}")
    (tmp_path / "x" / "judge.yaml").write_text('judge: x\nkind: pointwise\nrubric: {"1": bad, "5": good}\n')
    judge = load_judge(tmp_path / "x")
    assert (judge.kind, judge.scale.low, judge.scale.high, judge.votes) == ("pointwise", 1, 5, 1)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("top_k: -1", "generation.top_k: expected a whole number ≥ 0, got -1"),
        ("min_p: 1.5", "generation.min_p: expected a number ≥ 0 and ≤ 1, got 1.5"),
        ("repetition_penalty: 0", "generation.repetition_penalty: expected a number > 0, got 0"),
    ],
)
def test_sampling_settings_that_cannot_be(told: Told, setting: str, expected: str) -> None:
    text = f'task: x\ndata: {{test: {{hf: a}}}}\nprompt: "{{{{ a }}}}"\ngeneration: {{{setting}}}\nmetrics: [bleu]\n'
    assert told(load_task, text) == [f"task.yaml:4: {expected}"]


def test_a_step_is_so_many_rows_or_so_many_tokens() -> None:
    by_tokens = QloraSettings(batch_tokens=400)
    assert (by_tokens.batch_size, by_tokens.batch_tokens) == (None, 400)
    assert QloraSettings(**by_tokens.model_dump()) == by_tokens
    assert QloraSettings(batch_size=8, batch_tokens=None).batch_size == 8
    both = "trainer t: settings: expected either 'batch_size' or 'batch_tokens', got both"
    neither = "trainer t: settings: expected 'batch_size' or 'batch_tokens', got neither"
    for study, grid, message in (
        ({"batch_size": 8, "batch_tokens": 400}, None, both),
        ({"batch_size": 8}, {"batch_tokens": 400}, both),
        ({"batch_size": None}, None, neither),
    ):
        with pytest.raises(SpecError) as caught:
            resolve_settings(TrainerSpec(trainer="t"), study, grid)
        assert caught.value.messages == [message]


def test_an_orthogonal_start_needs_an_even_rank() -> None:
    with pytest.raises(SpecError) as caught:
        resolve_settings(TrainerSpec(trainer="t"), {"init": "orthogonal"}, {"rank": 3})
    assert caught.value.messages == [
        "trainer t: settings: expected an even 'rank' beside 'init: orthogonal', got 3"
    ]


@pytest.mark.parametrize(
    ("card", "study", "size", "tokens", "origin"),
    [
        ({"batch_size": 8}, {}, 8, None, "trainer.yaml"),
        ({"batch_size": 8}, {"batch_tokens": 400}, None, 400, "study"),
        ({"batch_tokens": 400}, {}, None, 400, "trainer.yaml"),
        ({"batch_tokens": 400}, {"batch_size": 8}, 8, None, "study"),
        ({"batch_tokens": 400}, {"batch_tokens": None}, 16, None, "default"),
    ],
)
def test_a_candidates_size_of_a_step_wins_over_the_cards(
    card: dict[str, int], study: dict[str, int], size: int | None, tokens: int | None, origin: str
) -> None:
    settings, origins = resolve_settings(TrainerSpec(trainer="t", settings=card), study)
    assert (settings.batch_size, settings.batch_tokens) == (size, tokens)
    assert origins["batch_size"] == origin
