"""Who is shown what: blind, balanced, weighted."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest

from evalkit.errors import DataError, SpecError
from evalkit.human.design import Design, Unit, balanced_blocks, design
from evalkit.human.questions import QuestionsSpec, default_questions, judge_questions
from evalkit.human.sampling import choose, inclusion, interest
from evalkit.running.sheets import read_questions
from evalkit.specs.judge import JudgeSpec

NAMES = ["base", "r4", "r8", "r16", "r32", "few-shot", "rag"]


def units(n: int, names: list[str]) -> list[Unit]:
    return [Unit("t", str(i), 1.0, {name: f"{name} {i}" for name in names}) for i in range(n)]


def real(lines: list) -> list:
    return [slot for slot in lines if not slot.check and not slot.repeat]


def test_shares_are_equal_and_the_overlap_is_seen_by_all() -> None:
    sheets, _ = design(units(60, ["base", "r8"]), Design(raters=3, overlap=0.2, seed=4))
    assert [len(lines) for lines in sheets] == [
        56,
        56,
        56,
    ]  # 12 samples for all, 16 for each; two lines a sample
    seen = Counter(slot.unit for lines in sheets for slot in lines)
    assert sorted(Counter(seen.values()).items()) == [(2, 48), (6, 12)]
    for lines in sheets:  # whoever sees a sample sees all its candidates, one after the other
        assert all(a.unit == b.unit for a, b in zip(lines[::2], lines[1::2], strict=True))


def test_an_overlap_of_few_samples_is_one_of_them() -> None:
    sheets, _ = design(units(4, ["base"]), Design(raters=2, overlap=0.1))
    shared = {slot.unit for slot in sheets[0]} & {slot.unit for slot in sheets[1]}
    assert len(shared) == 1
    sheets, _ = design(units(4, ["base"]), Design(raters=2, overlap=0.0))
    assert not {slot.unit for slot in sheets[0]} & {slot.unit for slot in sheets[1]}


def test_sides_are_balanced_without_a_pattern() -> None:
    sheets, _ = design(units(80, ["base", "r8"]), Design(raters=2, overlap=0.25, pairwise=True))
    for lines in sheets:
        left = [slot.sides[0][0] for slot in lines]
        assert abs(left.count("base") - left.count("r8")) <= 1
        runs = sum(a != b for a, b in pairwise(left))
        assert 0.2 * len(left) < runs < 0.8 * len(left)  # an alternation would change sides every time


def test_blocks_show_candidates_and_pairs_equally_often() -> None:
    blocks = balanced_blocks([NAMES] * 70, 3, np.random.default_rng(0))
    single = Counter(name for block in blocks for name in block)
    pairs = Counter(frozenset(pair) for block in blocks for pair in combinations(block, 2))
    assert set(single.values()) == {30}  # 70 · 3 / 7
    assert len(pairs) == 21
    assert max(pairs.values()) - min(pairs.values()) <= 2  # 70 · 3 / 21 = 10 of each


def test_repeats_come_later_with_exchanged_sides_and_checks_are_added() -> None:
    sheets, _ = design(units(40, ["a", "b"]), Design(pairwise=True, repeats=0.2, checks=3))
    (lines,) = sheets
    assert (len(lines), sum(slot.repeat for slot in lines), sum(slot.check for slot in lines)) == (51, 8, 3)
    first = {slot.unit: place for place, slot in enumerate(lines) if not slot.repeat and not slot.check}
    for place, slot in enumerate(lines):
        if slot.repeat:
            assert place > first[slot.unit]
            assert slot.sides == lines[first[slot.unit]].sides[::-1]


def test_candidates_with_one_answer_are_one_line() -> None:
    alike = [Unit("t", "1", 1.0, {"a": "same", "b": "same", "c": "other"})]
    (lines,), _ = design(alike, Design())
    assert sorted(slot.sides for slot in lines) == [(("a", "b"),), (("c",),)]
    (pairs,), _ = design(alike, Design(pairwise=True))
    assert [set(slot.sides) for slot in pairs] == [{("a", "b"), ("c",)}]


def test_the_same_seed_gives_the_same_sheets_and_another_others() -> None:
    given = units(30, ["a", "b"])
    assert design(given, Design(seed=3)) == design(given, Design(seed=3))
    assert design(given, Design(seed=3)) != design(given, Design(seed=4))


@pytest.mark.parametrize("way", ["random", "stratified", "matters"])
def test_weighted_means_are_unbiased(way: str) -> None:
    """2,000 draws of 20 of 100 samples: the mean of the weighted totals is the total, within 4 standard errors."""
    rng = np.random.default_rng(7)
    values = rng.random(100) ** 3
    strata = ["high" if value > 0.5 else "low" for value in values] if way == "stratified" else None
    matters = 1 + 5 * values if way == "matters" else None
    totals = []
    for _ in range(2000):
        chosen = choose(100, 20, rng, strata=strata, matters=matters)
        assert len(chosen) == 20
        totals.append(sum(values[one.index] * one.weight for one in chosen))
    error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - values.sum()) < 4 * error


def test_what_matters_is_preferred() -> None:
    scores = {"a": [1, 0, 0.5, None], "b": [1, 1, 0.5, 1]}
    assert interest(scores, disputed={2, 1}, near={2}).tolist() == [1, 7, 7, 1]
    assert interest({"a": [0.2, 0.2], "b": [0.2, 0.7]}).tolist() == [1, 4]  # the widest spread counts in full
    assert inclusion(np.array([1.0, 1, 1, 97]), 2).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


def test_sheets_are_blind(mail_run, export, single) -> None:
    """Neither names nor a candidate's own prompt reach a sheet; the key has them."""
    kinds = {"few-shot-x9": "prompt", "base-x9": "base", "lora-x9": "train"}
    run = mail_run(names=tuple(kinds), kinds=kinds, text=lambda name, i: f"{len(name)} says {i}")
    rows = list(run.samples("few-shot-x9", "mail"))
    for row in rows:
        row["input"] = [{"role": "system", "content": "SECRET EXAMPLE"}, *row["input"]]
    run.write_samples("few-shot-x9", "mail", rows)
    for format in ("csv", "html", "label-studio"):
        for path in export(run, format, single, checks=2).files:
            text = path.read_text("utf-8")
            assert "x9" not in text
            assert "SECRET" not in text
    (key,) = run.path.glob("human/*/key.jsonl")
    names = {
        name for line in key.read_text().splitlines() for side in json.loads(line)["sides"] for name in side
    }
    assert names == set(kinds)


def test_raters_without_work_are_refused(mail_run, export, single) -> None:
    with pytest.raises(DataError, match="3 raters for 2 samples"):
        export(mail_run(n=2), "csv", single, raters=3, overlap=0)
    pairs = QuestionsSpec.model_validate({"questions": [{"name": "b", "ask": "?", "kind": "pairwise"}]})
    with pytest.raises(DataError, match="all candidates gave the same answers"):
        export(mail_run(n=2, text=lambda name, i: "same"), "csv", pairs)
    with pytest.raises(DataError, match=r"no task named 'mial' to show; it has mail\. Did you mean 'mail'"):
        export(mail_run(), "csv", single, tasks=["mial"])


def test_checks_need_a_question_with_choices(mail_run, export) -> None:
    asked = QuestionsSpec.model_validate({"questions": [{"name": "why", "ask": "Why?", "kind": "text"}]})
    with pytest.raises(DataError, match="leave --checks out"):
        export(mail_run(), "csv", asked, checks=1)


def test_questions_of_a_judge() -> None:
    rubric = {"1": "bad", "5": "good"}
    judge = JudgeSpec(
        judge="tone", kind="pointwise", rubric=rubric, criteria=["warm", "brief"], reference=True
    )
    asked = judge_questions(judge)
    assert [one.name for one in asked.questions] == ["tone.warm", "tone.brief"]
    assert asked.questions[0].anchors == rubric
    assert asked.reference
    own = {"criterion": "brief", "ask": "No word too many?", "rubric": {"1": "rambles", "5": "to the point"}}
    judge = JudgeSpec(judge="tone", kind="pointwise", rubric=rubric, criteria=["warm", own])
    brief = judge_questions(judge).questions[1]  # what the judge itself is asked about it
    assert (brief.ask, brief.anchors) == ("brief: No word too many?", own["rubric"])
    listed = judge_questions(JudgeSpec(judge="safe", kind="checklist", questions=["Polite?", "True?"]))
    assert [(one.name, one.ask, one.kind) for one in listed.questions] == [
        ("safe.1", "Polite?", "yes_no"),
        ("safe.2", "True?", "yes_no"),
    ]
    assert judge_questions(JudgeSpec(judge="duel", kind="pairwise")).pairwise
    assert default_questions().questions[0].kind == "rating"


def test_mistakes_in_questions_are_named_with_their_line(tmp_path) -> None:
    path = tmp_path / "questions.yaml"
    path.write_text(
        "questions:\n  - {name: a, ask: A?, kind: rating, anchors: {9: x}}\n  - {name: b, ask: B?, kid: text}\n"
    )
    with pytest.raises(SpecError) as error:
        read_questions(path, None)
    said = "\n".join(error.value.messages)
    assert f"{path}:2" in said
    assert "anchors: expected 1 to 5, got 9" in said
    assert "Did you mean 'kind'" in said


def test_the_example_in_the_docs_loads(root, tmp_path) -> None:
    page = (root / "docs" / "human.md").read_text("utf-8")
    (tmp_path / "questions.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], "utf-8")
    asked = read_questions(tmp_path / "questions.yaml", None)
    assert [one.kind for one in asked.questions] == ["rating", "yes_no", "category", "text"]
    assert asked.questions[0].anchors["3"] == "can be followed"
