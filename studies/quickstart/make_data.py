"""Write the quickstart's data: support tickets with one of ten intents, 300 for training and 80 for the test.

    python studies/quickstart/make_data.py [FOLDER]

Every row is a sentence of ``phrases.yaml`` with its blanks filled, an opening or a closing now and then, and in
some rows the haste of real mail: no capitals, no full stop, letters swapped or left out. Training and test share
no sentence, filler, opening or closing. The seed is fixed: the files come out the same, byte for byte.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
SEED = 7
ROWS = {"train": 30, "test": 8}  # per intent


def main(folder: Path) -> None:
    phrases = YAML(typ="safe", pure=True).load((HERE / "phrases.yaml").read_text(encoding="utf-8"))
    labels = list(phrases["train"]["intents"])
    for split, count in ROWS.items():
        rows = make_split(split, phrases[split], count)
        write(folder / "tickets" / f"{split}.jsonl", rows)
        if split == "train":  # the examples of the few-shot candidates: the first row of each intent
            firsts = {row["intent"]: row for row in reversed(rows)}
            write(folder / "tickets" / "fewshot.jsonl", [row for row in rows if row is firsts[row["intent"]]])
        else:
            write(folder / "tickets-choice" / "test.jsonl", [{**row, "options": labels} for row in rows])


def make_split(split: str, phrases: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return ``count`` rows an intent, shuffled; no two have the same text."""
    rng = random.Random(f"{SEED}:{split}")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for intent, sentences in phrases["intents"].items():
        for number in range(count):
            template = number % len(sentences)
            text = make_text(sentences[template], phrases, rng)
            while text in seen:
                text = make_text(sentences[template], phrases, rng)
            seen.add(text)
            rows.append({"text": text, "intent": intent, "template": f"{split}/{intent}/{template}"})
    rng.shuffle(rows)
    return [{"id": f"{split}-{number:03d}", **row} for number, row in enumerate(rows, start=1)]


def make_text(sentence: str, phrases: dict[str, Any], rng: random.Random) -> str:
    text = sentence
    for name, values in phrases["fillers"].items():
        text = text.replace(f"{{{name}}}", rng.choice(values))
    text = text[0].upper() + text[1:] if sentence.startswith("{") else text
    parts = [rng.choice(phrases["openings"]), text, rng.choice(phrases["closings"])]
    text = " ".join(part for part in parts if part)
    style = rng.random()
    if style < 0.12:
        return text.lower().rstrip(".!")
    return with_typo(text, rng) if style < 0.3 else text


def with_typo(text: str, rng: random.Random) -> str:
    """Swap two letters inside a longer word, or leave one out."""
    words = text.split(" ")
    places = [index for index, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not places:
        return text
    index = rng.choice(places)
    word, at = words[index], rng.randrange(1, len(words[index]) - 2)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    words[index] = swapped if rng.random() < 0.5 else word[:at] + word[at + 1 :]
    return " ".join(words)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "tasks")
