"""Sums of messages in all frames equal explicit sums, whatever the pieces."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import silu

from geqlib.frames import frame_edges as module
from geqlib.frames.frame_edges import frame_edges

SIGNS = torch.tensor([[*s, 1] for s in product([1.0, -1.0], repeat=2)]).double()


def drawn(nodes: int, edges: int, channels: int = 3) -> tuple[Any, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(nodes + edges)
    shapes = (2, nodes, channels), (2, nodes, channels), (edges, channels)
    more = (channels, channels), (channels,)
    tensors = [torch.randn(s, generator=generator).double() for s in (*shapes, *more)]
    source, target = torch.randint(nodes, (2, edges), generator=generator)
    tensors.insert(3, SIGNS)
    return tuple(tensors), source, target


def explicit(tensors: tuple[Tensor, ...], source: Tensor, target: Tensor) -> Tensor:
    """One message at a time."""
    own, other, edge, signs, weight, bias = tensors
    rows = [[torch.zeros_like(bias) for _ in range(own.size(1))] for _ in signs]
    for s, sign in enumerate(signs):
        for e, (i, j) in enumerate(zip(target.tolist(), source.tolist(), strict=True)):
            z = sign[2] * edge[e] + sum(sign[k] * (own[k, i] + other[k, j]) for k in range(2))
            rows[s][i] = rows[s][i] + silu(weight @ silu(z) + bias)
    return torch.stack([torch.stack(part) for part in rows])


@pytest.mark.parametrize("piece", [1, 30, 2**17])
@pytest.mark.parametrize("sizes", [(4, 11), (1, 2), (3, 0)])
def test_equals_the_explicit_sum(
    sizes: tuple[int, int], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    tensors, source, target = drawn(*sizes)
    leaves = [t for k, t in enumerate(tensors) if k != 3]
    for t in leaves:
        t.requires_grad_()
    found, exact = frame_edges(*tensors, source, target), explicit(tensors, source, target)
    torch.testing.assert_close(found, exact, atol=1e-13, rtol=0)
    given: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    grads = [
        torch.autograd.grad(y.sin().sum(), leaves, **given)
        for y in (found, exact + 0 * leaves[0].sum())
    ]
    for got, expected in zip(*grads, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


def test_second_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 30)
    tensors, source, target = drawn(3, 7, 2)
    leaves = [t.requires_grad_() for k, t in enumerate(tensors) if k != 3]

    def fn(own: Tensor, other: Tensor, edge: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return frame_edges(own, other, edge, SIGNS, weight, bias, source, target)

    assert gradcheck(fn, leaves, fast_mode=True) and gradgradcheck(fn, leaves, fast_mode=True)


def test_autocast() -> None:
    tensors, source, target = drawn(4, 11)
    exact = frame_edges(*tensors, source, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = frame_edges(*(t.float() for t in tensors), source, target)
    assert found.dtype is torch.bfloat16
    # three roundings of 2^-9 each, and sums of at most 6 messages of size about 3
    torch.testing.assert_close(found.double(), exact, atol=0.2, rtol=0.05)
