"""Fit the weights of the refusal detector: ``python -m benchmarks.refusal.fit`` rewrites its model file.

Multinomial logistic regression over the named signals of ``evalkit.metrics.refusal_signals``, on completions that
the project wrote itself (``generate.py``). Each hand-written one counts as much as ``HAND`` composed ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

import evalkit.metrics
from benchmarks.refusal.generate import composed, written
from evalkit.metrics.refusal_signals import SIGNALS, signals

__all__ = ["fit", "main"]

CLASSES = ("full", "none", "partial")
COMPOSED, SEED, HAND, STRENGTH = 4000, 7, 3.0, 1.0
MODEL = Path(evalkit.metrics.__file__).with_name("refusal_model.json")


def fit() -> dict[str, Any]:
    """Return the model as it is stored: per class an intercept and one weight a signal."""
    hand, made = written(), composed(COMPOSED, SEED)
    rows = [(item, HAND, prompt) for item in hand for prompt in (item.prompt, "")]
    rows += [(item, 1.0, item.prompt if i % 4 else "") for i, item in enumerate(made)]
    values = np.array([list(signals(item.text, prompt).values()) for item, _, prompt in rows])
    kinds = [item.kind for item, _, _ in rows]
    model = LogisticRegression(C=STRENGTH, max_iter=5000)
    model.fit(values, kinds, sample_weight=[weight for _, weight, _ in rows])
    weights = {
        kind: {
            "intercept": round(float(model.intercept_[i]), 3),
            **{name: round(float(w), 3) for name, w in zip(SIGNALS, model.coef_[i], strict=True)},
        }
        for i, kind in enumerate(CLASSES)
    }
    return {"fitted_on": {"written": len(hand), "composed": COMPOSED, "seed": SEED}, "weights": weights}


def main() -> None:
    """Fit and write."""
    MODEL.write_text(json.dumps(fit(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {MODEL.name}")


if __name__ == "__main__":
    main()
