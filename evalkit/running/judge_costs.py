"""What judging will cost, before anything is spent."""

from __future__ import annotations

from typing import Any

from evalkit.data.dialogue import as_spoken, turns_asked
from evalkit.judging.cases import Case, questions_of
from evalkit.judging.prompts import fence_mark, question_messages, spoken
from evalkit.judging.repeats import count_again
from evalkit.records import Prompt
from evalkit.running.judges import Judged, check_judges, label_of
from evalkit.running.plan import Plan
from evalkit.running.remote import price_in, server_of
from evalkit.specs.study import JudgeModel

__all__ = ["describe_judges"]

CHARACTERS = 4
"""Of English text to a token, roughly; a server counts exactly when it is asked."""
ANSWER_TOKENS = 256
"""Longest answer that is reckoned with, unless the task allows less."""
REPLY_TOKENS = 80
"""A reason of a sentence or two with its verdict."""


def describe_judges(plan: Plan) -> list[dict[str, Any]]:
    """Return calls, tokens and money for each judge of a study, as if nothing were cached; repairs are left out.

    Returns:
        ``judge``, ``models``, ``calls``, ``tokens`` and ``money`` (None where a price is unknown). Layers with
        ``when:`` are given at their most: which samples are open is known after the metrics.
    """
    return [_described(judged, plan) for judged in check_judges(plan)]


def _described(judged: Judged, plan: Plan) -> dict[str, Any]:
    calls = prompt = cases = 0
    for task in plan.tasks:
        if judged.use.tasks is not None and task.name not in judged.use.tasks:
            continue
        answer = "x" * CHARACTERS * min(task.spec.generation.max_new_tokens, ANSWER_TOKENS)
        pairwise = judged.judge.spec.kind == "pairwise"
        raters = sum(candidate.control is not None for candidate in plan.candidates)
        count = raters if pairwise else len(plan.candidates)
        for sample in task.samples:
            other = f"{answer} " if pairwise else None
            asked: Prompt = spoken(sample.input)
            if task.spec.kind == "conversation" and isinstance(sample.input, list):
                asked = as_spoken(sample.input, [answer] * turns_asked(sample.input))[:-1]
            case = Case("", task.name, sample.id, asked, answer, "", dict(sample.row), "", other)
            questions = questions_of(judged.judge, case, sample.id)
            texts = [question_messages(question, fence_mark(question, 0)) for question in questions]
            cases += count
            calls += count * len(questions)
            prompt += count * sum(len(turn["content"]) for turns in texts for turn in turns) // CHARACTERS
    if judged.judge.spec.votes == 1:  # votes are repetitions already
        again = count_again(cases, judged.use.repeat) / max(1, cases)
        calls, prompt = round(calls * (1 + again)), round(prompt * (1 + again))
    live = [model for model in judged.models if model.replay is None]
    costs = [_cost(model, plan, prompt, calls * REPLY_TOKENS) for model in judged.models]
    known = [cost for cost in costs if cost is not None]
    return {
        "judge": judged.name,
        "models": [label_of(model) for model in judged.models],
        "calls": calls * len(live),
        "tokens": (prompt + calls * REPLY_TOKENS) * len(live),
        "money": sum(known) if len(known) == len(costs) else None,
        "layer": judged.use.when is not None,
    }


def _cost(model: JudgeModel, plan: Plan, prompt: int, reply: int) -> float | None:
    if model.model is None:
        return 0.0  # on this machine, or recorded
    price = price_in(plan.study, server_of(model))
    return None if price is None else price.of(prompt, reply)
