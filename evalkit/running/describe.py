"""A plan in words and numbers, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.data.conversation import Conversation
from evalkit.data.dialogue import as_spoken, turns_asked
from evalkit.data.prompts import build_request
from evalkit.data.tasks import Task
from evalkit.models.chat import has_chat_template, prompt_ids
from evalkit.models.loading import load_tokenizer
from evalkit.models.registry import resolve
from evalkit.records import Prompt, Request
from evalkit.running.judge_costs import describe_judges
from evalkit.running.noise import answered_again
from evalkit.running.plan import Plan, Planned, primary_metric
from evalkit.running.power import task_power
from evalkit.running.searching import check_steps, describe_search, searches
from evalkit.running.together import passes
from evalkit.running.train import training_rows
from evalkit.specs.study import PromptCandidate, Search
from evalkit.training.course import course_of

__all__ = ["describe"]


def describe(plan: Plan) -> dict[str, Any]:
    """Return what a run would do, as JSON values.

    Returns:
        ``tasks`` (samples, kind, metrics, power), ``candidates`` (base, control, settings with their origin, rows and
        optimiser steps of training, an estimate where ``about`` is true; prompt tokens of each task), ``passes`` (which
        candidates train together, and why others do not), ``searches`` (see ``describe_search``) and ``totals``, which
        hold what a search drops too. Token counts are logical: what the prompts hold, without the savings of shared
        prefixes.

    Raises:
        ModelError: A base is not on this machine.
        DataError: Training rows are missing or wrong.
    """
    tokenizers: dict[str, Any] = {}
    candidates = [_candidate(planned, plan, tokenizers) for planned in plan.candidates]
    return {
        "study": plan.study.study,
        "path": str(plan.path),
        "seed": plan.study.seed,
        "tasks": [
            {**_task(task), "power": task_power(plan, task), "noise": max(_noise(plan, task), default=0)}
            for task in plan.tasks
        ],
        "candidates": candidates,
        "passes": [
            {"candidates": [member.name for member in found.members], "alone": found.reason}
            for found in passes(plan)
        ],
        "searches": [_search(search, members, plan, tokenizers) for search, members in searches(plan)],
        "judges": describe_judges(plan),
        "totals": {
            "candidates": len(candidates),
            "answers": sum(len(task.samples) for task in plan.tasks) * len(candidates),
            "answered_again": sum(sum(_noise(plan, task)) for task in plan.tasks),
            "prompt_tokens": sum(sum(candidate["prompt_tokens"].values()) for candidate in candidates),
            "training_steps": sum(candidate.get("training", {}).get("steps", 0) for candidate in candidates),
        },
    }


def _noise(plan: Plan, task: Task) -> list[int]:
    """Samples of a task that each local candidate answers again."""
    asked = plan.study.statistics.noise
    return [
        answered_again(len(task.samples), planned.base.dtype, planned.base.quantization.type, asked)
        for planned in plan.candidates
        if planned.base is not None
    ]


def _task(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "kind": task.spec.kind,
        "samples": len(task.samples),
        "metrics": [use.metric for use in task.spec.metrics],
        "primary": primary_metric(task),
        "origin": task.entry.origin,
    }


def _candidate(planned: Planned, plan: Plan, tokenizers: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": planned.name,
        "kind": planned.kind,
        "control": planned.control,
        **({} if planned.form is None else {"form": planned.form, "of": planned.of}),
        "model": None if planned.base is None else planned.base.model,
        "quantization": None if planned.base is None else planned.base.quantization.type,
        "dtype": None if planned.base is None else planned.base.dtype,
        "device": None if planned.base is None else planned.base.device,
        "settings": {},
        "prompt_tokens": {},
    }
    if planned.base is None:
        return described
    tokenizer = tokenizers.get(planned.base.model)
    if tokenizer is None:
        tokenizer = load_tokenizer(
            resolve(planned.base.model, plan.path.parent), planned.base.trust_remote_code
        )
        tokenizers[planned.base.model] = tokenizer
    described["prompt_tokens"] = {task.name: _tokens(planned, plan, task, tokenizer) for task in plan.tasks}
    if planned.settings is not None:
        values = planned.settings.model_dump(mode="json")
        described["settings"] = {
            name: {"value": value, "origin": planned.origins.get(name, "default")}
            for name, value in values.items()
        }
        described["training"] = _training(planned, plan, tokenizer)
    return described


def _training(planned: Planned, plan: Plan, tokenizer: Any) -> dict[str, int | bool]:
    rows, held_out, _ = training_rows(planned, plan, chat=has_chat_template(tokenizer))
    settings, about = planned.settings, planned.settings.batch_tokens is not None
    lengths = _lengths(rows, tokenizer, settings.max_length) if about else [1] * len(rows)
    steps = course_of(settings, lengths).total(settings.epochs, settings.max_steps)
    return {"rows": len(rows), "validation_rows": len(held_out), "steps": steps, "about": about}


def _search(
    search: Search, members: Sequence[Planned], plan: Plan, tokenizers: dict[str, Any]
) -> dict[str, Any]:
    base = members[0].base
    tokenizer = tokenizers[base.model if base is not None else ""]
    rows, _, _ = training_rows(members[0], plan, chat=has_chat_template(tokenizer))
    lengths = _lengths(rows, tokenizer, max(int(member.settings.max_length) for member in members))
    for member in members:
        check_steps(plan, member, lengths)
    return describe_search(search, members, lengths)


def _lengths(rows: Sequence[Conversation], tokenizer: Any, limit: int) -> list[int]:
    """About as many tokens training rows have: masks are not made yet, which may make several rows of one."""
    texts = [
        row.messages if row.messages is not None else (row.prompt or "") + (row.completion or row.text or "")
        for row in rows
    ]
    return [min(len(prompt_ids(tokenizer, text)), limit) for text in texts]


def _tokens(planned: Planned, plan: Plan, task: Task, tokenizer: Any) -> int:
    system = fewshot = None
    if isinstance(planned.spec, PromptCandidate):
        system, fewshot = planned.spec.system, planned.spec.fewshot
    chat = has_chat_template(tokenizer)
    requests = (
        build_request(task, sample, chat=chat, system=system, fewshot=fewshot, seed=plan.study.seed)
        for sample in task.samples
    )
    return sum(len(prompt_ids(tokenizer, prompt)) for request in requests for prompt in _prompts(request))


def _prompts(request: Request) -> list[Prompt]:
    """What is read for an answer; of a conversation, every turn's, as if the answers before it were empty."""
    if request.kind != "conversation" or isinstance(request.prompt, str):
        return [request.prompt]
    script = request.prompt
    return [as_spoken(script, [""] * turn) for turn in range(turns_asked(script))]
