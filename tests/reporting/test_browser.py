"""The report in a real browser, opened from disk with the network cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from evalkit.reporting.html import write_report

HOSTILE = {
    "script": "</script><script>window.hit = 1; alert(1)</script>",
    "image": "<img src=x onerror='window.hit = 1'><svg onload='window.hit = 1'>",
    "bidi": "abc \u202e dlrow \u2066 olleh \u200b zero\ufeff",
    "hebrew": "שלום עולם, 42",
    "arabic": "مرحبا بالعالم\nسطر ثان",
    "emoji": "👩‍👩‍👧 🇵🇱 ok",
    "nul": "a\x00b\x1b[31mc\x7f",
    "space": "  two  spaces\n\n\ttab   ",
    "entity": "&lt;b&gt; &amp; <!-- --> ]]> {{ 7*7 }}",
    "a/b c?#%": "an id that an address has to escape",
    "żółć": "an id beyond ASCII",
}
TEXT = "[data-candidate=base].card .text"


@pytest.fixture
def opened(browser) -> Iterator:
    """Open a page from disk; fails if anything but it is fetched, or anything is said on the console."""
    contexts, problems = [], []

    def fetched(url, address):
        if url.split("#")[0] != address:
            problems.append(url)

    def open_page(path: Path, fragment: str = "", **settings):
        size = {"width": 1280, "height": 900}
        context = browser.new_context(
            offline=True, **{"viewport": size, "reduced_motion": "reduce", **settings}
        )
        contexts.append(context)
        page = context.new_page()
        address = path.as_uri()
        page.on("request", lambda request: fetched(request.url, address))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.goto(address + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def report(shared_run) -> Path:
    return write_report(shared_run)


@pytest.fixture
def hostile(make_run) -> Path:
    def change(candidate, task, rows):
        for row, (name, text) in zip(rows, HOSTILE.items(), strict=True):
            row.update(id=name, output=text, target=text[:50])

    return write_report(make_run(n=len(HOSTILE), change=change))


def test_nothing_is_fetched_and_nothing_complains(opened, report):
    page = opened(report)
    assert page.title() == "tickets · evalkit"
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.locator(".list li").count() == 40


def test_the_policy_stops_what_a_page_could_fetch_or_run(browser, report):
    page = browser.new_context().new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(report.as_uri())
    assert page.evaluate("fetch('https://example.org/').then(() => 'fetched', () => 'blocked')") == "blocked"
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hit = 1'}))"
    )
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'file:///x.png'}))"
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.hit") is None
    assert sum("Content Security Policy" in text for text in refused) >= 3
    page.context.close()


def visit(page, task, name):
    page.evaluate("address => location.hash = address", f"#/{task}/{quote(name, safe='')}")
    expect(page.locator("#sample-title")).to_have_text(name)


def test_what_a_model_wrote_is_shown_as_text(opened, hostile):
    page = opened(hostile)
    for name, text in HOSTILE.items():
        visit(page, "tickets", name)
        assert page.locator(TEXT).first.evaluate("node => node.textContent") == text
        assert page.locator(".context .text").first.evaluate("node => node.textContent") == text[:50]
        assert page.locator(".cards img, .cards script, .cards svg").count() == 0
    assert page.evaluate("window.hit") is None


def test_hidden_characters_show_their_code_and_directions_hold(opened, hostile):
    page = opened(hostile, "#/tickets/bidi")
    codes = page.locator(f"{TEXT} .code").evaluate_all("nodes => nodes.map(node => node.dataset.code)")
    assert codes == ["U+202E", "U+2066", "U+200B", "U+FEFF"]
    visit(page, "tickets", "hebrew")
    text = page.locator(TEXT).first
    assert text.get_attribute("dir") == "auto"
    assert text.evaluate("node => getComputedStyle(node).direction") == "rtl"
    visit(page, "tickets", "space")
    assert (
        page.locator(TEXT).first.evaluate("node => getComputedStyle(node).whiteSpaceCollapse") == "preserve"
    )
    visit(page, "tickets", "emoji")
    assert page.locator(f"{TEXT} .code").count() == 0  # joiners are spelling, not tricks


def test_a_very_long_and_a_broken_answer(opened, make_run):
    def change(candidate, task, rows):
        rows[0].update(output="é" * 1_000_000)
        rows[1].update(output="cut \ud83d", id="half \ud83d")

    path = write_report(make_run(n=2, change=change))
    assert path.stat().st_size < 1_000_000
    page = opened(path, "#/tickets/tickets-000")
    assert page.locator(TEXT).first.evaluate("node => node.textContent") == "é" * 20_000
    assert "980,000 more characters" in page.locator("[data-candidate=base].card").inner_text()
    page.keyboard.press("j")
    expect(page.locator("#sample-title")).to_have_text(re.compile("^half"))
    assert page.locator(TEXT).first.evaluate("node => node.textContent").startswith("cut ")


def test_the_table_shows_the_numbers_of_the_results(opened, make_run):
    run = make_run()
    page = opened(write_report(run))
    cells = page.locator("#board td.score").evaluate_all(
        "nodes => nodes.map(n => [n.dataset.candidate, n.dataset.task, n.dataset.metric,"
        " n.querySelector('.number').textContent, n.querySelector('.fine').textContent])"
    )
    scores = {(row["candidate"], row["task"], row["metric"]): row for row in run.results()["scores"]}
    assert len(cells) == 16
    for candidate, task, metric, number, fine in cells:
        row = scores[candidate, task, metric]
        assert float(number) == pytest.approx(
            row["value"], abs=0.5 * 10 ** -len(number.partition(".")[2]) + 1e-12
        )
        low, high = fine.split("]")[0].strip("[").split(", ")
        assert (float(low), float(high)) == (  # rounded to what is shown
            pytest.approx(row["low"], abs=0.0051),
            pytest.approx(row["high"], abs=0.0051),
        )
        assert f"n {row['n']}" in fine
        assert ("unscored" in fine) == (row["unscored"] > 0)


def test_a_link_opens_its_sample_and_another_link_another(opened, report):
    page = opened(report, "#/general-knowledge/general-knowledge-017")
    assert page.locator("#sample-title").inner_text() == "general-knowledge-017"
    assert (
        page.locator(".filters select").first.evaluate("box => box.selectedOptions[0].text")
        == "general-knowledge"
    )
    assert page.locator(".cards .card").count() == 4
    assert page.evaluate("document.getElementById('samples').getBoundingClientRect().top") < 200
    page.evaluate("location.hash = '#/tickets/tickets-003'")
    expect(page.locator("#sample-title")).to_have_text("tickets-003")


@pytest.mark.parametrize("fragment", ["#/tickets/nothing", "#/nowhere/x", "#/tickets/%E0%A4%A", "#/"])
def test_a_link_to_nothing_says_so(opened, report, fragment):
    page = opened(report, fragment)
    if fragment == "#/":
        assert page.locator("#sample-title").inner_text() == "tickets-000"
    else:
        assert page.locator("[role=alert]").count() == 1


def changed_ids(run, candidate, side, task="general-knowledge"):
    (row,) = [
        row
        for row in run.results()["comparisons"]
        if (row["candidate"], row["task"], row["metric"]) == (candidate, task, "exact_match")
    ]
    return row[side]


def listed(page):
    return page.locator(".list li a > span:first-child").all_inner_texts()


def choose(page, label, value):
    page.locator(".filters label", has_text=label).locator("select").select_option(value)


def test_filters_and_search(opened, make_run):
    run = make_run()
    page = opened(write_report(run), "#/general-knowledge/general-knowledge-000")
    choose(page, "Candidate", "r32")
    choose(page, "Show", "lost")
    assert listed(page) == changed_ids(run, "r32", "lost")
    assert page.locator(".cards .card h4 > span:first-child").all_inner_texts() == ["base", "r32"]
    assert page.locator(".card.lost").count() == 1
    choose(page, "Show", "gained")
    assert listed(page) == changed_ids(run, "r32", "gained")
    choose(page, "Show", "all")
    page.locator(".filters input").fill("general-knowledge-01")
    assert listed(page) == [f"general-knowledge-{i:03d}" for i in range(10, 20)]
    page.locator(".filters input").fill("no such text anywhere")
    assert listed(page) == []
    assert "No sample fits" in page.locator(".detail").inner_text()
    page.locator(".filters input").fill("parcel 4716")  # only the question of sample 5 has it
    assert listed(page) == ["general-knowledge-005"]


def test_unscored_and_cut_answers_are_found(opened, report):
    page = opened(report)
    choose(page, "Show", "unscored")
    assert listed(page) == ["tickets-000", "tickets-001"]
    assert "unscored: the answer is empty" in page.locator("[data-candidate=few-shot].card").inner_text()
    choose(page, "Show", "cut")
    assert len(listed(page)) == 14
    assert "cut at the length limit" in page.locator("[data-candidate=base].card").inner_text()


def test_keys_walk_through_what_is_listed(opened, report):
    page = opened(report)
    for key, expected in (("j", "001"), ("j", "002"), ("k", "001"), ("k", "000"), ("k", "000")):
        page.keyboard.press(key)
        expect(page.locator("#sample-title")).to_have_text(f"tickets-{expected}")
    page.locator(".filters input").click()
    page.keyboard.type("jj")
    assert page.locator(".filters input").input_value() == "jj"


def test_a_long_list_is_drawn_in_parts(opened, make_run, fake_task):
    task = fake_task("t", "exact_match", {"base": 0.5, "r8": 0.6}, ())
    page = opened(write_report(make_run(tasks=[task], n=450, training={})))
    assert len(listed(page)) == 200
    page.get_by_role("button", name="Show 200 more").click()
    assert len(listed(page)) == 400
    page.evaluate("location.hash = '#/t/t-449'")
    expect(page.locator("#sample-title")).to_have_text("t-449")
    assert page.locator(".list [aria-current]").inner_text().startswith("t-449")


def test_curves_are_read_by_pointer_and_by_key(opened, make_run):
    run = make_run()
    page = opened(write_report(run))
    panel = page.locator(".panel").first
    panel.scroll_into_view_if_needed()
    box = panel.locator(".canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    row = run.training("r8")[23]
    train, validation = row["loss"], row["validation_loss"]
    assert (
        panel.locator("output").inner_text()
        == f"step 24 · training {train:.4f} · validation {validation:.4f}"
    )
    page.mouse.move(0, 0)
    panel.locator(".canvas").focus()
    page.keyboard.press("ArrowLeft")
    assert panel.locator("output").inner_text().startswith("step 23 ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_width_and_text_has_contrast(opened, report, width, scheme):
    page = opened(report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(box => box.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WEAK) == []


# WCAG 2.2, 1.4.3: 4.5 to 1 for text; the formula is that of its definition of relative luminance.
WEAK = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const weak = new Set();
  for (const node of document.querySelectorAll('body *:not(script):not(svg):not(svg *)')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.disabled || node.closest('button:disabled')) continue;
    const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...weak];
}"""


def test_marks_do_not_rely_on_colour(opened, report):
    page = opened(report)
    marks = {" ".join(text.split()) for text in page.locator(".mark").all_text_contents()}
    assert marks == {"▲ better", "▼ worse", "○ unclear", "▲ gained"}


def test_headings_are_in_order_and_controls_have_names(opened, report):
    page = opened(report)
    levels = page.locator("h1, h2, h3, h4").evaluate_all(
        "nodes => nodes.map(node => Number(node.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    nameless = page.locator("select, input").evaluate_all(
        "nodes => nodes.filter(node => !node.labels.length).length"
    )
    assert nameless == 0


def test_it_reads_without_script_and_on_paper(browser, report):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("noscript, .note", has_text="needs JavaScript").first.is_visible()
    assert page.locator("#board td.score").count() == 16
    page.emulate_media(media="print")
    assert not page.locator("#samples").is_visible()
    assert page.locator("#board").is_visible()
    context.close()


@pytest.mark.parametrize(
    "case", [{"tasks": (), "training": {}}, {"n": 0}, {"training": {}}, {"control": None}]
)
def test_empty_cases_run_without_complaint(opened, make_run, case):
    page = opened(write_report(make_run(**case)))
    assert page.locator("h1").inner_text() == "tickets"


def test_many_candidates_are_not_shown_all_at_once(opened, make_run, fake_task):
    names = ["base", *(f"sweep[rank={i}]" for i in range(40))]
    run = make_run(tasks=[fake_task("t", "exact_match", dict.fromkeys(names, 0.5), ())], n=5, training={})
    page = opened(write_report(run))
    assert page.locator(".cards .card").count() == 2
    choose(page, "Candidate", "")
    assert page.locator(".cards .card").count() == 41
