"""The aggregations and networks to compare with compute what they are said to."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.peers.aggregations import PNAAggregation, RecurrentAggregation
from benchmarks.peers.molecule_gnn import MoleculeGNN
from geqlib.models import SetNetwork
from geqlib.nn import auxiliary_loss

C, INDEX = 4, torch.tensor([1, 0, 1, 1, 0, 2])


def test_recurrent_aggregation_reads_sets_one_by_one() -> None:
    torch.manual_seed(0)
    aggr, x = RecurrentAggregation(C).eval(), torch.randn(6, C)
    expected = torch.cat([aggr.gru(x[k == INDEX][None])[1][0] for k in range(3)])
    torch.testing.assert_close(aggr(x, INDEX, dim_size=3), expected)
    outs = {float(aggr.train()(x, INDEX, dim_size=3).detach().sum()) for _ in range(8)}
    assert len(outs) > 1  # the order of the elements is drawn anew


def test_swap_loss_is_that_of_neighbours_in_the_sequence() -> None:
    torch.manual_seed(0)
    aggr = RecurrentAggregation(C, swap=2.0).train()
    cell = torch.nn.GRUCell(C, C)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in aggr.gru.state_dict().items()})
    x = torch.randn(5, C)
    torch.manual_seed(1)
    aggr(x, torch.zeros(5, dtype=torch.long), dim_size=1)
    torch.manual_seed(1)
    x = x[torch.rand(5).argsort()]
    state, errors = torch.zeros(1, C), []
    for k in range(4):
        first = cell(x[k + 1 : k + 2], cell(x[k : k + 1], state))
        second = cell(x[k : k + 1], cell(x[k + 1 : k + 2], state))
        errors.append((first - second).square().sum())
        state = cell(x[k : k + 1], state)
    torch.testing.assert_close(auxiliary_loss(aggr), 2 * torch.stack(errors).mean())


def test_pna_fits_where_other_aggregations_do() -> None:
    aggr = PNAAggregation(C, [0, 3, 2])
    assert aggr(torch.randn(6, 2, C), INDEX, dim_size=4, dim=0).shape == (4, 2, C)
    net = SetNetwork(C, aggr)
    assert net(torch.arange(6), INDEX.sort().values, 3).shape == (3, 8)


def test_molecule_networks() -> None:
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    inputs: Any = (torch.tensor([[1], [0], [2]]), edges, torch.tensor([[0], [0], [1], [1]]))
    for conv in ("pna", "gin"):
        net = MoleculeGNN(conv, [3], [2], degrees=[0, 2, 1], channels=C, hidden=6, layers=2)
        assert net(*inputs, torch.tensor([0, 0, 1]), 2).shape == (2, 1)
