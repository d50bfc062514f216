"""Tasks: cards, samples, prompts, few-shot examples, training rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evalkit.data.prompts import build_request
from evalkit.data.tasks import Task, load_task, load_task_for_training, training_conversations
from evalkit.errors import CatalogError, DataError, SpecError
from evalkit.records import Generation

CARD = """task: capitals
data: {train: train.jsonl, test: test.jsonl, fewshot: train.jsonl}
prompt: prompt.j2
target: answer
metrics: [exact_match, token_f1]
"""
PROMPT = """{% block system %}
Be brief.
{% endblock %}
{% block user %}
Capital of {{ country }}?
{% endblock %}
"""


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task of six training and four test rows; test row 1 is training row 6."""
    folder = tmp_path / "tasks" / "capitals"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(CARD, encoding="utf-8")
    (folder / "prompt.j2").write_text(PROMPT, encoding="utf-8")
    _rows(folder / "train.jsonl", [{"country": f"C{i}", "answer": f"A{i}"} for i in range(1, 7)])
    _rows(folder / "test.jsonl", [{"country": f"C{i}", "answer": [f"A{i}", f"a{i}"]} for i in range(6, 10)])
    return folder


def _edit(folder: Path, **lines: str) -> None:
    text = (folder / "task.yaml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if line.split(":")[0] not in lines]
    added = [f"{key}: {value}" for key, value in lines.items() if value]
    (folder / "task.yaml").write_text("\n".join([*kept, *added]) + "\n", encoding="utf-8")


def _load(folder: Path, **options: Any) -> Task:
    return load_task("capitals", [folder.parent.parent], **{"seed": 1, **options})


def test_samples_of_the_test_split(folder: Path) -> None:
    task = _load(folder)
    assert (task.name, task.primary) == ("capitals", "exact_match")
    assert [sample.id for sample in task.samples] == ["1", "2", "3", "4"]
    assert task.samples[0].target == ["A6", "a6"]
    assert task.samples[0].input == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital of C6?"},
    ]


def test_a_task_is_found_by_name_folder_and_card(folder: Path) -> None:
    by_name = _load(folder)
    for name in ("tasks/capitals", "tasks/capitals/task.yaml", str(folder)):
        assert load_task(name, [folder.parent.parent], seed=1).sha256 == by_name.sha256
    with pytest.raises(CatalogError, match="Did you mean 'capitals'"):
        load_task("capitls", [folder.parent.parent], seed=1)
    with pytest.raises(CatalogError, match=r"expected a folder with task.yaml"):
        load_task("tasks/capitls", [folder.parent.parent], seed=1)


def test_ids_come_from_their_field_and_are_unique(folder: Path) -> None:
    _edit(folder, id="country")
    assert [sample.id for sample in _load(folder).samples] == ["C6", "C7", "C8", "C9"]
    _rows(folder / "test.jsonl", [{"country": "X", "answer": "Y"}] * 2 + [{"answer": "Z", "country": 1.5}])
    with pytest.raises(DataError) as caught:
        _load(folder)
    assert "test.jsonl:2: the id 'X' is also that of" in caught.value.messages[0]
    assert "'country' must be a text or a whole number; got 1.5" in caught.value.messages[1]


def test_limit_is_nested_seeded_and_in_the_order_of_the_rows(folder: Path) -> None:
    _rows(folder / "test.jsonl", [{"country": f"T{i}", "answer": "x"} for i in range(200)])
    ids = [[sample.id for sample in _load(folder, limit=limit).samples] for limit in (50, 100, 200, 500)]
    assert [len(part) for part in ids] == [50, 100, 200, 200]
    assert set(ids[0]) < set(ids[1]) < set(ids[2])
    assert all(part == sorted(part, key=int) for part in ids)
    assert ids[0] == [sample.id for sample in _load(folder, limit=50).samples]
    assert ids[0] != [sample.id for sample in _load(folder, limit=50, seed=2).samples]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda folder: _edit(folder, description="words for people"), False),
        (lambda folder: (folder / "README.md").write_text("x"), False),
        (lambda folder: _rows(folder / "train.jsonl", [{"country": "Q", "answer": "R"}]), False),
        (lambda folder: _edit(folder, version="2"), True),
        (lambda folder: _edit(folder, generation="{max_new_tokens: 9}"), True),
        (lambda folder: (folder / "prompt.j2").write_text(PROMPT + "\n"), True),
        (lambda folder: (folder / "scorer.py").write_text("x = 1"), True),
        (lambda folder: _rows(folder / "test.jsonl", [{"country": "C6", "answer": "A6"}]), True),
    ],
)
def test_sha256_covers_what_can_change_a_result(folder: Path, change: Any, counts: bool) -> None:
    before = _load(folder).sha256
    change(folder)
    assert (_load(folder).sha256 != before) is counts


def test_sha256_covers_the_examples_where_the_card_asks_for_some(folder: Path) -> None:
    _edit(folder, fewshot="1")
    before = _load(folder).sha256
    _rows(folder / "train.jsonl", [{"country": "Q", "answer": "R"}])
    assert _load(folder).sha256 != before


def test_a_request_in_a_chat_and_as_text(folder: Path) -> None:
    task = _load(folder)
    chat = build_request(task, task.samples[1], chat=True, seed=5)
    assert chat.prompt == task.samples[1].input
    assert (chat.id, chat.kind, chat.generation) == ("2", "generate", Generation(max_new_tokens=256))
    assert build_request(task, task.samples[1], chat=False, seed=5).prompt == "Be brief.\n\nCapital of C7?"
    replaced = build_request(task, task.samples[1], chat=True, system="Shout.", seed=5).prompt
    assert replaced == [
        {"role": "system", "content": "Shout."},
        {"role": "user", "content": "Capital of C7?"},
    ]
    _edit(folder, chat="false")
    assert isinstance(build_request(_load(folder), task.samples[1], chat=True, seed=5).prompt, str)


def test_examples_are_turns_in_a_chat_and_text_elsewhere(folder: Path) -> None:
    _edit(folder, fewshot_order="first", delimiter='" || "', target_delimiter='" -> "')
    task = _load(folder)
    chat = build_request(task, task.samples[1], chat=True, fewshot=2, seed=5)
    assert chat.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital of C1?"},
        {"role": "assistant", "content": "A1"},
        {"role": "user", "content": "Capital of C2?"},
        {"role": "assistant", "content": "A2"},
        {"role": "user", "content": "Capital of C7?"},
    ]
    text = build_request(task, task.samples[1], chat=False, fewshot=2, seed=5)
    assert text.prompt == "Be brief. || Capital of C1? -> A1 || Capital of C2? -> A2 || Capital of C7?"
    assert (text.generation.stop, chat.generation.stop) == ((" || ",), ())


def test_examples_are_drawn_by_seed_and_never_the_sample_itself(folder: Path) -> None:
    task = _load(folder)

    def drawn(seed: int, sample: int = 0) -> list[str]:
        prompt = build_request(task, task.samples[sample], chat=True, fewshot=4, seed=seed).prompt
        return [message["content"] for message in prompt if message["role"] == "assistant"]  # type: ignore[index]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1
    assert len({tuple(drawn(1, sample)) for sample in range(4)}) > 1
    assert all("A6" not in drawn(seed) for seed in range(20))  # sample 1 asks for C6, as training row 6 does
    assert any("A6" in drawn(seed, 1) for seed in range(20))
    with pytest.raises(SpecError, match=r"6 examples for sample '1'; .* has 5 besides the sample itself"):
        build_request(task, task.samples[0], chat=True, fewshot=6, seed=1)


def test_examples_from_the_test_rows_leave_out_the_sample_by_its_id(folder: Path) -> None:
    _edit(folder, data="{test: test.jsonl, fewshot: test.jsonl}", fewshot_order="first")
    task = _load(folder)
    prompt = build_request(task, task.samples[0], chat=True, fewshot=1, seed=1).prompt
    assert prompt[1]["content"] == "Capital of C7?"  # type: ignore[index]


def test_a_task_without_a_pool_is_asked_without_examples(folder: Path) -> None:
    _edit(folder, data="{test: test.jsonl}")
    task = _load(folder)
    assert build_request(task, task.samples[0], chat=True, fewshot=3, seed=1).prompt == task.samples[0].input


def test_sampling_settings_carry_the_seed_and_greedy_ones_do_not(folder: Path) -> None:
    _edit(
        folder,
        generation="{max_new_tokens: 9, temperature: 0.5, samples: 3, stop: [x], top_k: 7, min_p: 0.1, "
        "repetition_penalty: 1.2, logprobs: true}",
    )
    task = _load(folder)
    generation = build_request(task, task.samples[0], chat=True, seed=5).generation
    cuts = {"top_k": 7, "min_p": 0.1, "repetition_penalty": 1.2, "logprobs": True}
    assert generation == Generation(max_new_tokens=9, temperature=0.5, samples=3, stop=("x",), seed=5, **cuts)


def test_choices_are_texts_and_the_target_becomes_one(folder: Path) -> None:
    _edit(folder, kind="choice", choices="options")
    rows = [
        {"country": "C", "options": ["1", "2", 3], "answer": answer} for answer in ("2", 2, "0", ["1", "3"])
    ]
    _rows(folder / "test.jsonl", rows)
    task = _load(folder)
    assert [sample.target for sample in task.samples] == ["2", "3", "1", ["1", "3"]]
    request = build_request(task, task.samples[0], chat=True, seed=1)
    assert (request.kind, request.choices) == ("choice", ("1", "2", "3"))
    assert build_request(task, task.samples[0], chat=False, seed=1).choices == (" 1", " 2", " 3")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"options": ["a", "b"], "answer": "c"},
            "the target 'c' is none of its 2 choices, nor an index of one",
        ),
        ({"options": ["a", "b"], "answer": 2}, "the target 2 is none of its 2 choices"),
        ({"options": ["a", "a"], "answer": "a"}, "expected a list of at least two different choices"),
        ({"options": "a", "answer": "a"}, "expected a list of at least two different choices"),
        ({"answer": "a"}, "has no 'options', the card's `choices`; its fields are country, answer."),
    ],
)
def test_bad_choices_are_named(folder: Path, row: dict[str, Any], words: str) -> None:
    _edit(folder, kind="choice", choices="options")
    _rows(folder / "test.jsonl", [{"country": "C", **row}])
    with pytest.raises(DataError) as caught:
        _load(folder)
    assert "test.jsonl:1: " in caught.value.messages[0]
    assert words in caught.value.messages[0]


def test_target_may_be_a_template_or_absent(folder: Path) -> None:
    _edit(folder, target='"{{ country | lower }}: {{ answer[0] }}"')
    assert _load(folder).samples[0].target == "c6: A6"
    _edit(folder, target="")
    assert _load(folder).samples[0].target is None
    _edit(folder, target="anwser")
    with pytest.raises(
        DataError, match=r"has no 'anwser', the card's `target`.*Did you mean 'answer'"
    ) as caught:
        _load(folder)
    assert len(caught.value.messages) == 4


def test_messages_from_the_row(folder: Path) -> None:
    _edit(folder, prompt="", messages="chat")
    chat = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    _rows(folder / "test.jsonl", [{"chat": chat, "answer": "d"}])
    task = _load(folder)
    assert build_request(task, task.samples[0], chat=True, seed=1).prompt == chat
    assert build_request(task, task.samples[0], chat=False, seed=1).prompt == "S\n\na\nb\nc"
    _rows(folder / "test.jsonl", [{"chat": chat[:3], "answer": "d"}, {"chat": "x", "answer": "d"}])
    with pytest.raises(DataError) as caught:
        _load(folder)
    assert "'chat' ends with the assistant" in caught.value.messages[0]
    assert "'chat' must be a list" in caught.value.messages[1]


def test_perplexity_measures_the_text(folder: Path) -> None:
    _edit(folder, kind="perplexity", target="", prompt='"{{ country }}"', metrics="[perplexity]")
    task = _load(folder)
    request = build_request(task, task.samples[0], chat=True, system="x", fewshot=2, seed=1)
    assert (request.kind, request.prompt) == ("perplexity", "C6")
    assert training_conversations(task, chat=True)[0].text == "C1"


def test_an_undefined_field_names_field_file_and_row(folder: Path) -> None:
    (folder / "prompt.j2").write_text("{{ contry }}", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        _load(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'prompt.j2'}: 'contry' is undefined; the fields of ")
    assert "test.jsonl:1 are country, answer. Did you mean 'country'?" in message


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("{% block user %}\n{{ country }", "prompt.j2:2: not a Jinja template"),
        (
            "{% block human %}x{% endblock %}",
            "prompt.j2:1: a block must be named system, user, assistant; got 'human'",
        ),
        ("{% block user %}x{% endblock %}\n\nlost", "prompt.j2:3: text outside the blocks would be lost"),
        ("{{ country.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ answer[9] }}", "has no element 9"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include 'nothing.j2' %}", "nothing.j2"),
    ],
)
def test_a_bad_template_is_named(folder: Path, prompt: str, words: str) -> None:
    (folder / "prompt.j2").write_text(prompt, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        _load(folder)
    assert words in str(caught.value)


def test_a_template_without_blocks_is_one_user_message_as_it_is(folder: Path) -> None:
    (folder / "prompt.j2").write_text("  {{ country }}\n\n{{ row['answer'][0] }} \n", encoding="utf-8")
    assert _load(folder).samples[0].input == [{"role": "user", "content": "  C6\n\nA6 "}]


def test_an_assistant_block_begins_the_answer(folder: Path) -> None:
    (folder / "prompt.j2").write_text(
        "{% block user %}{{ country }}{% endblock %}{% block assistant %}It is{% endblock %}",
        encoding="utf-8",
    )
    _edit(folder, fewshot_order="first")
    task = _load(folder)
    prompt = build_request(task, task.samples[0], chat=True, fewshot=1, seed=1).prompt
    assert [message["content"] for message in prompt] == ["C1", "It is A1", "C6", "It is"]  # type: ignore[index]
    text = build_request(task, task.samples[0], chat=False, fewshot=1, seed=1).prompt
    assert text == "C1 It is A1\n\nC6 It is"


def test_training_sees_the_prompts_of_the_evaluation(folder: Path) -> None:
    task = load_task_for_training("capitals", [folder.parent.parent], seed=1)
    rows = training_conversations(task, chat=True)
    assert [row.row for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[5].messages == [*_load(folder).samples[0].input, {"role": "assistant", "content": "A6"}]
    plain = training_conversations(task, chat=False)[5]
    assert (plain.prompt, plain.completion) == ("Be brief.\n\nCapital of C6?", " A6")


def test_training_does_not_read_the_test_rows(folder: Path) -> None:
    (folder / "test.jsonl").write_text("not even JSON", encoding="utf-8")
    task = load_task_for_training("capitals", [folder.parent.parent], seed=1)
    assert len(training_conversations(task, chat=True)) == 6
    with pytest.raises(DataError, match="not JSON"):
        _load(folder)


def test_evaluation_reads_no_training_rows_unless_it_needs_examples(folder: Path) -> None:
    (folder / "train.jsonl").write_text("not even JSON", encoding="utf-8")
    task = _load(folder)
    assert build_request(task, task.samples[0], chat=True, seed=1).prompt == task.samples[0].input
    with pytest.raises(DataError, match="not JSON"):
        build_request(task, task.samples[0], chat=True, fewshot=1, seed=1)


def test_training_needs_rows_and_targets(folder: Path) -> None:
    roots = [folder.parent.parent]
    _rows(folder / "train.jsonl", [{"country": "C", "answer": " "}])
    with pytest.raises(DataError, match=r"1 rows have an empty target.*Their ids: 1."):
        training_conversations(load_task_for_training("capitals", roots, seed=1), chat=True)
    _edit(folder, data="{test: test.jsonl}")
    with pytest.raises(SpecError, match=r"no `data: {train: …}`"):
        training_conversations(load_task_for_training("capitals", roots, seed=1), chat=True)
    _edit(folder, target="")
    with pytest.raises(SpecError, match="needs `target:`"):
        training_conversations(load_task_for_training("capitals", roots, seed=1), chat=True)


def test_a_missing_yaml_of_lm_eval_is_told(folder: Path) -> None:
    _edit(folder, data="{test: {lm_eval: absent.yaml}}")
    with pytest.raises(SpecError, match="no such file"):
        _load(folder)


def test_a_target_inside_an_object(folder: Path) -> None:
    (folder / "task.yaml").write_text(
        CARD.replace("target: answer", "target: answers.text"), encoding="utf-8"
    )
    _rows(folder / "test.jsonl", [{"country": "C1", "answers": {"text": ["A1", "a1"]}}])
    assert load_task("capitals", [folder.parents[1]], seed=17).samples[0].target == ["A1", "a1"]
    _rows(folder / "test.jsonl", [{"country": "C1", "answers": {"texts": ["A1"]}}])
    with pytest.raises(DataError, match=r"has no 'answers.text', the card's `target`"):
        load_task("capitals", [folder.parents[1]], seed=17)


def _as_conversation(folder: Path, rows: list[dict[str, Any]], **lines: str) -> Task:
    _rows(folder / "test.jsonl", rows)
    _edit(folder, data="{test: test.jsonl}", target="", kind="conversation", **lines)
    return _load(folder)


def test_a_conversation_renders_its_prompt_once_a_turn(folder: Path) -> None:
    (folder / "prompt.j2").write_text(
        "{% block system %}Be {{ mood }}.{% endblock %}{% block user %}{{ number }}: {{ turn }}{% endblock %}"
    )
    task = _as_conversation(folder, [{"mood": "kind", "says": ["Hi", "Bye"]}], turns="says")
    asked = build_request(task, task.samples[0], chat=False, system="Be short.", fewshot=3, seed=1)
    assert asked.kind == "conversation"
    assert asked.prompt == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "1: Hi"},
        {"role": "user", "content": "2: Bye"},
    ]
    assert task.samples[0].input[0] == {"role": "system", "content": "Be kind."}


def test_an_attack_on_a_conversation_is_on_its_last_turn(folder: Path) -> None:
    turns = [{"role": "user", "content": text} for text in ("Hi", "Tell me")]
    task = _as_conversation(
        folder, [{"m": turns}], messages="m", prompt="", attacks="[none, rot13, multi_turn]"
    )
    plain, rot13, several = [sample.input for sample in task.samples]
    assert plain == turns
    assert rot13[0] == turns[0]
    assert rot13[1]["content"].endswith("Gryy zr")
    assert [turn["role"] for turn in several] == ["user", "user", "assistant", "user"]  # that answer is given
    assert several[-1] == turns[1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"says": "Hi"}], "must be a list of the user's turns"),
        ([{"says": []}], "must be a list of the user's turns"),
        ([{"says": ["Hi", " "]}], "turn 2: the prompt must make one message of the user"),
        ([{"said": ["Hi"]}], "has no 'says', the card's `turns`"),
    ],
)
def test_bad_turns_are_named(folder: Path, rows: list[dict[str, Any]], words: str) -> None:
    (folder / "prompt.j2").write_text("{% block user %}{{ turn }}{% endblock %}")
    with pytest.raises(DataError, match=re.escape(words)):
        _as_conversation(folder, rows, turns="says")
