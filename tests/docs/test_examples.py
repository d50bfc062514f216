"""The examples in the README and in docs/ work: Python runs, YAML is what the specs take, commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from evalkit.cli.group import COMMANDS
from evalkit.specs.explain import explain
from evalkit.specs.gate import GatePolicy
from evalkit.specs.study import Study
from evalkit.specs.task import TaskSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPECS = {"study": Study, "task": TaskSpec, "gate": GatePolicy}
IN_THE_MAKING = {"data", "cache"}
"""Commands of the reference that its first paragraph lists as not in this version."""


def blocks(language: str) -> list[tuple[str, str]]:
    """(page:number, text) of every fenced block of a language."""
    found = []
    for page in PAGES:
        for number, text in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
        ):
            found.append((f"{page.relative_to(ROOT)}:{number + 1}", text))
    return found


@pytest.mark.parametrize(("where", "code"), blocks("python"), ids=lambda value: str(value)[:40])
def test_python_runs(where: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "evalkit.run(" in code or "assert_no_regression" in code:
        compile(code, where, "exec")  # these want a study or a run of the reader's own
        return
    exec(compile(code, where, "exec"), {"__name__": "example"})


@pytest.mark.parametrize(("where", "text"), blocks("yaml"), ids=lambda value: str(value)[:40])
def test_yaml_is_what_the_specs_take(where: str, text: str) -> None:
    data = YAML(typ="safe").load(text)
    if not isinstance(data, dict):
        return
    spec = SPECS.get(next(iter(data), ""))
    if spec is None or "…" in text or " | json" in text:  # a part of a file, or a sketch of every form
        return
    assert [str(mistake) for mistake in explain(spec, data)] == [], where


def test_commands_exist() -> None:
    unknown = []
    for page in PAGES:
        for line in re.findall(r"^\s{4}evalkit (.*)$|`evalkit ([^`]*)`", page.read_text("utf-8"), re.M):
            words = shlex.split((line[0] or line[1]).split("#")[0].replace("'", "").replace('"', ""))
            if words and re.fullmatch("[a-z]+", words[0]) and words[0] not in {*COMMANDS, *IN_THE_MAKING}:
                unknown.append(f"{page.name}: {' '.join(words)}")
    assert unknown == []


def test_pages_link_to_what_is_there() -> None:
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith(("http://", "https://")) and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")
    assert missing == []
