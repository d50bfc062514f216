"""Tasks of lm-evaluation-harness in a study: the numbers of ``lm_eval --model hf`` on the same local files."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.data.tasks import load_task
from evalkit.errors import SpecError
from evalkit.harness import open_harness
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_random_adapter, write_tiny_model
from evalkit.planning import plan

COMMON = """
task: {name}
output_type: {kind}
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/train.jsonl, test: {folder}/test.jsonl}}}}
test_split: test
fewshot_split: train
"""
CHOICE = """
doc_to_text: "Q: {{q}}\\nA:"
doc_to_choice: "{{options}}"
doc_to_target: "{{gold}}"
num_fewshot: 2
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: exact_match}, {metric: mcc}]
"""
WRITTEN = """
doc_to_text: "Q: {{q}}\\nA:"
doc_to_target: "{{options[gold]}}"
num_fewshot: 1
generation_kwargs: {until: ["\\n", "e"], do_sample: false, max_gen_toks: 12}
metric_list: [{metric: exact_match, ignore_case: true}, {metric: bleu}]
filter_list:
  - {name: first-letter, filter: [{function: regex, regex_pattern: "([a-z])"}, {function: take_first}]}
  - {name: whole, filter: [{function: take_first}]}
"""
ROLLING = """
doc_to_text: ""
doc_to_target: "{{q}} {{options[0]}} and so on."
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
"""
LAST = """
doc_to_text: "{{q}} "
doc_to_target: "{{options[gold]}}"
num_fewshot: 1
metric_list: [{metric: perplexity}, {metric: acc}]
"""
KINDS = {
    "picked": ("multiple_choice", CHOICE),
    "written": ("generate_until", WRITTEN),
    "rolled": ("loglikelihood_rolling", ROLLING),
    "last": ("loglikelihood", LAST),
}
STUDY = """
study: harness
model: {tiny}
quantization: none
dtype: fp32
device: cpu
candidates:
  - {{name: tuned, kind: adapter, path: {adapter}}}
tasks: [{tasks}]
"""


def _row(i: int) -> dict[str, Any]:
    options = [f"tea {i}", f"milk and sugar {i % 3}", "water"]
    return {"q": f"What do {i} people drink?", "options": options, "gold": i % 3}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many embeddings as the tokenizer has ids: with ``peft=``, lm_eval cuts off those beyond."""
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("model") / "tiny"
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    write_tiny_model(folder, LlamaConfig(vocab_size=261, num_key_value_heads=2, **sizes))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("harness")
    for name, rows in (("train", range(20, 30)), ("test", range(10))):
        lines = "".join(json.dumps(_row(i)) + "\n" for i in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    for name, (kind, rest) in KINDS.items():
        (folder / f"{name}.yaml").write_text(COMMON.format(name=name, kind=kind, folder=folder) + rest)
    base = load_base(str(tiny), quantization="none", dtype="fp32", device="cpu")
    (folder / "adapter").mkdir()
    write_random_adapter(base, folder / "adapter", seed=3)
    listed = ", ".join(f"'lm_eval:{name}.yaml'" for name in KINDS)
    (folder / "study.yaml").write_text(STUDY.format(tiny=tiny, adapter=folder / "adapter", tasks=listed))
    before = os.environ.get("HF_DATASETS_CACHE")
    yield folder
    assert os.environ.get("HF_DATASETS_CACHE") == before


def _theirs(tiny: Path, folder: Path, peft: Path | None) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        named = f",peft={peft}" if peft else ""
        return simple_evaluate(  # type: ignore[no-any-return, return-value]
            model="hf",
            model_args=f"pretrained={tiny},dtype=float32{named}",
            tasks=[str(folder / f"{name}.yaml") for name in KINDS],
            batch_size=4,
            device="cpu",
            bootstrap_iters=0,
            task_manager=TaskManager(include_defaults=False),
        )


def test_results_are_those_of_lm_eval(
    folder: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALKIT_CACHE_DIR", str(tmp_path / "cache"))
    run = evalkit.run(folder / "study.yaml", out=tmp_path / "runs")
    ours = {(s["candidate"], s["task"], s["metric"]): s for s in run.results["scores"]}
    compared = 0
    for candidate, peft in (("base", None), ("tuned", folder / "adapter")):
        found = _theirs(tiny, folder, peft)
        for task, values in found["results"].items():
            for key, value in values.items():
                metric, _, kept = key.partition(",")
                if "stderr" in key or not isinstance(value, float) or metric in ("mcc", "bleu"):
                    continue
                label = f"lm_eval:{metric}" + ("" if kept == "none" else f",{kept}")
                score = ours[candidate, task, label]
                assert score["value"] == pytest.approx(value, rel=1e-6, abs=1e-9), (candidate, task, key)
                assert "lm_eval:0." in score["signature"]
                compared += 1
        for task, samples in found["samples"].items():  # and each sample
            rows = {row["id"]: row for row in run.samples(candidate, task)}
            for sample in samples:
                rated = rows[str(sample["doc_id"])].get("choices")
                if task == "picked":
                    values = [(one["logprob"], one["greedy"]) for one in rated]
                    assert values == [pytest.approx(pair, rel=1e-6) for pair in sample["filtered_resps"]]
                for metric in sample["metrics"]:
                    kept = "" if sample["filter"] == "none" else f",{sample['filter']}"
                    mine, value = (
                        rows[str(sample["doc_id"])]["scores"][f"lm_eval:{metric}{kept}"],
                        sample[metric],
                    )
                    if metric in ("mcc", "bleu"):
                        assert "no mean over samples" in mine["unscored"]
                    elif isinstance(value, int | float) and metric != "perplexity":
                        assert mine == pytest.approx(value)
    assert compared == 2 * (3 + 2 + 3 + 2)
    words = {s["metric"]: s["value"] for s in run.results["scores"] if s["candidate"] == "tuned"}
    assert words["lm_eval:word_perplexity"] != ours["base", "rolled", "lm_eval:word_perplexity"]["value"]
    compares = {c["metric"] for c in run.results["comparisons"] if c["task"] == "picked"}
    assert "lm_eval:acc" in compares


def test_a_limit_keeps_every_rows_examples(folder: Path) -> None:
    whole, part = plan(folder / "study.yaml"), plan(folder / "study.yaml", limit=3)
    asked = {sample.id: sample.input for sample in whole.tasks[0].samples}
    assert len(part.tasks[0].samples) == 3
    assert all(asked[sample.id] == sample.input for sample in part.tasks[0].samples)
    assert whole.tasks[0].sha256 != part.tasks[0].sha256
    assert whole.tasks[0].name == "picked"


def test_chats_are_asked_only_on_request(folder: Path, tmp_path: Path) -> None:
    study = (folder / "study.yaml").read_text().partition("tasks:")[0]
    (folder / "chat.yaml").write_text(f"{study}tasks: [{{task: 'lm_eval:picked.yaml', chat: true}}]")
    sample = plan(folder / "chat.yaml").tasks[0].samples[0]
    assert isinstance(sample.input, list)
    assert [message["role"] for message in sample.input] == ["user", "assistant", "user", "assistant", "user"]


def test_a_card_may_take_rows_from_it(folder: Path) -> None:
    card = folder / "tasks" / "mine" / "task.yaml"
    card.parent.mkdir(parents=True)
    card.write_text(
        "task: mine\nkind: choice\ndata: {test: {lm_eval: ../../picked.yaml}}\n"
        "metrics: ['lm_eval:acc_norm', choice_accuracy]\n"
    )
    study = (folder / "study.yaml").read_text().partition("tasks:")[0]
    (folder / "card.yaml").write_text(f"{study}tasks: [mine]")
    task = plan(folder / "card.yaml").tasks[0]
    assert [use.metric for use in task.metrics] == ["lm_eval:acc_norm", "choice_accuracy"]
    assert task.samples[1].target == "milk and sugar 1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("generation_kwargs: {", "generation_kwargs: {num_beams: 4, "), "num_beams are not known here"),
        (("output_type: generate_until", "output_type: generate_all"), "cannot be opened|generate_all"),
        (("test.jsonl", "absent.jsonl"), "cannot be opened"),
    ],
)
def test_what_is_not_taken_over_is_said(
    folder: Path, tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    (tmp_path / "bad.yaml").write_text((folder / "written.yaml").read_text().replace(*change))
    study = (folder / "study.yaml").read_text().partition("tasks:")[0]
    (tmp_path / "study.yaml").write_text(f"{study}tasks: ['lm_eval:bad.yaml']")
    with pytest.raises(SpecError, match=told):
        plan(tmp_path / "study.yaml")


def test_an_unknown_name_is_told(folder: Path, tmp_path: Path) -> None:
    study = (folder / "study.yaml").read_text().partition("tasks:")[0]
    (tmp_path / "study.yaml").write_text(f"{study}tasks: ['lm_eval:absent.yaml']")
    with pytest.raises(SpecError, match="no such file"):
        plan(tmp_path / "study.yaml")


def test_a_changed_yaml_is_opened_again_in_the_same_process(folder: Path) -> None:
    own = folder / "changing.yaml"
    own.write_text((folder / "picked.yaml").read_text())
    first = open_harness("changing.yaml", folder)
    assert open_harness("changing.yaml", folder) is first
    own.write_text(own.read_text().replace("num_fewshot: 2", "num_fewshot: 0"))
    second = open_harness("changing.yaml", folder)
    assert second.sha256 != first.sha256
    assert len(second.samples()[0].input) < len(first.samples()[0].input)


def test_what_a_card_does_with_answers_is_in_the_hash_of_the_task(folder: Path) -> None:
    def card(extract: str) -> str:
        text = (
            "task: mine\nkind: generate\ndata: {test: {lm_eval: ../written.yaml}}\n"
            f"metrics: [exact_match, token_f1]\nprimary: exact_match\n{extract}"
        )
        (folder / "mine").mkdir(exist_ok=True)
        (folder / "mine" / "task.yaml").write_text(text)
        return load_task(str(folder / "mine"), seed=0).sha256

    assert card("") == card("")
    assert card("") != card("extract: {regex: '[a-z]+'}\n")
