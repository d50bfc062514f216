"""Label Studio's own library takes our files, and what it writes is understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from label_studio_sdk.label_interface import LabelInterface

from evalkit.human.label_studio import label_studio_lines

# its library calls what pydantic has given another name
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def interface(files: list[Path]) -> Any:
    config = next(path for path in files if path.suffix == ".xml").read_text("utf-8")
    return LabelInterface(config)


@pytest.mark.parametrize("pairs", [False, True])
def test_configuration_and_tasks_are_valid_and_its_answers_are_read(
    mail_run: Any, export: Any, single: Any, paired: Any, pairs: bool
) -> None:
    asked = paired if pairs else single
    made = export(mail_run(), "label-studio", asked)
    studio = interface(made.files)
    studio.validate()  # raises where a tag, name or reference is wrong
    assert set(studio.controls and {one.name for one in studio.controls}) == {
        f"q{number}_{question.name}" for number, question in enumerate(asked.questions, 1)
    }
    tasks = json.loads(made.files[0].read_text("utf-8"))
    for task in tasks:
        assert studio.validate_task({"id": 1, **task}, validate_regions_only=False)
    # An annotation that Label Studio makes up itself for this configuration, by its published schemas.
    # It leaves a question open now and then.
    made_up = (studio.generate_sample_annotation() for _ in range(100))
    annotation = next(one for one in made_up if len(one["result"]) == len(asked.questions))
    assert studio.validate_annotation(annotation)
    given = [{**task, "annotations": [annotation]} for task in tasks]
    lines, problems = label_studio_lines(given, "export.json", {tasks[0]["data"]["item"][:8]: asked})
    assert problems == []
    assert len(lines) == len(tasks)
    options = {question.name: {value for value, _ in question.options} for question in asked.questions}
    for line in lines:
        assert set(line.values) == set(options)
        assert all(line.values[name] in values for name, values in options.items() if values)


def test_people_stay_apart_in_json_min(single: Any) -> None:
    """One line an annotation: https://labelstud.io/guide/export#JSON-MIN."""
    item = "9f31c2ab-000-c4d5e6f7"
    row = {"item": item, "rater": "rater-1", "id": 1, "lead_time": 3.5, "q2_safe": "yes", "annotation_id": 1}
    rows = [row | {"annotator": 7}, row | {"annotator": 8, "annotation_id": 2, "q2_safe": "no"}]
    lines, problems = label_studio_lines(rows, "min.json", {"9f31c2ab": single})
    assert problems == []
    assert [(line.rater, line.values["safe"]) for line in lines] == [("user-7", "yes"), ("user-8", "no")]
    alone, _ = label_studio_lines(rows[:1], "min.json", {"9f31c2ab": single})
    assert alone[0].rater == "rater-1"  # one annotator: whose sheet it was


def test_remarks_are_kept_whole_and_choices_lose_their_meaning(single: Any, paired: Any) -> None:
    def read(spec: Any, **said: Any) -> Any:
        result = [{"from_name": name, "value": value} for name, value in said.items()]
        task = {"data": {"item": "9f31c2ab-000-c4d5e6f7"}, "annotations": [{"result": result}]}
        return label_studio_lines([task], "a.json", {"9f31c2ab": spec})[0][0].values

    rated = {"q1_coherence": {"choices": ["5 – every sentence follows"]}}
    remark = "A bit off – see line 3"
    assert read(single, **rated, q4_remark={"text": [remark]}) == {"coherence": "5", "remark": remark}
    better = {"q1_better": {"choices": ["A – is better"]}}
    assert read(paired, **better, q2_why={"text": ["tie – nearly"]}) == {"better": "A", "why": "tie – nearly"}


def test_annotations_that_are_none(single: Any) -> None:
    item = "9f31c2ab-000-c4d5e6f7"
    task = {"data": {"item": item}, "annotations": [{"result": ["nothing"], "lead_time": float("nan")}]}
    lines, problems = label_studio_lines([task, "x"], "a.json", {"9f31c2ab": single})
    assert lines == []
    assert "a.json, task 1: its annotation is not as Label Studio writes it" in problems[0]
    assert "a.json, task 2: no data.item" in problems[1]


def test_a_broken_configuration_is_refused(mail_run: Any, export: Any, single: Any) -> None:
    """The check above can fail."""
    made = export(mail_run(), "label-studio", single)
    config = next(path for path in made.files if path.suffix == ".xml").read_text("utf-8")
    with pytest.raises(Exception, match="nothing"):
        LabelInterface(config.replace('toName="answer"', 'toName="nothing"')).validate()
