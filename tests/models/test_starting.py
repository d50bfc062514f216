"""A command starts without the garbage collector walking over all it imports; afterwards the collector is as ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LOADING = """
import gc, sys, weakref
from evalkit.collecting import SELDOM, starting
usual = gc.get_threshold()
if sys.argv[2] == "command":
    starting()
    starting()
    print(gc.get_threshold() == SELDOM, usual != SELDOM)
from evalkit.models.loading import load_base
base = load_base(sys.argv[1], quantization="none", dtype="fp32", device="cpu")
print(gc.get_threshold() == usual, gc.get_freeze_count() > 100_000)

class Node:
    pass

node = Node()
node.itself, seen = node, weakref.ref(node)
del node
gc.collect()
print(seen() is None)
load_base(sys.argv[1], quantization="none", dtype="fp32", device="cpu")
print(gc.get_threshold() == usual)
"""


def say(model: Path, kind: str) -> list[str]:
    command = [sys.executable, "-c", LOADING, str(model), kind]
    done = subprocess.run(command, env=None, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_command_is_left_alone_until_its_base_is_loaded(model_folder: Callable[[str], Path]) -> None:
    assert say(model_folder("llama"), "command") == ["True True", "True True", "True", "True"]


def test_a_library_leaves_the_collector_of_its_user_alone(model_folder: Callable[[str], Path]) -> None:
    assert say(model_folder("llama"), "library") == ["True False", "True", "True"]
