"""What a worker of ``evalkit.running.workers`` runs: metrics once, then blocks of samples until its input ends."""

from __future__ import annotations

import os
import pickle
import sys

from evalkit.errors import EvalkitError

__all__ = ["main"]


def main() -> None:
    """Read pickled metrics and blocks from standard input, write what was measured to standard output."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a metric that prints must not write into the answers
    metrics = [pickle.loads(data) for data in pickle.load(source)]
    while True:
        try:
            samples, outputs = pickle.load(source)
        except EOFError:
            return
        try:
            answer: object = [metric.measure(samples, outputs) for metric in metrics]
        except EvalkitError as error:
            answer = error
        pickle.dump(answer, sink)
        sink.flush()


if __name__ == "__main__":
    main()
