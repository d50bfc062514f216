"""Preference rows for a trainer, out of labels: which of two answers people liked better."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from statistics import fmean
from typing import Any

from evalkit.human.questions import Question
from evalkit.human.records import Label

__all__ = ["preference_rows"]

Sample = Callable[[str, str, str], tuple[Any, str]]
"""(task, sample id, candidate) → prompt and answer."""


def preference_rows(
    labels: Iterable[Label], questions: Mapping[str, Question], sample: Sample
) -> list[dict[str, Any]]:
    """Rows ``{"messages" | "prompt", "chosen", "rejected", "id", "source"}``.

    A pair counts where more raters preferred one answer than the other; of ratings, where the mean of one is
    higher by a full step, of yes/no and good choices, by a half. "Both bad" is no preference.

    Args:
        labels: Of one question or more; each question gives its own rows.
        questions: By name.
        sample: Looks up prompt and answer.
    """
    liked: dict[tuple[str, str, str, str, str], list[float]] = defaultdict(list)
    rated: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for label in labels:
        question = questions.get(label.question)
        score = None if question is None or label.repeat else question.score(label.label)
        if question is None or score is None:
            continue
        if label.other is not None:
            if question.kind == "pairwise":
                liked[label.question, label.task, label.id, label.candidate, label.other].append(
                    2 * score - 1
                )
        else:
            direction = 1 if question.higher_is_better else -1
            rated[label.question, label.task, label.id][label.candidate].append(direction * score)
    for (name, task, id_), scores in rated.items():
        step = 1.0 if questions[name].kind == "rating" else 0.5
        for first, second in combinations(sorted(scores), 2):
            gap = fmean(scores[first]) - fmean(scores[second])
            liked[name, task, id_, first, second].append(gap if abs(gap) >= step else 0.0)
    leads: dict[tuple[str, str, str, str, str], float] = defaultdict(float)
    prompts = {}
    for (name, task, id_, first, second), votes in liked.items():
        (prompt, ours), (_, theirs) = sample(task, id_, first), sample(task, id_, second)
        if ours == theirs:
            continue
        prompts[task, id_] = prompt
        # answers, not candidates: two candidates with one answer give no second row
        sign = 1 if ours < theirs else -1
        leads[name, task, id_, min(ours, theirs), max(ours, theirs)] += sign * sum(votes)
    rows = []
    for (name, task, id_, one, other), lead in leads.items():
        if lead == 0:
            continue
        chosen, rejected = (one, other) if lead > 0 else (other, one)
        prompt = prompts[task, id_]
        asked = {"messages": prompt} if isinstance(prompt, list) else {"prompt": prompt}
        rows.append(
            {
                **asked,
                "chosen": chosen,
                "rejected": rejected,
                "id": f"{task}/{id_}",
                "source": f"human:{name}",
            }
        )
    return rows
