"""A task's card and the samples of its splits. A split is read when it is asked for, and no other with it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from evalkit.catalog import Entry, find
from evalkit.data.attacks import attacked
from evalkit.data.dialogue import faults_of
from evalkit.data.rows import Row, bad_rows, packaged, read_rows
from evalkit.data.templates import Template, is_template
from evalkit.errors import CatalogError, SpecError, nearest
from evalkit.harness import PREFIX, Harness, open_harness
from evalkit.records import Message, Prompt, Sample
from evalkit.specs.load import load_task
from evalkit.specs.task import HubData, LmEvalData, MetricUse, PackageData, TaskData, TaskSpec

__all__ = ["Split", "TaskCard", "answer_text", "load_card", "slice_of"]

Split = Literal["train", "validation", "test", "fewshot"]

CODE_FIELDS = ("prompt", "test", "entry_point")
"""What a row of kind code has, as HumanEval's rows do; ``target:`` names the field with a solution."""


@dataclass(frozen=True)
class TaskCard:
    """A task without its test rows: what training may see.

    Attributes:
        entry: Where it is.
        spec: Its card.
        seed: Of few-shot draws and of ``limit``.
    """

    entry: Entry
    spec: TaskSpec
    seed: int

    @property
    def name(self) -> str:
        """As in studies and results."""
        return self.spec.task

    @property
    def metrics(self) -> list[MetricUse]:
        """The metrics of the card."""
        return self.spec.metrics

    @property
    def primary(self) -> str:
        """The metric that decides: ``primary:`` of the card, else its first metric."""
        return self.spec.primary or self.spec.metrics[0].metric

    @property
    def slices(self) -> list[str]:
        """Fields of a sample whose every value gets numbers of its own: ``slices:``, and each attack transform."""
        return [*(["transform"] if self.spec.attacks else []), *self.spec.slices]

    @cached_property
    def harness(self) -> Harness | None:
        """The task of lm-evaluation-harness whose rows and prompts these are; None for a task of its own."""
        named = self.spec.data.test
        if not isinstance(named, LmEvalData):
            return None
        return open_harness(named.lm_eval, self.entry.path, chat=self.spec.chat is True)

    @cached_property
    def template(self) -> Template | None:
        """The compiled prompt; None where the messages come from the row."""
        if self.spec.messages is not None:
            return None
        return Template(self.spec.prompt or "prompt.j2", self.entry.path, f"{self.entry.card} (prompt)")

    @cached_property
    def examples(self) -> list[Sample]:
        """The pool of few-shot examples; empty where the card names none."""
        return self.read("fewshot") if self.spec.data.fewshot is not None else []

    def read(self, split: Split) -> list[Sample]:
        """Return the samples of a split, in the order of its rows; those of the test once an attack transform.

        Raises:
            DataError: The rows are missing or bad, two have the same id, or one lacks a field that the card
                names; up to 20 are named.
            SpecError: The card names no such split, or its prompt reads a field that a row does not have.
        """
        if split == "test" and self.harness is not None:
            return self.harness.samples()
        rows = read_rows(self.source(split))
        problems: list[str] = []
        samples: list[Sample] = []
        ids: dict[str, str] = {}
        for row in rows:
            sample = self._sample(row, problems)
            if sample.id in ids:
                problems.append(f"{row.place}: the id {sample.id!r} is also that of {ids[sample.id]}.")
            ids.setdefault(sample.id, row.place)
            missing = [name for name in self.spec.slices if name not in row.data]
            problems += [f"{row.place}: has no field {name!r}, which `slices:` names." for name in missing]
            samples.append(sample)
        if problems:
            raise bad_rows(problems)
        if split == "test" and self.spec.attacks:
            return [form for sample in samples for form in attacked(sample, self.spec.attacks)]
        return samples

    def source(self, split: Split) -> Path | HubData:
        """Where a split's rows are; a relative path is relative to the card.

        Raises:
            SpecError: The card names no such split, or one in a form that is not read.
            DataError: The package that carries it is not installed.
        """
        named = getattr(self.spec.data, split)
        if named is None:
            raise SpecError(f"{self.entry.card}: task {self.name!r} has no `data: {{{split}: …}}`.")
        if isinstance(named, LmEvalData):
            raise SpecError(
                f"{self.entry.card}: data: {split}: expected a file or {{hf: NAME}}; "
                f"got a task of lm-evaluation-harness ({named.lm_eval})."
            )
        if isinstance(named, PackageData):
            return packaged(named)
        return named if isinstance(named, HubData) else self.entry.path / named

    def sample(self, row: Row) -> Sample:
        """Return the sample that one row makes.

        Raises:
            DataError: It lacks a field that the card names.
            SpecError: It lacks a field that the prompt reads.
        """
        problems: list[str] = []
        sample = self._sample(row, problems)
        if problems:
            raise bad_rows(problems)
        return sample

    def _sample(self, row: Row, problems: list[str]) -> Sample:
        choices = self._choices(row, problems)
        target = self._target(row, problems) if self.spec.target is not None else None
        if self.spec.kind == "code":
            target = _as_code(target, row, problems)
        if choices is not None and target is not None:
            target = _as_choice(target, choices, row, problems)
        return Sample(
            id=_text(row, self.spec.id, problems) if self.spec.id else str(row.number),
            input=self._input(row, problems),
            target=target,
            row=row.data,
            choices=choices,
            cluster=_text(row, self.spec.cluster, problems) if self.spec.cluster else None,
        )

    def _input(self, row: Row, problems: list[str]) -> Prompt:
        if self.spec.kind == "conversation":
            return self._script(row, problems)
        if self.template is None:
            return _row_messages(row, str(self.spec.messages), problems)
        if self.spec.kind == "perplexity":
            return self.template.text(row.data, row.place)
        return self.template.messages(row.data, row.place)

    def _script(self, row: Row, problems: list[str]) -> list[Message]:
        """The user's turns; the prompt's system block stands before the first."""
        if self.spec.turns is None:
            script = _row_messages(row, str(self.spec.messages), problems)
            if script and (fault := faults_of(script)) is not None:
                problems.append(f"{row.place}: {self.spec.messages!r} is no conversation: {fault}.")
            return script
        turns = _field(row, self.spec.turns, "turns", problems)
        template = self.template
        if turns is None or template is None:
            return []
        if not (isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns)):
            problems.append(f"{row.place}: {self.spec.turns!r} must be a list of the user's turns, as texts.")
            return []
        script = []
        for number, turn in enumerate(turns, start=1):
            said = template.messages({**row.data, "turn": turn, "number": number}, row.place)
            script += [message for message in said if number == 1 or message["role"] != "system"]
            if [message["role"] for message in said if message["role"] != "system"] != ["user"]:
                problems.append(
                    f"{row.place}: turn {number}: the prompt must make one message of the user, not empty."
                )
        return script

    def _target(self, row: Row, problems: list[str]) -> Any:
        named = str(self.spec.target)
        if is_template(named):
            return self._target_template.text(row.data, row.place)
        return _field(row, named, "target", problems)

    @cached_property
    def _target_template(self) -> Template:
        return Template(str(self.spec.target), self.entry.path, f"{self.entry.card} (target)")

    def _choices(self, row: Row, problems: list[str]) -> tuple[str, ...] | None:
        if self.spec.choices is None:
            return None
        named = self.spec.choices
        found = _field(row, named, "choices", problems) if isinstance(named, str) else named
        choices = tuple(answer_text(item) for item in found) if isinstance(found, list) else ()
        if len(choices) < 2 or len(set(choices)) < len(choices):
            problems.append(f"{row.place}: expected a list of at least two different choices; got {found!r}.")
        return choices


def load_card(name: str, roots: Sequence[Path] = (), *, seed: int, chat: bool | None = None) -> TaskCard:
    """Open a task by its name in the catalog, or by the path of its folder or card.

    Args:
        name: ``gsm8k``, ``./my/task`` or ``my/task/task.yaml``; a relative path is looked for in each root.
        roots: The project's folders, the study's first.
        seed: Of few-shot draws and of ``limit``.
        chat: In place of the card's ``chat:``; None keeps it.

    Raises:
        CatalogError: No such task.
        SpecError: Its card is wrong.
    """
    if name.startswith(PREFIX):
        return _from_harness(name.removeprefix(PREFIX), roots, seed, bool(chat))
    entry = _by_path(name, roots) if os.sep in name or "/" in name else find("tasks", name, roots)
    spec = load_task(entry.card)
    if chat is not None:
        spec = spec.model_copy(update={"chat": chat})
    card = TaskCard(entry, spec, seed)
    return card if card.harness is None else _with_harness(card, card.harness)


def _from_harness(name: str, roots: Sequence[Path], seed: int, chat: bool) -> TaskCard:
    """A task of lm-evaluation-harness as a card: all that is not in its own YAML has its default."""
    folder = next((root for root in roots if (root / name).is_file()), Path())
    harness = open_harness(name, folder, chat=chat)
    uses = [MetricUse(metric=PREFIX + metric.name) for metric in harness.metrics]
    data = TaskData(test=LmEvalData(lm_eval=harness.place))
    spec = TaskSpec(task=harness.name, data=data, kind=harness.kind, chat=chat, metrics=uses)
    return _with_harness(
        TaskCard(Entry("tasks", harness.name, harness.folder, "lm_eval"), spec, seed), harness
    )


def _with_harness(card: TaskCard, harness: Harness) -> TaskCard:
    """The card with what its ``lm_eval:`` metrics have to know of the task."""
    known = {PREFIX + metric.name: metric for metric in harness.metrics}
    if card.spec.kind != harness.kind:
        raise SpecError(
            f"{card.entry.card}: kind: expected {harness.kind}, as {harness.name} has; got {card.spec.kind}."
        )
    uses = []
    for use in card.spec.metrics:
        if use.metric.startswith(PREFIX):
            if use.metric not in known:
                listed = f"{', '.join(known)}.{nearest(use.metric, known)}"
                raise SpecError(f"{card.entry.card}: no metric {use.metric!r}; {harness.name} has {listed}")
            about = known[use.metric]
            settings = {
                "task": harness.place,
                "aggregation": about.aggregation,
                "higher_is_better": about.higher_is_better,
                "chat": harness.chat,
            }
            use = MetricUse(metric=use.metric, settings=settings)
        uses.append(use)
    return TaskCard(card.entry, card.spec.model_copy(update={"metrics": uses}), card.seed)


def answer_text(target: Any) -> str:
    """A target as the text of an answer: the first of several; what is no text as JSON.

    >>> answer_text(["Paris", "paris"]), answer_text(4), answer_text({"a": True})
    ('Paris', '4', '{"a": true}')
    """
    first = target[0] if isinstance(target, list | tuple) and target else target
    if isinstance(first, dict) and {*CODE_FIELDS, "solution"} <= set(first):  # kind: code
        first = first["solution"]
    return first if isinstance(first, str) else json.dumps(first, ensure_ascii=False)


def slice_of(sample: Sample, field: str) -> str:
    """The slice of a sample that a field puts it in.

    >>> slice_of(Sample("1", "?", row={"level": 3}), "level")
    '3'
    """
    value = sample.row.get(field)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _by_path(name: str, roots: Sequence[Path]) -> Entry:
    tried = [root / name for root in roots] or [Path(name)]
    for path in tried:
        folder = path.parent if path.name == "task.yaml" else path
        if (folder / "task.yaml").is_file():
            return Entry("tasks", folder.resolve().name, folder.resolve(), "project")
    raise CatalogError(
        f"No task at {' or '.join(str(path) for path in tried)}: expected a folder with task.yaml."
    )


def _field(row: Row, name: str, role: str, problems: list[str]) -> Any:
    found: Any = row.data.get(name)
    if found is None and "." in name:  # answers.text: a field inside a field
        found = row.data
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if found is not None:
        return found
    fields = ", ".join(row.data) or "none"
    hint = nearest(name, row.data)
    problems.append(f"{row.place}: has no {name!r}, the card's `{role}`; its fields are {fields}.{hint}")
    return None


def _text(row: Row, name: str, problems: list[str]) -> str:
    value = _field(row, name, "id or cluster", problems)
    if isinstance(value, str | int) or value is None:
        return str(value)
    problems.append(f"{row.place}: {name!r} must be a text or a whole number; got {value!r}.")
    return ""


def _as_choice(target: Any, choices: tuple[str, ...], row: Row, problems: list[str]) -> Any:
    """The target as the text of an option: it may be the text, or the option's index from 0."""
    if isinstance(target, list):
        return [_as_choice(item, choices, row, problems) for item in target]
    if isinstance(target, str) and target in choices:
        return target
    index = int(target) if isinstance(target, str) and target.strip().isdecimal() else target
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(choices):
        return choices[index]
    problems.append(
        f"{row.place}: the target {target!r} is none of its {len(choices)} choices, nor an index of one."
    )
    return target


def _as_code(solution: Any, row: Row, problems: list[str]) -> dict[str, Any]:
    """What the metrics of code read; with the solution where the card's ``target:`` names one."""
    target = {name: _field(row, name, "kind: code", problems) for name in CODE_FIELDS}
    return target if solution is None else {**target, "solution": solution}


def _row_messages(row: Row, name: str, problems: list[str]) -> list[Message]:
    value = _field(row, name, "messages", problems)
    items = value if isinstance(value, list) else []
    good = [
        Message(role=item["role"], content=item["content"])
        for item in items
        if isinstance(item, dict)
        and isinstance(item.get("role"), str)
        and isinstance(item.get("content"), str)
    ]
    if value is not None and (not good or len(good) < len(items)):
        problems.append(f'{row.place}: {name!r} must be a list of {{"role": …, "content": …}} with texts.')
    elif good and good[-1]["role"] == "assistant":
        problems.append(f"{row.place}: {name!r} ends with the assistant: a prompt ends before the answer.")
    return good
