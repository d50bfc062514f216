"""One call for a whole stream: what it is asked says exactly who attends to whom; the kernel's part is CUDA's."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from evalkit.models.loading import Base, load_base
from evalkit.models.quiet import quiet
from evalkit.specs.trainer import QloraSettings
from evalkit.training.attention import Layout, Segment, Stretch, attend, laid_out
from evalkit.training.job import TrainingJob
from evalkit.training.trial import on_trial
from evalkit.training.varlen import at_once, choose_attention, gathered, spans, why_not

EVERYTHING = (torch.float32, torch.bfloat16)


def reference(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    aligned: str = "last",
) -> torch.Tensor:
    """``varlen_attn`` as its documentation and FlashAttention's say: sequence by sequence, the last query at the
    last key, ``window_size`` positions to the left and right of the diagonal."""
    assert query.shape[1] == key.shape[1] or enable_gqa
    out = []
    sequences = zip(pairwise(cu_seq_q.tolist()), pairwise(cu_seq_k.tolist()), strict=True)
    for (q_start, q_stop), (k_start, k_stop) in sequences:
        assert 0 < q_stop - q_start <= max_q
        assert 0 < k_stop - k_start <= max_k
        q, k, v = query[q_start:q_stop], key[k_start:k_stop], value[k_start:k_stop]
        k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
        shift = len(k) - len(q) if aligned == "last" else 0
        at, places = torch.arange(len(q))[:, None] + shift, torch.arange(len(k))[None]
        left, right = window_size
        seen = torch.ones(len(q), len(k), dtype=torch.bool)
        if left >= 0:
            seen &= places >= at - left
        if right >= 0:
            seen &= places <= at + right
        scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * (scale or q.shape[-1] ** -0.5)
        shares = torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1)
        out.append(torch.einsum("hqk,khd->qhd", shares, v.float()))
    return torch.cat(out).to(query.dtype)


def never(*_: Any, **__: Any) -> torch.Tensor:
    raise AssertionError("the kernel is called for a layer that it cannot do")


def tree(seed: int) -> Layout:
    """Stretches of 1 to 9 tokens, each going on from an earlier one or from nothing."""
    draw = random.Random(seed)
    stretches: list[Stretch] = []
    end = 0
    for _ in range(12):
        before: tuple[tuple[int, int], ...] = ()
        if stretches and draw.random() < 0.75:
            parent = draw.choice(stretches)
            before = (*parent.before, (parent.start, parent.stop))
        start, end = end, end + draw.randint(1, 9)
        stretches.append(Stretch(start, end, before))
    return Layout(tuple(stretches), (Segment("", 0, end),))


def run(
    attention: Callable[..., Any], layout: Layout, device: str, dtype: torch.dtype, heads: int, **more: Any
) -> Any:
    """Its result and the gradients of queries, keys and values."""
    random = torch.Generator().manual_seed(5)
    length = layout.stretches[-1].stop
    states = [
        torch.randn(1, n, length, 16, generator=random).to(device, dtype).requires_grad_()
        for n in (4, heads, heads)
    ]
    with laid_out(layout):
        out, _ = attention(torch.nn.Identity(), *states, None, **more)
    out.backward(torch.randn(out.shape, generator=random).to(device, dtype))
    return [out.detach(), *(state.grad for state in states)]


@pytest.mark.parametrize("window", [None, 1, 4, 11, 500])
@pytest.mark.parametrize("heads", [4, 2, 1])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_attention_stretch_by_stretch(seed: int, heads: int, window: int | None) -> None:
    layout, more = tree(seed), {"sliding_window": window, "scaling": 0.3}
    expected = run(attend, layout, "cpu", torch.float32, heads, **more)
    found = run(at_once(reference, EVERYTHING), layout, "cpu", torch.float32, heads, **more)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_rows_that_share_nothing_are_not_gathered() -> None:
    layout = Layout((Stretch(0, 4), Stretch(4, 9)), (Segment("", 0, 9),))
    found = spans(layout, torch.device("cpu"))
    assert found.gathered is None
    assert found.queries.tolist() == found.keys.tolist() == [0, 4, 9]
    assert found.queries.dtype == found.keys.dtype == torch.int32
    assert spans(layout, torch.device("cpu")) is found  # made once


@pytest.mark.parametrize(
    "more", [{"softcap": 30.0}, {"s_aux": torch.zeros(4)}, {"sliding_window": 4, "softcap": 1.0}]
)
def test_what_the_kernel_has_not_is_done_stretch_by_stretch(more: dict[str, Any]) -> None:
    expected = run(attend, tree(1), "cpu", torch.float32, 2, **more)
    found = run(at_once(never, EVERYTHING), tree(1), "cpu", torch.float32, 2, **more)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_other_types_are_done_stretch_by_stretch() -> None:
    run(at_once(never), tree(1), "cpu", torch.float32, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # which is asked for bf16 whatever comes in
        out, *_ = run(at_once(reference), tree(1), "cpu", torch.float32, 2)
    assert out.dtype == torch.float32
    assert not torch.equal(out, run(attend, tree(1), "cpu", torch.float32, 2)[0])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_gradients_of_a_beginning_of_many_rows_are_added_in_fp32(device: str) -> None:
    """300 summands added one by one in bf16, as CUDA's own index_select would, are off by several per cent."""
    states = torch.ones(2, 1, 16, dtype=torch.bfloat16, device=device, requires_grad=True)
    index = torch.tensor([0] * 300 + [1], device=device)
    sent = torch.rand(301, 1, 16, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    gathered(states, index).backward(sent)
    exact = torch.stack([sent[:300].double().sum(0), sent[300].double()])
    assert torch.equal(states.grad, exact.float().bfloat16())


def tiny(family: str, **more: Any) -> Any:
    settings = {
        "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": None, **more,
    }  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings), dtype=torch.float32)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text"])
def test_a_model_s_losses_and_gradients_are_those_of_single_rows(family: str, checkpointing: bool) -> None:
    model = tiny(family, **{} if family == "llama" else {"sliding_window": 4096})
    with on_trial(model, QloraSettings(), "cpu") as trial:
        plain = trial.alone()
        if checkpointing:  # layers are run again in the backward pass, and attend again
            trial.model.activation_checkpointing_enable({"use_reentrant": False})
        for mode in ("packed", "shared"):
            found = trial.streamed(mode, at_once(reference, EVERYTHING))  # type: ignore[arg-type]
            for one, other in zip(plain, found, strict=True):
                assert float((one - other).norm()) <= 1e-4 * max(float(one.norm()), 1e-3)


def test_the_kernel_is_tried_on_the_model() -> None:
    def first_aligned(*given: Any, **named: Any) -> torch.Tensor:
        return reference(*given, **named, aligned="first")

    def no_window(*given: Any, window_size: tuple[int, int], **named: Any) -> torch.Tensor:
        return reference(*given, **named, window_size=(-1, 0))

    def broken(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")

    mistral, settings = tiny("mistral", sliding_window=4096), QloraSettings()
    assert why_not(mistral, settings, "cpu", reference) is None
    for wrong in (first_aligned, no_window):
        assert "from fp32's" in str(why_not(mistral, settings, "cpu", wrong))
    assert why_not(mistral, settings, "cpu", broken) == "it could not be run (RuntimeError)"
    capped = tiny("gemma2")
    assert why_not(capped, settings, "cpu", never) == "no layer of this model is fit for it"


def test_a_cpu_has_no_choice(base_of: Callable[..., Base], tmp_path: Path) -> None:
    said: list[str] = []
    job = TrainingJob(base_of(), QloraSettings(precision="bf16"), [], [], tmp_path)
    assert choose_attention(job, said.append) is attend
    assert said == []


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 4, 500])
@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_on_cuda_it_is_as_near_to_fp32_as_sdpa(dtype: torch.dtype, heads: int, window: int | None) -> None:
    from torch.nn.attention.varlen import varlen_attn

    for seed in range(4):
        layout = tree(seed)
        exact = run(attend, layout, "cpu", torch.float32, heads, sliding_window=window)
        sdpa = run(attend, layout, "cuda", dtype, heads, sliding_window=window)
        whole = run(at_once(varlen_attn), layout, "cuda", dtype, heads, sliding_window=window)
        for one, per_stretch, found in zip(exact, sdpa, whole, strict=True):
            off = [float((other.float().cpu() - one).norm() / one.norm()) for other in (per_stretch, found)]
            assert off[1] <= 2 * off[0] + 1e-3


@pytest.mark.gpu
def test_on_cuda_a_training_in_bf16_says_what_it_uses(tiny_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for dtype in ("bf16", "fp32"):
        base = load_base(str(tiny_folder), quantization="nf4", dtype=dtype, device="cuda")
        choose_attention(TrainingJob(base, QloraSettings(), [], [], tmp_path), said.append)
    assert said == ["attention: FlashAttention, one call a layer for a whole stream."]
