"""The only place where prompts become token ids, for training and for answering alike.

A chat is rendered to text by the model's own template, which writes its special tokens itself, and the text
is encoded without adding special tokens a second time. Plain text is encoded with the tokenizer's own special
tokens. A base model without a template gets ``PLAIN_TEMPLATE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from jinja2 import TemplateError

from evalkit.errors import DataError, ModelError
from evalkit.records import Message, Prompt

__all__ = [
    "PLAIN_TEMPLATE",
    "encode_continuation",
    "has_chat_template",
    "prompt_ids",
    "render",
    "without_system",
]

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""How a chat is written for a base model that has no template of its own.

``User: Hello`` and ``Assistant: Hi<eos>`` in paragraphs. The answer starts with the space after
``Assistant:``, so that its first word is the ordinary token of a word inside a sentence.
"""

_SENTINEL = "qzSYSTEMxk"
_FIXED_DATE = "26 Jul 2024"  # Llama 3's own default
_FIXED_DAY = datetime(2024, 7, 26)
_FIXED_CLOCK = (
    "{%- macro strftime_now(format) -%}{{- format"
    + "".join(f" | replace('%{code}', '{_FIXED_DAY.strftime('%' + code)}')" for code in "aAbBdeHIjmMpSyY")
    + f" | replace('%-d', '{_FIXED_DAY.day}') | replace('%-m', '{_FIXED_DAY.month}')"
    + " -}}{%- endmacro +%}"
)
"""Put before a template that asks what day it is: its own ``strftime_now``, at which time stands still."""


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template of its own.

    Raises:
        ModelError: It brings several named templates and none is the default.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict) and template and "default" not in template:
        raise ModelError(
            f"The tokenizer has chat templates named {', '.join(sorted(template))} and no default one: "
            "expected one template, or several of which one is named 'default'."
        )
    return bool(template)


def render(tokenizer: Any, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """Write a chat as the text the model was made for.

    Where the template refuses or drops a system role, the system text goes before the next user message.
    Templates that write today's date (Llama 3, Granite) get a fixed one: a study gives the same prompt tomorrow.

    Args:
        tokenizer: Slow or fast, with or without a template.
        messages: At least one.
        add_generation_prompt: End with the header that an answer follows.

    Raises:
        DataError: The template refuses these messages; its own words are in the message.
    """
    if not messages:
        raise DataError("expected a chat with at least one message, got an empty one")
    template = None if has_chat_template(tokenizer) else PLAIN_TEMPLATE
    if any(message["role"] == "system" for message in messages) and not _takes_system(tokenizer):
        messages = without_system(messages)
    try:
        return _apply(tokenizer, messages, template, add_generation_prompt)
    except TemplateError as error:
        roles = " ".join(message["role"] for message in messages)
        raise DataError(
            f"the model's chat template refuses a chat with the roles {roles}: {error}"
        ) from error


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return the ids that a model is given for a prompt, before its answer.

    An empty text gives the tokenizer's start token, or its end token where there is none, because a model
    needs a token to continue from. An end token that the tokenizer appends by itself is taken off again.

    Raises:
        DataError: See ``render``.
    """
    if isinstance(prompt, str):
        return _text_ids(tokenizer, prompt)
    text = render(tokenizer, prompt, add_generation_prompt=True)
    if has_chat_template(tokenizer):
        return _encode(tokenizer, text, special=False)
    return _text_ids(tokenizer, text)


def encode_continuation(tokenizer: Any, ids: Sequence[int], text: str, continuation: str) -> list[int]:
    """Return the ids of a continuation, as they stand after a prompt.

    Where encoding both texts as one leaves the prompt's ids alone, the rest is the answer: so no space is
    invented at the seam by tokenizers that put one before every text. Where a token would straddle the seam,
    the model could never have produced it, and the continuation is encoded by itself.

    Args:
        tokenizer: The tokenizer.
        ids: The prompt's ids, as ``prompt_ids`` gives them.
        text: The prompt's text; for a chat as ``render`` gives it.
        continuation: What follows it.
    """
    for special in (False, True):
        joint = _encode(tokenizer, text + continuation, special=special)
        if special:
            joint = _without_added_end(tokenizer, joint, text + continuation)
        if joint[: len(ids)] == list(ids):
            return joint[len(ids) :]
    return _encode(tokenizer, continuation, special=False)


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Put the text of each system message before the next user message, with an empty line between.

    >>> without_system([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    [{'role': 'user', 'content': 'Be brief.\\n\\nHi'}]
    """
    merged: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif message["role"] == "user" and waiting:
            content = "\n\n".join([*waiting, message["content"]])
            merged.append(cast(Message, {**message, "content": content}))
            waiting = []
        else:
            merged.append(message)
    if waiting:
        merged.append({"role": "user", "content": "\n\n".join(waiting)})
    return merged


def _takes_system(tokenizer: Any) -> bool:
    """Whether the template writes a system message, found by rendering one."""
    if not has_chat_template(tokenizer):
        return True
    template = tokenizer.chat_template
    return _system_probe(_ById(tokenizer), template["default"] if isinstance(template, dict) else template)


class _ById:
    """A tokenizer as a cache key: equal to itself only (tokenizers may compare by value, or not hash)."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __hash__(self) -> int:
        return id(self.tokenizer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.tokenizer is self.tokenizer


@lru_cache(maxsize=32)
def _system_probe(key: _ById, template: str) -> bool:
    messages: list[Message] = [
        {"role": "system", "content": _SENTINEL},
        {"role": "user", "content": "question"},
    ]
    try:
        return _SENTINEL in _apply(key.tokenizer, messages, template, True)
    except TemplateError:
        return False


def _apply(tokenizer: Any, messages: Sequence[Message], template: str | None, generation: bool) -> str:
    own = tokenizer.chat_template if template is None else template
    own = own["default"] if isinstance(own, dict) else own
    if "strftime_now" in own:
        template = _FIXED_CLOCK + own
    text = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        chat_template=template,
        add_generation_prompt=generation,
        tokenize=False,
        date_string=_FIXED_DATE,
    )
    return str(text)


def _text_ids(tokenizer: Any, text: str) -> list[int]:
    ids = _without_added_end(tokenizer, _encode(tokenizer, text, special=True), text)
    if ids:
        return ids
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [] if start is None else [int(start)]


def _without_added_end(tokenizer: Any, ids: list[int], text: str) -> list[int]:
    """Take off the end token that some tokenizers put after every text; one that is in the text stays."""
    if ids[-1:] != [tokenizer.eos_token_id]:
        return ids
    alone = _encode(tokenizer, text, special=False)
    added = ids[-len(alone) :] != alone if alone else tokenizer.bos_token_id != tokenizer.eos_token_id
    return ids[:-1] if added else ids


def _encode(tokenizer: Any, text: str, special: bool) -> list[int]:
    # verbose=False: the tokenizer's own length warning is not the model's limit
    ids = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    return [int(token) for token in ids]
