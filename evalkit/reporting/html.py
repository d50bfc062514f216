"""One offline HTML file of a run: nothing in it is fetched, nothing that a model wrote is run.

The page is a catalog entry (``reports/NAME``): a Jinja template, a style sheet and a script, all three put
into one file. A content security policy names style and script by their hash and forbids everything else, the
network first. What models wrote travels as JSON and reaches the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup
from pydantic import Field

from evalkit.catalog import Entry, find
from evalkit.errors import CatalogError, OutputFolderError
from evalkit.judging.trust import trust_in
from evalkit.reporting import formats
from evalkit.reporting.caveats import caveats
from evalkit.reporting.charts import bars, curves, forest
from evalkit.reporting.findings import MARKS, findings
from evalkit.reporting.form import form_notes
from evalkit.reporting.judges import judge_notes, leaning_in, leanings
from evalkit.reporting.noise import noise_rows
from evalkit.reporting.samples import embedded, flips
from evalkit.reporting.searches import search_tables
from evalkit.reporting.settings import settings_rows, trainer_settings
from evalkit.reporting.slices import class_tables, slice_tables
from evalkit.reporting.tables import Board, board, cost_rows, undone
from evalkit.running.folder import RunFolder, write_atomically
from evalkit.specs.model import Spec
from evalkit.specs.yaml import load

__all__ = ["ReportCard", "context", "render", "script_json", "write_report"]

FACTS = ("versions", "hashes", "seeds", "device", "machine", "threads")
"""Keys of ``run.json`` that a reader needs to make the run again."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class ReportCard(Spec):
    """``report.yaml``: which files make the page and how much of a run it carries."""

    report: str
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    template: str = "report.html.j2"
    style: str = "style.css"
    script: str = "report.js"
    max_bytes: Annotated[int, Field(ge=0)] = 5_000_000
    """Bytes of samples in the page; all of them are in the run folder."""
    max_text: Annotated[int, Field(ge=100)] = 20_000
    """Characters of one text in the page."""


def write_report(run: RunFolder, entry: Entry | None = None) -> Path:
    """Write ``report.html`` into the run folder as a whole and return its path.

    Args:
        run: The run.
        entry: The report to draw it with; without one, the built-in ``reports/default``.

    Raises:
        CatalogError: The report's template, style sheet or script is wrong.
        SpecError: Its card is wrong.
        DataError: The run folder holds no results.
        OutputFolderError: The file cannot be written.
    """
    page = render(run, entry or find("reports", "default"))
    path = run.path / "report.html"
    try:
        # A lone surrogate (half an emoji that a model's answer ended in) has no UTF-8 form.
        write_atomically(path, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputFolderError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def render(run: RunFolder, entry: Entry) -> str:
    """Return the page of a run. The same run gives the same text.

    Args:
        run: The run.
        entry: The report, an entry of kind ``reports``.

    Raises:
        CatalogError: The report's template, style sheet or script is wrong.
        SpecError: Its card is wrong.
        DataError: The run folder holds no results.
    """
    card = load(entry.card, ReportCard)
    style, script = (_asset(entry, name) for name in (card.style, card.script))
    environment = Environment(
        loader=FileSystemLoader(entry.path),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_printable,
    )
    for name in formats.__all__:
        environment.filters[name] = getattr(formats, name)
    values = context(run, card)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'"
    )
    try:
        template = environment.get_template(card.template)
        return template.render({**values, "policy": policy, "style": Markup(style), "script": Markup(script)})
    except TemplateError as error:
        place = f"{entry.path / card.template}:{getattr(error, 'lineno', None) or 1}"
        raise CatalogError(f"{place}: the template does not render: {error}") from error


def context(run: RunFolder, card: ReportCard) -> dict[str, Any]:
    """Return all that a template can use; ``reports/default/README.md`` lists it."""
    about, results = run.run(), run.results()
    table = board(results)
    carried = embedded(run, table, card.max_bytes, card.max_text)
    for metric in (metric for task in carried["tasks"] for metric in task["metrics"]):
        if trust := trust_in(metric["name"], results):
            metric["trust"] = trust
    logs = {name: run.training(name) for name in table.candidates}
    panels = curves(logs)
    scores = results.get("scores") or []
    slices, classes = slice_tables(results, table), class_tables(results, table)
    return {
        "study": str(results.get("study") or (about.get("study") or {}).get("study") or ""),
        "run_id": str(results.get("run", "")),
        "date": _date(about, str(results.get("run", ""))),
        "status": results.get("status", "partial"),
        "undone": undone(results, table),
        "model": (about.get("study") or {}).get("model"),
        "version": (about.get("versions") or {}).get("evalkit"),
        "warnings": list(about.get("warnings") or []),
        "trust": partial(trust_in, results=results),
        "leaning": partial(leaning_in, results=results),
        "leanings": leanings,
        "notes": [
            *(("", note) for note in caveats(results, table)),
            *(("", note) for note in judge_notes(results)),
            *_notes(about, results),
            *(("", note) for note in form_notes(run, table)),
        ],
        "marked": any(cell.mark for cell in table.cells.values()),
        "uncorrected": any(cell.mark and _uncorrected(cell.comparison) for cell in table.cells.values()),
        "detailed": [
            task
            for task in table.tasks
            if len(table.of(task)) > 1
            or any(map(table.compared, table.of(task)))
            or task in {*(part.task for part in slices), *(part.task for part in classes)}
        ],
        "comparisons": results.get("comparisons") or [],
        "gate": _gate(run),
        "confidence": (scores[0].get("confidence") if scores else None) or 0.95,
        "about": about,
        "results": results,
        "board": table,
        "findings": findings(table),
        "marks": MARKS,
        "bars": {(column.task, column.metric): bars(table, column) for column in table.columns},
        "forests": {(column.task, column.metric): forest(table, column) for column in table.columns},
        "panels": panels,
        "searches": search_tables(results),
        "slices": slices,
        "noise": noise_rows(results),
        "classes": classes,
        "costs": cost_rows(results),
        "settings": settings_rows(about.get("study") or {}, about.get("origins") or {}),
        "trainer": trainer_settings(results),
        "facts": {
            name: settings_rows(_mapping(about[name]), {}) for name in FACTS if about.get(name) is not None
        },
        "carried": carried,
        "data": script_json(_data(table, carried, panels)),
    }


def script_json(value: Any) -> Markup:
    """Return JSON that is safe inside ``<script type="application/json">``.

    No character that HTML or an old JavaScript reads is left bare, so no text can end the element.

    >>> script_json({"x": "</script>&"})
    Markup('{"x":"\\\\u003c/script\\\\u003e\\\\u0026"}')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text))


def _data(table: Board, carried: Mapping[str, Any], panels: Any) -> dict[str, Any]:
    return {
        "candidates": list(table.candidates),
        "controls": list(table.controls),
        "samples": carried,
        "flips": list(flips(table, dict(carried))),
        "curves": [
            {"train": panel.train.points, "validation": panel.validation.points, "last": panel.x.high}
            for panel in panels
        ],
    }


def _asset(entry: Entry, name: str) -> str:
    """Read a style sheet or a script; neither may hold the tag that would end it."""
    path = entry.path / name
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise CatalogError(f"{path} does not read: {error.strerror}; {entry.card.name} names it.") from error
    if re.search(r"</(script|style)|<!--", text, re.IGNORECASE):
        raise CatalogError(
            f"{path} holds a tag that would end it inside the page; write '<\\/script' instead."
        )
    return text


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _date(about: Mapping[str, Any], run_id: str) -> str:
    """The day and time the run began, from its record or from its ID; empty where neither says."""
    named = re.match(r"(\d{4})-?(\d\d)-?(\d\d)[T-]?(\d\d):?(\d\d)", str(about.get("started") or run_id))
    if named is None:
        return ""
    return datetime(*map(int, named.groups()), tzinfo=UTC).strftime("%-d %B %Y, %H:%M UTC")  # type: ignore[arg-type, misc]


def _uncorrected(comparison: Mapping[str, Any] | None) -> bool:
    return all((comparison or {}).get(name) is None for name in ("p_adjusted", "low_adjusted"))


def _notes(about: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(candidate or nothing, remark), those of the run first."""
    own = [("", str(text)) for text in about.get("notes") or []]
    return own + [
        (entry["name"], str(text))
        for entry in results.get("candidates", [])
        for text in entry.get("notes") or []
    ]


def _gate(run: RunFolder) -> dict[str, Any] | None:
    """The gate's last verdict, with each rule's decision; None where no gate was asked or its file is damaged."""
    try:
        told = json.loads((run.path / "gate.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("rules"), list):
        return None
    rules = [
        {**rule, "decision": "inconclusive", "alone": True}
        if rule.get("verdict") == "fail" and not rule.get("fails_together", True)
        else {**rule, "decision": rule.get("verdict"), "alone": False}
        for rule in told["rules"]
    ]
    return (
        {"gate": "", "verdict": "", "evidence": told.get("verdict", ""), "sequential": None}
        | told
        | {"rules": rules}
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {} if value is None else {"": value}


def _printable(value: Any) -> Any:
    """Show control characters by their pictures: HTML has no form for them."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROL.sub(lambda match: chr(0x2400 + ord(match[0])) if match[0] != "\x7f" else "␡", value)
    return value
