"""Plain values as bytes, written without any import: what passes between us, the checker and the program it checks.

Only the shapes of plain data exist on the wire. Whatever a program returns arrives as a number, a text, a list …
made anew by the reader: an object whose ``__eq__`` always agrees cannot cross. ``pickle`` and ``marshal`` would
let hostile bytes run code or crash the reader; ``json`` has no tuples and costs more to import than a run may take.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing is slow to import; checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["TALLY", "Opaque", "decode", "encode", "read_exactly", "read_frame", "write_frame"]

TALLY = "__tally__"
"""Name of the function that notes an assert, in tests that were rewritten to count."""

ITEMS = 1_000_000
"""Most items that are taken from an iterator."""


class Opaque:
    """Stands for a value that is no plain data; equal to nothing but itself.

    Attributes:
        kind: Name of its type.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind} object>"


def encode(value: object, *, strict: bool = False) -> bytes:
    """Return a value as bytes.

    Args:
        value: Plain data; a subclass of a plain type counts as that type, an iterator as what it yields.
        strict: Refuse what is no plain data, rather than send the name of its type.

    Raises:
        TypeError: Strict, and something in it is no plain data.
        RecursionError: It is nested too deeply, or contains itself.

    >>> decode(encode({"a": (1, 2.5, None)}))
    {'a': (1, 2.5, None)}
    """
    parts: list[bytes] = []
    _write(value, parts.append, strict)
    return b"".join(parts)


def decode(data: bytes) -> Any:
    """Return the value that ``encode`` wrote.

    Raises:
        ValueError: The bytes are no such value.
        TypeError: A key of an object, or a member of a set, that cannot be one.
        RecursionError: It is nested too deeply.
    """
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many")
    return value


def write_frame(fd: int, payload: bytes) -> None:
    """Write the length of a payload, then the payload."""
    data = memoryview(len(payload).to_bytes(8, "big") + payload)
    while data:
        data = data[os.write(fd, data) :]


def read_frame(fd: int, most: int) -> bytes:
    """Read one payload, and no byte more.

    Raises:
        EOFError: The other end closed.
        ValueError: The payload is longer than ``most`` bytes.
    """
    length = int.from_bytes(read_exactly(fd, 8), "big")
    if length > most:
        raise ValueError(f"{length} bytes, and {most} are allowed")
    return read_exactly(fd, length)


def read_exactly(fd: int, length: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: The other end closed first.
    """
    parts = []
    while length:
        part = os.read(fd, min(length, 1 << 20))
        if not part:
            raise EOFError("the other end closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


_SEQUENCES: tuple[tuple[type, bytes], ...] = (
    (list, b"l"),
    (tuple, b"t"),
    (set, b"e"),
    (frozenset, b"z"),
)


def _write(value: object, put: Callable[[bytes], object], strict: bool) -> None:
    if value is None or value is True or value is False:
        put({None: b"N", True: b"T", False: b"F"}[value])
    elif isinstance(value, int):
        put(b"i%x;" % value if value >= 0 else b"i-%x;" % -value)
    elif isinstance(value, float):
        put(b"f%s;" % float.hex(value).encode())
    elif isinstance(value, str):
        text = str.encode(value, "utf-8", "surrogatepass")
        put(b"s%x;%s" % (len(text), text))
    elif isinstance(value, bytes | bytearray):
        put(b"%s%x;%s" % (b"b" if isinstance(value, bytes) else b"y", len(value), bytes(value)))
    elif isinstance(value, complex):
        put(b"c%s;%s;" % (float.hex(value.real).encode(), float.hex(value.imag).encode()))
    elif isinstance(value, dict):
        put(b"d%x;" % len(value))
        for key, item in dict.items(value):
            _write(key, put, strict)
            _write(item, put, strict)
    elif isinstance(value, range):
        put(b"r")
        _write([value.start, value.stop, value.step], put, strict)
    else:
        _write_items(value, put, strict)


def _write_items(value: object, put: Callable[[bytes], object], strict: bool) -> None:
    for kind, known in _SEQUENCES:
        if isinstance(value, kind):
            mark = known
            items = list(kind.__iter__(value))  # type: ignore[attr-defined]
            break
    else:
        if strict or not hasattr(type(value), "__next__"):
            if strict:
                raise TypeError(f"a value of type {type(value).__name__} is no plain data")
            put(b"o")
            _write(type(value).__name__[:200], put, strict)
            return
        mark, items = b"I", [item for item, _ in zip(value, range(ITEMS), strict=False)]  # type: ignore[call-overload]
    put(b"%s%x;" % (mark, len(items)))
    for item in items:
        _write(item, put, strict)


def _read(data: bytes, at: int) -> tuple[object, int]:
    mark, at = data[at : at + 1], at + 1
    if mark in (b"N", b"T", b"F"):
        return {b"N": None, b"T": True, b"F": False}[mark], at
    if mark == b"r" or mark == b"o":
        inner, at = _read(data, at)
        if mark == b"o":
            return Opaque(str(inner)), at
        if isinstance(inner, list) and len(inner) == 3:
            return range(*inner), at
        raise ValueError("no range")
    end = data.index(b";", at)
    head, at = data[at:end].decode("ascii"), end + 1
    if mark == b"i":
        return int(head, 16), at
    if mark == b"f":
        return float.fromhex(head), at
    if mark == b"c":
        end = data.index(b";", at)
        return complex(float.fromhex(head), float.fromhex(data[at:end].decode("ascii"))), end + 1
    return _read_sized(mark, int(head, 16), data, at)


def _read_sized(mark: bytes, size: int, data: bytes, at: int) -> tuple[object, int]:
    if not 0 <= size <= len(data) - at:  # an item takes at least one byte
        raise ValueError("a length beyond the end")
    if mark in (b"s", b"b", b"y"):
        raw = data[at : at + size]
        value = (
            raw if mark == b"b" else bytearray(raw) if mark == b"y" else raw.decode("utf-8", "surrogatepass")
        )
        return value, at + size
    items = []
    for _ in range(size * 2 if mark == b"d" else size):
        item, at = _read(data, at)
        items.append(item)
    if mark == b"d":
        return dict(zip(items[::2], items[1::2], strict=True)), at
    if mark == b"I":
        return iter(items), at
    for kind, known in _SEQUENCES:
        if mark == known:
            return kind(items), at
    raise ValueError(f"no value begins with {mark!r}")
