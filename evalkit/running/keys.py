"""What goes into a stage's key: everything that can change its result, and the stage's own version.

Raise a stage's number when its results change for the same inputs (``tests/running/test_stage_versions.py``
holds recorded results and fails otherwise); an upgrade of evalkit that changes nothing then recomputes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evalkit.records import Request
from evalkit.signature import digest

__all__ = ["STAGE_VERSIONS", "answer_key", "judge_key", "searched_key", "train_key"]

STAGE_VERSIONS = {"train": 7, "answer": 1, "judge": 1}


def answer_key(fingerprint: Mapping[str, Any], request: Request) -> str:
    """Key of one candidate's answer to one request.

    Args:
        fingerprint: Of the model, adapter bytes included (``Model.fingerprint``).
        request: What is asked. Its id counts where it decides the answer (``by: id``), and when sampling, where
            it seeds the random stream.
    """
    asked = asdict(request)
    if request.generation.temperature == 0:
        if fingerprint.get("by") != "id":
            asked["id"] = None
        asked["generation"]["seed"] = None
    if request.kind != "generate":
        asked["generation"] = None
    return digest(
        {"stage": "answer", "version": STAGE_VERSIONS["answer"], "model": dict(fingerprint), "request": asked}
    )


def judge_key(fingerprint: Mapping[str, Any], question: Mapping[str, Any], seed: int) -> str:
    """Key of one question to a judge.

    Args:
        fingerprint: Of the model that judges.
        question: ``Question.content``: the judge's files and every text, without the random delimiters.
        seed: Of the study.
    """
    return digest(
        {
            "stage": "judge",
            "version": STAGE_VERSIONS["judge"],
            "model": dict(fingerprint),
            "question": dict(question),
            "seed": seed,
        }
    )


def train_key(
    base: Mapping[str, Any],
    trainer: str,
    settings: Mapping[str, Any],
    rows: Sequence[Any],
    validation: Sequence[Any],
    overlong: str,
    start: str | None = None,
) -> str:
    """Key of one trained adapter.

    Args:
        base: The base's fingerprint: weights, quantisation, dtype, template, tokenizer, versions, device.
        trainer: Hash of the trainer's files.
        settings: Every resolved setting, the seed included.
        rows: The training rows as JSON values, in order.
        validation: The validation rows, in order.
        overlong: What happens to rows longer than the limit.
        start: Hash of the adapter it goes on from; None: a new one.
    """
    return digest(
        {
            **({} if start is None else {"start": start}),
            "stage": "train",
            "version": STAGE_VERSIONS["train"],
            "base": dict(base),
            "trainer": trainer,
            "settings": dict(settings),
            "rows": list(rows),
            "validation": list(validation),
            "overlong": overlong,
        }
    )


def searched_key(key: str, search: Mapping[str, Any], rivals: Sequence[str]) -> str:
    """Key of one adapter, or of why there is none, where a search drops candidates.

    Args:
        key: What it would be without the search.
        search: Every setting of the search.
        rivals: What the keys of all its candidates would be, its own among them, in the study's order.
    """
    return digest({"key": key, "search": dict(search), "rivals": list(rivals)})
