"""Programs that try to pass without being right, to get out, or to keep the next one waiting. None may."""

# ruff: noqa: E501  # a line of a program is a line

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from evalkit.errors import SandboxError
from evalkit.sandbox import Limits, Program, check_sandbox, run_program

try:
    check_sandbox()
    WHY_NOT = ""
except SandboxError as error:
    WHY_NOT = str(error)

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"programs cannot be confined here: {WHY_NOT}")

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
LIMITS = Limits(
    cpu_seconds=1, wall_seconds=2, memory_bytes=256 << 20, file_bytes=1 << 20, answer_bytes=1 << 20
)
SLACK = 4.0  # seconds: starting and ending a sandbox on a busy machine

TRICKS = {
    "exit before the tests": "import sys\nsys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "exit in the call": "def f(x):\n    raise SystemExit(0)",
    "exit at once in the call": "import os\ndef f(x):\n    os._exit(0)",
    "a fake verdict on every descriptor": (
        "import os\nfor fd in range(64):\n    for text in (b'passed', bytes(7) + bytes([8]) + b't3;s6;passedi0;s0;'):\n"
        "        try:\n            os.write(fd, text)\n        except OSError:\n            pass\ndef f(x):\n    return None"
    ),
    "a printed verdict": "print('passed')\ndef f(x):\n    print('passed', flush=True)",
    "assert made harmless": (
        "import builtins\nclass E(Exception):\n    def __new__(c, *a):\n        import os; os._exit(0)\n"
        "builtins.AssertionError = E\ndef f(x):\n    return 0"
    ),
    "exit made harmless": "import builtins, sys, os\nbuiltins.exit = sys.exit = os._exit = print\ndef f(x):\n    return 0",
    "an answer that equals everything": (
        "class A(int):\n    def __eq__(s, o):\n        return True\n    __hash__ = int.__hash__\ndef f(x):\n    return A(0)"
    ),
    "an object that equals everything": "class A:\n    def __eq__(s, o):\n        return True\ndef f(x):\n    return A()",
    "the harness imported": (
        "import sys\nm = sys.modules['__main__']\nfor name in list(vars(m)):\n"
        "    if callable(vars(m)[name]):\n        setattr(m, name, lambda *a, **k: 4)\n"
        "import evalkit.sandbox.wire as w\nw.encode = lambda *a, **k: b'T'\ndef f(x):\n    return 0"
    ),
    "the caller's frames": (
        "import sys\ndef f(x):\n    g = sys._getframe()\n    while g:\n        for k, v in list(g.f_locals.items()):\n"
        "            if isinstance(v, str) and 'assert candidate' in v:\n                return eval(v)\n"
        "        g = g.f_back\n    return 0"
    ),
    "the tests looked for in memory": (
        "import gc\ndef f(x):\n    wanted = ''.join(['candi', 'date(3)'])\n"
        "    found = [o for o in gc.get_objects() if wanted in str(o)[:10000]]\n"
        "    return 4 if found and x == 2 else 9 if found else 0"
    ),
    "the checker's memory": (
        "import os\ndef f(x):\n    for pid in range(1, 9):\n        if pid != os.getpid():\n"
        "            for n in ('mem', 'fd', 'maps', 'environ', 'cmdline'):\n                try:\n"
        "                    open(f'/proc/{pid}/{n}').read()\n                    return x * x\n"
        "                except OSError:\n                    pass\n    return 0"
    ),
    "the checker traced": (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\ndef f(x):\n    if libc.ptrace(16, 1, 0, 0) == 0:\n        return x * x\n"
        "    b = ctypes.create_string_buffer(64)\n    v = (ctypes.c_size_t * 2)(ctypes.addressof(b), 64)\n"
        "    r = (ctypes.c_size_t * 2)(id(f), 64)\n"
        "    return x * x if libc.process_vm_readv(1, v, 1, r, 1, 0) > 0 else 0"
    ),
    "the checker killed": "import os, signal\nfor s in (9, 15, 2, 19, 11):\n    os.kill(1, s)\ndef f(x):\n    return 0",
    "everybody killed": "import os\ndef f(x):\n    os.kill(-1, 9)",
    "signals taken over": (
        "import signal\nfor s in range(1, 65):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\ndef f(x):\n    while True: pass"
    ),
    "a daemon": (
        "import os\ntry:\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\nexcept OSError:\n    pass\n"
        "def f(x):\n    return 0"
    ),
    "a fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        break\ndef f(x):\n    return 0",
    "a thread bomb": (
        "import threading, time\ntry:\n    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "except (RuntimeError, MemoryError): pass\ndef f(x):\n    return 0"
    ),
    "a shell": "import os, subprocess\ndef f(x):\n    os.system('true')\n    subprocess.run(['/bin/true'])\n    return 0",
    "all memory": "def f(x):\n    return [bytearray(1 << 20) for _ in range(1 << 20)]",
    "all memory at once": "def f(x):\n    return len(bytearray(1 << 40))",
    "memory that no limit counts": (
        "import os\ndef f(x):\n    fd = os.memfd_create('m')\n    for _ in range(1 << 12): os.write(fd, bytes(1 << 20))\n    return x * x"
    ),
    "for ever": "def f(x):\n    while True: pass",
    "for ever while it loads": "while True: pass",
    "asleep": "import time\ndef f(x):\n    time.sleep(1000)",
    "printing for ever": "def f(x):\n    while True: print('x' * 100000)",
    "a huge answer": "def f(x):\n    return 'x' * (1 << 24)",
    "an answer without end": "def f(x):\n    return iter(int, 1)",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return f(x)",
    "a deep answer": "def f(x):\n    a = []\n    for _ in range(10**6): a = [a]\n    return a",
    "an answer that holds itself": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "an answer written by hand": "import os\ndef f(x):\n    os.write(4, bytes(8) + b'junk' * 1000)\n    return 0",
    "its folder gone": "import os, shutil\nshutil.rmtree('/tmp', ignore_errors=True)\nos.chdir('/')\ndef f(x):\n    return 0",
    "no source at all": "",
    "no Python": "def f(x:\n",
    "a null byte": "\0",
    "brackets without end": "(" * 100000,
}

# Programs that answer rightly only if they get at something that must not be there.
ESCAPES = {
    "/etc/passwd": "open('/etc/passwd').read()",
    "the home folder": "__import__('os').listdir({home!r})",
    "home by its tilde": "assert_(__import__('os').listdir(__import__('os').path.expanduser('~')))",
    "the project": "__import__('os').listdir({project!r})",
    "the environment": "assert_(set(__import__('os').environ) - {{'PYTHONHASHSEED', 'LD_LIBRARY_PATH', 'PWD', 'LC_CTYPE'}})",
    "site-packages": "__import__('numpy')",
    "a shell's binaries": "__import__('os').listdir('/usr/bin')",
    "writing to the system": "open('/usr/lib/x', 'w')",
    "writing to the root": "open('/x', 'w')",
    "writing to Python's library": "open(__import__('os').__file__, 'a')",
    "a folder of the root": "__import__('os').mkdir('/made')",
    "the outside /tmp": "open({mark!r}).read()",
    "the network": "__import__('socket').create_connection(('127.0.0.1', {port}), timeout=1)",
    "another network": "__import__('socket').create_connection(('1.1.1.1', 53), timeout=1)",
    "a name looked up": "__import__('socket').getaddrinfo('example.org', 80)",
    "other processes": "__import__('os').listdir('/proc/1')",
    "our processes": "__import__('os').kill({pid}, 0)",
    "root": "__import__('os').setuid(0)",
    "another namespace": "assert_(__import__('ctypes').CDLL(None).unshare(0x10000000) == 0)",
    "a mount": "assert_(__import__('ctypes').CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0)",
    "more CPU time": "__import__('resource').setrlimit(0, (60, 60))",
    "more memory": "__import__('resource').setrlimit(9, (1 << 40, 1 << 40))",
    "a file beyond the limit": "open('/tmp/big', 'wb').write(bytes(8 << 20))",
    "a disk": "assert_([n for n in __import__('os').listdir('/dev') if n not in ('null', 'urandom')])",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_passes_or_takes_longer_than_its_limit(trick: str) -> None:
    started = time.monotonic()
    outcome = run_program(Program((TRICKS[trick],), "f", TEST), limits=LIMITS)
    assert outcome.verdict == "failed"
    assert outcome.reason
    assert time.monotonic() - started < LIMITS.wall_seconds + SLACK


@pytest.mark.parametrize("what", ESCAPES)
def test_nothing_outside_can_be_reached(what: str, tmp_path: Path) -> None:
    import socket

    mark = tmp_path / "mark"
    mark.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = ESCAPES[what].format(
            home=str(Path.home()),
            project=str(Path(__file__).parents[2]),
            mark=str(mark),
            port=server.getsockname()[1],
            pid=os.getpid(),
        )
        program = f"def assert_(x):\n    if not x: raise OSError\ndef f(x):\n    {attempt}\n    return x * x"
        outcome = run_program(Program((program,), "f", TEST), limits=LIMITS)
    assert outcome.verdict == "failed"


def test_the_same_programs_pass_when_they_do_the_work() -> None:
    """Or all of the above would be failing for no reason."""
    for text in (
        "def f(x):\n    return x * x",
        "import math, re, collections, json, random, threading\ndef f(x):\n    return x ** 2",
        "print('x' * 10**6)\ndef f(x):\n    open('/tmp/a', 'w').write('ok')\n    return x * x",
        "import threading\ndef f(x):\n    r = []\n    t = threading.Thread(target=lambda: r.append(x * x))\n"
        "    t.start()\n    t.join()\n    return r[0]",
        "if __name__ == '__main__':\n    raise SystemExit\nf = lambda x: x * x",
    ):
        assert run_program(Program((text,), "f", TEST), limits=LIMITS).verdict == "passed", text


def test_nothing_of_a_program_is_there_for_the_next() -> None:
    first = "open('/tmp/left', 'w').write('4')\ndef f(x):\n    return 0"
    second = "import os\ndef f(x):\n    return x * x if os.path.exists('/tmp/left') else 0"
    for text in (first, second):
        assert run_program(Program((text,), "f", TEST), limits=LIMITS).verdict == "failed"
