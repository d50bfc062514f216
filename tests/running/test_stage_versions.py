"""A stage whose results change for the same inputs must raise its number, or people get yesterday's results.

When this fails and the change is meant: raise the number in ``evalkit/running/keys.py`` (for answers:
``evalkit.models.local.VERSION``, which tests/models holds) and record the new values under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evalkit.catalog import find, load_module
from evalkit.data.conversation import Conversation
from evalkit.judging.ask import ask
from evalkit.judging.card import open_judge
from evalkit.judging.cases import Case, judgement_of, questions_of
from evalkit.models.loading import load_base
from evalkit.models.selftest import write_tiny_model
from evalkit.records import Output, Request
from evalkit.running.keys import STAGE_VERSIONS
from evalkit.signature import digest
from evalkit.specs.trainer import QloraSettings
from evalkit.training.job import TrainingJob

# Losses of the steps below on the tiny Llama of evalkit.models.selftest (fp32, CPU, torch 2.13): by version.
_FIRST = [
    *(5.714083671569824, 5.673623561859131, 5.285700798034668, 5.075654029846191),
    *(4.99981164932251, 5.039456367492676, 4.955148220062256, 4.968606948852539),
]
RECORDED_TRAINING: dict[int, list[float]] = {
    1: _FIRST,
    2: _FIRST,  # rows in streams; dropout draws from streams of its own, without dropout only the rounding is another
    3: _FIRST,  # templates that write today's date get a fixed one; this model's has none
    4: _FIRST,  # attention in fp32 where a CPU trains in bf16; this is fp32
    5: _FIRST,  # the same where autocast is on, which undid it; AdamW in one call: only the rounding is another
    6: _FIRST,  # a CPU attends in groups, validations are cut into larger streams: only the rounding is another
    7: _FIRST,  # init: orthogonal starts exactly at the base; one step is taken at the peak rate. Neither is here
}


def test_training_gives_what_its_version_gave(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    base = load_base(str(tmp_path / "tiny"), quantization="none", dtype="fp32", device="cpu")
    rows = [
        Conversation(
            row=i + 1,
            messages=[
                {"role": "system", "content": "Add one."},
                {"role": "user", "content": f"{i * 13 % 17}?"},
                {"role": "assistant", "content": str(i * 13 % 17 + 1)},
            ],
        )
        for i in range(12)
    ]
    log: list[float] = []
    job = TrainingJob(
        base=base,
        settings=QloraSettings(rank=4, learning_rate=5e-3, batch_size=4, max_steps=8, seed=5),
        train=rows[:10],
        validation=rows[10:],
        folder=tmp_path / "work",
        log=lambda row: log.append(row["loss"]),
    )
    load_module(find("trainers", "qlora").path / "train.py").train(job)
    assert STAGE_VERSIONS["train"] in RECORDED_TRAINING, "record the losses of the new version here"
    assert log == pytest.approx(RECORDED_TRAINING[STAGE_VERSIONS["train"]], rel=1e-4)


RECORDED_SETTINGS = "3ec796fa41772952c07ee5cd43b140efe754c5d267fed341e5803f2f0218f927"


def test_a_newer_setting_that_is_off_changes_no_key() -> None:
    # the digest of the settings as they were before there was batch_tokens
    assert digest(QloraSettings(seed=5).content()) == RECORDED_SETTINGS
    assert QloraSettings(batch_tokens=400).content()["batch_tokens"] == 400
    assert digest(QloraSettings(batch_tokens=400).content()) != digest(
        QloraSettings(batch_tokens=401).content()
    )


# What a judge is asked, and the row that comes of its replies, for the case below: by version.
RECORDED_JUDGING: dict[int, dict[str, str]] = {
    1: {"pointwise": "c4c96baff8f5c466", "pairwise": "750c45e38f0ab9b5", "checklist": "22b3e503785a4fc3"},
}


class Replies:
    """Says what stands in a list, and keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked = list(replies), list[Any]()

    def fingerprint(self) -> dict[str, Any]:
        return {"kind": "list"}

    def answer(self, requests: Sequence[Request]) -> Iterator[Output]:
        for request in requests:
            self.asked.append([request.prompt, asdict(request.generation)])
            yield Output(request.id, self.replies.pop(0))


@pytest.mark.parametrize(
    ("kind", "rest", "replies"),
    [
        (
            "pointwise",
            "",
            ["I would say 4.", '{"score": 5, "reason": "quoted"} {"reason": "fine", "score": 4}'],
        ),
        ("pairwise", "", ['{"reason": "first", "winner": "A"}', '{"reason": "second", "winner": "tie"}']),
        (
            "checklist",
            "\nquestions: [{question: Is it right?, weight: 3}, Is it short?]",
            ['{"reason": "so", "answers": [true, false]}'],
        ),
    ],
)
def test_judging_gives_what_its_version_gave(
    tmp_path: Path, kind: str, rest: str, replies: list[str]
) -> None:
    card = tmp_path / "judges" / "mine" / "judge.yaml"
    card.parent.mkdir(parents=True)
    card.write_text(f"judge: mine\nkind: {kind}{rest}\n")
    shown = "{{ first }} {{ second }}" if kind == "pairwise" else "{{ output }}"
    (card.parent / "prompt.j2").write_text(f"{{{{ input }}}} {shown}")
    judge = open_judge("mine", [tmp_path])
    case = Case("r", "t", "1", "2 + 2?", 'It is {"score": 5, "reason": "quoted"}', None, {}, "base", "five")
    questions = questions_of(judge, case, "0")
    model = Replies(*replies)
    asked = {one.id: one for one in ask(model, questions, seed=17)}
    row = judgement_of(judge, case, questions, asked).to_json()
    found = digest([model.asked, {**row, "seconds": 0}])[:16]
    version = STAGE_VERSIONS["judge"]
    assert version in RECORDED_JUDGING, "record the hashes of the new version here"
    assert found == RECORDED_JUDGING[version].get(kind), row
