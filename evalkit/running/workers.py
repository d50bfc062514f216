"""Measuring in processes of their own: what the slow metrics in pure Python do with the other cores.

A worker is a fresh interpreter that runs ``evalkit.running.worker`` and talks over its pipes: nothing is forked, so it
is safe beside torch, and the caller's script is not imported again, as ``multiprocessing`` would.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from evalkit.errors import EvalkitError
from evalkit.metrics import Measured, Metric
from evalkit.records import Output, Sample

__all__ = ["Workers", "portable"]


def portable(metric: Metric) -> bytes | None:
    """The metric as bytes for another process; None where it has to stay here."""
    if not metric.slow:
        return None
    try:
        return pickle.dumps(metric)
    except (pickle.PicklingError, TypeError, AttributeError):
        return None


class Workers:
    """A few processes that measure blocks of samples with the same metrics.

    Args:
        metrics: As ``portable`` gives them.
        count: Processes; the number of cores unless said.
    """

    def __init__(self, metrics: Sequence[bytes], count: int | None = None) -> None:
        number = count or os.cpu_count() or 1
        # A program run as `python -m` finds its modules from where the parent found its own.
        paths = os.pathsep.join(path for path in [str(Path(__file__).parents[2]), *sys.path] if path)
        environment = {**os.environ, "PYTHONPATH": paths}
        command = [sys.executable, "-m", "evalkit.running.worker"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            for _ in range(number)
        ]
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(number)
        for process in self._processes:
            _send(process.stdin, list(metrics))
            self._free.put(process)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._processes:
                process.kill()
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def measure(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Future[list[Measured]]:
        """Measure a block: one ``Measured`` a metric, in their order.

        The future raises what the metric raised, or ``EvalkitError`` where a worker has died.
        """
        return self._pool.submit(self._ask, list(samples), list(outputs))

    def _ask(self, samples: list[Sample], outputs: list[Output]) -> list[Measured]:
        process = self._free.get()
        try:
            _send(process.stdin, (samples, outputs))
            answer = pickle.load(process.stdout)  # type: ignore[arg-type]  # our own process wrote it
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise EvalkitError(f"A worker that measured a block of samples has died: {error!r}.") from error
        finally:
            self._free.put(process)
        if isinstance(answer, EvalkitError):
            raise answer
        found: list[Measured] = answer
        return found


def _send(pipe: IO[bytes] | None, value: Any) -> None:
    if pipe is not None:
        pickle.dump(value, pipe)
        pipe.flush()
