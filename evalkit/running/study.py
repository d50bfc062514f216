"""The stages of a study, in order: train, answer, score, compare. Every candidate of a base on one loaded base."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from evalkit.data.cards import slice_of
from evalkit.data.dialogue import as_spoken
from evalkit.data.extract import extract
from evalkit.data.prompts import build_request
from evalkit.data.tasks import Task
from evalkit.errors import CandidateError
from evalkit.models.base import Model
from evalkit.models.prices import SPENT, Budget
from evalkit.models.replay import ReplayModel
from evalkit.records import Output, Request, Sample, Unscored
from evalkit.running.adapters import make_adapters
from evalkit.running.answer import answer
from evalkit.running.bases import Adapter, LazyBase, LazyModel
from evalkit.running.cache import Cache
from evalkit.running.done import Done
from evalkit.running.few import Few, answer_few, most_answers
from evalkit.running.folder import RunFolder
from evalkit.running.noise import EXACT, Noise, answered_again
from evalkit.running.plan import BaseChoice, Plan, Planned, task_metrics
from evalkit.running.progress import Progress
from evalkit.running.remote import check_servers, make_remote, takes_chats
from evalkit.running.results import status_of, write_results
from evalkit.running.score import Scored, kinds_at, score_task
from evalkit.running.twice import measure_noise
from evalkit.signature import digest
from evalkit.specs.study import (
    ApiCandidate,
    PromptCandidate,
    ReplayCandidate,
)

__all__ = ["model_of", "requests_of", "run_stages", "sample_content"]


def run_stages(
    plan: Plan,
    cache: Cache,
    folder: RunFolder,
    progress: Progress,
    *,
    budget: Budget,
    train_only: bool = False,
) -> list[Done]:
    """Do what the plan says and write the run folder as it goes.

    Args:
        plan: From ``plan_study``.
        cache: Of finished stages.
        folder: Where everything readable goes.
        progress: Told where the run is.
        budget: What servers may be paid.
        train_only: Stop after the adapters are made.

    Returns:
        One ``Done`` a candidate, in the plan's order; those that could not be done have ``error``.
    """
    check_servers(plan)
    done = {planned.name: Done(planned) for planned in plan.candidates}
    everything = list(done.values())
    finished = folder.is_complete()  # a second look at it must not take back what it says
    for choice, members in _by_base(everything):
        if train_only:
            members = [member for member in members if member.planned.kind == "train"]
        if not members:
            continue
        base = None if choice is None else LazyBase(choice, cache, progress)
        adapters = make_adapters(members, plan, base, cache, folder, progress)
        if base is not None and choice is not None and choice.dtype == "fp32" and not train_only:
            _do_few(members, plan, base, adapters, cache, progress)
        for member in [] if train_only else members:
            _do(member, plan, base, adapters.get(member.planned.name), cache, folder, progress, budget)
            if not finished:
                write_results(plan, everything, folder, "partial")
        del base
        gc.collect()  # the next base may need this one's memory
    if not (finished and train_only):
        write_results(plan, everything, folder, status_of(everything, train_only))
    return everything


def _do_few(
    members: Sequence[Done],
    plan: Plan,
    base: LazyBase,
    adapters: Mapping[str, Adapter],
    cache: Cache,
    progress: Progress,
) -> None:
    """Answer the small tasks for all candidates of a base at once, into the cache; the others are left for ``_do``.

    In fp32 alone: in bf16 a candidate's answers would depend on who else is in the study.
    """
    able = [member for member in members if member.error is None and not member.dropped]
    local = [member for member in able if not isinstance(member.planned.spec, ReplayCandidate)]
    for task in plan.tasks:
        if len(local) > 1 and len(task.samples) <= most_answers(base):
            chat = base.has_chat_template
            asked = [
                Few(each, adapters.get(each.planned.name), list(requests_of(each.planned, plan, task, chat)))
                for each in local
            ]
            answer_few(base, task.name, asked, cache, progress)


def _do(
    member: Done,
    plan: Plan,
    base: LazyBase | None,
    adapter: Adapter | None,
    cache: Cache,
    folder: RunFolder,
    progress: Progress,
    budget: Budget,
) -> None:
    """Answer and score one candidate; what it cannot do is its error, not the run's."""
    if member.error is not None or member.dropped:
        return
    name = member.planned.name
    try:
        for task in plan.tasks:
            if isinstance(member.planned.spec, ApiCandidate):
                model: Model = make_remote(member.planned.spec, plan.study, budget, name)
                chat = takes_chats(member.planned.spec, task.spec.kind)
            else:
                model = model_of(member.planned, base, adapter, task)
                chat = base is None or base.has_chat_template
            requests = list(requests_of(member.planned, plan, task, chat))
            started = time.monotonic()
            outputs = answer(model, requests, cache, progress, f"{name} · {task.name}")
            member.took(f"answer {task.name}", time.monotonic() - started)
            member.scored[task.name] = _score(plan, task, requests, outputs, member, folder)
            member.noise[task.name] = _noise(plan, task, model, requests, outputs, member, cache, progress)
            member.missed(outputs)
            _tell_unanswered(member, task, outputs, progress)
    except CandidateError as error:
        member.fail(error, progress)
    finally:
        if base is not None:
            base.forget(name)


def _noise(
    plan: Plan,
    task: Task,
    model: Model,
    requests: list[Request],
    outputs: list[Output],
    member: Done,
    cache: Cache,
    progress: Progress,
) -> Noise:
    """Answer a slice of the task again, where the candidate is computed here."""
    name = member.planned.name
    if not isinstance(model, LazyModel):
        recorded = isinstance(member.planned.spec, ReplayCandidate)
        return Noise(note="recorded answers" if recorded else "a server decides what it computes together")
    asked, base = plan.study.statistics.noise, member.planned.base
    count = 0 if base is None else answered_again(len(requests), base.dtype, base.quantization.type, asked)
    if not count:
        return Noise(note=EXACT if asked is None else "not asked for")
    started = time.monotonic()
    found = measure_noise(
        model,
        task,
        requests,
        outputs,
        member.scored[task.name],
        cache,
        progress,
        f"{name} · {task.name}",
        count=count,
        seed=plan.study.seed,
    )
    member.seconds[f"noise {task.name}"] = time.monotonic() - started
    return found


def _tell_unanswered(member: Done, task: Task, outputs: Sequence[Output], progress: Progress) -> None:
    """Say how many samples have no answer, and why the first has none: their scores are missing."""
    errors = [output.error for output in outputs if output.finish == "error" and output.error is not None]
    errors = [error for error in errors if not error.startswith(SPENT)]
    if errors:
        note = f"{task.name}: {len(errors)} of {len(outputs)} samples have no answer: {errors[0]}"
        member.notes.append(note)
        progress.say(f"{member.planned.name} · {note}")


def model_of(planned: Planned, base: LazyBase | None, adapter: Adapter | None, task: Task) -> Model:
    """Who answers for a candidate.

    Raises:
        CandidateError: The candidate has no model.
    """
    if isinstance(planned.spec, ReplayCandidate):
        return ReplayModel(planned.spec.path, task.name)
    if base is None:
        raise CandidateError(f"{planned.name}: no model is named for it.")
    return LazyModel(base, adapter)


def requests_of(planned: Planned, plan: Plan, task: Task, chat: bool) -> Iterator[Request]:
    """What a candidate is asked, one request a sample of the task, in its order."""
    system = fewshot = None
    if isinstance(planned.spec, PromptCandidate):
        system, fewshot = planned.spec.system, planned.spec.fewshot
    for sample in task.samples:
        yield build_request(task, sample, chat=chat, system=system, fewshot=fewshot, seed=plan.study.seed)


def _score(
    plan: Plan, task: Task, requests: list[Request], outputs: list[Output], member: Done, folder: RunFolder
) -> Scored:
    read = [extract(task, output) for output in outputs]
    scored = score_task(
        task.samples,
        read,
        task_metrics(task),
        seed=plan.study.seed,
        slices=task.slices,
        exact=plan.study.statistics.exact,
    )
    results = [replace(result, task=task.name, candidate=member.planned.name) for result in scored.results]
    scored = replace(scored, results=results)
    rows = []
    for i, (sample, request, output) in enumerate(zip(task.samples, requests, outputs, strict=True)):
        row: dict[str, Any] = {
            "id": sample.id,
            "input": request.prompt,
            "target": sample.target,
            "output": output.text,
            "scores": {name: _plain(measured.scores[i]) for name, measured in scored.measured.items()},
            "finish": output.finish,
            "prompt_tokens": output.prompt_tokens,
            "output_tokens": output.output_tokens,
            "seconds": round(output.seconds, 6),
            "prompt_ids_sha256": output.prompt_ids_sha256,
            **({} if output.cost is None else {"cost": output.cost}),
            "sample_sha256": sample_content(sample),
        }
        written = output.text
        if request.kind == "conversation" and isinstance(request.prompt, list) and isinstance(written, list):
            row["conversation"] = as_spoken(request.prompt, written)
            written = written[-1] if written else ""
        if kinds := kinds_at(scored, i):
            row["classes"] = kinds
        if read[i].text != written:
            row["extracted"] = read[i].text
        if sample.cluster is not None:
            row["cluster"] = sample.cluster
        if task.slices:
            row["slices"] = {name: slice_of(sample, name) for name in task.slices}
        if output.error is not None:
            row["error"] = output.error
        if output.choices is not None:
            row["choices"] = [asdict(choice) for choice in output.choices]
        rows.append(row)
    folder.write_samples(member.planned.name, task.name, rows)
    corpus = {
        name: scored.measured[name] for name, metric in scored.metrics.items() if not metric.additive_mean
    }
    folder.write_statistics(
        member.planned.name,
        task.name,
        {name: measured.statistics for name, measured in corpus.items()},
        {name: measured.labels for name, measured in corpus.items()},
    )
    return scored


def sample_content(sample: Sample) -> str:
    """Hash of what a sample asks and accepts, before a candidate adds anything: gates match runs by it."""
    return digest({"input": sample.input, "target": sample.target, "choices": list(sample.choices or ())})


def _plain(score: float | Unscored) -> float | dict[str, str]:
    return score.to_json() if isinstance(score, Unscored) else score


def _by_base(everything: list[Done]) -> Iterator[tuple[BaseChoice | None, list[Done]]]:
    choices = dict.fromkeys(member.planned.base for member in everything)
    for choice in choices:
        yield choice, [member for member in everything if member.planned.base == choice]
