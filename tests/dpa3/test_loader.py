"""Plans that loaders make: those of the positions, padded or not."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data

from geqlib.graph import neighbor_list
from geqlib.models import Potential
from geqlib.train.steps.prepared import PlanInLoader
from tests.atoms.atoms import system
from tests.dpa3.test_network import small


def batch_of(sizes: tuple[int, ...]) -> Batch:
    graphs = []
    for nodes in sizes:
        pos, z, cell = system(nodes, periodic=True)
        near = neighbor_list(pos, 3.0, cell=cell[None])
        more = {"edge_index": near.edge_index, "reverse": near.reverse}
        data = Data(pos=pos, z=z, cell=cell[None], cell_shift=near.cell_shift, **more)
        graphs.append(data)
    batch = Batch.from_data_list(graphs)
    counts = torch.tensor([0] + [g.edge_index.size(1) for g in graphs]).cumsum(0)
    batch.reverse = torch.cat([g.reverse + s for g, s in zip(graphs, counts, strict=False)])
    return batch


@pytest.mark.parametrize("padded", [False, True])
def test_bonds_in_angles_are_the_short_ones(padded: bool) -> None:
    potential, batch = Potential(small()).double(), batch_of((4, 6))
    with_plan = PlanInLoader(potential, padded=padded)(batch)
    plan = with_plan.padded_plan if padded else with_plan.plan
    offset = batch.pos[batch.edge_index[0]] - batch.pos[batch.edge_index[1]]
    cell = batch.cell[batch.batch[batch.edge_index[1]]]
    offset = offset + torch.einsum("ed,edk->ek", batch.cell_shift.double(), cell)
    near = offset.norm(dim=1) <= 2.4
    listed = set(plan.edge.tolist())
    assert near.any() and not near.all()
    real = set(range(len(near)))
    assert listed & real == set(near.nonzero()[:, 0].tolist())
