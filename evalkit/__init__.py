"""Train LoRA and QLoRA candidates, score them beside the base on the same samples, get one honest verdict.

>>> import evalkit
>>> "run" in evalkit.__all__
True

Names load when they are first used, so ``import evalkit`` imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.api import describe as describe
    from evalkit.api import import_labels as import_labels
    from evalkit.api import run as run
    from evalkit.api import run_planned as run_planned
    from evalkit.api import score as score
    from evalkit.gates.assertions import assert_no_regression as assert_no_regression
    from evalkit.gates.baseline import keep_baseline as keep_baseline
    from evalkit.gates.baseline import read_baseline as read_baseline
    from evalkit.gates.evaluate import gate as gate
    from evalkit.gates.sequential import gate_sequentially as gate_sequentially
    from evalkit.human.design import Design as Design
    from evalkit.judging.agreement import agreement as agreement
    from evalkit.judging.trust import trust_in as trust_in
    from evalkit.metrics import metric as metric
    from evalkit.models.examine import examine as examine
    from evalkit.planning import plan as plan
    from evalkit.records import Result as Result
    from evalkit.reporting.compare import compare as compare
    from evalkit.reporting.judges import judge_lines as judge_lines
    from evalkit.reporting.runs import rewrite_report as rewrite_report
    from evalkit.reporting.text import results_table as results_table
    from evalkit.running.calibrate import calibrate as calibrate
    from evalkit.running.judge_finished import judge_finished as judge_finished
    from evalkit.running.judges import judge_model as judge_model
    from evalkit.running.labels import to_preferences as to_preferences
    from evalkit.running.score_file import score_file as score_file
    from evalkit.running.sheets import export_sheets as export_sheets
    from evalkit.running.sheets import read_questions as read_questions

__all__ = ["Result", "Run", "agreement", "assert_no_regression", "compare", "gate", "metric", "run", "score"]

_WHERE = {
    "Design": "evalkit.human.design",
    "Result": "evalkit.records",
    "Run": "evalkit.api",
    "agreement": "evalkit.judging.agreement",
    "assert_no_regression": "evalkit.gates.assertions",
    "calibrate": "evalkit.running.calibrate",
    "compare": "evalkit.reporting.compare",
    "describe": "evalkit.running.describe",
    "examine": "evalkit.models.examine",
    "export_sheets": "evalkit.running.sheets",
    "gate": "evalkit.gates.evaluate",
    "gate_sequentially": "evalkit.gates.sequential",
    "import_labels": "evalkit.api",
    "judge_finished": "evalkit.running.judge_finished",
    "judge_lines": "evalkit.reporting.judges",
    "judge_model": "evalkit.running.judges",
    "keep_baseline": "evalkit.gates.baseline",
    "metric": "evalkit.metrics",
    "plan": "evalkit.planning",
    "read_baseline": "evalkit.gates.baseline",
    "read_questions": "evalkit.running.sheets",
    "results_table": "evalkit.reporting.text",
    "rewrite_report": "evalkit.reporting.runs",
    "run": "evalkit.api",
    "run_planned": "evalkit.api",
    "score": "evalkit.api",
    "score_file": "evalkit.running.score_file",
    "trust_in": "evalkit.judging.trust",
    "to_preferences": "evalkit.running.labels",
}
"""Public name → the module that defines it."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _WHERE:
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _version() -> str:
    from importlib import metadata  # needs 10 ms to import, and few need the version

    try:
        return metadata.version("evalkit")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0+source"
