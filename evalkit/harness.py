"""Tasks written for lm-evaluation-harness: their rows, what they ask, and how they score what is answered.

The package (extra ``lm-eval``) is imported when such a task is opened. Prompts, examples, filters and scores are its
own; answering, intervals and comparisons are ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from evalkit.errors import SpecError, nearest
from evalkit.records import Generation, Output, Prompt, Request, Sample
from evalkit.signature import digest, file_sha256

__all__ = ["PREFIX", "Harness", "HarnessMetric", "as_request", "open_harness", "responses"]

PREFIX = "lm_eval:"
"""What the name of such a task begins with in a study, and the name of its metrics in results."""

SEEDS = (0, 1234, 1234)
"""Of Python, numpy and the draw of examples: those of the ``lm_eval`` command."""

CHAT = "\x00chat"
"""Marks a prompt that holds messages: the template is the model's, and is applied when it is asked."""

KINDS: dict[str, Literal["choice", "perplexity", "generate"]] = {
    "multiple_choice": "choice",
    "loglikelihood": "choice",
    "loglikelihood_rolling": "perplexity",
    "generate_until": "generate",
}
MEANS = ("mean", "nanmean", "perplexity", "weighted_perplexity", "bits_per_byte")
"""Aggregations that are functions of sums over samples."""

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SETTINGS = {"until", "do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", *LENGTHS}


@dataclass(frozen=True, slots=True)
class HarnessMetric:
    """A metric of a task, after one of its filters.

    Attributes:
        name: As lm-evaluation-harness has it: ``acc``, or ``exact_match,strict-match`` after a filter of that name.
        aggregation: One of ``MEANS``; the function's name where it is none of them.
        higher_is_better: Direction.
    """

    name: str
    aggregation: str
    higher_is_better: bool


@dataclass
class Harness:
    """An opened task.

    Attributes:
        task: lm-evaluation-harness's own object.
        place: Its name, or the path of its YAML.
        chat: Whether prompts are chats.
        folder: Where its YAML is.
    """

    task: Any
    place: str
    chat: bool
    folder: Path
    _asked: dict[tuple[str | None, int | None], dict[str, list[Any]]] = field(default_factory=dict)
    _last: tuple[list[Output], list[dict[str, Any]]] | None = None

    @property
    def name(self) -> str:
        """As lm-evaluation-harness has it."""
        return str(self.task.config.task)

    @property
    def kind(self) -> Literal["choice", "perplexity", "generate"]:
        """``choice``, ``perplexity`` or ``generate``."""
        return KINDS[self.task.OUTPUT_TYPE]

    @property
    def versions(self) -> dict[str, str]:
        """For signatures: the task's own version and hash, and the package's version."""
        return {
            "task": self.name,
            "v": str(self.task.VERSION),
            "hash": self.sha256[:12],
            "lm_eval": version("lm_eval"),
        }

    @cached_property
    def sha256(self) -> str:
        """Of every row, prompt and target, and of the settings that make scores of answers; no place is in it."""
        config = self.task.config
        parts = ("metric_list", "filter_list", "generation_kwargs", "repeats", "num_fewshot", "output_type")
        made = {name: _plain(getattr(config, name, None)) for name in parts}
        rows = [
            [key, _plain(each.doc), _plain(each.arguments)]
            for key, group in self.asked().items()
            for each in group
        ]
        return digest({"settings": made, "rows": rows, "chat": self.chat})

    @property
    def metrics(self) -> list[HarnessMetric]:
        """All metrics, those that are functions of sums over samples first."""
        better, found = self.task.higher_is_better(), []
        for name, function in self.task.aggregation().items():
            for kept in self.filters:
                label = name if kept == "none" else f"{name},{kept}"
                found.append(HarnessMetric(label, _named(function), bool(better.get(name, True))))
        return sorted(found, key=lambda metric: metric.aggregation not in MEANS)

    @property
    def filters(self) -> list[str]:
        """Names of what is done to answers before they are scored; ``none`` where the task has nothing to do."""
        return [str(each.name) for each in self.task._filters]

    def asked(self, system: str | None = None, fewshot: int | None = None) -> dict[str, list[Any]]:
        """Id of each row → its instances, with other examples or another system prompt where they are given."""
        key = (system, fewshot)
        if key not in self._asked:
            task = self.task
            default = self._default_shots()
            task.set_config("num_fewshot", default if fewshot is None else fewshot)
            with _quiet():
                task.set_fewshot_seed(SEEDS[2])
                task.build_all_requests(
                    system_instruction=system,
                    apply_chat_template=self.chat,
                    fewshot_as_multiturn=True,
                    chat_template=_as_json if self.chat else None,
                )
            task.set_config("num_fewshot", default)
            groups: dict[str, list[Any]] = {}
            for instance in task.instances:
                groups.setdefault(str(instance.doc_id), []).append(instance)
            self._asked[key] = groups
        return self._asked[key]

    def request(self, id_: str, *, system: str | None, fewshot: int | None, seed: int) -> Request:
        """What is asked for a row.

        Raises:
            SpecError: The task asks in a form that is not taken over; says which.
        """
        try:
            return as_request(id_, self.asked(system, fewshot)[id_], seed)
        except ValueError as error:
            raise SpecError(f"{PREFIX}{self.place}: {error}") from error

    def samples(self) -> list[Sample]:
        """Its rows as samples, in order; ids are the numbers that lm-evaluation-harness gives them, from 0.

        Raises:
            SpecError: See ``request``.
        """
        found = []
        for id_, group in self.asked().items():
            request = self.request(id_, system=None, fewshot=None, seed=0)
            doc = _plain(group[0].doc)
            choices, target = self._accepted(group[0].doc)
            row = doc if isinstance(doc, dict) else {"text": doc}
            found.append(Sample(id_, request.prompt, target, row, choices))
        return found

    def scores(self, samples: Sequence[Sample], outputs: Sequence[Output], kept: str) -> list[dict[str, Any]]:
        """What the task makes of answers, after one of its filters: metric → value, for each sample.

        Args:
            samples: n samples of this task.
            outputs: Their outputs; none an error.
            kept: Name of the filter.
        """
        marked = [*outputs, Output(kept, "")]
        if self._last is None or self._last[0] != marked:
            groups = [
                self._answered(sample.id, output) for sample, output in zip(samples, outputs, strict=True)
            ]
            flat = [instance for group in groups for instance in group]
            with _quiet():
                for each in self.task._filters:
                    if each.name == kept and flat:
                        each.apply(flat)
                made = [
                    self.task.process_results(group[0].doc, [one.filtered_resps[kept] for one in group])
                    for group in groups
                ]
            self._last = marked, made
        return self._last[1]

    def _answered(self, id_: str, output: Output) -> list[Any]:
        given = responses(output, self.kind)
        group = [
            type(each)(each.request_type, each.doc, each.arguments, each.idx, each.metadata)
            for each in self.asked()[id_]
        ]
        if self.kind == "choice":
            for instance, response in zip(group, given, strict=True):
                instance.resps = [response]
        else:
            group[0].resps = given
        return group

    def _accepted(self, doc: Any) -> tuple[tuple[str, ...] | None, Any]:
        """The choices of a row, and what is accepted."""
        if self.kind == "perplexity":
            return None, None
        target = self.task.doc_to_target(doc)
        if self.task.OUTPUT_TYPE != "multiple_choice":
            return None, _plain(target)
        choices = tuple(str(choice) for choice in self.task.doc_to_choice(doc))
        gold = [
            choices[one] if isinstance(one, int) and 0 <= one < len(choices) else str(one)
            for one in (target if isinstance(target, list | tuple) else [target])
        ]
        return choices, gold[0] if len(gold) == 1 else gold

    def _default_shots(self) -> int:
        return int(self.task.get_config("num_fewshot") or 0)


def open_harness(name: str, folder: Path, *, chat: bool = False) -> Harness:
    """Open a task, once in a process as long as its YAML stays the same.

    Args:
        name: A name of lm-evaluation-harness, or the path of a task's YAML.
        folder: Where a relative path starts.
        chat: Whether its prompts are chats; its own default is text.

    Raises:
        SpecError: The package is not installed, or has no such task, or its rows cannot be had.
    """
    path = (folder / name).resolve()
    if path.suffix in (".yaml", ".yml") and not path.is_file():
        raise SpecError(f"{PREFIX}{name}: no such file: {path}")
    return _open(str(path), file_sha256(path), chat) if path.is_file() else _open(name, None, chat)


@lru_cache(maxsize=64)
def _open(place: str, sha256: str | None, chat: bool) -> Harness:
    is_file = sha256 is not None
    try:
        with _quiet():
            from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise SpecError(
            f"{PREFIX}{place}: lm-evaluation-harness is not installed ({error}); type: pip install 'evalkit[lm-eval]'"
        ) from error
    with _quiet():
        manager = TaskManager(include_defaults=not is_file)
    if not is_file and place not in manager.all_subtasks:
        groups = " It is a group: name its tasks." if place in manager.all_tasks else ""
        hint = groups or nearest(place, manager.all_subtasks)
        raise SpecError(
            f"{PREFIX}{place}: lm-evaluation-harness {version('lm_eval')} has no such task.{hint}"
        )
    try:
        with _quiet():
            (task,) = manager.load([place])["tasks"].values()
    except (OSError, ValueError, KeyError, TypeError, ConnectionError, RuntimeError) as error:
        raise SpecError(f"{PREFIX}{place} cannot be opened: {str(error) or type(error).__name__}") from error
    if task.OUTPUT_TYPE not in KINDS:
        raise SpecError(f"{PREFIX}{place}: output_type {task.OUTPUT_TYPE!r} is none of {', '.join(KINDS)}.")
    if getattr(task, "UNSAFE_CODE", False):
        raise SpecError(
            f"{PREFIX}{place} runs code that models write in this process; use a task of kind: code."
        )
    beside = Path(place) if is_file else Path(str(manager.task_index[place].yaml_path or place))
    return Harness(task, place, chat, beside.parent)


def as_request(id_: str, group: Sequence[Any], seed: int = 0) -> Request:
    """Several instances of one row as one request.

    Args:
        id_: The request's id.
        group: Of the row, in the order of their ``idx``.
        seed: Of sampled answers.

    Raises:
        ValueError: They do not share one context, or have settings that are not known here; says which.
    """
    first = group[0]
    if first.request_type == "loglikelihood_rolling":
        return Request(id_, "perplexity", str(first.args[0]))
    if first.request_type == "generate_until":
        return Request(
            id_, "generate", _prompt(first.args[0]), _generation(first.args[1], first.repeats or 1, seed)
        )
    contexts = {each.args[0] for each in group}
    if len(contexts) > 1:
        raise ValueError(
            "a row asks with several contexts (multiple inputs or acc_mutual_info), which is not taken over."
        )
    context = first.args[0]
    spaces = "" if context.startswith(CHAT) else context[len(context.rstrip()) :]
    choices = tuple(spaces + each.args[1] for each in group)  # as lm-evaluation-harness moves them
    return Request(id_, "choice", _prompt(context.removesuffix(spaces)), choices=choices)


def responses(output: Output, kind: str) -> list[Any]:
    """An output in the form that lm-evaluation-harness's tasks score.

    Args:
        output: No error.
        kind: ``choice``: (log-likelihood, whether greedy decoding would write it) for each choice; ``perplexity``:
            the log-likelihood; ``generate``: each text.
    """
    if kind == "generate":
        return [output.text] if isinstance(output.text, str) else list(output.text)
    choices = output.choices or ()
    if kind == "perplexity":
        return [choices[0].logprob]
    return [(choice.logprob, bool(choice.greedy)) for choice in choices]


def _generation(settings: Mapping[str, Any], samples: int, seed: int) -> Generation:
    unknown = sorted(set(settings) - SETTINGS)
    if unknown:
        raise ValueError(
            f"generation_kwargs {', '.join(unknown)} are not known here; known: {', '.join(sorted(SETTINGS))}"
        )
    until = settings.get("until") or []
    temperature = float(settings.get("temperature") or 0.0)
    sampled = bool(settings.get("do_sample", temperature > 0)) and temperature > 0
    length = next((int(settings[name]) for name in LENGTHS if settings.get(name) is not None), 256)
    return Generation(
        max_new_tokens=length,
        stop=tuple(term for term in ([until] if isinstance(until, str) else until) if term),
        temperature=temperature if sampled else 0.0,
        top_p=float(settings.get("top_p") or 1.0),
        samples=samples,
        seed=seed,
        top_k=int(settings.get("top_k", 50 if sampled else 0) or 0),  # transformers' own default
        min_p=float(settings.get("min_p") or 0.0),
        repetition_penalty=float(settings.get("repetition_penalty") or 1.0),
    )


def _prompt(context: str) -> Prompt:
    if not context.startswith(CHAT):
        return context
    messages: list[Any] = json.loads(context.removeprefix(CHAT))
    return messages


def _as_json(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """In place of a model's chat template: keeps the messages, so that one task serves every model."""
    if not add_generation_prompt:
        raise ValueError("with `chat: true`, an answer that has begun (gen_prefix) is not taken over")
    return CHAT + json.dumps(messages, ensure_ascii=False)


def _named(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _plain(value: Any) -> Any:
    """As JSON values, functions by their names: an address in memory is no content."""
    return json.loads(
        json.dumps(value, default=lambda other: _named(other) if callable(other) else str(other))
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's logs, bars and warnings, and with its seeds; ours are put back."""
    import numpy as np

    ours, numpys = random.getstate(), np.random.get_state()
    random.seed(SEEDS[0])
    np.random.seed(SEEDS[1])
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
