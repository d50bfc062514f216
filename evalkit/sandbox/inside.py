"""What runs inside a sandbox: a checker, and below it the program that is checked, as a process of its own.

The checker forks *before* it has read the tests, so the program's memory never held them. The program sees the
arguments of one call at a time and answers with plain values (``evalkit.sandbox.wire``); the checker compares.
The only way to pass is to answer every call rightly. See ``docs/sandbox.md``.

This file runs by itself: it imports nothing of ours but ``wire``, and as little of Python as it can.
"""

from __future__ import annotations

import _ctypes  # what the kernel is asked through; ctypes itself takes as long to import as Python to start
import builtins
import os
import resource
import select
import sys
import time

from evalkit.sandbox.wire import TALLY, decode, encode, read_frame, write_frame

TYPE_CHECKING = False  # typing is slow to import; checkers know this name
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

MOST = 1 << 30
CHECKER_CPU_SECONDS = 30


class _Gone(BaseException):
    """The program can answer no more; no test may catch this by accident."""


def main() -> None:
    """Read a job from standard input, check it, and write the verdict to standard output."""
    result = os.dup(1)
    os.dup2(2, 1)  # a test that prints must not write into the verdict
    limits, programs, entry_point, modules = decode(read_frame(0, MOST))
    for module in modules:  # once for both processes
        __import__(module)
    if limits["confined"]:
        _hide_from_the_program()
    calls, replies = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become_the_program(calls[0], replies[1], limits)
            _serve(programs, entry_point, *_load(programs, entry_point))
        finally:
            os._exit(1)
    write_frame(result, encode("ready"))  # what goes wrong from here on is the program's fault, or the test's
    os.close(calls[0])
    os.close(replies[1])
    resource.setrlimit(resource.RLIMIT_CPU, (CHECKER_CPU_SECONDS, CHECKER_CPU_SECONDS))
    if limits["confined"]:
        resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"], limits["memory_bytes"]))
    program = _Program(child, calls[1], replies[0], limits)
    test, helpers = decode(read_frame(0, MOST))
    write_frame(result, encode(_check(program, test, helpers, entry_point)))
    os._exit(0)


# --- the program's side ---------------------------------------------------------------------------------------

_CALLS, _REPLIES = 3, 4


def _become_the_program(calls: int, replies: int, limits: dict[str, int]) -> None:
    """Keep nothing of the checker but the two pipes, and give up what the program may not have."""
    first, second = os.dup(calls), os.dup(replies)  # numbers above 4, or the next lines would overwrite them
    for fd in (0, 1):
        os.dup2(2, fd)
    os.dup2(first, _CALLS)
    os.dup2(second, _REPLIES)
    os.closerange(5, 4096)
    for name, soft, hard in (
        ("RLIMIT_CPU", limits["cpu_seconds"], limits["cpu_seconds"] + 1),
        ("RLIMIT_AS", limits["memory_bytes"], limits["memory_bytes"]),
        ("RLIMIT_FSIZE", limits["file_bytes"], limits["file_bytes"]),
        ("RLIMIT_NOFILE", 64, 64),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_NPROC", 64, 64),
    ):
        if limits["confined"] or name in ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE"):
            resource.setrlimit(getattr(resource, name), (soft, hard))
    if limits["confined"]:
        _one_process_only()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # lives as long as the process


def _load(programs: list[str], entry_point: str) -> tuple[object, str]:
    """Run the first of the programs that compiles; returns the function, or None and why there is none."""
    problem = "there is no program"
    for text in programs:
        try:
            code = compile(text, "<program>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        module = type(sys)("program")
        sys.modules["program"] = module
        try:
            exec(code, module.__dict__)
        except BaseException as error:  # noqa: BLE001  # the program may raise what it likes
            return None, f"{type(error).__name__} while it was loaded: {_said(error)}"
        function = module.__dict__.get(entry_point)
        return (function, "") if callable(function) else (None, f"it defines no function {entry_point!r}")
    return None, problem


def _serve(programs: list[str], entry_point: str, function: object, problem: str) -> None:
    """Answer calls until the checker has no more."""
    if not callable(function):
        write_frame(_REPLIES, encode(("refused", problem[:500])))
        return
    write_frame(_REPLIES, encode(("loaded",)))
    while True:
        data = read_frame(_CALLS, MOST)
        arguments, named = decode(data)
        try:
            answer: tuple[object, ...] = ("value", function(*arguments, **named), _changed(arguments, data))
            reply = encode(answer)
        except Exception as error:  # noqa: BLE001  # goes on to the test, as its nearest kind
            kinds = [kind.__name__ for kind in type(error).__mro__]
            reply = encode(("error", kinds, _said(error)))
        write_frame(_REPLIES, reply)


def _changed(arguments: list[object], data: bytes) -> object:
    """The arguments as the call left them, where a list, set or object among them may have been changed."""
    if any(isinstance(item, list | dict | set | bytearray) for item in arguments):
        return arguments
    return None


def _said(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:  # noqa: BLE001  # its __str__ is the program's own
        return ""


# --- the checker's side ---------------------------------------------------------------------------------------


class _Program:
    """The program as the tests see it: a function."""

    def __init__(self, pid: int, calls: int, replies: int, limits: dict[str, int]) -> None:
        self.pid, self.calls, self.replies, self.limits = pid, calls, replies, limits
        self.deadline = time.monotonic() + limits["wall_seconds"]
        self.called = 0
        self.gone = ""
        self.cannot_send = ""

    def load(self) -> str:
        """Wait until it has loaded; returns what went wrong, if anything did."""
        said = self._receive()
        if isinstance(said, tuple) and said[:1] == ("refused",) and len(said) == 2:
            return str(said[1])
        return "" if said == ("loaded",) else "it spoke out of turn"

    def __call__(self, *arguments: object, **named: object) -> object:
        if self.gone:
            raise _Gone
        try:
            data = encode((list(arguments), named), strict=True)
        except TypeError as error:
            self.cannot_send = self.cannot_send or str(error)
            raise
        self.called += 1
        try:
            write_frame(self.calls, data)
        except OSError:
            self._end(self._how_it_ended())
        reply = self._receive()
        if isinstance(reply, tuple) and len(reply) == 3 and reply[0] == "value":
            _copy_back(arguments, reply[2])
            return reply[1]
        if isinstance(reply, tuple) and len(reply) == 3 and reply[0] == "error":
            raise _exception(reply[1], str(reply[2]))
        return self._end("its answer was no answer")

    def _receive(self) -> object:
        header = b""
        try:
            parts: list[bytes] = []
            needed = 8
            while needed:
                left = self.deadline - time.monotonic()
                if left <= 0 or not select.select([self.replies], [], [], left)[0]:
                    self._end(f"it took longer than {self.limits['wall_seconds']} s")
                part = os.read(self.replies, min(needed, 1 << 20))
                if not part:
                    self._end(self._how_it_ended())
                parts.append(part)
                needed -= len(part)
                if not needed and not header:
                    header, parts = b"".join(parts), []
                    needed = int.from_bytes(header, "big")
                    if needed > self.limits["answer_bytes"]:
                        self._end(f"it returned more than {self.limits['answer_bytes']} bytes")
            return decode(b"".join(parts))
        except (ValueError, TypeError, RecursionError, MemoryError, OverflowError) as error:
            return self._end(f"its answer was no answer: {type(error).__name__}")

    def _end(self, why: str) -> object:
        self.gone = self.gone or why
        try:  # noqa: SIM105  # contextlib is slow to import
            os.kill(self.pid, 9)
        except OSError:  # it has ended already
            pass
        raise _Gone

    def _how_it_ended(self) -> str:
        limit = min(self.deadline, time.monotonic() + 1)
        while time.monotonic() < limit:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done and os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
                over = f"it used more than {self.limits['cpu_seconds']} s of CPU time"
                return over if number in (9, 24) else f"it was ended by signal {number}"
            if done:
                return f"it exited (status {os.WEXITSTATUS(status)}) before it had answered"
            time.sleep(0.001)
        return "it closed its answers"


def _check(program: _Program, test: str, helpers: list[str], entry_point: str) -> tuple[str, int, str]:
    """Run the tests; returns the verdict, how many noted asserts held, and the reason."""
    held: dict[int, bool] = {}
    try:
        compiled = compile(test, "<test>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return "unscored", 0, f"the test does not compile: {type(error).__name__}: {error}"
    reason = ""
    try:
        reason = program.load()
        if not reason:
            _run_test(program, compiled, helpers, entry_point, held)
    except _Gone:
        reason = program.gone
    except BaseException as error:  # noqa: BLE001  # a test fails by raising
        if program.called == 0 and isinstance(error, ImportError | NameError):
            return "unscored", 0, f"the test does not run here: {type(error).__name__}: {error}"
        reason = f"{type(error).__name__}: {_said(error)}"
    if program.cannot_send:
        return "unscored", 0, f"the test calls the program with what cannot be sent: {program.cannot_send}"
    reason = reason or program.gone or ("" if all(held.values()) else "an assert did not hold")
    return "failed" if reason else "passed", sum(held.values()), reason


def _run_test(
    program: _Program, compiled: object, helpers: list[str], entry_point: str, held: dict[int, bool]
) -> None:
    def tally(number: int, value: object) -> None:
        held[number] = held.get(number, True) and bool(value)

    space: dict[str, object] = {"__name__": "test"}
    for text in helpers:
        try:
            exec(compile(text, "<prompt>", "exec", dont_inherit=True), space)
            break
        except SyntaxError:
            continue
    space[entry_point] = program
    space[TALLY] = tally
    exec(compiled, space)  # type: ignore[arg-type]
    check = space.get("check")
    if callable(check):
        check(program)
    elif program.called == 0:
        raise NameError("it defines no function 'check' and calls nothing")


def _copy_back(arguments: tuple[object, ...], after: object) -> None:
    """Bring the caller's lists, sets and objects to the state in which the call left them."""
    if not isinstance(after, list) or len(after) != len(arguments):
        return
    for ours, theirs in zip(arguments, after, strict=True):
        if isinstance(ours, list | bytearray) and isinstance(theirs, list | bytearray):
            ours[:] = theirs
        elif isinstance(ours, dict | set) and isinstance(theirs, type(ours)):
            ours.clear()
            ours.update(theirs)


def _exception(kinds: object, said: str) -> Exception:
    for kind in kinds if isinstance(kinds, list) else []:
        found = getattr(builtins, kind, None) if isinstance(kind, str) else None
        if isinstance(found, type) and issubclass(found, Exception):
            try:
                return found(said)
            except TypeError:  # such as UnicodeDecodeError, which takes five arguments
                continue
    return Exception(said)


# --- the kernel ----------------------------------------------------------------------------------------------

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# name: number on x86_64 and on aarch64. More than one process would multiply every limit; the others look into
# or change other processes, or hold memory that no limit counts.
_REFUSED = {
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_CLONE, _CLONE3, _CLONE_THREAD = (56, 220), 435, 0x10000
_KILL, _ALLOW, _ERRNO, _EPERM, _ENOSYS = 0x80000000, 0x7FFF0000, 0x00050000, 1, 38


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "L"


class _Char(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Int


def _prctl(*values: int) -> None:
    library: Any = None  # this process and what it has loaded
    call = _Function(_ctypes.dlsym(_ctypes.dlopen(library, 2), "prctl"))
    if call(*(_Long(value) for value in (*values, *(0,) * (5 - len(values))))) != 0:
        raise OSError(f"prctl{values} is refused")


def _buffer(data: bytes) -> Any:
    """A copy of the bytes at a place of its own."""
    kind = type("_Buffer", (_ctypes.Array,), {"_type_": _Char, "_length_": len(data)})
    return kind(*(data[i : i + 1] for i in range(len(data))))


def _hide_from_the_program() -> None:
    """Nobody without privileges can look into this process or open its files (PR_SET_DUMPABLE)."""
    _prctl(4, 0)


def _one_process_only() -> None:
    """Refuse new processes (threads may be), and what ``_REFUSED`` names, from here on (PR_SET_SECCOMP)."""
    program = _filter(os.uname().machine)
    code = _buffer(
        b"".join(
            code.to_bytes(2, sys.byteorder) + bytes((yes, no)) + value.to_bytes(4, sys.byteorder)
            for code, yes, no, value in program
        )
    )
    place = _ctypes.addressof(code)
    head = _buffer(len(program).to_bytes(2, sys.byteorder) + bytes(6) + place.to_bytes(8, sys.byteorder))
    _prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    _prctl(22, 2, _ctypes.addressof(head))


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """Instructions of classic BPF: (code, jump if true, jump if false, value)."""
    architecture, column = _ARCHITECTURES[machine]
    load, equal, above, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, _KILL), (load, 0, 0, 0)]
    if machine == "x86_64":  # the x32 numbers of the same calls
        program += [(above, 0, 1, 0x40000000), (give, 0, 0, _ERRNO | _EPERM)]
    program += [(equal, 0, 1, _CLONE3), (give, 0, 0, _ERRNO | _ENOSYS)]  # libc then goes back to clone
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [(equal, 0, 1, number), (give, 0, 0, _ERRNO | _EPERM)]
    program += [(equal, 0, 3, _CLONE[column]), (load, 0, 0, 16), (any_bit, 1, 0, _CLONE_THREAD)]
    return [*program, (give, 0, 0, _ERRNO | _EPERM), (give, 0, 0, _ALLOW)]


if __name__ == "__main__":
    main()
