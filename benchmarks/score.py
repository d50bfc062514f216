"""evalkit's scoring engine beside lm-evaluation-harness: the same rows, base, dtype and threads, in one run.

    python benchmarks/score.py [--quick] [--rows choice label …] [--data ../shared/data] [--model NAME] [--growth]
                               [--device cuda --dtype bf16] [--out FILE]

With ``--out FILE.json`` each row is kept as soon as it is measured, and a row that is there is not measured again.
Load time stands apart, answers of both are compared, and the tokens that each runs through the model are counted.
Data: ``banking77/{train,test}.csv`` (text, category) and ``gsm8k/test.jsonl`` (question) in the data folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch  # noqa: E402

from evalkit.models.loading import Base, load_base  # noqa: E402
from evalkit.models.local import LocalModel  # noqa: E402
from evalkit.models.registry import resolve  # noqa: E402
from evalkit.models.selftest import write_random_adapter  # noqa: E402
from evalkit.records import Generation, Output, Request  # noqa: E402

MODEL = "smollm2-135m-instruct-q4_1"
TARGETS = {"choice": 60.0, "label": 4.0, "gsm8k": 1.6, "samples": 2.0}
WHAT = {
    "choice": "8-shot choice among 77 intents",
    "label": "8-shot generation of a label",
    "gsm8k": "zero-shot GSM8K, 96 tokens",
    "samples": "8 samples a prompt, 64 tokens",
}


@dataclass
class Side:
    """One tool on one row of the table."""

    seconds: float
    tokens: int = 0
    answers: list[str] = field(default_factory=list)
    batch: int | None = None


@dataclass
class Data:
    header: str
    queries: list[str]
    intents: list[str]
    questions: list[str]


def read_data(folder: Path) -> Data:
    with (folder / "banking77/train.csv").open(encoding="utf-8") as file:
        train = [(row["text"].strip(), row["category"].replace("_", " ")) for row in csv.DictReader(file)]
    with (folder / "banking77/test.csv").open(encoding="utf-8") as file:
        test = [row["text"].strip() for row in csv.DictReader(file)]
    lines = (folder / "gsm8k/test.jsonl").read_text(encoding="utf-8").splitlines()
    shots = train[:: len(train) // 8][:8]
    return Data(
        header="".join(f"Query: {text}\nIntent: {label}\n\n" for text, label in shots),
        queries=test[:: max(1, len(test) // 500)],
        intents=sorted({label for _, label in train}),
        questions=[json.loads(line)["question"] for line in lines],
    )


def requests_of(row: str, data: Data, n: int) -> list[Request]:
    asked = [f"{data.header}Query: {query}\nIntent:" for query in data.queries[:n]]
    if row == "choice":
        choices = tuple(" " + intent for intent in data.intents)
        return [Request(str(i), "choice", text, choices=choices) for i, text in enumerate(asked)]
    if row == "label":
        short = Generation(max_new_tokens=16, stop=("\n",))
        return [Request(str(i), "generate", text, short) for i, text in enumerate(asked)]
    questions = [f"Question: {question}\nAnswer:" for question in data.questions[:n]]
    drawn = Generation(max_new_tokens=64, temperature=0.8, samples=8)
    settings = drawn if row == "samples" else Generation(max_new_tokens=96)
    return [Request(str(i), "generate", text, settings) for i, text in enumerate(questions)]


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Within the block the list holds the number of tokens that went through the model."""
    total = [0]

    def add(_: Any, args: tuple[Any, ...], __: Any) -> None:
        total[0] += args[0].numel()

    handle = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield total
    finally:
        handle.remove()


def ours(base: Base, requests: Sequence[Request], adapter: str | None = None) -> Side:
    with counted(base.model) as tokens:
        clock = time.perf_counter()
        outputs = {output.id: output for output in LocalModel(base, adapter).answer(requests)}
        seconds = time.perf_counter() - clock
    return Side(seconds, tokens[0], [said(outputs[request.id]) for request in requests])


def said(output: Output) -> str:
    return output.first.strip() if output.finish != "error" else f"error: {output.error}"


def theirs(lm: Any, requests: Sequence[Request], batch: int) -> Side:
    from lm_eval.api.instance import Instance

    lm.batch_size_per_gpu = batch
    with counted(lm.model) as tokens:
        clock = time.perf_counter()
        if requests[0].kind == "choice":
            pairs = [(request.prompt, choice) for request in requests for choice in request.choices]
            found = lm.loglikelihood(
                [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)], True
            )
            values = iter(value for value, _ in found)
            rated = [{choice: next(values) for choice in request.choices} for request in requests]
            answers = [max(each, key=lambda choice: each[choice]).strip() for each in rated]
        else:
            asked = [(request.prompt, their_settings(request.generation)) for request in requests]
            asked = [pair for pair in asked for _ in range(requests[0].generation.samples)]
            instances = [Instance("generate_until", {}, pair, i) for i, pair in enumerate(asked)]
            answers = [text.strip() for text in lm.generate_until(instances, True)]
        seconds = time.perf_counter() - clock
    return Side(seconds, tokens[0], answers, batch)


def their_settings(generation: Generation) -> dict[str, Any]:
    sampled = generation.temperature > 0
    return {
        "until": list(generation.stop),
        "max_gen_toks": generation.max_new_tokens,
        "do_sample": sampled,
        **({"temperature": generation.temperature, "top_k": 0} if sampled else {}),
    }


def our_base(arguments: argparse.Namespace) -> Base:
    return load_base(arguments.model, quantization="none", dtype=arguments.dtype, device=arguments.device)


def their_model(arguments: argparse.Namespace, batch: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    path, dtype = resolve(arguments.model).path, {"fp32": "float32", "bf16": "bfloat16"}[arguments.dtype]
    return HFLM(pretrained=str(path), device=arguments.device, dtype=dtype, batch_size=batch)


def best(lm: Any, requests: Sequence[Request], batches: Sequence[int]) -> Side:
    """lm-evaluation-harness at its best batch size, found on these very rows."""
    return min((theirs(lm, requests, batch) for batch in batches), key=lambda side: side.seconds)


def machine(base: Base, parameters: int) -> tuple[float, str]:
    """Measured limits: GFLOP/s of a product of the shape that answers have, in the base's dtype, and GB/s of a copy."""
    kind = {"dtype": base.placement.torch_dtype, "device": base.device}
    a, b = torch.randn(512, 2048).to(**kind), torch.randn(2048, 2048).to(**kind)
    big = torch.randn(1 << 26).to(**kind)
    rate = 2 * a.shape[0] * b.numel() / fastest(lambda: a @ b) / 1e9
    memory = 2 * big.nbytes / fastest(lambda: big.clone()) / 1e9
    told = f"{base.device}, {torch.get_num_threads()} threads, {base.dtype} GEMM {rate:.0f} GFLOP/s, "
    each = 2 * parameters / 1e9
    return (
        rate,
        f"{told}copy {memory:.1f} GB/s; {each:.2f} GFLOP a token, so at most {rate / each:.0f} tokens/s",
    )


def fastest(do: Callable[[], object]) -> float:
    times = []
    for _ in range(8):
        clock = time.perf_counter()
        do()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - clock)
    return min(times)


def show(row: str, n: int, we: Side, they: Side, m: int, rate: float, parameters: int) -> None:
    ratio = (they.seconds / m) / (we.seconds / n)
    same = ""
    if we.answers and row != "samples":
        pairs = list(zip(we.answers[:m], they.answers, strict=False))
        same = f"{sum(a == b for a, b in pairs)}/{len(pairs)}"
    near = f"{2 * parameters * we.tokens / 1e9 / rate / we.seconds:.0%}" if we.tokens else ""
    print(
        f"| {WHAT[row]} | {n} | {we.seconds:.1f} s ({we.tokens} tokens) | {m} | {they.seconds:.1f} s ({they.tokens} "
        f"tokens, batch {they.batch}) | **{ratio:.1f}×** | {TARGETS[row]:.1f}× | {same} | {near} |",
        flush=True,
    )


def kept_rows(file: Path | None) -> dict[str, Any]:
    """The rows that an earlier call has measured."""
    if file is None or not file.is_file():
        return {}
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return kept


GROWTH = [
    *((n, 8, 77, 0) for n in (1, 4, 16)),
    *((4, k, 77, 0) for k in (0, 4)),
    *((4, 8, c, 0) for c in (8, 32)),
    *((4, 8, 77, adapters) for adapters in (1, 2, 4)),
]
"""Samples, shots, choices, adapters beside the base."""


def growth(base: Base, data: Data, kept: dict[str, Any], keep: Callable[[], None]) -> None:
    """How our time grows with samples, shots, choices and adapters; loading the adapters is part of it."""
    print("\n| choice, samples | shots | choices | adapters | seconds | tokens |\n|---|---|---|---|---|---|")
    shots = data.header.split("\n\n")[:-1]
    ours(base, requests_of("choice", data, 1))
    for n, k, c, adapters in GROWTH:
        row = f"growth {n} {k} {c} {adapters}"
        if row not in kept:
            header = "".join(shot + "\n\n" for shot in shots[:k])
            smaller = Data(header, data.queries, data.intents[:c], data.questions)
            requests = requests_of("choice", smaller, n)
            with tempfile.TemporaryDirectory() as folder:
                paths = [Path(folder) / f"adapter{i}" for i in range(adapters)]
                for i, path in enumerate(paths):
                    write_random_adapter(base, path, seed=i)
                clock = time.perf_counter()
                sides = [ours(base, requests)]
                for path in paths:
                    base.add_adapter(path.name, path)
                    sides.append(ours(base, requests, path.name))
                    base.remove_adapter(path.name)
                kept[row] = asdict(Side(time.perf_counter() - clock, sum(side.tokens for side in sides)))
            keep()
        print(
            f"| {n} | {k} | {c} | {adapters} | {kept[row]['seconds']:.2f} | {kept[row]['tokens']} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rows, one batch size of lm-evaluation-harness"
    )
    parser.add_argument("--rows", nargs="+", default=list(WHAT), choices=list(WHAT))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batches", type=int, nargs="+", default=None, help="batch sizes to try")
    parser.add_argument(
        "--growth", action="store_true", help="how our time grows with samples, shots, choices and adapters"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file that keeps the rows; one that is there is gone on with"
    )
    arguments = parser.parse_args()
    arguments.batches = arguments.batches or ([32] if arguments.quick else [16, 64])
    torch.set_num_threads(arguments.threads)
    data = read_data(arguments.data)
    full = {
        "choice": (8, 2),
        "label": (128, 128),
        "gsm8k": (64, 64),
        "samples": (16, 16),
    }
    quick = {
        "choice": (8, 1),
        "label": (32, 32),
        "gsm8k": (16, 16),
        "samples": (4, 4),
    }
    sizes = quick if arguments.quick else full
    clock = time.perf_counter()
    base = our_base(arguments)
    our_load = time.perf_counter() - clock
    clock = time.perf_counter()
    lm = their_model(arguments, 1)
    parameters = sum(p.numel() for p in {id(p): p for p in base.model.parameters()}.values())
    rate, told = machine(base, parameters)
    print(f"{told}. Loading: evalkit {our_load:.1f} s, lm-eval {time.perf_counter() - clock:.1f} s.\n")
    print("| work | n | evalkit | n | lm-eval | ratio a sample | target | same answers | of the GEMM limit |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    kept = kept_rows(arguments.out)

    def keep() -> None:
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    for row in arguments.rows:
        n, m = sizes[row]
        if row in kept:
            show(
                row,
                kept[row]["n"],
                Side(**kept[row]["evalkit"]),
                Side(**kept[row]["lm_eval"]),
                kept[row]["m"],
                rate,
                parameters,
            )
            continue
        requests = requests_of(row, data, n)
        ours(base, requests[:1])
        we, they = ours(base, requests), best(lm, requests[:m], arguments.batches)
        show(row, n, we, they, m, rate, parameters)
        kept[row] = {"n": n, "m": m, "machine": told, "evalkit": asdict(we), "lm_eval": asdict(they)}
        keep()
    if arguments.growth:
        growth(base, data, kept, keep)


if __name__ == "__main__":
    main()
