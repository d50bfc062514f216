"""A run whose first batch cannot fit in memory ends all the same, on a machine that really refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.models.selftest import write_tiny_model

CAPPED = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from evalkit.models.limits import Limits
from evalkit.models.loading import load_base
from evalkit.models.local import LocalModel
from evalkit.records import Generation, Request

base = load_base(sys.argv[1], quantization="none", dtype="fp32", device="cpu")
asked = [Request(str(i), "generate", chr(65 + i) * 1000, Generation(max_new_tokens=3)) for i in range(16)]
limits = Limits(tokens=1 << 20)  # all prompts in one pass
plenty = {output.id: output for output in LocalModel(base, limits=limits).answer(asked[:1])}
passes = []
base.model.register_forward_pre_hook(lambda _, __, inputs: passes.append(inputs["input_ids"].numel()), with_kwargs=True)
used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + (24 << 20),) * 2)
found = {output.id: output for output in LocalModel(base, limits=limits).answer(asked)}
assert all(found[key].text == output.text for key, output in plenty.items())
print(passes[0], "tokens do not fit" if 1 < passes[1] <= passes[0] // 2 else passes)
print(len(found), "answers,", sum(output.finish == "error" for output in found.values()), "errors")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="caps the address space by RLIMIT_AS and reads /proc")
def test_a_run_ends_where_its_first_batch_cannot_fit(tmp_path: Path, root: Path) -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=272,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
    )
    write_tiny_model(tmp_path, config)
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, str(tmp_path)],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.stdout.splitlines() == ["16000 tokens do not fit", "16 answers, 0 errors"], done.stderr


MANY = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from evalkit.models.loading import load_base
from evalkit.models.local import LocalModel
from evalkit.records import Generation, Request

def held():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])

base = load_base(sys.argv[1], quantization="none", dtype="fp32", device="cpu")
for n in (2_000, 10_000):
    short = Generation(max_new_tokens=1)
    asked = [Request(str(i), "generate", f"{i:05d} {'bread ' * (i % 9)}?", short) for i in range(n)]
    print(sum(output.finish != "error" for output in LocalModel(base).answer(asked)), held())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of held memory from /proc")
def test_ten_thousand_rows_take_hardly_more_memory_than_two_thousand(tmp_path: Path, root: Path) -> None:
    write_tiny_model(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path)],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    (some, before), (all_, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (some, all_) == (2_000, 10_000), done.stderr
    assert after - before < 24 << 10  # kB; the questions themselves are 4 MB
