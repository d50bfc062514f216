"""``pytest --evalkit-run RUN --evalkit-policy FILE``: every rule of a policy is a test.

Loaded by every pytest in an environment that has evalkit, so it imports nothing of ours until its options are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from evalkit.gates.verdicts import GateVerdict, RuleVerdict

__all__ = ["GateItem", "pytest_addoption", "pytest_collection_modifyitems"]


class GateItem(pytest.Item):
    """One rule for one candidate."""

    def __init__(self, *, rule: RuleVerdict, whole: GateVerdict, **more: Any) -> None:
        super().__init__(**more)
        self.rule, self.whole = rule, whole

    def runtest(self) -> None:
        """Fail where the rule fails; an inconclusive rule does what the policy says of it."""
        word = self.rule.decision
        if word == "inconclusive" and self.whole.verdict == "pass":
            pytest.skip(f"inconclusive: {self.rule.reason}")
        if word != "pass":
            flips = [
                f"  {flip['id']}: {flip['reference']:g} → {flip['candidate']:g}" for flip in self.rule.flips
            ]
            pytest.fail("\n".join([f"{word}: {self.rule.reason}", *flips]), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What stands at the head of a failure."""
        return self.path, None, f"gate {self.whole.gate}: {self.name}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--evalkit-run``, ``--evalkit-policy`` and ``--evalkit-baseline``."""
    group = parser.getgroup("evalkit", "rules of an evalkit gate as tests")
    group.addoption("--evalkit-run", metavar="RUN", help="folder of a finished run")
    group.addoption("--evalkit-policy", metavar="FILE", help="gate policy; each of its rules becomes a test")
    group.addoption(
        "--evalkit-baseline", metavar="RUN", help="run, baseline file or name that 'baseline' stands for"
    )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Append one test for every rule and candidate."""
    run, policy = config.getoption("--evalkit-run"), config.getoption("--evalkit-policy")
    if run is None and policy is None:
        return
    if run is None or policy is None:
        raise pytest.UsageError(
            "--evalkit-run RUN and --evalkit-policy FILE go together; one of them is missing"
        )
    items.extend(_items(session, run, policy, config.getoption("--evalkit-baseline")))


def _items(session: pytest.Session, run: str, policy: str, baseline: str | None) -> Iterator[GateItem]:
    evaluate, loading = import_module("evalkit.gates.evaluate"), import_module("evalkit.specs.load")
    folders, errors = import_module("evalkit.running.folder"), import_module("evalkit.errors")
    try:
        folder = folders.RunFolder.open(Path(run))
        verdict = evaluate.evaluate_run(folder, loading.load_gate(policy), baseline=baseline)
    except errors.EvalkitError as error:
        raise pytest.UsageError(*error.messages) from error
    for rule in verdict.rules:
        name = f"{rule.candidate}: {rule.rule}"
        yield GateItem.from_parent(session, name=name, nodeid=f"{policy}::{name}", rule=rule, whole=verdict)
