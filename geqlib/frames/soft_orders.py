"""Soft orders of nodes: continuous where scores tie, and invariant under relabelling.

With a score k_j for each node, k_(i) the i-th smallest one, and a temperature T > 0,

    SoftSort    P_ij = softmax over j of  -|k_(i) - k_j| / T
    Sinkhorn    P_ij = exp(f_(i) - |k_(i) - k_j| / T + f_j),  all rows and columns of sum 1

P has a row for each place of the order, and is the order itself as T goes to 0. Sources: Prillo and
Eisenschlos, "SoftSort: a continuous relaxation for the argsort operator" (ICML 2020, arXiv
2006.16038), and Cuturi, Teboul and Vert, "Differentiable ranks and sorting using optimal transport"
(NeurIPS 2019, arXiv 1905.11885), here with the scores themselves as the targets of the transport.

Both are P = S M: `mixing_matrix` M mixes the nodes of each graph by how close their scores are, and
S sorts them. Nodes with equal scores have equal rows of M, so that nothing jumps where S changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from geqlib.frames.batches import Batch
from geqlib.frames.copies import FrameCopies, Mixing
from geqlib.graph.checks import values_readable
from geqlib.graph.functional import is_true
from geqlib.graph.pairs import PairPlan
from geqlib.graph.plan import accepted
from geqlib.symmetry.types import TensorType

Relaxation = Literal["softsort", "sinkhorn"]
ROUNDS = 40  # each halves what rows and columns lack to 1, or does better


def mixing_matrix(scores: Tensor, relaxation: Relaxation, temperature: float) -> Tensor:
    """M [..., n, n] of scores [..., n].

    Sinkhorn iterations for a symmetric matrix K_ij = exp(-|k_i - k_j| / T) have one vector, updated
    by f <- (f - log K exp f) / 2. As K is positive definite, an error shrinks to at most half of
    itself in each round near the solution, whatever the temperature.

    Example:
        >>> mixing_matrix(torch.tensor([0.0, 0.0, 9.0]), "sinkhorn", 0.1)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    log_kernel = -(scores[..., :, None] - scores[..., None, :]).abs() / temperature
    if relaxation == "softsort":
        return log_kernel.softmax(-1)
    f = torch.zeros_like(scores)
    for _ in range(ROUNDS):
        f = (f - (log_kernel + f[..., None, :]).logsumexp(-1)) / 2
    return (f[..., :, None] + log_kernel + f[..., None, :]).exp()


def soft_permutation(
    scores: Tensor, relaxation: Relaxation = "softsort", temperature: float = 0.1
) -> Tensor:
    """P [..., n, n] of scores [..., n]: P_ij says how much of node j is in place i.

    Raises:
        ValueError: a temperature that is not positive, another relaxation.

    Example:
        >>> soft_permutation(torch.tensor([3.0, 1.0, 2.0]), temperature=0.01).argmax(-1)
        tensor([1, 2, 0])
    """
    check_relaxation(relaxation, temperature)
    order = scores.argsort(dim=-1, stable=True)[..., None]
    matrix = mixing_matrix(scores, relaxation, temperature)
    return matrix.gather(-2, order.expand_as(matrix))


class SoftOrder(nn.Module):
    """A soft order of the nodes of each graph, for `FrameAveraging(..., mode="soft")`.

    Symmetry: relabelling of nodes changes nothing but the order of P's columns, if it changes
    nothing but the order of the scores. P is continuous in the scores, also where they tie.

    Source: `geqlib.frames.soft_orders`, with both formulas. SoftSort has rows of sum 1; Sinkhorn
    has columns of sum 1, too, for about 40 times the operations on pairs of nodes.

    Nodes that the scores do not distinguish stay mixed: nodes that a symmetry of the graph
    exchanges always, and with scores of message passing all that colour refinement takes for one.

    Args:
        scores: a network with a number for each node, [N] or [N, 1], that is equivariant under
            relabelling. It is called with those inputs that its `forward` names, and may name
            `batch`, `num_graphs` and `pairs` (`geqlib.graph.pairs.PairPlan`).
        relaxation: "softsort" or "sinkhorn".
        temperature: T, in units of the scores.

    Raises:
        ValueError: a temperature that is not positive, another relaxation, scores of another shape,
            NaN or infinite ones among them.

    Example:
        >>> class Heights(nn.Module):
        ...     def forward(self, pos):
        ...         return pos[:, 2]
        >>> class Flat(nn.Module):
        ...     def forward(self, pos, batch, num_graphs):
        ...         return pos.view(num_graphs, -1)
        >>> from geqlib.nn import FrameAveraging
        >>> model = FrameAveraging(
        ...     Flat(),
        ...     "S_n",
        ...     inputs={"pos": "scalar"},
        ...     outputs="graph:scalar",
        ...     mode="soft",
        ...     order=SoftOrder(Heights(), temperature=0.1),
        ... )
        >>> pos, batch = torch.randn(4, 3), torch.zeros(4, dtype=torch.long)
        >>> one, other = (model(pos=p, batch=batch, num_graphs=1) for p in (pos, pos.flip(0)))
        >>> torch.allclose(one, other, atol=1e-6)
        True
    """

    def __init__(
        self,
        scores: nn.Module,
        *,
        relaxation: Relaxation = "softsort",
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        check_relaxation(relaxation, temperature)
        self.relaxation: Relaxation = relaxation
        self.scores, self.temperature = scores, float(temperature)

    def reset_parameters(self) -> None:
        if hasattr(self.scores, "reset_parameters"):
            self.scores.reset_parameters()  # type: ignore[operator]

    def forward(self, batch: Batch, pairs: PairPlan) -> FrameCopies:
        """The nodes of each graph in their soft order, all pairs of them as edges.

        Args:
            batch: the inputs of a call.
            pairs: of its nodes.
        """
        scores, number = self._scores(batch, pairs), batch.samples["node"]
        copy = number.sort().values
        order = scores.detach().argsort(stable=True)
        order = order[number[order].argsort(stable=True)]
        edge_index, edges = number.new_zeros(2, 0), number.new_zeros(0)
        mixed_edges = edges
        if batch.edge_index is not None:
            mixed_edges = pairs.pair(*batch.edge_index.unbind())
            place = torch.empty_like(order).scatter(0, order, torch.arange(len(order)).to(order))
            ends = torch.stack([place[pairs.row], place[pairs.column]])
            edges = (ends[0] * len(order) + ends[1]).argsort()
            edge_index = ends[:, edges]
        sample = batch.samples["graph"]
        return FrameCopies(
            matrix=scores.new_zeros(batch.count, 0, 0),
            sample=sample.clone(),
            weight=scores.new_ones(batch.count),
            shift=None,
            nodes=order,
            node_copy=copy,
            edges=edges,
            edge_copy=copy[edge_index[0]],
            edge_index=edge_index,
            wigner=(),
            num_nodes=len(order),
            num_edges=len(pairs.row),
            num_graphs=batch.count,
            mixing=Mixing(self._weights(scores, pairs), pairs, mixed_edges),
        )

    def _weights(self, scores: Tensor, pairs: PairPlan) -> Tensor:
        """[P, 1] M_ij of each pair."""
        weights = [scores.new_zeros(0, 1)]
        for rows in pairs.blocks(pairs.row[:, None]):
            of_block = scores[rows[:, :, 0, 0]]
            matrix = mixing_matrix(of_block, self.relaxation, self.temperature)
            weights.append(matrix.reshape(-1, 1))
        return torch.cat(weights)

    def _scores(self, batch: Batch, pairs: PairPlan) -> Tensor:
        """[N], at least in float32: in fewer bits many would tie."""
        number = batch.samples["node"]
        tensors: dict[str, Any] = {name: x for name, (x, _) in batch.tensors.items()}
        sizes = {"batch": number, "num_graphs": batch.count, "pairs": pairs}
        scores = self.scores(**accepted(self.scores.forward, tensors | sizes))
        name = type(self.scores).__name__
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        if shape not in ((len(number),), (len(number), 1)) or not scores.is_floating_point():
            raise ValueError(
                f"{name} returns {shape} for {len(number)} nodes: a soft order needs a "
                "floating-point score for each node, [nodes] or [nodes, 1]."
            )
        wrong = ~scores.isfinite().all()
        if values_readable() and is_true(wrong):
            raise ValueError(
                f"{name} returns NaN or infinite scores, which have no differences to sort nodes "
                "by: fix it."
            )
        return scores.view(len(number)).to(torch.promote_types(scores.dtype, torch.float32))

    def __repr__(self) -> str:
        scores = type(self.scores).__name__
        return f"SoftOrder({scores}, {self.relaxation!r}, temperature={self.temperature:g})"


def check_relaxation(relaxation: str, temperature: float) -> None:
    """Raise a ValueError for another relaxation, or a temperature that is not positive."""
    if relaxation not in get_args(Relaxation):
        raise ValueError(f"relaxation must be one of {get_args(Relaxation)}, got {relaxation!r}.")
    if not 0 < temperature < float("inf"):
        raise ValueError(
            f"temperature must be positive and finite, got {temperature}: it is the difference of "
            "scores at which nodes begin to mix; exact orders are those of the other modes."
        )


def check_soft(
    mode: str, group: Any, order: SoftOrder | None, inputs: Collection[TensorType]
) -> None:
    """Raise a ValueError where options of `FrameAveraging` do not go with mode "soft"."""
    if mode != "soft":
        if order is not None:
            raise ValueError(f'order is for mode "soft", not for {mode!r}.')
        return
    if group != "S_n":
        raise ValueError(
            'mode "soft" is for group "S_n" alone: for others put a FrameAveraging with mode '
            '"soft" into one of another group.'
        )
    if order is None:
        raise ValueError('mode "soft" needs scores of nodes: pass order=SoftOrder(network).')
    if _kinds(inputs, "edge_index") and not _kinds(inputs, "scalar"):
        raise ValueError(
            'mode "soft" joins all pairs of nodes: name an input of type "edge:scalar", such as '
            "ones, whose mixture says how much of an edge each pair has."
        )


def _kinds(inputs: Iterable[TensorType], kind: str) -> bool:
    """Whether one of the inputs is of edges and this kind."""
    return any(type_.level == "edge" and type_.kind == kind for type_ in inputs)
