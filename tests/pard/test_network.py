"""Parallel training against one block at a time, and what may depend on what."""

from __future__ import annotations

from functools import partial
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

from geqlib.graph.pairs import pair_plan
from geqlib.models import PARD
from geqlib.pard.blocks import BlockPlan, block_plan
from geqlib.pard.model import copied, with_pairs
from geqlib.pard.network import MonotoneFunction
from geqlib.pard.transformer import HigherOrderTransformer, causal_product
from tests.contract import Case, Contract, Typed
from tests.pard.test_order import batched

GRAPHS = [
    nx.convert_node_labels_to_integers(nx.grid_2d_graph(2, 4)), nx.star_graph(3),
    nx.gnp_random_graph(6, 0.5, seed=2),
]  # fmt: skip
KINDS = {"node_classes": 2, "edge_classes": 3}
SMALL = {"channels": 8, "pair_channels": 4, "layers": 2, "heads": 2, "steps": 5}


def model(**options: Any) -> PARD:
    torch.manual_seed(0)
    return PARD(8, 8, **SMALL | KINDS | options).double().eval()


class Noisy:
    """A batch with all blocks noisy, and the outputs of the causal networks on it."""

    def __init__(self, net: PARD) -> None:
        self.net, generator = net, torch.Generator().manual_seed(1)
        edges, self.batch = batched(GRAPHS)
        nodes = len(self.batch)
        self.x = torch.randint(2, (nodes,), generator=generator)
        self.plan = net.plan(edges, nodes, self.batch, len(GRAPHS))
        kinds = torch.zeros_like(self.plan.pairs.row)
        kinds[self.plan.pairs.pair(*edges)] = 1 + (edges.sum(0) % 2)
        self.kinds = kinds
        self.degree = net.degree_of_nodes(self.plan, self.batch)
        self.t = torch.tensor([1, 4, 3])
        copies = self.plan.drawn
        noise = torch.randint(3, (len(copies.unknown),), generator=generator)
        self.nodes, pairs = copied(self.x, kinds, self.plan.pairs, copies)
        self.pairs = with_pairs(pairs, copies, noise)
        drawn = torch.randint(2, (int(copies.new.sum()),), generator=generator)
        self.nodes = self.nodes.masked_scatter(copies.new, drawn)

    def logits(self, nodes: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        copies = self.plan.drawn
        with torch.no_grad():
            return self.net.denoiser(nodes, pairs, self.t, self.degree[copies.node], copies)


def restricted(copies: BlockPlan, chosen: Tensor) -> tuple[BlockPlan, Tensor]:
    """A plan of some of the copies, and the pair of the whole plan that each of its pairs is."""
    chosen = chosen.nonzero()[:, 0]
    part = torch.zeros_like(chosen)
    plan = block_plan(
        copies.node[chosen], part, 1, copies.block[chosen], copies.new[chosen], causal=True
    )
    whole = copies.pairs.pair(chosen[plan.pairs.row], chosen[plan.pairs.column])
    return plan, whole


def test_parallel_equals_block_by_block() -> None:
    """In float64: the logits of each block, and the sums behind each size."""
    net = model()
    noisy = Noisy(net)
    copies = noisy.plan.drawn
    logits, pair_logits = noisy.logits(noisy.nodes, noisy.pairs)
    of_pair = pair_logits.new_zeros(len(copies.pairs.row), 3)
    of_pair[copies.unknown] = of_pair[copies.pairs.transpose[copies.unknown]] = pair_logits
    totals = net.totals(noisy.x, noisy.kinds, noisy.degree, noisy.plan)
    for number, (graph, size) in enumerate(
        zip(noisy.plan.graph.tolist(), noisy.plan.size.tolist(), strict=True)
    ):
        block = int((noisy.plan.graph[:number] == graph).sum())
        inside = noisy.batch[copies.node] == graph
        own = inside & (copies.block == block) & copies.new
        plan, whole = restricted(copies, own | (inside & (copies.block < block) & ~copies.new))
        chosen = (own | (inside & (copies.block < block) & ~copies.new)).nonzero()[:, 0]
        slow, slow_pairs = net.denoiser(
            noisy.nodes[chosen],
            noisy.pairs[whole],
            noisy.t[graph : graph + 1],
            noisy.degree[plan.node],
            plan,
        )
        assert int(plan.new.sum()) == size
        torch.testing.assert_close(slow[plan.new], logits[own], atol=1e-12, rtol=0)
        expected = of_pair[whole[plan.unknown]]
        torch.testing.assert_close(slow_pairs, expected, atol=1e-12, rtol=0)

        clean = noisy.plan.clean
        before = (noisy.batch == graph) & (clean.block <= block)
        plan, whole = restricted(clean, before)
        h = net.sizes.nodes(noisy.x[before], noisy.kinds[whole], noisy.degree[plan.node], plan)
        torch.testing.assert_close(h.sum(0), totals[number], atol=1e-12, rtol=0)


@pytest.mark.parametrize("half", ["noise", "clean"])
def test_no_block_moves_what_may_not_see_it(half: str) -> None:
    """Every node and pair of a block is changed: those logits move that may see it, no others."""
    noisy = Noisy(model(hops=2))
    copies = noisy.plan.drawn
    of = copies.pairs
    before, pairs_before = noisy.logits(noisy.nodes, noisy.pairs)
    row = of.row[copies.unknown]
    for number in range(int(copies.block.max()) + 1):
        touched = (copies.block == number) & (copies.new == (half == "noise"))
        nodes = torch.where(touched, 1 - noisy.nodes, noisy.nodes)
        # pairs of the block with itself and with what it sees
        ends = (touched[of.row] & copies.sees) | (touched[of.column] & copies.sees[of.transpose])
        pairs = torch.where(ends & (of.row != of.column), (noisy.pairs + 1) % 3, noisy.pairs)
        after, pairs_after = noisy.logits(nodes, pairs)
        later = copies.block > number if half == "clean" else copies.block == number
        moves = copies.new & later
        if half == "clean":  # of graphs that have such a block
            moves &= torch.isin(copies.part, copies.part[touched])
        still, moved = (after == before).all(1), (pairs_after != pairs_before).any(1)
        assert still[copies.new & ~moves].all() and not still[moves].any()
        assert torch.equal(moved, moves[row])


def test_the_product_is_that_of_three_matrices() -> None:
    """C = (M o A) B + A (M^T o B) - (M o A) (M^T o B)."""
    generator = torch.Generator().manual_seed(0)
    plan, shape = pair_plan(5), (25, 3)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    sees = torch.rand(25, generator=generator) < 0.5
    A, B, M = a.view(5, 5, 3), b.view(5, 5, 3), sees.view(5, 5, 1).double()

    def times(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("ikc,kjc->ijc", x, y)

    W = M.transpose(0, 1)
    expected = times(M * A, B) + times(A, W * B) - times(M * A, W * B)
    result = causal_product(a, b, sees, plan).view(5, 5, 3)
    torch.testing.assert_close(result, expected, atol=1e-13, rtol=0)


def test_the_weight_of_the_input_never_falls() -> None:
    torch.manual_seed(0)
    for _ in range(5):
        values = MonotoneFunction()(torch.linspace(0, 1, 50))
        assert (values.diff() > 0).all()


@pytest.mark.parametrize(("layers", "heads"), [(0, 2), (1, 3)])
def test_errors(layers: int, heads: int) -> None:
    with pytest.raises(ValueError, match="heads that divide the channels"):
        HigherOrderTransformer(8, 4, layers, heads)


class OnEdges(nn.Module):
    """The transformer, of features of nodes and edges, with blocks by the order of the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body = HigherOrderTransformer(4, 4, 1, 2)

    def reset_parameters(self) -> None:
        self.body.reset_parameters()

    def forward(
        self, x: Tensor, edge_attr: Tensor, edge_index: Tensor, block: Tensor, batch: Tensor,
        num_graphs: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        new = torch.zeros_like(block, dtype=torch.bool)
        plan = block_plan(torch.arange(len(x)), batch.long(), num_graphs, block, new, causal=True)
        place = plan.pairs.pair(*edge_index.long())
        e = x.new_zeros(len(plan.pairs.row), 4).index_add(0, place, edge_attr.to(x.dtype))
        h, e = self.body(x, e, plan.sees, plan.pairs)
        return h, e[place]


def graph(pos: Tensor, edges: Tensor, generator: torch.Generator) -> Typed:
    """Edges in both directions and no loops, whatever was drawn."""
    joined = torch.zeros(len(pos), len(pos), dtype=torch.bool)
    joined[edges[0], edges[1]] = joined[edges[1], edges[0]] = True
    edges = joined.fill_diagonal_(False).nonzero().T
    x = torch.randn(len(pos), 4, generator=generator, dtype=pos.dtype)
    attr = torch.randn(edges.size(1), 4, generator=generator, dtype=pos.dtype)
    block = torch.randint(3, (len(pos),), generator=generator)
    return {
        "x": (x, "scalar"),
        "edge_attr": (attr, "edge_scalar"),
        "edge_index": (edges, "edge_index"),
        "block": (block, "scalar"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


def kinds(pos: Tensor, edges: Tensor, generator: torch.Generator) -> Typed:
    """Kinds of nodes, and of edges, the same in both directions."""
    typed = graph(pos, edges, generator)
    edges = typed["edge_index"][0]
    x = torch.randint(2, (len(pos),), generator=generator)
    return {
        "x": (x, "scalar"),
        "edge_index": (edges, "edge_index"),
        "edge_attr": (1 + edges.sum(0) % 2, "edge_scalar"),
        "batch": typed["batch"],
    }


def clean(module: PARD, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs, "noise": False}


BLOCKS = "a product of matrices for each size of graphs that occurs: another program for others"
READ = {"compile": BLOCKS, "export": BLOCKS}
INTEGERS = "its inputs are integers, and the derivatives are those of the transformer"
KINDS_ALONE = READ | {"derivatives": INTEGERS, "degenerate_sets": INTEGERS}


class TestContract(Contract):
    cases = (
        Case(
            "HigherOrderTransformer",
            OnEdges,
            graph,
            ("scalar", "edge_scalar"),
            extra=lambda module, tensors, graphs: {"num_graphs": graphs},
            exceptions=READ,
        ),
        *(
            Case(
                f"PARD, {training}",
                partial(
                    PARD, 40, 39, training=training, **KINDS, channels=4, pair_channels=4, layers=1,
                    heads=2, steps=3,
                ),
                kinds,
                (None, "graph:scalar", "graph:scalar"),
                extra=clean,
                exceptions=KINDS_ALONE,
            )
            for training in ("parallel", "prefixes")
        ),
    )  # fmt: skip
