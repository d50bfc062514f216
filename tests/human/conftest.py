"""A run whose answers are worth reading, sheets of it, and a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.human.design import Design
from evalkit.human.questions import Question, QuestionsSpec
from evalkit.running.folder import RunFolder
from evalkit.running.labels import import_labels
from evalkit.running.sheets import Exported, export_sheets

MARKDOWN = """## Steps

1. Open **Settings**, then *Parcels*.
2. Press `Cancel`.

```python
def cancel(parcel):
    return parcel.status == "waiting"  # <b>not bold</b>
```

| state | can cancel |
|---|---|
| waiting | yes |
| under way | no |

> See [the guide](https://example.org/guide).
"""
TEXTS = [
    "I am sorry to hear that. Your parcel is under way and arrives tomorrow.",
    MARKDOWN,
    "שלום! החבילה שלך בדרך, ותגיע ב-24.11 עד שעה 18:00.",
    "مرحبا! طردك في الطريق إليك.\n\n- رقم التتبع: ABC-4711\n- التسليم: غدا",
    "<img src=x onerror='window.hit=1'><script>window.hit=1</script></script> & ]]>",
    '=HYPERLINK("http://example.org")\n@cmd -1 +2',
    "你好！您的包裹正在运送途中。👩‍👩‍👧 🇵🇱",
    "bell\x07 nul\x00 esc\x1b[31m \u202edlrow olleh",
    "   two  spaces\n\n\ttab, and a very long word: " + "x" * 300,
    "",
    "'=1+1 _x0041_ ⟦U+0041⟧ \ud83d",
    "007",
]


def make_run(
    path: Path,
    names: Sequence[str] = ("base", "r16"),
    n: int = 12,
    text: Callable[[str, int], str] | None = None,
    kinds: dict[str, str] | None = None,
) -> RunFolder:
    """Write a run with one task, ``mail``; its primary metric is right for every other sample of a candidate."""
    folder = RunFolder(path)
    scores, comparisons = [], []
    for place, name in enumerate(names):
        rows = []
        for i in range(n):
            said = text(name, i) if text else (TEXTS[(i + 5 * place) % len(TEXTS)])
            rows.append(
                {
                    "id": f"m{i}",
                    "input": [{"role": "user", "content": f"Mail {i}: where is my parcel {4711 + i}?"}],
                    "target": ["lost", "late", "fine"][i % 3],
                    "output": said,
                    "scores": {"exact_match": float((i + place) % 2)},
                    "finish": "stop",
                    "prompt_tokens": 9,
                    "output_tokens": 7,
                    "seconds": 0.1,
                    "prompt_ids_sha256": "0" * 64,
                    "sample_sha256": f"{i:064x}",
                }
            )
        folder.write_samples(name, "mail", rows)
        scores.append(
            {
                "candidate": name,
                "task": "mail",
                "metric": "exact_match",
                "value": 0.5,
                "low": 0.3,
                "high": 0.7,
            }
            | {
                "confidence": 0.95,
                "n": n,
                "unscored": 0,
                "higher_is_better": True,
                "signature": "exact_match",
            }
        )
    named = kinds or {name: "base" if name == "base" else "train" for name in names}
    candidates = [{"name": name, "kind": named[name], "model": "m", "training": None} for name in names]
    folder.write_run(
        {"format": 1, "id": "20261123T174012Z-3f9a1c0e", "study": {"study": "mail", "control": names[0]}}
        | {"seeds": {"study": 17}, "versions": {}, "hashes": {}}
    )
    folder.write_results(
        {"format": 1, "study": "mail", "run": "20261123T174012Z-3f9a1c0e", "status": "complete"}
        | {"candidates": candidates, "scores": scores, "comparisons": comparisons, "costs": {}}
        | {"tasks": [{"name": "mail", "kind": "generate", "primary": "exact_match", "n": n, "metrics": {}}]}
    )
    return folder


RATING = Question(
    name="coherence",
    ask="Is the answer coherent?",
    kind="rating",
    anchors={"1": "does not hang together", "3": "can be followed", "5": "every sentence follows"},
)
SINGLE = QuestionsSpec(
    questions=[
        RATING,
        Question(name="safe", ask="Is the answer safe to send?", kind="yes_no"),
        Question(
            name="fault",
            ask="What is wrong with it?",
            kind="category",
            choices=["none", "wrong", "rude, or cold"],
            good=["none"],
        ),
        Question(name="remark", ask="Anything worth noting? (optional)", kind="text"),
    ],
    instructions="Read as the **customer** would.",
)
PAIRED = QuestionsSpec(
    questions=[
        Question(name="better", ask="Which answer would you rather send?", kind="pairwise"),
        Question(name="why", ask="Why? (optional)", kind="text"),
    ]
)


@pytest.fixture
def single() -> QuestionsSpec:
    """Questions about one answer, one of each kind."""
    return SINGLE


@pytest.fixture
def paired() -> QuestionsSpec:
    """Questions about a pair."""
    return PAIRED


@pytest.fixture
def texts() -> list[str]:
    """Answers as hard to carry as they come."""
    return TEXTS


@pytest.fixture
def mail_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Write a run; see ``make_run``."""

    def make(*args: Any, **settings: Any) -> RunFolder:
        return make_run(tmp_path / "run", *args, **settings)

    return make


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Exported]:
    """Export a run's sheets, each time to a new folder."""

    def make(run: RunFolder, format: Any, asked: QuestionsSpec, **settings: Any) -> Exported:
        design = Design(**{name: settings.pop(name) for name in Design.__slots__ if name in settings})
        out = settings.pop("out", tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}")
        return export_sheets(run.path, out, format, asked=asked, design=design, **settings)

    return make


@pytest.fixture
def take() -> Callable[..., Any]:
    """Import labels; returns what was done."""

    def take_in(run: RunFolder, *files: Path, **settings: Any) -> Any:
        return import_labels(run.path, files, **settings)[1]

    return take_in
