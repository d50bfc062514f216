"""The tasks of the catalog: their cards load, their rows are sound, their cases score as they say."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from evalkit.catalog import builtin_root, entries
from evalkit.cli.cases import run_cases
from evalkit.data.cards import TaskCard, load_card
from evalkit.data.prompts import build_request
from evalkit.data.rows import Row
from evalkit.data.tasks import load_task, training_conversations
from evalkit.errors import DataError
from evalkit.metrics import METRICS
from evalkit.specs.task import HubData, TaskData

TASKS = sorted(entry.name for entry in entries("tasks").values() if entry.origin == "builtin")
OWN = [name for name in TASKS if name.startswith("mini-")]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_the_tasks_that_are_promised_are_there() -> None:
    elsewhere = {
        "banking77",
        "cnn-dailymail",
        "conversation",
        "gsm8k",
        "humaneval",
        "ifeval",
        "jailbreakbench",
        "lambada",
        "mmlu",
    }
    assert elsewhere | {"real-toxicity-prompts", "squad", "wmt14-de-en", "xstest"} <= set(TASKS)
    kinds = {
        "sentiment",
        "extraction",
        "reading",
        "summaries",
        "translation",
        "code",
        "maths",
        "sense",
        "text",
    }
    assert {
        f"mini-{kind}"
        for kind in kinds | {"safety", "attacks", "toxicity", "format", "knowledge", "conversation"}
    } == set(OWN)


def test_every_metric_has_a_task_that_runs_offline() -> None:
    used = {use.metric for name in OWN for use in load_card(name, seed=17).metrics}
    used = {re.sub(r"\[.*\]", "", metric) for metric in used} | {"pass@K"}
    yours = {"cost", "evaluate:NAME", "lm_eval:NAME"}  # prices and scripts of your own
    assert set(METRICS) - used == yours


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_cases_that_hold_and_says_where_it_comes_from(name: str) -> None:
    card = load_card(name, seed=17)
    assert run_cases(card) >= 2
    readme = (card.entry.path / "README.md").read_text(encoding="utf-8")
    for word in ("Source", "Licence", "Known flaws"):
        assert word in readme


@pytest.mark.parametrize("name", OWN)
def test_a_task_of_our_own_loads_offline(name: str) -> None:
    task = load_task(name, seed=17)
    questions = [json.dumps(sample.input) for sample in task.samples]
    assert 12 <= len(questions) == len(set(questions)) <= 120
    for chat in (True, False):
        assert build_request(task, task.samples[0], chat=chat, seed=17).prompt


def test_mini_knowledge_examples_are_no_questions_of_the_test() -> None:
    task = load_task("mini-knowledge", seed=17)
    assert not {json.dumps(sample.input) for sample in task.samples} & {
        json.dumps(example.input) for example in task.examples
    }
    prompt = build_request(task, task.samples[0], chat=True, seed=17).prompt
    assert [message["role"] for message in prompt].count("assistant") == 6  # type: ignore[index]


def test_mini_safety_is_half_unsafe() -> None:
    labels = Counter(sample.target for sample in load_task("mini-safety", seed=17).samples)
    assert labels == {"unsafe": 24, "safe": 24}


def test_mini_sense_answers_stand_in_every_place() -> None:
    places: Counter[int] = Counter()
    for sample in load_task("mini-sense", seed=17).samples:
        assert sample.choices is not None
        places[sample.choices.index(sample.target)] += 1
    assert places == {0: 10, 1: 10, 2: 10, 3: 10}  # so that always naming one place does not pay


PLACES = {
    "banking77": "mteb/banking77",
    "cnn-dailymail": "abisee/cnn_dailymail",
    "conversation": "HuggingFaceH4/mt_bench_prompts",
    "gsm8k": "openai/gsm8k",
    "ifeval": "google/IFEval",
    "jailbreakbench": "JailbreakBench/JBB-Behaviors",
    "lambada": "EleutherAI/lambada_openai",
    "mmlu": "cais/mmlu",
    "real-toxicity-prompts": "allenai/real-toxicity-prompts",
    "squad": "rajpurkar/squad",
    "wmt14-de-en": "wmt/wmt14",
    "xstest": "Paul/XSTest",
}


@pytest.mark.parametrize("name", sorted(set(TASKS) - set(OWN) - {"humaneval"}))
def test_tasks_of_others_come_from_the_hub_and_say_so_when_they_cannot(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = load_card(name, seed=17)
    source = card.source("test")
    assert isinstance(source, HubData)
    assert source.hf == PLACES[name]
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match=re.escape(source.hf)):
        card.read("test")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data, which is not part of the project")
def test_prompts_fit_the_real_rows() -> None:
    gsm8k, banking = load_card("gsm8k", seed=17), load_card("banking77", seed=17)
    with (SHARED / "gsm8k" / "test.jsonl").open(encoding="utf-8") as file:
        sample = gsm8k.sample(Row(json.loads(next(file)), "gsm8k", 1, 1))
    assert "Janet" in sample.input[0]["content"]  # type: ignore[index]
    assert str(sample.target).endswith("#### 18")
    with (SHARED / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    sample = banking.sample(Row({"text": row["text"], "label_text": row["category"]}, "banking77", 2, 1))
    assert sample.target == "card_arrival"


def test_the_built_in_folder_is_the_one_that_is_tested() -> None:
    assert all((builtin_root() / "tasks" / name / "task.yaml").is_file() for name in TASKS)


def test_humaneval_comes_from_its_package() -> None:
    task = load_task("humaneval", seed=17)
    assert len(task.samples) == 164
    assert set(task.samples[0].target) == {"prompt", "test", "entry_point", "solution"}
    request = build_request(task, task.samples[0], chat=True, seed=17)
    assert request.kind == "generate"
    assert "candidate" not in json.dumps(request.prompt)  # the tests are not shown


def test_a_task_of_code_trains_on_its_solutions() -> None:
    card = load_card("mini-code", seed=17)
    data = TaskData(train="test.jsonl", test="test.jsonl")
    spec = card.spec.model_copy(update={"data": data})
    first = training_conversations(TaskCard(card.entry, spec, 17), chat=True)[0]
    assert first.messages[-1]["content"] == "    return a + b\n"
