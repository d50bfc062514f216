"""Prompts → ids, in one place: special tokens once, system roles never lost, slow and fast tokenizers alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import DataError, ModelError
from evalkit.models import chat
from evalkit.models.registry import resolve
from evalkit.records import Message

CHAT: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
PLAIN = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }};{% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }};{% endif %}{% endfor %}"
)


@pytest.fixture
def tokenizer(model_folder: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder("llama"))


@pytest.fixture
def adding(tokenizer: Any) -> Any:
    """A tokenizer that puts its start token before, and its end token after every text, such as some Llamas'."""
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", 260), ("<|end|>", 256)]
    )
    assert tokenizer("a")["input_ids"] == [260, 64, 256]  # bytes by the sorted byte-level alphabet: a 97 → 64
    return tokenizer


def test_chat_of_the_embedded_model_is_what_transformers_makes_of_it() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m-instruct-q4_1").path)
    outside = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert chat.prompt_ids(tokenizer, CHAT) == outside
    # <|im_start|> is 1 and <|im_end|> 2: one start token a turn, and no second one before the text
    assert [token for token in outside if token in (1, 2)] == [1, 2, 1, 2, 1]
    assert chat.has_chat_template(tokenizer)


def test_template_that_writes_the_start_token_gets_no_second_one(adding: Any) -> None:
    adding.chat_template = "{{ bos_token }}" + PLAIN
    ids = chat.prompt_ids(adding, CHAT)
    assert ids[0] == 260
    assert ids.count(260) == 1
    assert 256 not in ids


def test_text_gets_the_tokenizers_own_start_token_and_stays_open(adding: Any) -> None:
    assert chat.prompt_ids(adding, "a") == [260, 64]
    assert chat.encode_continuation(adding, [260, 64], "a", "b<|end|>") == [65, 256]
    assert chat.prompt_ids(adding, "a<|end|>") == [260, 64, 256]  # the text's own end token stays


def test_chat_without_a_template_is_plain_text_with_the_tokenizers_start_token(adding: Any) -> None:
    adding.chat_template = None
    text = "System: Be brief.\n\nUser: Hi\n\nAssistant:"
    assert chat.render(adding, CHAT, add_generation_prompt=True) == text
    assert chat.prompt_ids(adding, CHAT) == chat.prompt_ids(adding, text)
    assert not chat.has_chat_template(adding)


def test_plain_template_ends_answers(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    answered: list[Message] = [*CHAT, {"role": "assistant", "content": "Hello"}]
    assert chat.render(tokenizer, answered, False).endswith("Assistant: Hello<|end|>\n\n")


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_system_text_is_never_lost(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    assert "Be brief.\n\nHi" in chat.render(tokenizer, CHAT, True)
    tokenizer.chat_template = PLAIN  # the probe is of the template, not of the tokenizer for ever
    assert chat.render(tokenizer, CHAT, True) == "system:Be brief.;user:Hi;"


def test_system_text_without_a_user_turn_becomes_one() -> None:
    assert chat.without_system(CHAT[:1]) == [{"role": "user", "content": "Be brief."}]


def test_refusal_of_a_template_is_told_in_its_own_words(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="roles user user: roles must alternate"):
        chat.render(tokenizer, [CHAT[1], CHAT[1]], True)


def test_empty_chat_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="at least one message"):
        chat.render(tokenizer, [], True)


def test_several_templates_without_a_default_are_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = {"tool": PLAIN, "rag": PLAIN}
    with pytest.raises(ModelError, match="rag, tool"):
        chat.has_chat_template(tokenizer)
    tokenizer.chat_template = {"default": PLAIN, "rag": "x"}
    assert chat.render(tokenizer, CHAT, True) == "system:Be brief.;user:Hi;"


def test_empty_text_gives_a_token_to_start_from(tokenizer: Any) -> None:
    assert chat.prompt_ids(tokenizer, "") == [260]
    tokenizer.bos_token = None
    assert chat.prompt_ids(tokenizer, "") == [256]


def test_todays_date_does_not_change_a_prompt(tokenizer: Any) -> None:
    today = "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}"
    tokenizer.chat_template = today + "{{ date_string }}"
    assert chat.render(tokenizer, CHAT[1:], True) == "26 Jul 2024"
    tokenizer.chat_template = (
        "{% if strftime_now is defined %}\n{{ strftime_now('%d %B %Y, %H:%M') }}{% endif %}"
    )
    assert chat.render(tokenizer, CHAT[1:], True) == "26 July 2024, 00:00"
    tokenizer.chat_template = {"default": "\nOn {{ strftime_now('%A %-d') + '!' }}"}
    assert chat.render(tokenizer, CHAT[1:], True) == "\nOn Friday 26!"


def test_slow_tokenizer() -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()  # a byte is its number + 3; it adds </s> (1) after every text
    assert slow("ab")["input_ids"] == [100, 101, 1]
    assert chat.prompt_ids(slow, "ab") == [100, 101]
    assert chat.encode_continuation(slow, [100, 101], "ab", "c</s>") == [102, 1]
    slow.chat_template = PLAIN
    assert chat.prompt_ids(slow, CHAT[1:]) == [byte + 3 for byte in b"user:Hi;"]


def test_continuation_has_no_invented_space() -> None:
    # A tokenizer in the way of SentencePiece: it puts "▁" before every text. "ab" alone is ▁ab, but after "ab" it is
    # ab: encoding the answer by itself would teach the model to begin with a space.
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"▁ab": 0, "▁abab": 1, "ab": 2, "[INST]": 3, "<unk>": 4}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    words.add_special_tokens(["[INST]"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert tokenizer("ab")["input_ids"] == [0]
    assert chat.encode_continuation(tokenizer, [0, 3], "ab[INST]", "ab") == [2]
    # Both together are one word, which the model cannot have been halfway through: the answer stands alone
    assert chat.encode_continuation(tokenizer, [0], "ab", "ab") == [0]
