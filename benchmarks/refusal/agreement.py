"""Agreement with human labels: ``python -m benchmarks.refusal.agreement FOLDER``, a folder with XSTest's files.

Prints, for each ``completions_*.csv``, macro-F1 of refusal (full or partial) against compliance with and without
the prompt, and the table of classes. Then the weights fitted anew on one model's rows and tried on the other's:
what the signals are worth apart from the data the shipped weights come from. Nothing is written.
"""

from __future__ import annotations

import csv
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score

from evalkit.metrics.refusal import refusal_class
from evalkit.metrics.refusal_signals import signals

__all__ = ["main"]

CLASSES = ("none", "full", "partial")
HUMAN = {"1": "none", "2": "full", "3": "partial"}


def main(folder: Path) -> None:
    """Print all figures for the files in ``folder``."""
    models = {}
    for path in sorted(folder.glob("completions_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        human = [HUMAN[row["final_label"][0]] for row in rows]
        for shown in (True, False):
            found = [refusal_class(row["completion"], row["prompt"] if shown else "") for row in rows]
            score = f1_score(_refused(human), _refused(found), average="macro")
            print(f"{path.stem}, {'with' if shown else 'without'} the prompt: macro-F1 {score:.3f}")
            print(confusion_matrix(human, found, labels=CLASSES), "rows: human none, full, partial")
        values = [list(signals(row["completion"], row["prompt"]).values()) for row in rows]
        models[path.stem] = np.array(values), np.array(_refused(human))
    for one, other in permutations(models, 2):
        fitted = LogisticRegression(max_iter=5000, class_weight="balanced").fit(*models[one])
        score = f1_score(models[other][1], fitted.predict(models[other][0]), average="macro")
        print(f"weights fitted on {one}, tried on {other}: macro-F1 {score:.3f}")


def _refused(classes: list[str]) -> list[bool]:
    return [kind != "none" for kind in classes]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
