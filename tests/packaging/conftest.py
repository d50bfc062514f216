from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def execute(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    if done.returncode:
        pytest.fail(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built offline with what is installed."""
    out = tmp_path_factory.mktemp("dist")
    execute(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and the dependencies by a path to ours."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    ours = sysconfig.get_path("purelib")
    (site,) = home.glob("lib/python*/site-packages")
    # A plain path line: what .pth files *in* that folder say (an editable evalkit) does not count here.
    (site / "dependencies.pth").write_text(f"{ours}\n")
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet")
    execute(*pip, "--no-cache-dir", "--ignore-installed", wheel, cwd=home)
    return home / "bin"


@pytest.fixture
def stranger(installed: Path) -> Callable[..., str]:
    """Run the installed ``evalkit`` in a folder, and return its stdout."""

    def run(*args: str | Path, cwd: Path) -> str:
        return execute(installed / "evalkit", *args, cwd=cwd, PYTHONPATH="")

    return run
