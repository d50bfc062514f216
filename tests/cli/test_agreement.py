from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import evalkit


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two raters, 50 items: 20 both yes, 15 both no, 15 apart (Wikipedia, "Cohen's kappa")."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    lines = [
        f"{i},{who},{label}" for i, pair in enumerate(pairs) for who, label in zip("ab", pair, strict=True)
    ]
    file = tmp_path / "labels.csv"
    file.write_text("item,rater,label\n" + "\n".join(lines))
    return file


def test_json_is_the_contract(labels: Path, evalkit_command: Any) -> None:
    done = evalkit_command("agreement", labels, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["items"], found["raters"]) == (50, 2)
    assert found["cohen_kappa"]["value"] == pytest.approx(0.4)
    assert found["cohen_kappa"]["low"] < 0.2 < 0.6 < found["cohen_kappa"]["high"]
    assert set(found["fleiss_kappa"]) == {"value", "low", "high", "items"}
    assert found["krippendorff_alpha"]["level"] == "nominal"
    # Scott's pi of the table: agreement 0.7; yes 55, no 45 of 100; (0.7 − 0.505)/0.495
    assert found["fleiss_kappa"]["value"] == pytest.approx(0.195 / 0.495)
    # alpha = 1 − (1 − 1/N)(1 − pi), N = 100 labels
    assert found["krippendorff_alpha"]["value"] == pytest.approx(1 - 0.99 * (1 - 0.195 / 0.495))
    assert "Cohen's kappa  0.400 [" in done.stderr
    assert evalkit.agreement(labels).to_json() == found


def test_levels_weights_and_other_names(tmp_path: Path, evalkit_command: Any) -> None:
    rows = ["q,who,rating"] + [f"{i},{who},{['bad', 'fair', 'good'][(i + shift) % 3]}" for i in range(9)
                               for who, shift in (("x", 0), ("y", i % 2), ("z", 0))]  # fmt: skip
    file = tmp_path / "sheet.csv"
    file.write_text("\n".join(rows))
    names = ("--item", "q", "--rater", "who", "--label", "rating")
    done = evalkit_command(
        "agreement", file, *names, "--level", "ordinal", "--order", "bad,fair,good", "--json"
    )
    found = json.loads(done.stdout)
    assert found["cohen_kappa"] is None
    assert found["krippendorff_alpha"]["level"] == "ordinal"
    refused = evalkit_command("agreement", file, *names, "--level", "ordinal")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--order LOWEST,…,HIGHEST" in refused.stderr
    numbers = evalkit_command("agreement", file, *names, "--level", "interval")
    assert numbers.returncode == 2
    assert "labels that are numbers, got 'bad'" in numbers.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,rater,label\n1,a,x\n2,a,y\n", "all labels are by 'a'"),
        ("item,rater,label\n1,a,x\n2,b,y\n", "No item has labels of two raters"),
        ("item,rater,label\n1,a,\n2,b,\n", "There are no labels"),
        ("item,judge,label\n1,a,x\n", "expected a column 'rater'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path, text: str, message: str, evalkit_command: Any
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    done = evalkit_command("agreement", file, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_file(evalkit_command: Any) -> None:
    done = evalkit_command("agreement", "nowhere.csv")
    assert done.returncode == 2
    assert "No file nowhere.csv" in done.stderr


def test_perfect_and_constant_labels(tmp_path: Path, evalkit_command: Any) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("item,rater,label\n" + "\n".join(f"{i},{r},same" for i in range(5) for r in "ab"))
    found = json.loads(evalkit_command("agreement", file, "--json", check=True).stdout)
    assert found["krippendorff_alpha"] == {"value": None, "low": None, "high": None, "level": "nominal"}
