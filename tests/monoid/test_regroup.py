"""In training, random groups of a set may be joined first."""

from __future__ import annotations

import pytest
import torch

from tests.monoid import oracle_monoid as oracle
from tests.monoid.test_aggregation import INDEX, C, Count, layer


def test_regrouping_joins_groups_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(["gru", "topk"], regroup=True, shuffle=False), torch.randn(10, C).double()
    assert torch.equal(made(x, INDEX), layer(["gru", "topk"])(x, INDEX))
    group = torch.tensor([4, 0, 4, 1, 2, 0, 3, 5, 2, 4])
    owner = torch.tensor([0, 1, 3, 3, 3, 5])
    monkeypatch.setattr("geqlib.monoid.aggregation.random_groups", lambda *_: (group, owner))
    monkeypatch.setattr("geqlib.monoid.aggregation._random", lambda rows: torch.arange(len(rows)))
    states = []
    for f in made.operators:
        parts = f.encode(x)
        for index, sets in ((group, 6), (owner, 7)):
            found = [list(parts[index == i]) for i in range(sets)]
            empty = f.identity(parts)
            found = [oracle.value(oracle.tree(e), f) if e else empty for e in found]
            parts = torch.stack(found)
        states.append(f.decode(parts))
    expected = made.project(torch.cat(states, -1))
    torch.testing.assert_close(made.train()(x, INDEX, dim_size=7), expected, atol=1e-12, rtol=0)


def test_regrouping_takes_as_many_products() -> None:
    made = layer(Count(), regroup=True, assoc=1.0, identity=1.0).train()
    x, index = torch.randn(40, C).double(), torch.tensor([0] * 33 + [2] * 7)
    made.assoc = made.identity = 0.0
    made(x, index, dim_size=4)
    assert made.operators[0].module.rows == 32 + 6
    made.assoc = 1.0
    made(x, index, dim_size=4)
    assert 1 <= len(made.aux_losses) <= 2
