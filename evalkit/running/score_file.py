"""Scoring outputs made elsewhere: rows in, numbers out. What ``evalkit score`` and ``evalkit.score`` do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.data.cards import TaskCard, load_card
from evalkit.data.dialogue import turns_asked
from evalkit.data.extract import extract
from evalkit.data.rows import bad_rows, stream_rows
from evalkit.errors import DataError, OutputFolderError
from evalkit.records import Choice, Output, Sample, Unscored
from evalkit.running.blocks import BLOCK
from evalkit.running.code_tasks import metrics_run_in, tasks_run_in
from evalkit.running.plan import task_metrics
from evalkit.running.score import MetricLike, Scored, build_metrics, kinds_at, score_blocks, score_task

__all__ = ["score_file", "score_rows"]

Row = Mapping[str, Any]


def score_rows(
    rows: Iterable[Row], metrics: Iterable[MetricLike], *, confidence: float = 0.95, seed: int = 0
) -> Scored:
    """Score rows that carry their outputs.

    Args:
        rows: ``{"id"?, "input"?, "output": str | [str, …], "target"?}``; without an id the
            row's number. A row of a run's ``samples/`` file serves as it is: ``choices``, ``output_tokens``,
            ``seconds`` and ``finish`` are read where they are there.
        metrics: Names, ``{"metric": NAME, **settings}``, functions or metrics.
        confidence: Two-sided level of the intervals.
        seed: Of the bootstrap.

    Raises:
        MetricError: A metric is unknown or cannot be had.
        DataError: No rows, or rows that are no outputs; each is named by its number.

    >>> scored = score_rows([{"output": "Paris.", "target": "paris"}], ["exact_match"])
    >>> scored.results[0].value, scored.results[0].n
    (1.0, 1)
    """
    numbered = [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    return score_task(*_block(_records(numbered)), metrics, confidence=confidence, seed=seed)


def score_file(
    path: Path,
    metrics: Iterable[MetricLike] = (),
    *,
    task: str | None = None,
    samples: Path | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    sandbox: str | None = None,
) -> Scored:
    """Score the rows of a file; see ``score_rows``.

    Args:
        path: JSON Lines, or another format that ``evalkit.data`` reads.
        metrics: As for ``score_rows``; none where a task is named, which has its own.
        task: Score as this task does, with its ``extract:`` and metrics. A row without a target is matched with
            the task's test row of the same id.
        samples: Where to write ``{"id", "scores": {METRIC: number | {"unscored": why}}, "classes"?}``, a row a line.
        confidence: Two-sided level of the intervals.
        seed: Of the bootstrap.
        sandbox: How code of models is run, in place of what the task or the default says.

    Raises:
        MetricError: A metric is unknown or cannot be had.
        CatalogError: No such task.
        SpecError: The task's card is wrong.
        DataError: The file is missing, empty or holds bad rows; each is named by file and line.
        OutputFolderError: ``samples`` cannot be written.
    """
    card = None if task is None else tasks_run_in(sandbox, [load_card(task, [Path.cwd()], seed=seed)])[0]
    # A typo in a metric is told before a large file is read.
    built = build_metrics(metrics_run_in(sandbox, metrics)) if card is None else task_metrics(card)
    slices = [] if card is None else card.slices
    scored = score_blocks(_blocks(path, card), built, confidence=confidence, seed=seed, slices=slices)
    if samples is not None:
        _write_samples(scored, samples)
    return scored


def _blocks(path: Path, card: TaskCard | None) -> Iterator[tuple[list[Sample], list[Output]]]:
    """Samples and outputs of a file, some at a time; its bad rows are told when all of them are known."""
    problems: list[str] = []
    known: dict[str, Sample] = {}
    pairs: list[tuple[Sample, Output]] = []
    for row in stream_rows(path):
        pairs.append(_record(row.number, row.place, row.data, problems))
        if len(pairs) == BLOCK:
            if not problems:
                yield _block(pairs if card is None else _as_task(card, pairs, known))
            pairs = []
    if problems:
        raise bad_rows(problems)
    if pairs:
        yield _block(pairs if card is None else _as_task(card, pairs, known))


def _block(pairs: list[tuple[Sample, Output]]) -> tuple[list[Sample], list[Output]]:
    return [sample for sample, _ in pairs], [output for _, output in pairs]


def _records(rows: list[tuple[str, Row]]) -> list[tuple[Sample, Output]]:
    """Samples and outputs of the rows, each with the place it stands at."""
    if not rows:
        raise DataError("There are no rows to score; expected at least one.")
    problems: list[str] = []
    pairs = [_record(number, place, row, problems) for number, (place, row) in enumerate(rows, start=1)]
    if problems:
        raise bad_rows(problems)
    return pairs


def _as_task(
    card: TaskCard, pairs: list[tuple[Sample, Output]], known: dict[str, Sample]
) -> list[tuple[Sample, Output]]:
    """What the task makes of the pairs: its own samples where rows bring no target, and its ``extract:``.

    ``known`` keeps the task's samples from block to block.
    """
    talks = card.spec.kind == "conversation"
    # Only where they are needed: a task's test rows may be far away.
    if card.slices or talks or any(sample.target is None for sample, _ in pairs):
        if not known:
            known.update((sample.id, sample) for sample in card.read("test"))
        pairs = [(_joined(sample, known.get(sample.id)), output) for sample, output in pairs]
        if talks:
            pairs = [(sample, _turns_of(sample, output)) for sample, output in pairs]
    return [(sample, extract(card, output)) for sample, output in pairs]


def _turns_of(sample: Sample, output: Output) -> Output:
    """A conversation's output: a list with an answer for each turn, or the text of the last one."""
    turns = 0 if isinstance(sample.input, str) else turns_asked(sample.input)
    if isinstance(output.text, str) or not turns or len(output.text) == turns:
        return output
    told = f"expected a list with an answer to each of its {turns} turns, got {len(output.text)}"
    return replace(output, finish="error", error=told)


def _joined(sample: Sample, known: Sample | None) -> Sample:
    """The task's own sample where the row brings no target, else the row's with the fields that slices read."""
    if known is None or sample.target is None:
        return known or sample
    return replace(sample, row={**known.row, **sample.row}, cluster=sample.cluster or known.cluster)


def _record(number: int, place: str, row: Row, problems: list[str]) -> tuple[Sample, Output]:
    """Read one row; what is wrong with it is added to ``problems``."""
    output = row.get("output")
    if "output" not in row:
        problems.append(f'{place}: has no "output"; expected a text or a list of texts.')
    elif not (output is None or isinstance(output, str) or _is_texts(output)):
        problems.append(f'{place}: "output" must be a text or a list of texts; got {type(output).__name__}.')
    choices, rated = _choices(place, row, problems)
    id_ = str(row.get("id", number))
    sample = Sample(
        id=id_,
        input=row.get("input") or "",
        target=row.get("target"),
        row=row,
        choices=choices,
        cluster=None if row.get("cluster") is None else str(row["cluster"]),
    )
    return sample, Output(
        id=id_,
        text=output if isinstance(output, str | list) else "",
        finish="error" if output is None or row.get("finish") == "error" else "stop",
        prompt_tokens=_number(row, "prompt_tokens"),
        output_tokens=_number(row, "output_tokens"),
        seconds=float(_number(row, "seconds")),
        choices=rated,
        error="the row has no output" if output is None else row.get("error"),
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, str) for item in value)


def _choices(
    place: str, row: Row, problems: list[str]
) -> tuple[tuple[str, ...] | None, tuple[Choice, ...] | None]:
    """Options of a multiple-choice row, and how the model rated them where it did."""
    given = row.get("choices")
    if not given:
        return None, None
    if _is_texts(given):
        return tuple(given), None
    try:
        rated = tuple(Choice(str(c["text"]), float(c["logprob"]), int(c.get("tokens", 0))) for c in given)
    except (TypeError, KeyError, ValueError, AttributeError):
        problems.append(f'{place}: "choices" must be a list of {{"text", "logprob"}} or of texts.')
        return None, None
    return tuple(choice.text for choice in rated), rated


def _number(row: Row, name: str) -> Any:
    value = row.get(name, 0)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _write_samples(scored: Scored, path: Path) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            for index, id_ in enumerate(scored.ids):
                scores = {name: measured.scores[index] for name, measured in scored.measured.items()}
                plain = {
                    name: s.to_json() if isinstance(s, Unscored) else float(s) for name, s in scores.items()
                }
                kinds = kinds_at(scored, index)
                row = {"id": id_, "scores": plain, **({"classes": kinds} if kinds else {})}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputFolderError(f"Cannot write {path}: {error.strerror or error}.") from error
