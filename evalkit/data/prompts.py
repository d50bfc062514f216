"""From a task's sample to what a candidate is asked, and to what it is trained on: one function for both.

In a chat the few-shot examples are turns before the question. As text, parts are joined by the card's
``delimiter``, and an example's question and answer by its ``target_delimiter``; where the card has no
``stop``, an answer after such examples ends at the delimiter.
"""

from __future__ import annotations

import random
from typing import Literal

from evalkit.data.cards import TaskCard, answer_text
from evalkit.errors import SpecError
from evalkit.records import Generation, Message, Prompt, Request, Sample

__all__ = ["build_request", "prompt_of", "with_answer"]


def build_request(
    task: TaskCard,
    sample: Sample,
    *,
    chat: bool,
    system: str | None = None,
    fewshot: int | None = None,
    seed: int,
) -> Request:
    """Return what a candidate is asked for a sample.

    Args:
        task: The sample's task.
        sample: One of its samples.
        chat: Whether the model has a chat template; the card's ``chat: true`` or ``false`` overrules it.
        system: Replaces the task's system prompt; None keeps it.
        fewshot: Examples before the question, in place of the card's number. A task without a pool of
            examples is asked without any.
        seed: Of the examples' draw and of sampled answers.

    Raises:
        SpecError: More examples are asked for than the pool has.
        DataError: The pool's rows are missing or bad.
    """
    spec = task.spec
    if task.harness is not None:
        return task.harness.request(sample.id, system=system, fewshot=fewshot, seed=seed)
    prompt = prompt_of(task, sample, chat=chat, system=system, fewshot=fewshot, seed=seed)
    if spec.kind == "perplexity":
        return Request(sample.id, "perplexity", prompt)
    if spec.kind == "choice":
        before = "" if isinstance(prompt, list) else spec.target_delimiter
        choices = tuple(before + choice for choice in sample.choices or ())
        return Request(sample.id, "choice", prompt, choices=choices)
    settings = spec.generation
    stop = tuple(settings.stop)
    if not stop and isinstance(prompt, str) and (spec.fewshot if fewshot is None else fewshot):
        stop = (spec.delimiter,)  # or a base model goes on with examples of its own
    generation = Generation(
        max_new_tokens=settings.max_new_tokens,
        stop=stop,
        temperature=settings.temperature,
        top_p=settings.top_p,
        samples=settings.samples,
        seed=seed if settings.temperature > 0 else 0,  # a greedy answer does not depend on it
        top_k=settings.top_k,
        min_p=settings.min_p,
        repetition_penalty=settings.repetition_penalty,
        logprobs=settings.logprobs,
    )
    kind: Literal["generate", "conversation"] = "conversation" if spec.kind == "conversation" else "generate"
    return Request(sample.id, kind, prompt, generation)


def prompt_of(
    task: TaskCard,
    sample: Sample,
    *,
    chat: bool,
    system: str | None = None,
    fewshot: int | None = None,
    seed: int,
) -> Prompt:
    """Return the prompt of a sample: messages where the card and the model have it so, else text.

    Arguments and errors are those of ``build_request``.
    """
    if isinstance(sample.input, str):  # perplexity: the text itself is measured
        return sample.input
    wanted = task.spec.fewshot if fewshot is None else fewshot
    shots = _examples(task, sample, wanted, seed) if task.spec.data.fewshot is not None else []
    heads = [message for message in sample.input if message["role"] == "system"]
    if system is not None:
        heads = [Message(role="system", content=system)] if system else []
    if task.spec.kind == "conversation":  # always a chat: a model without a template gets a plain one
        return [*heads, *_turns(sample)]
    if not (chat if task.spec.chat == "auto" else task.spec.chat):
        return _as_text(task, heads, shots, sample)
    messages = list(heads)
    for shot in shots:
        messages += with_answer(_turns(shot), answer_text(shot.target), task.spec.target_delimiter)
    return messages + _turns(sample)


def with_answer(turns: list[Message], answer: str, between: str) -> list[Message]:
    """Return the turns with the answer after them; one that an ``assistant`` block has begun is gone on with.

    Args:
        turns: Of a prompt.
        answer: The target.
        between: Stands between the beginning and the rest of an answer: the card's ``target_delimiter``.
    """
    if turns and turns[-1]["role"] == "assistant":
        return [*turns[:-1], Message(role="assistant", content=turns[-1]["content"] + between + answer)]
    return [*turns, Message(role="assistant", content=answer)]


def _examples(task: TaskCard, sample: Sample, wanted: int, seed: int) -> list[Sample]:
    """Draw examples: never the sample itself, by its id (in the same rows) or by its content."""
    if wanted == 0:
        return []
    spec = task.spec
    ids_name_rows = spec.id is not None or spec.data.fewshot == spec.data.test
    pool = [
        example
        for example in task.examples
        if example.input != sample.input and not (ids_name_rows and example.id == sample.id)
    ]
    if len(pool) < wanted:
        raise SpecError(
            f"{task.entry.card}: fewshot: {wanted} examples for sample {sample.id!r}; `data: {{fewshot: …}}` "
            f"has {len(pool)} besides the sample itself."
        )
    if spec.fewshot_order == "first":
        return pool[:wanted]
    return random.Random(f"{seed}:{task.name}:{sample.id}").sample(pool, wanted)


def _turns(sample: Sample) -> list[Message]:
    if isinstance(sample.input, str):
        return [Message(role="user", content=sample.input)]
    return [message for message in sample.input if message["role"] != "system"]


def _as_text(task: TaskCard, heads: list[Message], shots: list[Sample], sample: Sample) -> str:
    parts = [message["content"] for message in heads]
    between = task.spec.target_delimiter
    parts += [_plain(shot, between) + between + answer_text(shot.target) for shot in shots]
    return task.spec.delimiter.join([*parts, _plain(sample, between)])


def _plain(sample: Sample, between: str) -> str:
    """The turns as text; an answer that has begun follows its question as an answer would."""
    *before, last = _turns(sample)
    if last["role"] != "assistant" or not before:
        return "\n".join(message["content"] for message in [*before, last])
    return "\n".join(message["content"] for message in before) + between + last["content"]
