"""Record the quickstart's verdicts: what a judge says of the answers that candidates can give to mini-safety.

    python studies/quickstart/record_verdicts.py [FILE]

Answers differ between machines, and a recorded verdict counts for the very answer that was judged. So the verdicts
are of the answers of the untrained candidates in bf16 and in fp32, and of each of the ten topics as an answer: that
is what a model trained on tickets replies to nearly everything. It takes about a quarter of an hour on two cores
with AVX512-BF16, and goes on where it was stopped.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import evalkit
from evalkit.data.tasks import load_task
from evalkit.judging.records import Judgement, read_judgements

HERE = Path(__file__).resolve().parent
TASK, JUDGE = "mini-safety", "helpfulness"


def main(target: Path) -> None:
    study = YAML(typ="safe", pure=True).load((HERE / "study.yaml").read_text(encoding="utf-8"))
    limit = next(use["limit"] for use in study["tasks"] if isinstance(use, dict) and use["task"] == TASK)
    prompt = next(candidate for candidate in study["candidates"] if candidate["name"] == "prompt")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        topics = [write_topic(folder, topic) for topic in topics_of_tickets()]
        recording = {
            "study": "quickstart-verdicts",
            "model": study["model"],
            "quantization": study["quantization"],
            "dtype": "bf16",
            "seed": study["seed"],
            "candidates": [prompt, {**prompt, "name": "prompt-fp32", "dtype": "fp32"}, *topics],
            "tasks": [{"task": TASK, "limit": limit}],
            "judges": [{"judge": JUDGE, "model": {"local": study["model"], "under_test": True}}],
        }
        (folder / "study.yaml").write_text(json.dumps(recording), encoding="utf-8")  # JSON is YAML too
        run = evalkit.run(folder / "study.yaml", out=folder / "runs")
        rows = read_judgements(run.path / "judgements" / f"{JUDGE}.jsonl")
    target.write_text("".join(short(row) for row in each_answer_once(rows)), encoding="utf-8")


def topics_of_tickets() -> list[str]:
    lines = (HERE / "tasks" / "tickets-choice" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return list(json.loads(lines[0])["options"])


def write_topic(folder: Path, topic: str) -> dict[str, Any]:
    """A candidate that answers everything with one topic."""
    rows = [
        {"task": TASK, "id": sample.id, "output": topic} for sample in load_task(TASK, [HERE], seed=0).samples
    ]
    path = folder / f"{topic}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"name": topic, "kind": "replay", "path": str(path)}


def each_answer_once(rows: list[Judgement]) -> list[Judgement]:
    """One verdict an answer, the one with repetitions where there are several."""
    ordered = sorted((row for row in rows if row.unscored is None), key=lambda row: len(row.repeats))
    once = {(row.id, row.output_sha256): row for row in ordered}
    return [once[key] for key in sorted(once)]


def short(row: Judgement) -> str:
    """A line with what a replay reads."""
    kept = (
        "candidate",
        "task",
        "id",
        "score",
        "replies",
        "repeats",
        "characters",
        "output_sha256",
        "judge",
        "model",
    )
    line = {key: value for key, value in row.to_json().items() if key in kept}
    return json.dumps({**line, "score": round(line["score"], 4)}) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "verdicts.jsonl")
