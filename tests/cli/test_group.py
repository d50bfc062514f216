"""The command as a whole: help in no time, exit codes, and errors as people want them."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.cli.exits import BUG, explain, worst
from evalkit.cli.group import COMMANDS, load_command
from evalkit.errors import CandidateError, SandboxError, SpecError

Command = Callable[..., "subprocess.CompletedProcess[str]"]

HEAVY = ("torch", "transformers", "pydantic", "numpy", "ruamel", "rich", "jinja2", "datasets")


def cpu_seconds(*command: str, cwd: Path) -> float:
    """The least CPU time of three runs: it does not grow when other processes want the machine, as wall time does."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], cwd=cwd, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_import_takes_no_time(root: Path) -> None:
    assert cpu_seconds("-c", "import evalkit", cwd=root) < 0.15


@pytest.mark.parametrize("command", ["", "run", "check", "score"])
def test_help_takes_no_time(root: Path, command: str) -> None:
    assert cpu_seconds("-m", "evalkit", *command.split(), "--help", cwd=root) < 0.3


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(root: Path, command: str) -> None:
    code = (
        f"import sys; sys.argv = ['evalkit', *{command.split()!r}, '--help']\n"
        "from evalkit.cli import main\n"
        "try: main()\n"
        f"finally: print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, encoding="utf-8", check=True
    )
    assert "LOADED []" in done.stdout
    assert f"Usage: evalkit {command}".rstrip() in done.stdout


def test_a_typo_in_a_study_is_answered_before_torch_is_imported(root: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("study: typo\nmodell: smollm2-135m-instruct-q4_1\n")
    code = (
        f"import sys; sys.argv = ['evalkit', 'run', {str(study)!r}]\n"
        "from evalkit.cli import main\n"
        "try: main()\n"
        "finally: print('LOADED', 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, encoding="utf-8")
    assert (done.returncode, "LOADED False" in done.stdout) == (2, True)
    assert "study.yaml:2: modell" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name: str) -> None:
    assert load_command(name).help
    assert len(COMMANDS[name]) <= 64  # fits beside its name in 80 columns


def test_help_lists_every_command(evalkit_command: Command) -> None:
    shown = evalkit_command("--help", check=True).stdout
    assert [line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line.strip()] == list(
        COMMANDS
    )
    for line in COMMANDS.values():
        assert line in shown


def test_version(evalkit_command: Command) -> None:
    assert re.fullmatch(r"evalkit \d+\S*\n", evalkit_command("--version", check=True).stdout)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "study.yaml", "--limt", "3"], "--limit"),
        (["run", "none.yaml"], "none.yaml: no such file"),
        (["check", "none.yaml"], "none.yaml: no such file or folder"),
        (["show", "tasks/none"], "No task named 'none'"),
    ],
)
def test_the_users_mistakes(evalkit_command: Command, arguments: list[str], expected: str) -> None:
    done = evalkit_command(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_completion(evalkit_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_EVALKIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "evalkit re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert evalkit_command(check=True).stdout.split() == ["report"]
    monkeypatch.setenv("COMP_WORDS", "evalkit run --on")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert evalkit_command(check=True).stdout.split() == ["--only"]


def test_the_worst_code_wins() -> None:
    # docs/reference §1: 130, 2, 1, 4, 3, 0 in that order.
    assert [worst(0, 3), worst(3, 4), worst(4, 1), worst(1, 2), worst(2, 130), worst(0), worst()] == [
        3,
        4,
        1,
        2,
        130,
        0,
        0,
    ]


def test_errors_become_lines_and_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(SpecError("a.yaml:1: one", "a.yaml:2: two")) == 2
    assert capsys.readouterr() == ("", "a.yaml:1: one\na.yaml:2: two\n")
    assert explain(CandidateError("r16: NaN")) == 4
    assert explain(SandboxError("no bubblewrap")) == 2
    capsys.readouterr()
    assert explain(KeyboardInterrupt()) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_a_bug_is_shown_whole_and_is_not_taken_for_a_failed_gate(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ZeroDivisionError("the cause")
    except ZeroDivisionError as error:
        code = explain(error)
    assert code == BUG == 70
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ZeroDivisionError: the cause" in told
    assert "evalkit doctor" in told.splitlines()[-1]


def test_an_interrupt_ends_in_130(root: Path, tmp_path: Path) -> None:
    """A command that waits on a pipe nobody writes to, and Ctrl-C."""
    os.mkfifo(tmp_path / "study.yaml")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "evalkit", "run", "study.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # a test run in the background inherits an ignored SIGINT, which Python then leaves ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while waiting.poll() is None:
        try:  # the other end opens once the command reads it
            end = os.open(tmp_path / "study.yaml", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
            continue
        waiting.send_signal(signal.SIGINT)
        break
    else:
        pytest.fail("the command ended before it was interrupted")
    _, told = waiting.communicate(timeout=60)
    os.close(end)
    assert waiting.returncode == 130
    assert "Interrupted." in told
    assert "Traceback" not in told


def test_a_closed_pipe_is_no_error(root: Path, tmp_path: Path) -> None:
    """As in ``evalkit show … | head -1``."""
    script = f"{sys.executable} -m evalkit show trainers/qlora | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout[1:].strip() == "0"
