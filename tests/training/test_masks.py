"""Loss masks: hand-worked examples on templates as they are in use, and everything that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.data.conversation import Conversation
from evalkit.errors import DataError
from evalkit.models import chat
from evalkit.records import Message
from evalkit.training.masks import mask_rows
from evalkit.training.rows import TokenRow

Tokenizers = Callable[[str], Any]

DIALOGUE: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "Four"},
    {"role": "user", "content": "And 3+3?"},
    {"role": "assistant", "content": "Six, né? 🙂"},
]


def learned(tokenizer: Any, row: TokenRow) -> list[str]:
    """Each run of supervised tokens, as text."""
    runs: list[list[int]] = []
    for position, supervised in enumerate(row.supervised):
        if supervised:
            if not row.supervised[position - 1]:
                runs.append([])
            runs[-1].append(row.ids[position])
    return [tokenizer.decode(run) for run in runs]


def masked(
    tokenizer: Any, messages: list[Message], loss_on: Any = "assistant", turn_end: str | None = None
) -> list[TokenRow]:
    ends = {tokenizer.eos_token_id}
    if turn_end is not None:  # a second end token, as generation_config.json names it
        ends.add(tokenizer.convert_tokens_to_ids(turn_end))
    return mask_rows([Conversation(row=7, messages=messages)], tokenizer, frozenset(ends), loss_on)


# What a model has to write after the evaluator's prompt, worked out by hand from each template: the answer, what
# the template puts around it, and its end token; never what comes after that.
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("chatml", [["Four<|im_end|>", "Six, né? 🙂<|im_end|>"]]),
        ("chatml_marked", [["Four<|im_end|>", "Six, né? 🙂<|im_end|>"]]),
        ("llama3", [["Four<|eot_id|>", "Six, né? 🙂<|eot_id|>"]]),
        ("gemma", [["Four<end_of_turn>", "Six, né? 🙂<end_of_turn>"]]),
        # the system text moves to the last question: the first answer is learned after another prompt
        ("mistral", [[" Four</s>"], [" Six, né? 🙂</s>"]]),
        # the last answer has an (empty) thought, which is gone from earlier answers
        (
            "qwen3",
            [["<think>\n\n</think>\n\nFour<|im_end|>"], ["<think>\n\n</think>\n\nSix, né? 🙂<|im_end|>"]],
        ),
        ("zephyr", [["Four</s>", "Six, né? 🙂</s>"]]),
        ("zephyr_trim", [["Four</s>", "Six, né? 🙂</s>"]]),
        ("qwen2", [["Four<|im_end|>", "Six, né? 🙂<|im_end|>"]]),
        ("smollm2", [["Four<|im_end|>", "Six, né? 🙂<|im_end|>"]]),
        # its eos token comes after the last turn only; a turn ends with <|end|>
        ("phi3", [["Four<|end|>", "Six, né? 🙂<|end|>"]]),
        ("deepseek", [["Four<｜end▁of▁sentence｜>", "Six, né? 🙂<｜end▁of▁sentence｜>"]]),
        ("command_r", [["Four<|END_OF_TURN_TOKEN|>", "Six, né? 🙂<|END_OF_TURN_TOKEN|>"]]),
        ("granite", [["Four<|end_of_text|>", "Six, né? 🙂<|end_of_text|>"]]),
        ("gemma3_merge", [["Four<end_of_turn>", "Six, né? 🙂<end_of_turn>"]]),
        ("llama2_merge", [[" Four </s>", " Six, né? 🙂 </s>"]]),
        ("drops_system", [["Four</s>", "Six, né? 🙂</s>"]]),
    ],
)
def test_templates(tokenizer_of: Tokenizers, template: str, expected: list[list[str]]) -> None:
    tokenizer = tokenizer_of(template)
    turn_end = "<|end|>" if template == "phi3" else None
    found = [learned(tokenizer, row) for row in masked(tokenizer, DIALOGUE, turn_end=turn_end)]
    assert found == expected


# What a whole row reads, worked out by hand from the formats as their model cards describe them, here without a
# system message: two families write one of their own, Granite's with a date.
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "qwen2",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
            "<|im_start|>assistant\nFour<|im_end|>",
        ),
        (
            "smollm2",
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\nFour<|im_end|>",
        ),
        (
            "granite",
            "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\n"
            "Today's Date: July 26, 2024.\nYou are Granite, developed by IBM. You are a helpful AI assistant."
            "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>2+2?<|end_of_text|>\n"
            "<|start_of_role|>assistant<|end_of_role|>Four<|end_of_text|>",
        ),
        ("deepseek", "<｜begin▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜>Four<｜end▁of▁sentence｜>"),
        (
            "command_r",
            "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>2+2?<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Four<|END_OF_TURN_TOKEN|>",
        ),
        ("phi3", "<|user|>\n2+2?<|end|>\n<|assistant|>\nFour<|end|>"),
        ("zephyr", "<|user|>\n2+2?</s>\n<|assistant|>\nFour</s>"),
        (
            "gemma3_merge",
            "<bos><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\nFour<end_of_turn>",
        ),
    ],
)
def test_whole_rows(tokenizer_of: Tokenizers, template: str, expected: str) -> None:
    tokenizer = tokenizer_of(template)
    (row,) = masked(tokenizer, DIALOGUE[1:3], turn_end="<|end|>" if template == "phi3" else None)
    assert tokenizer.decode(row.ids) == expected


def test_a_template_that_drops_the_thought_it_should_teach_is_refused(tokenizer_of: Tokenizers) -> None:
    # DeepSeek's removes the thought of every answer, the last one too: nothing would be left to learn of it
    messages: list[Message] = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "<think>\neasy\n</think>\n\nFour"},
    ]
    with pytest.raises(DataError, match="learned text is not the answer"):
        masked(tokenizer_of("deepseek"), messages)


def test_rows_start_with_the_ids_the_evaluator_sends(tokenizer_of: Tokenizers) -> None:
    for template in (
        "chatml",
        "llama3",
        "gemma",
        "gemma3_merge",
        "mistral",
        "qwen2",
        "qwen3",
        "llama2_merge",
        "zephyr",
        "deepseek",
        "command_r",
        "granite",
        "smollm2",
    ):
        tokenizer = tokenizer_of(template)
        rows = masked(tokenizer, DIALOGUE)
        for turn in (2, 4):
            prompt = tuple(chat.prompt_ids(tokenizer, DIALOGUE[:turn]))
            starts = [row for row in rows if row.ids[: len(prompt)] == prompt and row.supervised[len(prompt)]]
            assert len(starts) == 1, (template, turn)


def test_ids_and_mask_by_hand(tokenizer_of: Tokenizers) -> None:
    # The tokenizer's own template: <|user|>hi<|end|><|assistant|>ok<|end|>. Specials are 256 <|end|>, 257 <|user|>,
    # 258 <|assistant|>. Bytes are numbered by the sorted byte-level alphabet, which starts at "!" (33): h 104 → 71.
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    messages: list[Message] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}]
    (row,) = mask_rows([Conversation(row=1, messages=messages)], tokenizer, frozenset({256}))
    assert row.ids == (257, 71, 72, 256, 258, 78, 74, 256)
    assert row.supervised == (False, False, False, False, False, True, True, True)
    assert (row.row, row.weight, row.targets) == (1, 1.0, 3)


def test_equals_the_mask_of_a_template_with_generation_markers(tokenizer_of: Tokenizers) -> None:
    # Outside implementation: transformers' return_assistant_tokens_mask.
    tokenizer = tokenizer_of("chatml_marked")
    outside = tokenizer.apply_chat_template(DIALOGUE, return_assistant_tokens_mask=True, return_dict=True)
    (row,) = masked(tokenizer, DIALOGUE)
    size = len(row.ids)  # ours ends with the last end token, the template goes on with a newline
    assert list(row.ids) == outside["input_ids"][:size]
    assert [int(x) for x in row.supervised] == outside["assistant_masks"][:size]
    assert not any(outside["assistant_masks"][size:])


def test_thoughts_are_learned_once_and_stripped_from_history(tokenizer_of: Tokenizers) -> None:
    tokenizer = tokenizer_of("qwen3")
    messages: list[Message] = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "<think>\neasy\n</think>\n\nFour"},
        {"role": "user", "content": "3+3?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSix"},
    ]
    first, second = masked(tokenizer, messages)
    assert learned(tokenizer, first) == ["<think>\neasy\n</think>\n\nFour<|im_end|>"]
    assert learned(tokenizer, second) == ["<think>\nhm\n</think>\n\nSix<|im_end|>"]
    assert "easy" not in tokenizer.decode(second.ids)


def test_loss_on_last_and_all(tokenizer_of: Tokenizers) -> None:
    tokenizer = tokenizer_of("chatml")
    (last,) = masked(tokenizer, DIALOGUE, "last")
    assert learned(tokenizer, last) == ["Six, né? 🙂<|im_end|>"]
    (everything,) = masked(tokenizer, DIALOGUE, "all")
    assert everything.supervised == (False, *[True] * (len(everything.ids) - 1))
    tokenizer = tokenizer_of("qwen3")
    rows = masked(tokenizer, DIALOGUE, "all")
    # what two branches share is learned in the first one only: as many targets as the trie has nodes, but for the
    # first token, which nothing predicts
    nodes = {row.ids[:end] for row in rows for end in range(1, len(row.ids) + 1)}
    assert sum(row.targets for row in rows) == len(nodes) - 1


def test_prompt_and_completion(tokenizer_of: Tokenizers) -> None:
    tokenizer = tokenizer_of("chatml")
    row = Conversation(row=1, prompt="Translate: chat\n", completion=" cat", weight=2.0)
    (made,) = mask_rows([row], tokenizer, frozenset({tokenizer.eos_token_id}))
    assert learned(tokenizer, made) == [" cat<|im_end|>"]
    assert list(made.ids[: -made.targets]) == chat.prompt_ids(tokenizer, "Translate: chat\n")
    assert made.weight == 2.0


def test_text_is_learned_as_a_whole(tokenizer_of: Tokenizers) -> None:
    tokenizer = tokenizer_of("chatml")
    (made,) = mask_rows([Conversation(row=1, text="def f():\n    pass\n")], tokenizer, frozenset({256}))
    assert tokenizer.decode(made.ids) == "def f():\n    pass\n<|im_end|>"
    assert made.supervised == (False, *[True] * (len(made.ids) - 1))
    assert made.raw


def test_base_model_without_a_template(tokenizer_of: Tokenizers) -> None:
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = None
    (row,) = masked(tokenizer, DIALOGUE)
    assert learned(tokenizer, row) == [" Four<|im_end|>", " Six, né? 🙂<|im_end|>"]
    assert tokenizer.decode(row.ids).startswith(
        "System: Be brief.\n\nUser: 2+2?\n\nAssistant: Four<|im_end|>\n\n"
    )


@pytest.mark.parametrize(
    ("template", "answer", "told"),
    [
        ("chatml", "Four<|im_end|>Five", "holds the text of an end token"),
        (
            "{% for m in messages %}{{ m['content'] | upper }}{% if m['role'] == 'assistant' %}</s>{% endif %}"
            "{% endfor %}",
            "Four",
            "wrong side",
        ),
        (
            "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | replace('ou', 'oo') }}"
            "{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}",
            "Four",
            "learned text is not the answer",
        ),
        (
            "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}",
            "Four",
            "never learn to stop",
        ),
        (  # opens a thought in the generation prompt that no stored answer has
            "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}</s>{% endfor %}"
            "{% if add_generation_prompt %}[assistant]<think>\n{% endif %}",
            "Four",
            "own generation prompt",
        ),
        (  # says the question again before the answer: the model would learn to repeat the user
            "{% for m in messages %}[{{ m['role'] }}]"
            "{% if m['role'] == 'assistant' %}{{ messages[loop.index0 - 1]['content'] }} {% endif %}"
            "{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            "Four",
            "wrong side",
        ),
    ],
)
def test_fails_closed_and_names_the_row(
    tokenizer_of: Tokenizers, template: str, answer: str, told: str
) -> None:
    tokenizer = tokenizer_of(template)
    messages: list[Message] = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": answer},
    ]
    with pytest.raises(DataError, match="training row 7: ") as raised:
        masked(tokenizer, messages)
    assert told in str(raised.value)


def test_every_bad_row_is_named_up_to_ten(tokenizer_of: Tokenizers) -> None:
    tokenizer = tokenizer_of("chatml")
    bad: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b<|im_end|>c"}]
    rows = [Conversation(row=number, messages=bad) for number in range(1, 14)]
    with pytest.raises(DataError) as raised:
        mask_rows(rows, tokenizer, frozenset({tokenizer.eos_token_id}))
    assert [message[:15] for message in raised.value.messages[:2]] == ["training row 1:", "training row 2:"]
    assert raised.value.messages[10:] == ["and 3 more"]


def test_chat_that_starts_with_an_answer_is_refused(tokenizer_of: Tokenizers) -> None:
    with pytest.raises(DataError, match="training row 7: the chat starts with an assistant turn"):
        masked(tokenizer_of("chatml"), [{"role": "assistant", "content": "Hello"}])


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<>"), min_size=1, max_size=30).filter(
    str.strip
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    contents=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4),
    template=st.sampled_from(["chatml", "gemma"]),
)
def test_any_text_is_learned_to_the_letter(
    tokenizer_of: Tokenizers, contents: list[tuple[str, str]], template: str
) -> None:
    tokenizer = tokenizer_of(template)
    messages: list[Message] = []
    for question, answer in contents:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    (row,) = masked(tokenizer, messages)
    answers = [answer.strip() if template == "gemma" else answer for _, answer in contents]
    assert learned(tokenizer, row) == [answer + tokenizer.eos_token for answer in answers]
