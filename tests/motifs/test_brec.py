"""BREC's statistic against slow sums and scipy, and its protocol on planted pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isnan
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import f, ttest_rel
from torch import Tensor, nn
from torch_geometric.data import Data

from geqlib.data.graphs.expressivity import plain
from geqlib.models import MessagePassingNet, PPGNpp
from geqlib.motifs.brec import (
    COPIES,
    OUTPUTS,
    THRESHOLD,
    BRECRecipe,
    Comparison,
    compare,
    hotelling_threshold,
    paired_statistic,
)

RING = nx.cycle_graph(7)
TWO_RINGS = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4))
FEW = BRECRecipe(epochs=2)


def slow_statistic(first: np.ndarray, second: np.ndarray) -> float:
    """m^T C^-1 m by loops over samples and entries, and a linear system."""
    n, q = first.shape
    mean, covariance = np.zeros(q), np.zeros((q, q))
    for a, b in zip(first, second, strict=True):
        mean += (a - b) / n
    for a, b in zip(first, second, strict=True):
        for i in range(q):
            for j in range(q):
                covariance[i, j] += (a - b - mean)[i] * (a - b - mean)[j] / (n - 1)
    return float(mean @ np.linalg.solve(covariance, mean))


@pytest.mark.parametrize("outputs", [1, 2, 5, 16])
def test_statistic_is_the_slow_one(outputs: int) -> None:
    rng = np.random.default_rng(outputs)
    first, second = rng.normal(size=(2, COPIES, outputs)) @ rng.normal(size=(outputs, outputs))
    value = paired_statistic(*map(torch.from_numpy, (first + 0.3, second)))
    assert value.dtype == torch.float64
    assert float(value) == pytest.approx(slow_statistic(first + 0.3, second), rel=1e-9)


def test_one_output_is_the_paired_t_test() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, COPIES, 1))
    value = paired_statistic(torch.from_numpy(first), torch.from_numpy(second))
    t = ttest_rel(first[:, 0], second[:, 0]).statistic
    assert COPIES * float(value) == pytest.approx(t**2, rel=1e-12)
    assert hotelling_threshold(outputs=1) == pytest.approx(f.ppf(0.95, 1, 31))


def test_threshold_is_the_published_one_of_32_times_s() -> None:
    assert hotelling_threshold() == pytest.approx(31 * f.ppf(0.95, 16, 16))
    assert hotelling_threshold() == pytest.approx(THRESHOLD, abs=0.005)
    with pytest.raises(ValueError, match="16 pairs are too few for 16 outputs"):
        hotelling_threshold(16, 16)


def test_threshold_is_exceeded_as_often_as_it_says() -> None:
    """Of 2000 draws under the null hypothesis 5 %, within 4 standard deviations; none in s."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(OUTPUTS, OUTPUTS, generator=generator).double()
    draws = torch.randn(2000, COPIES, OUTPUTS, generator=generator).double() @ mix
    zero = torch.zeros(COPIES, OUTPUTS).double()
    s = torch.stack([paired_statistic(draw, zero) for draw in draws])
    share = float((COPIES * s > hotelling_threshold()).double().mean())
    assert abs(share - 0.05) < 4 * (0.05 * 0.95 / 2000) ** 0.5
    assert not (s > THRESHOLD).any()


def test_embeddings_that_leave_nothing_to_test() -> None:
    one = torch.ones(COPIES, OUTPUTS).double()
    assert float(paired_statistic(one, one)) == 0
    assert float(paired_statistic(one, -one)) == 0  # as published: no covariance, no statistic
    assert float(paired_statistic(one, -one, ridge=1e-7)) == pytest.approx(16 * 4 / 1e-7)
    assert isnan(float(paired_statistic(one * torch.inf, one)))


def relabelled(graph: nx.Graph, rng: np.random.Generator, kind: float = 1.0) -> Data:
    copy = plain(graph).relabelled(rng)
    return Data(torch.full((len(copy.kind), 1), kind), torch.from_numpy(copy.edge_index))


def block(*graphs: nx.Graph, seed: int = 0) -> list[Data]:
    """64 relabelled graphs, these in turn."""
    rng = np.random.default_rng(seed)
    turns = 2 * COPIES // len(graphs)
    return [relabelled(graph, rng) for _ in range(turns) for graph in graphs]


def ppgn() -> nn.Module:
    return PPGNpp(1, OUTPUTS, channels=8, layers=3, degree=4)


def gin() -> nn.Module:
    return MessagePassingNet(1, OUTPUTS, channels=8, layers=3)


def outcome(
    build: Callable[[], nn.Module], one: nx.Graph, two: nx.Graph, recipe: BRECRecipe = FEW
) -> Comparison:
    torch.manual_seed(0)
    return compare(build(), block(one, two), block(one, seed=1), recipe)


def test_planted_pair() -> None:
    """A ring of seven and rings of three and four: for 2-WL, and not for message passing."""
    of_ppgn, of_gin = outcome(ppgn, RING, TWO_RINGS), outcome(gin, RING, TWO_RINGS)
    assert of_ppgn.separated and of_ppgn.reliable and of_ppgn.spread < 1e-5
    assert of_ppgn.separated_exactly
    assert not of_gin.separated and of_gin.reliable


@pytest.mark.parametrize("build", [ppgn, gin])
@pytest.mark.parametrize("graph", [RING, nx.gnp_random_graph(8, 0.5, seed=0)])
def test_copies_of_one_graph_are_never_separated(
    build: Callable[[], nn.Module], graph: nx.Graph
) -> None:
    assert not outcome(build, graph, graph).separated


class Weighted(nn.Module):
    """Sums over edges, weighed by random numbers for the nodes as they are numbered.

    Args:
        shift: added to the outputs of every other graph of a batch.
    """

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        self.weight = nn.Parameter(torch.randn(8, OUTPUTS))

    def forward(self, edge_index: Tensor, batch: Tensor, num_graphs: int, ptr: Tensor) -> Tensor:
        source, target = edge_index - ptr[batch[edge_index[0]]]
        message = self.weight[source] * self.weight[target].roll(1, 1)
        out = message.new_zeros(num_graphs, OUTPUTS).index_add(0, batch[edge_index[0]], message)
        return out + self.shift * (torch.arange(num_graphs) % 2)[:, None]


def test_the_order_of_nodes_shows_as_spread_and_separates_nothing() -> None:
    result = outcome(Weighted, RING, RING)
    assert not result.separated and result.spread > 1e-2


def test_what_depends_on_the_place_in_a_batch_is_not_reliable() -> None:
    result = outcome(lambda: Weighted(shift=1e3), RING, TWO_RINGS)
    assert not result.reliable and not result.reliable_exactly


def test_separation_by_both_thresholds() -> None:
    result = Comparison(THRESHOLD + 1, 1.0, 0.1, 20, 0.0)
    assert result.separated and result.reliable and result.reliable_exactly
    exact = hotelling_threshold() / COPIES
    assert not replace(result, statistic=THRESHOLD - 1).separated
    assert replace(result, statistic=exact + 0.01).separated_exactly
    assert not replace(result, statistic=exact - 0.01).separated_exactly
    assert not replace(result, reliability=result.statistic * (1 + 5e-6)).separated
    assert not replace(result, reliability=exact + 0.01).reliable_exactly
    broken = replace(result, statistic=float("nan"), reliability=float("nan"))
    assert not broken.separated and not broken.reliable


class Triangles(nn.Module):
    """An exact feature, without weights, of a batch of torch_geometric."""

    def forward(self, data: Any) -> Tensor:
        edges = [g.edge_index for g in data.to_data_list()]
        dense = [torch.zeros(8, 8).index_put(tuple(e), torch.ones(())) for e in edges]
        return torch.stack([(a @ a @ a).trace().expand(OUTPUTS) for a in dense])


def test_exact_features_need_the_ridge() -> None:
    """Copies that agree exactly have no covariance; the second published form takes 1e-7."""
    assert outcome(Triangles, RING, TWO_RINGS).statistic == 0
    result = outcome(Triangles, RING, TWO_RINGS, BRECRecipe(ridge=1e-7))
    assert result.separated and result.reliable and result.spread == 0 and result.epochs == 0
    assert not outcome(Triangles, RING, RING, BRECRecipe(ridge=1e-7)).separated


def test_training_is_the_published_loop() -> None:
    """Weights after two epochs are those of the loop of the published code, written again."""
    graphs, copies = block(nx.star_graph(7), RING), block(RING, seed=1)
    for graph in graphs + copies:
        graph.x = graph.x.double()
    nets = []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(ppgn().double())
    result = compare(nets[0], graphs, copies, BRECRecipe(epochs=2, stop=0.0, lr=1e-2))
    optimizer = torch.optim.Adam(nets[1].parameters(), lr=1e-2, weight_decay=1e-4)
    total = 0.0
    for _ in range(2):
        total = 0.0
        for start in range(0, 64, 16):
            optimizer.zero_grad()
            parts = torch.cat([nets[1](g.x, g.edge_index) for g in graphs[start : start + 16]])
            loss = torch.cosine_similarity(parts[0::2], parts[1::2]).clamp(min=0).mean()
            loss.backward()
            optimizer.step()
            total += 8 * loss.item() / 32
    assert result.epochs == 2 and result.loss == pytest.approx(total, rel=1e-7)
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-7)


def test_training_stops_at_a_small_loss() -> None:
    assert outcome(ppgn, RING, TWO_RINGS, BRECRecipe(stop=2.0)).epochs == 1


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "shape": (
        lambda: outcome(lambda: PPGNpp(1, 3, channels=4, layers=1, degree=4), RING, RING),
        r"PPGNpp gives outputs of shape \(16, 3\) for 16 graphs, expected \(16, 16\)",
    ),
    "copies": (
        lambda: compare(ppgn(), block(RING, RING), block(RING)[:3]),
        "copies are 3 graphs, expected 64",
    ),
    "batches": (lambda: BRECRecipe(batch_size=3), "batch_size must be an even number"),
    "rate": (lambda: BRECRecipe(lr=-1.0), "lr must not be negative, got -1.0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()
