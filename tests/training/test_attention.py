"""Attention within a stream, on its own."""

from __future__ import annotations

import torch

from evalkit.training.attention import Layout, Segment, Stretch, attend, laid_out


def test_a_cpu_attends_in_fp32_even_where_autocast_asks_for_bf16() -> None:
    """Under autocast the call would go to a bf16 kernel, four times slower and less exact."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 40, 16, dtype=torch.bfloat16) for heads in (4, 2, 2))
    layout = Layout((Stretch(0, 25), Stretch(25, 40)), (Segment("", 0, 40),))
    with laid_out(layout), torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attend(torch.nn.Identity(), query, key, value, None)
    assert found.dtype == torch.bfloat16
    wide = []
    # by hand: softmax(QKᵀ/√16)V, two heads of queries on one of keys
    for span in (slice(0, 25), slice(25, 40)):
        q, k, v = (states.float()[0, :, span] for states in (query, key, value))
        k, v = k.repeat_interleave(2, dim=0), v.repeat_interleave(2, dim=0)
        scores = q @ k.mT / 4
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        wide.append(torch.softmax(scores, -1) @ v)
    expected = torch.cat(wide, dim=1).transpose(0, 1)[None]
    # one rounding, at the end; sums in another order may fall on its other side now and then
    assert float((found == expected.bfloat16()).float().mean()) > 0.99
