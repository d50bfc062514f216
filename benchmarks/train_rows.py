"""Rows of the training benchmark: word problems, banking queries and support tickets.

``FOLDER/gsm8k/train.jsonl`` (question, answer) and ``FOLDER/banking77/train.csv`` (text, category) are used where they
are; else seeded word problems of about GSM8K's lengths, and the quickstart's tickets in the place of the queries.
"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

from evalkit.data.conversation import Conversation

ROOT = Path(__file__).resolve().parents[1]


def rows_of(kind: str, base: Any, system: int, count: int, data: Path | None) -> list[Conversation]:
    """The first rows of a kind.

    Args:
        kind: ``maths``, ``banking`` or ``tickets``.
        base: Whose tokenizer counts.
        system: Tokens of the system prompt, about; maths has none.
        count: Rows.
        data: Folder with the real rows, or None.
    """
    if kind == "maths":
        return maths(data and data / "gsm8k/train.jsonl", count)
    queries = data and data / "banking77/train.csv"
    if kind == "banking" and queries is not None and queries.is_file():
        with queries.open(encoding="utf-8") as file:
            pairs = [(row["text"].strip(), row["category"].replace("_", " ")) for row in csv.DictReader(file)]
        random.Random(0).shuffle(pairs)  # they are sorted by category
    else:
        path = ROOT / "studies/quickstart/tasks/tickets/train.jsonl"
        found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        pairs = [(row["text"], row["intent"]) for row in found]
    prompt = told(base, system)
    return [
        Conversation(
            row=i,
            messages=[
                {"role": "system", "content": prompt},
                {"role": "user", "content": text},
                {"role": "assistant", "content": label},
            ],
        )
        for i, (text, label) in enumerate(pairs[:count], 1)
    ]


def told(base: Any, tokens: int) -> str:
    """A system prompt of about so many tokens."""
    words = "Classify the message of a customer. Reply with exactly one of the ten topics and nothing else."
    ids = base.tokenizer(words, add_special_tokens=False)["input_ids"]
    prompt: str = base.tokenizer.decode((ids * (1 + tokens // len(ids)))[:tokens])
    return prompt


def maths(path: Path | None, count: int) -> list[Conversation]:
    """Word problems: a file's, or seeded ones whose questions and answers are about as long as GSM8K's."""
    if path is not None and path.is_file():
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()[:count]]
        pairs = [(row["question"], row["answer"]) for row in rows]
    else:
        pairs = [problem(random.Random(f"maths:{i}")) for i in range(count)]
    return [
        Conversation(row=i, messages=[{"role": "user", "content": q}, {"role": "assistant", "content": a}])
        for i, (q, a) in enumerate(pairs, 1)
    ]


def problem(rng: random.Random) -> tuple[str, str]:
    """A chain of sums, told and worked out."""
    name, thing = (
        rng.choice(["Ada", "Bo", "Cleo", "Dan", "Eve"]),
        rng.choice(["apples", "stamps", "coins", "books"]),
    )
    total = rng.randint(5, 60)
    told, worked = [f"{name} has {total} {thing}."], [f"{name} starts with {total} {thing}."]
    for _ in range(rng.randint(2, 6)):
        more, day = rng.randint(2, 40), rng.choice(["Monday", "Tuesday", "Friday", "Sunday"])
        told.append(f"On {day} a friend brings {name} {more} more {thing}.")
        worked.append(
            f"After {day} there are {total} + {more} = <<{total}+{more}={total + more}>>{total + more} {thing}."
        )
        total += more
    return " ".join([*told, f"How many {thing} does {name} have?"]), "\n".join([*worked, f"#### {total}"])
