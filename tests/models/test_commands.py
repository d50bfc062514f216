"""``evalkit model`` and ``evalkit doctor``, run as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Evalkit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(evalkit_command: Evalkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evalkit:
    """The command with an empty models folder."""
    monkeypatch.setenv("EVALKIT_MODELS_DIR", str(tmp_path / "models"))
    return evalkit_command


def test_list_names_what_is_here_and_what_is_not(run: Evalkit, tmp_path: Path) -> None:
    found = json.loads(run("model", "list", "--json").stdout)
    assert found["folder"] == str(tmp_path / "models")
    assert {row["name"]: row["installed"] for row in found["models"]} == {
        "smollm2-135m-instruct-q4_1": False,
        "smollm2-135m-instruct": False,
        "minilm": False,
    }
    assert "Apache-2.0" in run("model", "list").stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("minilm", "Type: evalkit model pull minilm"),
        ("miniml", "Did you mean 'minilm'?"),
        ("a/b", "pull a/b"),
    ],
)
def test_path_of_a_model_that_is_not_here(run: Evalkit, name: str, told: str) -> None:
    done = run("model", "path", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_path_and_inspect_of_a_folder(run: Evalkit, model_folder: Callable[[str], Path]) -> None:
    folder = str(model_folder("llama"))
    assert run("model", "path", folder).stdout == f"{folder}\n"
    found = json.loads(run("model", "inspect", folder, "--json").stdout)
    assert (found["architecture"], found["layers"], found["context"]) == ("LlamaForCausalLM", 2, 256)
    assert found["chat_template"] is True


def test_pull_offline_says_why_and_leaves_nothing(run: Evalkit, tmp_path: Path) -> None:
    done = run("model", "pull", "smollm2-135m-instruct")
    assert done.returncode == 2
    assert "HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f7" in done.stderr
    assert "Traceback" not in done.stderr
    left = [path.name for path in (tmp_path / "models").iterdir() if not path.name.endswith(".lock")]
    assert left == []


def test_doctor(run: Evalkit) -> None:
    done = run("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert [check["passed"] for check in found["checks"]] == [True, True, True]
    assert found["device"]["dtype"] in ("fp32", "bf16")
    assert found["packages"]["torch"]
    commands = [item["command"] for item in found["missing"]]
    assert "evalkit model pull smollm2-135m-instruct-q4_1" in commands


def test_help_needs_no_torch(root: Path) -> None:
    script = "import sys, evalkit.cli.model, evalkit.cli.doctor; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
