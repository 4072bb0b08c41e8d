"""The fast network computes what the published algorithm, written directly, computes."""

import pytest
import torch

from benchmarks.peers.ponita_direct import DirectPONITA
from geqlib.models import PONITA


def _batch(graphs: int, nodes: int, dtype: torch.dtype):
    generator = torch.Generator().manual_seed(1)
    first, second = torch.meshgrid(torch.arange(nodes), torch.arange(nodes), indexing="ij")
    pairs = torch.stack([first[first != second], second[first != second]])
    edge_index = torch.cat([pairs + k * nodes for k in range(graphs)], 1)
    count = graphs * nodes
    pos, vec = (
        torch.randn(count, *shape, dtype=dtype, generator=generator) for shape in ((3,), (1, 3))
    )
    charge = torch.randn(count, 1, dtype=dtype, generator=generator)
    product = charge[edge_index[0]] * charge[edge_index[1]]
    return pos, edge_index, charge, vec, product


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("orientations", [16, 12])
def test_outputs_and_gradients_agree(dtype, tolerance, orientations):
    torch.manual_seed(0)
    net = PONITA(
        1, 1, 0, 1, channels=16, basis=24, layers=3, orientations=orientations, edge_dim=1
    ).to(dtype)
    inputs = _batch(4, 5, dtype)
    outputs, gradients = [], []
    for run in (lambda: net(*inputs)[1], lambda: DirectPONITA(net)(*inputs)):
        net.zero_grad()
        out = run()
        (out**2).mean().backward()
        outputs.append(out.detach())
        gradients.append({n: p.grad.clone() for n, p in net.named_parameters()})
    scale = outputs[1].abs().max()
    assert (outputs[0] - outputs[1]).abs().max() < tolerance * scale
    for name, gradient in gradients[1].items():
        # the scale of the whole gradient: float32 cancels in the small entries of both
        error = (gradients[0][name] - gradient).abs().max()
        largest = max(g.abs().max() for g in gradients[1].values())
        assert error < tolerance * largest, name


def test_antipodal_grid_evaluates_half_of_the_kernel():
    net = PONITA(1, 1, 0, 1, channels=4, layers=1, orientations=16)
    _, edge_index, *_ = _batch(3, 5, torch.float32)
    plan = net.kernel.plan(edge_index, 15)
    assert 2 * len(plan.edge) == edge_index.size(1)
    assert plan.paired == len(plan.edge)
