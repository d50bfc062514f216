"""``pytest --evalkit-run RUN --evalkit-policy FILE``, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import evalkit

POLICY = """\
gate: ci
rules:
  - {task: quiz, metric: exact_match, candidate: good, no_worse_than: old, margin: 0.02}
  - {task: quiz, metric: exact_match, candidate: bad, no_worse_than: old, margin: 0.02}
  - {task: quiz, metric: exact_match, candidate: good, at_least: 0.8}
"""


def pytest_in(folder: Path, root: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """pytest with the plugin named, whether or not the installed package's entry point names it too."""
    # "no:evalkit" unloads the entry point's plugin, so that it is not registered twice.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:evalkit",
        "-p",
        "evalkit.gates.pytest_plugin",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        [*command, *map(str, args)],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def test_each_rule_is_a_test(make_run: Callable[..., evalkit.Run], tmp_path: Path, root: Path) -> None:
    run = make_run({"old": [1] * 60 + [0] * 40, "good": [1] * 80 + [0] * 20, "bad": [1] * 40 + [0] * 60})
    project = tmp_path / "project"
    project.mkdir()
    (project / "policy.yaml").write_text(POLICY)
    done = pytest_in(project, root, "--evalkit-run", run.path, "--evalkit-policy", "policy.yaml", "-rA")
    assert done.returncode == 1
    assert "2 failed, 1 passed" in done.stdout
    assert "gate ci: bad: quiz exact_match no_worse_than old, margin 0.02" in done.stdout
    assert "fail: bad is worse than old by 0.2" in done.stdout
    assert "  s40: 1 → 0" in done.stdout
    assert "inconclusive: good has 0.8" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr

    (project / "policy.yaml").write_text(POLICY + "inconclusive: pass\n")
    done = pytest_in(
        project, root, "--evalkit-run", run.path, "--evalkit-policy", "policy.yaml", "-k", "good"
    )
    assert done.returncode == 1, (
        "the whole fails, so that the policy's word about inconclusive does not count"
    )

    wrong = pytest_in(project, root, "--evalkit-run", "nowhere", "--evalkit-policy", "policy.yaml")
    assert wrong.returncode == 4
    assert "nowhere is not a run" in wrong.stderr
    half = pytest_in(project, root, "--evalkit-run", run.path)
    assert half.returncode == 4
    assert "go together" in half.stderr


def test_without_its_options_it_is_not_there(tmp_path: Path, root: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\n\ndef test_light():\n    assert not {'numpy', 'pydantic', 'torch', 'ruamel'} & set(sys.modules)\n"
    )
    done = pytest_in(tmp_path, root)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_package_declares_the_plugin(root: Path) -> None:
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"evalkit": "evalkit.gates.pytest_plugin"}
