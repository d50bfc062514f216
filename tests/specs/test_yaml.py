"""Reading YAML: YAML 1.2 values, lines, and everything that is no YAML."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from evalkit.errors import SpecError
from evalkit.specs.gate import GatePolicy
from evalkit.specs.yaml import load, read


def messages(path: Path, content: str | bytes) -> list[str]:
    file = path / "a.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpecError) as caught:
        load(file, GatePolicy)
    return [message.replace(f"{file}", "a.yaml") for message in caught.value.messages]


# The values are those of the YAML 1.2 core schema (yaml.org/spec/1.2.2, chapter 10.3).
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("2.0e-4", 0.0002),
        (".5", 0.5),
        ("-.5e-3", -0.0005),
        ("1.", 1.0),
        ("16", 16),
        ("+5", 5),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("none", "none"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ("!!str 5", "5"),
        ("|\n  two\n  lines", "two\nlines\n"),
        ("große Straße 日本", "große Straße 日本"),
    ],
)
def test_values(tmp_path: Path, written: str, value: object) -> None:
    (tmp_path / "a.yaml").write_text(f"a: {written}\n", encoding="utf-8")
    found = read(tmp_path / "a.yaml").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: .nan\n")
    assert math.isnan(read(tmp_path / "a.yaml").data["a"])


def test_keys_are_text_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("on: 1\n1: 2\ntrue: 3\n")
    assert read(tmp_path / "a.yaml").data == {"on": 1, "1": 2, "true": 3}


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# a comment\na: 1\nb:\n  - c: 2\n\n  - {d: 3,\n     e: 4}\n")
    document = read(tmp_path / "a.yaml")
    assert document.line(("a",)) == 2
    assert document.line(("b", 0, "c")) == 4
    assert document.line(("b", 1, "e")) == 7
    assert document.line(("b", 1, "not there")) == 6  # of what would hold it
    assert document.line(("nowhere",)) == 2


def test_anchors_and_merges(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &x {rank: 8, alpha: 16}\nb:\n  <<: *x\n  rank: 32\nc: *x\n")
    document = read(tmp_path / "a.yaml")
    assert document.data["b"] == {"alpha": 16, "rank": 32}
    assert document.data["c"] == {"rank": 8, "alpha": 16}
    assert document.line(("b", "rank")) == 4
    assert document.line(("b", "alpha")) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "a.yaml:1: expected a mapping of keys, got an empty file"),
        ("# only a comment\n", "a.yaml:1: expected a mapping of keys, got an empty file"),
        ("\n- a\n- b\n", "a.yaml:2: expected a mapping of keys, got a list"),
        ("hello\n", "a.yaml:1: expected a mapping of keys, got a single value"),
        (b"a: 1\nb: \xff\n", "a.yaml:2: expected UTF-8 text; save the file as UTF-8"),
        ("gate: ci".encode("utf-16"), "a.yaml:1: expected UTF-8 text; save the file as UTF-8"),
        ("a: 1\n\tb: 2\n", "Indent with spaces, not tabs."),
        ("a: b: c\n", "Check the indentation, and put text that holds ': ' in quotes."),
        ("a: @x\n", "Put the value in quotes."),
        ("a: [1, 2\n", "a.yaml:2: not valid YAML"),
        ("a: 'x\n", "a.yaml:2: not valid YAML"),
        ("a: *x\n", "found undefined alias 'x'"),
        ("---\na: 1\n---\nb: 2\n", "expected one document"),
        ("a: \x07\n", "a.yaml: not valid YAML"),
        (
            "a: !!python/object:os.system {}\nb: !env HOME\n",
            "a.yaml:2: b: the YAML tag '!env' has no meaning here; remove it",
        ),
        ("a: &x [*x]\n", "a.yaml:1: a[0]: this alias holds itself"),
        ("[a, b]: 1\n", "a.yaml:1: expected a key of plain text, got a list or a mapping"),
        ("a: !!int x\n", "a.yaml:1: a: 'x' is not a valid int"),
    ],
)
def test_what_is_no_yaml(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert expected in "\n".join(messages(tmp_path, content))


def test_a_key_twice_is_told_beside_the_other_mistakes(tmp_path: Path) -> None:
    told = messages(tmp_path, "gate: ci\nrules:\n  - {task: t, metric: m, at_least: 0, taks: t}\ngate: ci\n")
    assert told == [
        "a.yaml:3: rules[0].taks: unknown key. Did you mean 'task'?",
        "a.yaml:4: gate: this key is already on line 1; keep one of them",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.yaml: no such file"):
        read(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="expected a YAML file, got a folder"):
        read(tmp_path)


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = read(tmp_path / "a.yaml")
    assert document.data == {"a": 1, "b": 2}
    assert document.line(("b",)) == 2


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc xyz", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.text("abc", min_size=1), PLAIN, min_size=1, max_size=4))
def test_what_ruamel_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]
) -> None:
    """ruamel's own writer and reader are the outside implementation."""
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.width = (
        False,
        100_000,
    )  # it breaks long keys in two, and cannot read them then
    writer.dump(data, path)
    assert read(path).data == data
