"""Whole commands beside each other: `evalkit run` and `lm_eval run`, each a process of its own, offline.

    python benchmarks/commands.py [--rows first adapters] [--quantization none nf4] [--repeats 3] [--n 128] [--batch 64]
                                  [--dtype fp32] [--data ../shared/data] [--out FILE]

`first`: from the start of the process to the end of the first pass that gives logits over the vocabulary, which a hook
on `torch.nn.Module` sees in either; one sample (8 shots and a query of banking77, some 230 tokens), a local YAML task,
medians, after a run of each that does not count, so that the disk is warm. For nf4, lm-evaluation-harness loads weights
that were quantised beforehand: transformers 5 takes its `load_in_4bit=True` no more.

`adapters`: a base and four random adapters on the same rows with 16 tokens each, from the start to the numbers: one
`evalkit run`, and an `lm_eval run` for each of the five. With `--out FILE.json` each process is kept as soon as it is
measured, and one that is there is not measured again.

evalkit's stage cache is empty each time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m-instruct-q4_1"
ADAPTERS = 4
HOOK = """
import os, sys, time
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path, target=None):
        if name != "torch.nn.modules.module":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            def seen(layer, given, out):
                logits = getattr(out, "logits", None)
                if logits is not None and logits.shape[-1] > 1000:  # not the small models of a self-test
                    handle.remove()
                    with open(os.environ["FIRST_TOKEN_FILE"], "w") as file:
                        file.write(str(time.time()))

            run(module)
            handle = module.register_module_forward_hook(seen)

        spec.loader.exec_module = exec_module
        return spec

if "FIRST_TOKEN_FILE" in os.environ:
    sys.meta_path.insert(0, Finder())
"""
"""A ``sitecustomize`` that notes when the first logits are there."""
TASK = """task: labelTOKENS
data: {test: rows.jsonl}
prompt: "{{ prompt }}"
target: answer
chat: false
generation: {max_new_tokens: TOKENS, stop: ["\\n"]}
metrics: [exact_match]
"""
THEIR_TASK = """task: labelTOKENS
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: TOKENS, do_sample: false}
metric_list: [{metric: exact_match}]
"""


@dataclass
class Start:
    """Seconds from the start of a command: to its first token, and to its end."""

    first: float
    whole: float


def prepare(work: Path, data: Path, tokens: int) -> None:
    """Write what both commands read: the hook, a task of this many tokens for each, and a study without candidates."""
    from score import read_data, requests_of

    rows_read = read_data(data)
    with (data / "banking77/test.csv").open(encoding="utf-8") as file:
        intents = {row["text"].strip(): row["category"].replace("_", " ") for row in csv.DictReader(file)}
    asked = requests_of("label", rows_read, len(rows_read.queries))
    rows = [
        {"prompt": request.prompt, "answer": intents[query]}
        for request, query in zip(asked, rows_read.queries, strict=True)
    ]
    (work / "hook").mkdir()
    (work / "hook/sitecustomize.py").write_text(HOOK, encoding="utf-8")
    folder = work / "tasks" / f"label{tokens}"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    (folder / "task.yaml").write_text(TASK.replace("TOKENS", str(tokens)), encoding="utf-8")
    theirs = THEIR_TASK.replace("TOKENS", str(tokens)).replace("ROWS", str(folder / "rows.jsonl"))
    (work / "theirs.yaml").write_text(theirs, encoding="utf-8")


def our_command(work: Path, quantization: str, dtype: str, tokens: int, n: int) -> list[str]:
    for left in ("cache", "runs"):
        shutil.rmtree(work / left, ignore_errors=True)
    adapters = sorted(work.glob("adapter*"))
    candidates = [{"name": path.name, "kind": "adapter", "path": path.name} for path in adapters]
    study = {
        "study": "s",
        "model": MODEL,
        "quantization": quantization,
        "dtype": dtype,
        "tasks": [f"label{tokens}"],
    }
    (work / "study.yaml").write_text(json.dumps({**study, "candidates": candidates}), encoding="utf-8")
    command = [sys.executable, "-m", "evalkit", "run", str(work / "study.yaml")]
    return [*command, "--out", str(work / "runs"), "--limit", str(n)]


def their_command(path: Path, dtype: str, work: Path, n: int, batch: int, adapter: Path | None) -> list[str]:
    name = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
    model = f"pretrained={path},dtype={name}" + (f",peft={adapter}" if adapter else "")
    command = [str(Path(sys.executable).with_name("lm_eval")), "run", "--model", "hf", "--model_args", model]
    command += ["--tasks", str(work / "theirs.yaml"), "--limit", str(n)]
    return [*command, "--batch_size", str(batch), "--device", "cpu"]


def weights(work: Path, quantization: str, dtype: str) -> Path:
    """The base's folder; for nf4 the base as transformers saves it in 4 bits, with its tokenizer."""
    from evalkit.models.registry import resolve

    path, folder = resolve(MODEL).path, work / f"saved-{quantization}"
    if quantization == "none":
        return path
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from evalkit.models.devices import choose_placement
    from evalkit.models.quantizing import as_quantization, quantization_arguments

    kind = choose_placement("cpu", dtype).torch_dtype
    arguments = quantization_arguments(as_quantization(quantization), kind)
    AutoModelForCausalLM.from_pretrained(path, dtype=kind, **arguments).save_pretrained(folder)
    AutoTokenizer.from_pretrained(path).save_pretrained(folder)
    return folder


def measure(command: list[str], work: Path) -> Start:
    """Run a command.

    Raises:
        SystemExit: It failed, or never got as far as a token; its own words.
    """
    noted = work / "first"
    noted.unlink(missing_ok=True)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(work / "hf")}
    own = {"FIRST_TOKEN_FILE": str(noted), "PYTHONPATH": f"{work / 'hook'}{os.pathsep}{ROOT}"}
    environment = {**os.environ, **offline, **own, "EVALKIT_CACHE_DIR": str(work / "cache")}
    environment.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # either side's modules are compiled once, as on any machine
    clock = time.time()
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    whole = time.time() - clock
    if done.returncode or not noted.is_file():
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return Start(float(noted.read_text()) - clock, whole)


def median(sides: Sequence[Start]) -> Start:
    firsts, wholes = sorted(side.first for side in sides), sorted(side.whole for side in sides)
    return Start(firsts[len(firsts) // 2], wholes[len(wholes) // 2])


def first(arguments: argparse.Namespace) -> None:
    """The table of the first token: medians of runs taken in turns."""
    print(
        "| base | evalkit, first token | end | lm_eval, first token | end | ratio |\n|---|---|---|---|---|---|"
    )
    for quantization in arguments.quantization:
        with tempfile.TemporaryDirectory() as folder:
            work, dtype = Path(folder), arguments.dtype
            prepare(work, arguments.data, 1)
            path = weights(work, quantization, dtype)
            found: list[tuple[Start, Start]] = []
            for _ in range(arguments.repeats + 1):
                we = measure(our_command(work, quantization, dtype, 1, 1), work)
                found.append((we, measure(their_command(path, dtype, work, 1, 1, None), work)))
        ours, theirs = (median(side) for side in zip(*found[1:], strict=True))
        print(
            f"| {quantization}, {dtype} | {ours.first:.1f} s | {ours.whole:.1f} s | {theirs.first:.1f} s | "
            f"{theirs.whole:.1f} s | **{ours.first / theirs.first:.2f}** |",
            flush=True,
        )


def adapters(arguments: argparse.Namespace) -> None:
    """The table of a base and its adapters: one run a process."""
    from evalkit.models.loading import load_base
    from evalkit.models.selftest import write_random_adapter

    out, n, dtype = arguments.out, arguments.n, arguments.dtype
    kept = json.loads(out.read_text(encoding="utf-8")) if out is not None and out.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work, arguments.data, 16)
        base = load_base(MODEL, quantization="none", dtype=dtype, device="cpu")
        paths = [work / f"adapter{i}" for i in range(ADAPTERS)]
        for i, path in enumerate(paths):
            path.mkdir()
            write_random_adapter(base, path, seed=i)
        del base
        commands = {"evalkit": our_command(work, "none", dtype, 16, n)}
        for adapter in (None, *paths):
            name = f"lm_eval, {'the base' if adapter is None else adapter.name}"
            commands[name] = their_command(
                weights(work, "none", dtype), dtype, work, n, arguments.batch, adapter
            )
        print("| samples | command | seconds |\n|---|---|---|")
        for name, command in commands.items():
            key = f"{name}, {n} samples, {dtype}"
            kept[key] = kept.get(key) or asdict(measure(command, work))
            if out is not None:
                out.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            print(f"| {n} | {name} | {kept[key]['whole']:.1f} |", flush=True)
    seconds = [kept[f"{name}, {n} samples, {dtype}"]["whole"] for name in commands]
    print(f"| {n} | all of lm_eval's in evalkit's time | **{sum(seconds[1:]) / seconds[0]:.1f}** |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", default=["first", "adapters"], choices=["first", "adapters"])
    parser.add_argument("--quantization", nargs="+", default=["none", "nf4"], choices=["none", "nf4"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n", type=int, default=128, help="samples that base and adapters answer")
    parser.add_argument(
        "--batch", type=int, default=64, help="lm-evaluation-harness's, where there are that many"
    )
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--out", type=Path, help="JSON file that keeps the processes of `adapters`")
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    for row in arguments.rows:
        {"first": first, "adapters": adapters}[row](arguments)


if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]
    main()
