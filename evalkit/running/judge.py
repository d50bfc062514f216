"""Stage judge: verdicts on answers, each question stored as soon as it is settled, and the scores made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.errors import CandidateError, DataError, SpecError
from evalkit.judging.ask import Asked, ask, ask_by_words
from evalkit.judging.card import Judge
from evalkit.judging.cases import Case, judgement_of, questions_of
from evalkit.judging.juries import jury_row
from evalkit.judging.prompts import menu_of
from evalkit.judging.records import Judgement, read_judgements, write_judgements
from evalkit.judging.repeats import asked_again, drawn_again, with_repeats
from evalkit.models.base import Model
from evalkit.models.devices import choose_placement
from evalkit.models.echo import EchoModel
from evalkit.models.prices import SPENT, Budget
from evalkit.running.bases import LazyBase, LazyModel
from evalkit.running.cache import Cache
from evalkit.running.calibrate import member_weight
from evalkit.running.folder import RunFolder, safe_name, write_atomically
from evalkit.running.judges import Judged, label_of, labels_of
from evalkit.running.keys import judge_key
from evalkit.running.plan import BaseChoice
from evalkit.running.progress import Progress
from evalkit.running.remote import make_remote
from evalkit.signature import digest
from evalkit.specs.study import JudgeModel, Quantization, Study

__all__ = ["ask_judge", "judge_cases", "judgements_file", "replayed"]


def judgements_file(folder: RunFolder, name: str) -> Path:
    """``judgements/JUDGE.jsonl`` of a run."""
    return folder.path / "judgements" / f"{safe_name(name)}.jsonl"


def judge_cases(
    judged: Judged,
    cases: Sequence[Case],
    study: Study,
    cache: Cache,
    folder: RunFolder,
    progress: Progress,
    budget: Budget,
) -> None:
    """Ask a judge about all cases; its rows stand in ``judged`` and in the run folder after.

    What one member of a jury, or the judge, could not finish is its ``error``; finished verdicts are kept.

    Args:
        judged: Who, and where the rows go.
        cases: About what.
        study: Its prices and seed.
        cache: Of settled questions.
        folder: Where ``judgements/`` is written.
        progress: Told where the stage is.
        budget: Of the run.

    Raises:
        SpecError: The judge has no model.
    """
    models = judged.models
    if not models:
        raise SpecError(
            f"judge {judged.name!r}: no model: add model: {{model: NAME, base_url: …}} or model: {{local: NAME}}."
        )
    labels = labels_of(models)
    members: dict[str, list[Judgement]] = {}
    for label, model in zip(labels, models, strict=True):
        name = judged.name if len(models) == 1 else f"{judged.name}@{label}"
        rows, error = ask_judge(judged, name, model, cases, study, cache, progress, budget)
        judged.error = judged.error or error
        members[label] = rows
        if len(models) > 1:
            write_atomically(judgements_file(folder, name), write_judgements(rows))
    if len(models) == 1:
        judged.rows = members[labels[0]]
    else:
        judged.rows = _jury_rows(judged, members, folder)
    write_atomically(judgements_file(folder, judged.name), write_judgements(judged.rows))


def _jury_rows(judged: Judged, members: Mapping[str, list[Judgement]], folder: RunFolder) -> list[Judgement]:
    """The jury's row on each case; none is scored as long as weights are missing, which is its ``error``."""
    use, missing = judged.use, list[str]()
    if isinstance(use.weights, list):
        judged.weights = dict(zip(members, use.weights, strict=True))
    elif use.weights is not None:
        found = {label: member_weight(folder, f"{judged.name}@{label}") for label in members}
        missing = [f"{judged.name}@{label}" for label, weight in found.items() if weight is None]
        judged.weights = None if missing else {label: weight or 0.0 for label, weight in found.items()}
    rows = [
        jury_row(
            dict(zip(members, several, strict=True)),
            use.aggregate,
            judged.judge.bounds,
            quorum=use.quorum,
            weights=judged.weights,
        )
        for several in zip(*members.values(), strict=True)
    ]
    if not missing:
        return rows
    why = (
        f"its members' weights are their agreement with people, which is not known of {', '.join(missing)}: type "
        f"evalkit calibrate {folder.path} --judge {missing[0]} --labels FILE, and run the same again"
    )
    judged.error = judged.error or why
    return [replace(row, score=None, winner=None, answers=None, value=None, unscored=why) for row in rows]


def ask_judge(
    judged: Judged,
    name: str,
    spec: JudgeModel,
    cases: Sequence[Case],
    study: Study,
    cache: Cache,
    progress: Progress,
    budget: Budget,
) -> tuple[list[Judgement], str | None]:
    """Ask one model about all cases and return its rows in their order, and why it could not finish.

    Only questions that are not in the cache are asked, and equal ones once; repetitions come last.
    """
    judge = judged.judge
    if spec.replay is not None:
        rows = replayed(spec.replay, cases, judged)  # nobody is asked here, so nothing is spent
        return [replace(row, calls=0, tokens=0, seconds=0.0, cost=None) for row in rows], None
    words = spec.local is not None
    per_case = [questions_of(judge, case, str(i), words=words) for i, case in enumerate(cases)]
    with_question = [place for place, own in enumerate(per_case) if own]
    again = drawn_again([cases[place] for place in with_question], judged.use.repeat, seed=study.seed)
    repeated = {with_question[place]: asked_again(per_case[with_question[place]]) for place in sorted(again)}
    flat = [question for own in (*per_case, *repeated.values()) for question in own]
    model = _model(judge, name, spec, study, cache, progress, budget)
    fingerprint = dict(model.fingerprint())
    keys = {question.id: judge_key(fingerprint, question.content(), study.seed) for question in flat}
    stored = cache.get_many(keys.values())
    error = None
    if missing := list({keys[q.id]: q for q in flat if keys[q.id] not in stored}.values()):
        run: Callable[..., Any] = ask_by_words if words else ask
        error = _ask_missing(
            run(model, missing, seed=study.seed) if words else run(model, missing),
            len(missing),
            keys,
            stored,
            cache,
            progress,
            name,
        )
    asked = {
        question.id: (
            Asked.from_json(question.id, stored[keys[question.id]])
            if keys[question.id] in stored
            else Asked(question.id, unscored=error or "not asked")
        )
        for question in flat
    }
    rows = []
    for place, (case, own) in enumerate(zip(cases, per_case, strict=True)):
        row = judgement_of(judge, case, own, asked)
        row = with_repeats(row, [*own, *repeated.get(place, ())], asked)
        rows.append(replace(_marked(row, case), judge=judged.card, model=label_of(spec)))
    return rows, error


def _ask_missing(
    outcomes: Iterable[Asked],
    count: int,
    keys: Mapping[str, str],
    stored: dict[str, Any],
    cache: Cache,
    progress: Progress,
    name: str,
) -> str | None:
    """Take the outcomes as they come; return why the judge could not go on, if it could not."""
    progress.stage(f"judge {name}", total=count, unit="questions")
    error, left = None, 0
    try:
        for one in outcomes:
            stored[keys[one.id]] = one.to_json()
            if one.final:  # a failed server or a spent budget may be over next time
                cache.put(keys[one.id], stored[keys[one.id]])
            elif (one.unscored or "").startswith(SPENT):
                left, error = left + 1, one.unscored
            progress.advance()
    except CandidateError as failure:
        error = str(failure)
        progress.say(f"judge {name} could not go on: {error}")
    progress.done()
    return f"{error}: {left} of {count} questions are open; the verdicts so far are kept" if left else error


def _model(
    judge: Judge,
    name: str,
    spec: JudgeModel,
    study: Study,
    cache: Cache,
    progress: Progress,
    budget: Budget,
) -> Model:
    if spec.model is not None:
        return make_remote(spec, study, budget, f"judge {name}", menu_of(judge).schema())
    if spec.local is not None:
        place = choose_placement(study.device, study.dtype)
        quantization = Quantization(type=spec.quantization)
        choice = BaseChoice(spec.local, quantization, place.dtype, place.device, study.trust_remote_code)
        return LazyModel(LazyBase(choice, cache, progress), None)
    return EchoModel(spec.echo or "")


def replayed(path: Path, cases: Sequence[Case], judged: Judged) -> list[Judgement]:
    """Return the recorded verdict on the same answer to the same sample, whoever gave it; unscored where none is.

    Args:
        path: ``judgements/JUDGE.jsonl`` of a run.
        cases: What is to be judged.
        judged: The judge; verdicts of another one, or of other files of this one, do not count.

    Raises:
        DataError: The file cannot be read, or holds verdicts of another kind of judge.
    """
    recorded = read_judgements(path)
    kind = judged.judge.spec.kind
    for row in recorded:
        if row.unscored is None and row.kind not in (kind, None):
            raise DataError(
                f"{path}: expected verdicts of judge {judged.judge.name!r}, which is {kind}; got {row.kind} ones."
            )
    known = {(row.task, row.id, row.output_sha256, row.opponent_output_sha256): row for row in recorded}
    samples = {(row.task, row.id) for row in recorded}
    rows = []
    for case in cases:
        empty = _marked(Judgement(case.candidate, case.task, case.id), case)
        found = known.get((case.task, case.id, empty.output_sha256, empty.opponent_output_sha256))
        if case.output is None:
            why: str | None = f"no answer: {case.error or 'unknown error'}"
        elif found is None and (case.task, case.id) in samples:
            why = f"{path.name} has verdicts on other answers to this sample, none on this one"
        elif found is None:
            why = f"{path.name} has no verdict on this sample"
        else:
            other = found.judge not in ("", judged.card)
            why = f"{path.name} holds a verdict of {found.judge}, not of {judged.card}" if other else None
        if found is None or why is not None:
            rows.append(replace(empty, unscored=why, weight=case.weight))
        else:
            rows.append(replace(found, candidate=case.candidate, opponent=case.opponent, weight=case.weight))
    return rows


def _marked(row: Judgement, case: Case) -> Judgement:
    other = case.opponent_output
    turns = [] if isinstance(case.input, str) else case.input
    before = [turn["content"] for turn in turns if turn["role"] == "assistant"]  # the answers before the last
    own: str | list[str] = [*before, str(case.output)] if before else str(case.output)
    return replace(
        row,
        output_sha256="" if case.output is None else digest(own),
        opponent_output_sha256=None if other is None else digest(other),
    )
