"""The network computes what the published form, written directly, computes; and the script runs."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers.escaip_direct import DirectEScAIP
from benchmarks.speed import escaip as speed
from geqlib.models import EScAIP, Potential, energy_forces
from tests.atoms.atoms import batch

SIZES = {"channels": 8, "layers": 3, "heads": 2, "gaussians": 5, "radial": 4, "cutoff": 3.0}


@pytest.mark.parametrize("k", [2, 4, 30])
def test_energies_forces_and_gradients_agree(k: int) -> None:
    torch.manual_seed(0)
    net = EScAIP(3, 1, **SIZES, angular=(1, 1, 1, 0, 1), bond_degree=4, k=k).double()
    ours = Potential(net)
    theirs = Potential(DirectEScAIP(net))
    theirs.embedding = ours.embedding
    tensors = batch((6, 1, 4), (False, False, False))
    for name in ("cell", "cell_shift"):
        tensors.pop(name, None)
    results, gradients = [], []
    for potential in (ours, theirs):
        net.zero_grad()
        out = energy_forces(potential, **tensors, create_graph=True)
        (out["forces"].square().sum() + out["energy"].sum()).backward()
        results.append(out)
        gradients.append({n: p.grad for n, p in net.named_parameters()})
    for name in ("energy", "forces"):
        torch.testing.assert_close(results[0][name], results[1][name], atol=1e-12, rtol=1e-12)
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, atol=1e-11, rtol=1e-10)


def test_the_script_runs_at_small_sizes() -> None:
    runs = speed.steps(atoms=4, molecules=2, sizes={"channels": 8, "layers": 2, "heads": 2})
    one, other = (run() for run in runs.values())
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    seconds, memory = dict.fromkeys(runs, 1.0), dict.fromkeys(runs, 2.0)
    assert "1.00 times" in speed.compared(seconds, memory).note
