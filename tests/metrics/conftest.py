from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evalkit.metrics import Measured, Metric
from evalkit.records import Output, Sample


@pytest.fixture
def measure() -> Callable[..., Measured]:
    """Measure a metric on (answer, target) pairs."""

    def run(metric: Metric, pairs: list[tuple[Any, Any]]) -> Measured:
        samples = [Sample(str(index), "", target) for index, (_, target) in enumerate(pairs)]
        outputs = [Output(str(index), answer) for index, (answer, _) in enumerate(pairs)]
        return metric.measure(samples, outputs)

    return run


@pytest.fixture
def value(measure: Callable[..., Measured]) -> Callable[..., float]:
    """The metric's value over (answer, target) pairs."""

    def run(metric: Metric, pairs: list[tuple[Any, Any]]) -> float:
        return float(metric.value(np.asarray(measure(metric, pairs).statistics.sum(0))))

    return run
