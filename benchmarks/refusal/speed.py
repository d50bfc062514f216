"""Milliseconds a text of the refusal detector: ``python -m benchmarks.refusal.speed``. One thread, no network."""

from __future__ import annotations

import statistics
import time

from benchmarks.refusal.generate import composed, written
from evalkit.metrics.refusal import refusal_class

__all__ = ["main"]


def main(rounds: int = 5) -> None:
    """Print the median over rounds: over the project's own completions, and over long ones of 2,000 characters."""
    short = [(item.text, item.prompt) for item in (*written(), *composed(500, 1))]
    long = [((text + "\n") * (1 + 2000 // len(text)), prompt) for text, prompt in short]
    for name, rows in (("own completions", short), ("2,000 characters", long)):
        times = []
        for _ in range(rounds):
            start = time.process_time()
            for text, prompt in rows:
                refusal_class(text, prompt)
            times.append((time.process_time() - start) / len(rows) * 1e3)
        print(f"{name}: {statistics.median(times):.2f} ms a text ({len(rows)} texts, {rounds} rounds)")


if __name__ == "__main__":
    main()
