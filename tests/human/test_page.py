"""The rater's page in a real browser, from disk, offline: used by keyboard, reloaded, saved, imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.human.questions import QuestionsSpec
from evalkit.human.records import read_labels


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Open a page from disk; fails if anything but it is fetched, or anything is said on the console."""
    contexts, problems = [], []

    def open_page(path: Path, **settings: Any) -> Any:
        context = browser.new_context(
            offline=True, **{"viewport": {"width": 1280, "height": 900}, **settings}
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "request", lambda request: request.url.startswith("blob:") or _check(request.url, path, problems)
        )
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def _check(url: str, path: Path, problems: list[str]) -> None:
    if url != path.as_uri():
        problems.append(url)


def saved(page: Any, to: Path) -> Path:
    """Press save and download, and return the file."""
    page.keyboard.press("s")
    with page.expect_download() as download:
        page.keyboard.press("Enter")  # the download button has the focus
    download.value.save_as(to)
    page.keyboard.press("Escape")
    return to


def test_ten_items_by_keyboard_with_a_reload_between(
    opened, mail_run, export, take, single, tmp_path
) -> None:
    run = mail_run()
    page = opened(export(run, "html", single).files[0])
    page.keyboard.press("Enter")  # Start
    for item in range(10):
        assert page.inner_text("#place").startswith(f"Item {item + 1} of ")
        for key in (str(item % 5 + 1), str(item % 2 + 1), str(item % 3 + 1)):
            page.keyboard.press(key)
        page.keyboard.press("t")
        page.keyboard.type(f"=note {item} Grüße 👍")
        page.keyboard.press("Control+Enter")
        if item == 5:
            page.reload()
            assert page.locator("#help[open]").count() == 0
    assert page.inner_text("#count") == "10 of 24 done"
    file = saved(page, tmp_path / "labels.json")

    done = take(run, file)
    assert (done.problems, done.empty) == ([], 0)
    labels = read_labels(run.path / "human" / "labels.jsonl")
    content = json.loads(file.read_text("utf-8"))
    by_item = {label.item: {} for label in labels}
    for label in labels:
        by_item[label.item][label.question] = label.label
    for number, row in enumerate(content["labels"]):
        assert by_item[row["item"]] == {
            "coherence": number % 5 + 1,
            "safe": number % 2 == 0,
            "fault": ["none", "wrong", "rude, or cold"][number % 3],
            "remark": f"=note {number} Grüße 👍",
        }
    assert len(content["labels"]) == 10
    assert all(label.seconds is not None and label.seconds < 60 for label in labels)
    again = take(run, file)
    assert (again.new, again.changed, again.same) == (0, 0, done.new)


def test_what_models_wrote_is_shown_and_never_run(opened, mail_run, export, single, texts) -> None:
    page = opened(export(mail_run(), "html", single).files[0])
    page.keyboard.press("Enter")
    page.keyboard.press("m")  # plain text
    seen = []
    for _ in range(24):
        seen.append(page.locator("#answers .text, #answers .empty").first.text_content())
        page.keyboard.press("ArrowRight")
    assert "<img src=x onerror='window.hit=1'><script>window.hit=1</script></script> & ]]>" in seen
    assert "(empty)" in seen
    assert any(
        text.startswith("bell␇ nul␀ esc␛[31m ⟦U+202E⟧drlow") or "⟦U+202E⟧dlrow" in text for text in seen
    )
    assert page.evaluate("window.hit") is None
    assert page.locator("#answers script, #answers img, #answers a").count() == 0


def test_what_models_in_a_loop_write_does_not_stop_the_page(opened, mail_run, export, single) -> None:
    """Two megabytes of lines, and marks without end: each is shown whole, in seconds."""
    loops = [
        "Zeile é😀 text\n" * 140_000,  # took 48 s
        ">" * 5_000 + " deep",  # went out of stack
        "**a " * 50_000,
        "|" * 150_000 + "\n" + "|-" * 9_000,
        "a|\n" + " " * 50_000 + "x",
        "a\n\n" * 150_000,
    ]
    run = mail_run(names=("base",), n=len(loops), text=lambda name, i: loops[i])
    page = opened(export(run, "html", single).files[0], viewport={"width": 390, "height": 844})
    page.keyboard.press("Enter")
    page.set_default_timeout(15_000)
    seen = set()
    for _ in loops:
        seen.add(re.sub(r"[\s>|-]", "", page.locator("#answers .text").text_content()))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("ArrowRight")
    assert seen == {re.sub(r"[\s>|-]", "", text) for text in loops}


def test_right_to_left_and_code(opened, mail_run, export, single) -> None:
    texts = ["שלום! החבילה בדרך.\n\n```\nif x: y\n```", "plain"]
    run = mail_run(names=("base",), n=2, text=lambda name, i: texts[i])
    page = opened(export(run, "html", single).files[0])
    page.keyboard.press("Enter")
    if "שלום" not in page.inner_text("#answers"):
        page.keyboard.press("ArrowRight")
    directions = page.evaluate(
        "['p', 'pre'].map(tag => getComputedStyle(document.querySelector('#answers .text ' + tag)).direction)"
    )
    assert directions == ["rtl", "ltr"]


def test_a_pair_on_a_phone(opened, mail_run, export, take, paired, tmp_path) -> None:
    run = mail_run()
    made = export(run, "html", paired)
    page = opened(made.files[0], viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.tap("text=Start")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("label:has-text('both bad')")
    page.tap("#next")
    page.tap("label:has-text('tie')")
    take(run, saved(page, tmp_path / "labels.json"))
    labels = read_labels(run.path / "human" / "labels.jsonl")
    assert sorted(label.label for label in labels) == ["both_bad", "tie"]
    small = page.evaluate(
        "[...document.querySelectorAll('main button:not([hidden]), main label, nav button')]"
        ".map(e => e.getBoundingClientRect()).filter(r => r.height && r.height < 24).length"
    )
    assert small == 0  # WCAG 2.2 AA, 2.5.8


def test_text_has_the_contrast_that_wcag_asks_for(opened, mail_run, export, single) -> None:
    """4.5 to 1 for every text on its ground, in light and in dark (WCAG 2.2 AA, 1.4.3)."""
    measure = """() => {
      const lum = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126*r + 0.7152*g + 0.0722*b; };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c)) return c; } return getComputedStyle(document.body).backgroundColor; };
      return [...document.querySelectorAll('main *, header *, nav *')].filter(e => e.checkVisibility()
        && !e.closest(':disabled')
        && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
          const [a, b] = [lum(getComputedStyle(e).color), lum(ground(e))].sort((x, y) => y - x);
          return [(a + 0.05) / (b + 0.05), e.tagName + '.' + e.className]; }).filter(([c]) => c < 4.5); }"""
    file = export(mail_run(), "html", single).files[0]
    for scheme in ("light", "dark"):
        page = opened(file, color_scheme=scheme)
        page.keyboard.press("Enter")
        page.keyboard.press("2")
        assert page.evaluate(measure) == []


def test_every_control_has_a_name(opened, mail_run, export, single) -> None:
    page = opened(export(mail_run(), "html", single).files[0])
    page.keyboard.press("Enter")
    groups = page.get_by_role("radiogroup")
    assert groups.count() == 3
    assert page.get_by_role("radiogroup", name="Is the answer coherent?").get_by_role("radio").count() == 5
    assert page.get_by_role("textbox", name="Anything worth noting?").count() == 1
    assert page.get_by_role("radio", name="5 every sentence follows").count() == 1


def test_the_key_of_a_rating_is_its_number(opened, mail_run, export) -> None:
    scales = {"zero": (0, 10), "two": (2, 6), "ten": (1, 10), "minus": (-2, 2)}
    asked = QuestionsSpec.model_validate(
        {
            "questions": [
                {"name": name, "ask": name, "kind": "rating", "scale": {"low": low, "high": high}}
                for name, (low, high) in scales.items()
            ]
        }
    )
    page = opened(export(mail_run(), "html", asked).files[0])
    page.keyboard.press("Enter")
    for key in "9", "4", "0", "3":
        page.keyboard.press(key)
    assert page.evaluate("answersOf(data.lines[0])") == {"zero": "9", "two": "4", "ten": "10", "minus": "0"}


def test_shortcuts_can_be_turned_off(opened, mail_run, export, single) -> None:
    page = opened(export(mail_run(), "html", single).files[0])
    page.uncheck("#shortcuts")
    page.click("text=Start")
    page.keyboard.press("3")
    assert page.locator("input:checked:not(#shortcuts)").count() == 0


def test_a_saved_file_goes_on_elsewhere(opened, mail_run, export, single, tmp_path) -> None:
    file = export(mail_run(), "html", single).files[0]
    first = opened(file)
    first.keyboard.press("Enter")
    first.keyboard.press("4")
    kept = saved(first, tmp_path / "kept.json")
    second = opened(file)
    second.keyboard.press("Enter")
    second.keyboard.press("s")
    second.set_input_files("#load", kept)
    second.locator("#state", has_text="1 item was loaded").wait_for()
    second.keyboard.press("Escape")
    assert second.locator("#q0 input:checked").input_value() == "4"
    assert second.locator("#load").input_value() == ""  # the same file can be chosen again


@pytest.mark.parametrize("kept", ['{"answers": null}', '"x"', "{", '{"answers": "abc", "seconds": 3}'])
def test_what_the_browser_kept_of_something_else_is_left_aside(
    opened, mail_run, export, single, kept
) -> None:
    made = export(mail_run(), "html", single)
    page = opened(made.files[0])
    page.evaluate("([key, kept]) => { keep = () => {}; localStorage.setItem(key, kept); }",
                  [f"evalkit:{made.export}:rater-1", kept])  # fmt: skip
    page.reload()
    page.keyboard.press("Enter")
    page.keyboard.press("4")
    assert page.locator("#q0 input:checked").input_value() == "4"
