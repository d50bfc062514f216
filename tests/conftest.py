"""A clean machine for every test: no network, no settings, no home but a fresh one, only the pulled models stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Read once, when the libraries are imported: so before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from evalkit.models.registry import models_dir

ROOT = Path(__file__).resolve().parents[1]
MODELS = models_dir()  # the caller's: weights are pulled once, not once a test
FOREIGN = (
    "EVALKIT_",
    "HF_",
    "OPENAI_",
    "TRANSFORMERS_",
    "XDG_",
    "GITHUB_",
    "PYTEST_",
    "NO_COLOR",
    "FORCE_COLOR",
)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean_environment(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run each test in its own empty folder, with its own home and cache, offline."""
    for name in list(os.environ):
        foreign = name.startswith(FOREIGN) and name != "PYTEST_CURRENT_TEST"
        if foreign or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name, value in {
        "HOME": home,
        "USERPROFILE": home,
        "XDG_CACHE_HOME": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "data",
        "EVALKIT_CACHE_DIR": home / "evalkit",
        "EVALKIT_MODELS_DIR": MODELS,
        "HF_HOME": home / "hf",
        "HF_HUB_OFFLINE": "1",
        "TERM": "dumb",
        "COLUMNS": "120",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets that lie beside the checkout on development machines."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}")
    return folder


@pytest.fixture(scope="module")  # one at a time: a second of the sync API in a process is refused
def browser() -> Iterator[Any]:
    """A real Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *quiet]
        )
        yield started
        started.close()


Evalkit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def evalkit_command() -> Evalkit:
    """Run ``evalkit …`` as a process of its own; ``check=True`` fails the test on another exit code than 0."""

    def run(
        *args: str | Path, cwd: Path | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "evalkit", *map(str, args)]
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch  # only here: most runs have no such test and start faster without

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
