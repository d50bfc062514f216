"""Judge these texts: the one call that other rooms need."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.judging.ask import Asked, ask, ask_by_words
from evalkit.judging.card import Judge
from evalkit.judging.cases import Case, judgement_of, questions_of
from evalkit.judging.records import Judgement
from evalkit.models.base import Model

__all__ = ["judge_texts", "reads_words"]


def reads_words(model: Model) -> bool:
    """Whether a model's log-probabilities of the verdicts are read: one in this process."""
    return model.fingerprint().get("kind") == "local"


def judge_texts(
    judge: Judge,
    model: Model,
    outputs: Sequence[str],
    *,
    inputs: Sequence[str] | None = None,
    references: Sequence[str | None] | None = None,
    seed: int = 0,
) -> list[Judgement]:
    """Judge texts with a pointwise judge or a checklist, without cache or run folder.

    Args:
        judge: From ``open_judge``.
        model: Who judges.
        outputs: n texts.
        inputs: n texts that they answer; empty where not given.
        references: n targets, for a judge that is shown them.
        seed: Of the delimiters' marks, where a model in this process is asked.

    Returns:
        n rows in order; their ``value`` is the number, their ``unscored`` the reason where there is none.

    Raises:
        CandidateError: The model cannot go on.

    >>> from evalkit.judging.card import open_judge
    >>> from evalkit.models.echo import EchoModel
    >>> judge_texts(open_judge("helpfulness"), EchoModel('{"reason": "fine", "score": 4}'), ["Paris."])[0].value
    4.0
    """
    words = reads_words(model)
    cases = [
        Case(
            "",
            "",
            str(place),
            inputs[place] if inputs else "",
            output,
            references[place] if references else None,
        )
        for place, output in enumerate(outputs)
    ]
    questions = [questions_of(judge, case, case.id, words=words) for case in cases]
    flat = [question for own in questions for question in own]
    asked: dict[str, Asked] = {
        one.id: one for one in (ask_by_words(model, flat, seed=seed) if words else ask(model, flat))
    }
    return [judgement_of(judge, case, own, asked) for case, own in zip(cases, questions, strict=True)]
