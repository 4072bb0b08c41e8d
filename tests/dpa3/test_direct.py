"""The network computes what features that are joined before they are projected give."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.peers.dpa3_direct import DirectDPA3
from benchmarks.speed import dpa3
from geqlib.models import DPA3
from tests.dpa3.test_network import small, system

TINY: dict[str, Any] = {
    "node_channels": 8,
    "edge_channels": 8,
    "angle_channels": 4,
    "compressed": 4,
}
TINY |= {"layers": 3, "readout": [8], "cutoff": 4.0, "switch": 3.0, "angle_cutoff": 3.0}
TINY |= {"angle_switch": 2.0}


def test_outputs_and_gradients_agree() -> None:
    pos, edges, shift = system("random")
    net, x = small(layers=3), torch.randn(len(pos), 6, dtype=torch.float64)
    plan = net.plan(edges, len(pos))
    results = []
    for run in (net, DirectDPA3(net)):
        out = run(pos, edges, x, edge_shift=shift, plan=plan)
        grads = torch.autograd.grad(out.square().sum(), list(net.parameters()))
        results.append([out, *grads])
    for ours, direct in zip(*results, strict=True):
        torch.testing.assert_close(ours, direct, atol=1e-12, rtol=1e-10)


def test_the_direct_network_asks_for_a_plan() -> None:
    pos, edges, _ = system("random")
    with pytest.raises(ValueError, match="makes no plan: pass that of the model"):
        DirectDPA3(small())(pos, edges, torch.zeros(6, 6).double())


def test_the_steps_that_are_timed_agree() -> None:
    """In float32, at tiny sizes: energies, forces and gradients of training."""
    assert dpa3.difference(4, **TINY) < 1e-4
    steps = dpa3.steps(2, **TINY)
    assert all(len(step()) == len(list(DPA3(**TINY).parameters())) + 3 for step in steps.values())


def test_the_density_is_that_of_water() -> None:
    atoms = dpa3.water(8)
    grams = atoms.get_masses().sum() * 1.66054e-24
    assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(1.0, abs=0.01)
