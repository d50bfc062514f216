"""From the command to the first token: `evalkit run` beside `lm_eval`, on one sample, each a process of its own.

    python benchmarks/start.py [--repeats 3] [--quantization none nf4] [--dtype fp32] [--data ../shared/data]

Both get the same prompt (8 shots and a query of banking77, some 230 tokens), the same weights, dtype and threads, a
local YAML task and one sample, offline. The clock runs from the start of the process to the end of the first pass that
gives logits over the vocabulary, which a hook on `torch.nn.Module` sees in either. evalkit's stage cache is empty each
time; both are run once before, so that the disk is warm. For nf4, lm-evaluation-harness loads weights that were
quantised beforehand: transformers 5 takes its `load_in_4bit=True` no more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m-instruct-q4_1"
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
TASK = """task: one
data: {test: rows.jsonl}
prompt: "{{ prompt }}"
target: answer
chat: false
generation: {max_new_tokens: 1, stop: ["\\n"]}
metrics: [exact_match]
"""
THEIR_TASK = """task: one
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 1, do_sample: false}
metric_list: [{metric: exact_match}]
"""


@dataclass
class Start:
    """Seconds from the start of a command: to its first token, and to its end."""

    first: float
    whole: float


def prepare(work: Path, prompt: str, dtype: str) -> None:
    """Write what both commands read."""
    (work / "hook").mkdir()
    (work / "hook/sitecustomize.py").write_text(HOOK, encoding="utf-8")
    (work / "tasks/one").mkdir(parents=True)
    rows = work / "tasks/one/rows.jsonl"
    rows.write_text(json.dumps({"prompt": prompt, "answer": "card arrival"}) + "\n", encoding="utf-8")
    (work / "tasks/one/task.yaml").write_text(TASK, encoding="utf-8")
    (work / "theirs.yaml").write_text(THEIR_TASK.replace("ROWS", str(rows)), encoding="utf-8")
    for kind in ("none", "nf4"):
        study = f"study: {kind}\nmodel: {MODEL}\nquantization: {kind}\ndtype: {dtype}\ntasks: [one]\n"
        (work / f"{kind}.yaml").write_text(study, encoding="utf-8")


def our_command(work: Path, quantization: str) -> list[str]:
    for left in ("cache", "runs"):
        shutil.rmtree(work / left, ignore_errors=True)
    return [
        sys.executable,
        "-m",
        "evalkit",
        "run",
        str(work / f"{quantization}.yaml"),
        "--out",
        str(work / "runs"),
    ]


def their_command(work: Path, quantization: str, dtype: str) -> list[str]:
    from evalkit.models.registry import resolve

    path = resolve(MODEL).path if quantization == "none" else quantized(work, quantization, dtype)
    name = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
    command = [str(Path(sys.executable).with_name("lm_eval")), "run", "--model", "hf", "--model_args"]
    command += [f"pretrained={path},dtype={name}", "--tasks", str(work / "theirs.yaml"), "--limit", "1"]
    return [*command, "--batch_size", "1", "--device", "cpu"]


def quantized(work: Path, quantization: str, dtype: str) -> Path:
    """The base as transformers saves it in 4 bits, with its tokenizer."""
    folder = work / f"saved-{quantization}"
    if not folder.is_dir():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from evalkit.models.devices import choose_placement
        from evalkit.models.quantizing import as_quantization, quantization_arguments
        from evalkit.models.registry import resolve

        path, kind = resolve(MODEL).path, choose_placement("cpu", dtype).torch_dtype
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
    clock = time.time()
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    whole = time.time() - clock
    if done.returncode or not noted.is_file():
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return Start(float(noted.read_text()) - clock, whole)


def starts(prompt: str, quantization: str, dtype: str, repeats: int) -> tuple[Start, Start]:
    """evalkit's and lm-evaluation-harness's medians, taken in turns after a run of each that does not count."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work, prompt, dtype)
        found: list[tuple[Start, Start]] = []
        for _ in range(repeats + 1):
            ours = measure(our_command(work, quantization), work)
            found.append((ours, measure(their_command(work, quantization, dtype), work)))
    ours, theirs = zip(*found[1:], strict=True)
    return median(ours), median(theirs)


def median(sides: Sequence[Start]) -> Start:
    firsts, wholes = sorted(side.first for side in sides), sorted(side.whole for side in sides)
    return Start(firsts[len(firsts) // 2], wholes[len(wholes) // 2])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quantization", nargs="+", default=["none", "nf4"], choices=["none", "nf4"])
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    arguments = parser.parse_args()
    from score import read_data, requests_of

    prompt = str(requests_of("label", read_data(arguments.data), 1)[0].prompt)
    print(
        "| base | evalkit, first token | end | lm_eval, first token | end | ratio |\n|---|---|---|---|---|---|"
    )
    for quantization in arguments.quantization:
        ours, theirs = starts(prompt, quantization, arguments.dtype, arguments.repeats)
        print(
            f"| {quantization}, {arguments.dtype} | {ours.first:.1f} s | {ours.whole:.1f} s | {theirs.first:.1f} s | "
            f"{theirs.whole:.1f} s | **{ours.first / theirs.first:.2f}** |",
            flush=True,
        )


if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]
    main()
