"""The kernel basis that all layers of a position-orientation network share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from geqlib.graph.edges import EdgePlan, directed_plan, paired_plan, reverse_edges
from geqlib.kernels.edge_product import both_points, message_rows
from geqlib.kernels.offsets import offsets
from geqlib.kernels.safe_length import safe_length
from geqlib.ponita.embedding import AttributeEmbedding
from geqlib.ponita.invariants import (
    DIMENSION,
    FIBER,
    Space,
    check_space,
    direction_harmonics,
    fiber_attributes,
    harmonic_count,
)
from geqlib.radial import LogGaussianBasis, PolynomialCutoff, PolynomialFeatures
from geqlib.sphere.grids import antipodes
from geqlib.sphere.tables import Constants


@dataclass(frozen=True)
class Basis:
    """Values of the basis functions on one batch, and the plan that says which edges they serve.

    Args:
        value: [R + K, O, B] of R edges, then of each node to itself: one for all nodes, K = 1, or
            K = N with one orientation per node. [R + K, O, O, B] (target, source orientation) if
            not separable. O = 1 for R^n and with one orientation per node. [R + K, B] if factored:
            functions of distance.
        harmonics: [R + K, O, M] of the direction, if factored, else None.
        fiber: [O, O, B] on pairs of grid orientations; None if there are none, or not separable.
        offset: [R, d] from the target to the source of each edge in the plan.
        plan: the edges on which the basis is evaluated.
        antipode: [O] index of -o for each grid orientation o, where opposite edges share kernels.
        rows: `geqlib.kernels.edge_product.message_rows`, where no fused kernel does without.
        grid: the orientations in the type of the positions, if all nodes share them.

    Example:
        >>> import torch
        >>> from geqlib.nn import KernelBasis
        >>> kernel = KernelBasis("R3", 8)
        >>> basis = kernel(torch.randn(3, 3), torch.tensor([[0, 1, 2], [1, 0, 0]]))
        >>> basis.edge.shape, basis.orientations
        (torch.Size([2, 1, 8]), 1)
    """

    value: Tensor
    harmonics: Tensor | None
    fiber: Tensor | None
    offset: Tensor
    plan: EdgePlan
    antipode: Tensor | None
    rows: Tensor | None = None
    grid: Tensor | None = None

    @property
    def edge(self) -> Tensor:
        """[R, ...] values of edges."""
        return self.value[: self.offset.size(0)]

    @property
    def orientations(self) -> int:
        """O."""
        return (self.value if self.harmonics is None else self.harmonics).size(1)


class KernelBasis(nn.Module):
    """Learnt functions of the invariant attributes of position-orientation pairs.

    Source: Bekkers et al. (ICLR 2024, arXiv 2310.02970), section 3: a polynomial embedding of the
    invariant attributes a of a pair (`geqlib.ponita.invariants`) and a two-layer network,

        phi = gelu(W2 gelu(W1 poly(a))),

    evaluated once for all layers; the kernel of each layer is a linear map of it. Separable kernels
    are products of phi(o.r, |r_perp|) and psi(o.o').

    Factored kernels are sums of products R_m(|r|) Y_m of radial functions and harmonics of the
    direction o.r / |r|: the network runs once per edge, not once per edge and
    orientation, and learns faster where forces are trained on.

    Symmetry: with a grid, exact for the rotations that map the grid to itself; with one
    orientation per node (`grid=None`) exact for all of SE(d), and O(d) unless `chiral`.

    Args:
        space: "R2", "R3", "R2xS1", "R3xS2" or "SE3".
        basis: B, the number of basis functions.
        grid: [O, d] unit vectors or [O, 3, 3] rotations that all nodes share; None for R^n and
            for one orientation per node.
        hidden: width of the network, B by default.
        degree: of the polynomial embedding, or of the harmonics.
        radial: radial functions in place of the published embedding (`AttributeEmbedding`).
        edge_dim: invariant features of an edge beside the geometric ones.
        cutoff: distance at which phi vanishes smoothly; None for no cutoff.
        separable: product of a spatial and a fiber kernel; else one kernel of all attributes.
        factored: whether spatial kernels are sums of radial functions times harmonics; needs
            `radial`, and a separable kernel.
        smooth, fourth, chiral: see `geqlib.ponita.invariants`; the last two need kernels that
            see both orientations (`separable=False`, or one orientation per node).
        self_loops: no longer an option: every node is its own neighbour, with zero edge features.

    Example:
        >>> from geqlib.sphere.grids import sphere_grid
        >>> kernel = KernelBasis("R3xS2", 8, grid=sphere_grid(12))
        >>> edge_index = torch.tensor([[0, 1], [1, 0]])
        >>> basis = kernel(torch.randn(2, 3), edge_index)
        >>> basis.edge.shape, basis.fiber.shape       # one value serves both edges
        (torch.Size([1, 12, 8]), torch.Size([12, 12, 8]))
    """

    grid: Tensor | None
    antipode: Tensor | None
    points: Tensor | None

    def __init__(
        self,
        space: Space,
        basis: int,
        *,
        grid: Tensor | None = None,
        hidden: int | None = None,
        degree: int = 3,
        radial: LogGaussianBasis | None = None,
        edge_dim: int = 0,
        cutoff: float | None = None,
        separable: bool = True,
        factored: bool = False,
        smooth: bool = False,
        fourth: bool = False,
        chiral: bool = False,
        self_loops: bool = True,
    ) -> None:
        super().__init__()
        check_space(space)
        self.space: Space = space
        self.oriented = FIBER[space] > 0
        self.separable = separable and grid is not None
        if not self_loops:
            raise ValueError(
                "self_loops=False is no longer an option: every node is its own neighbour. For the "
                "others alone, subtract the layer's output on the same graph without edges."
            )
        self._check_options(grid, fourth, chiral)
        self._check_factored(factored, radial)
        self.basis, self.edge_dim = basis, edge_dim
        hidden = basis if hidden is None else hidden
        self.cutoff = None if cutoff is None else PolynomialCutoff(cutoff)
        self.degree, self.harmonics = degree, harmonic_count(space, degree) if factored else 0
        if factored and radial is not None:
            self.embedding: nn.Module = radial
            features = radial.count
        else:
            self.embedding = AttributeEmbedding(
                space,
                degree,
                radial=radial,
                pairs=self.oriented and not self.separable,
                smooth=smooth,
                fourth=fourth,
                chiral=chiral,
            )
            features = self.embedding.out_features
        self.edge = _network(features + edge_dim, hidden, basis)
        self.fiber = None
        if self.separable:
            embed = PolynomialFeatures(FIBER[space], degree)
            self.fiber = nn.Sequential(embed, *_network(embed.out_features, hidden, basis))
        self.register_buffer("grid", None if grid is None else grid.detach().double())
        opposite = None if grid is None or chiral else antipodes(grid)
        self.register_buffer("antipode", opposite, persistent=False)
        points = None if opposite is None else both_points(opposite)
        self.register_buffer("points", points, persistent=False)
        self._tabulate()
        self.reset_parameters()

    def _tabulate(self) -> None:
        """The grid, and the monomials of its pairs (source, target), cast once and for all."""
        self.tables = None
        if self.grid is None:
            return
        grid = self.grid.double()
        tables = {"grid": grid}
        if self.fiber is not None:
            pairs = fiber_attributes(self.space, grid[None], grid[:, None])
            tables["pairs"] = self.fiber[0](pairs)
        self.tables = Constants(**tables)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._tabulate()  # of the grid that was loaded

    def reset_parameters(self) -> None:
        """He initialisation: torch's default would leave the basis nearly constant in space."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def __repr__(self) -> str:
        count = 1 if self.grid is None else len(self.grid)
        return f"{type(self).__name__}({self.space}, {self.basis}, orientations={count})"

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        edge_attr: Tensor | None = None,
        reverse: Tensor | None = None,
    ) -> EdgePlan:
        """On which edges the basis is evaluated: once for both directions where that is exact.

        Args:
            edge_index: [2, E], source and target.
            num_nodes: N.
            edge_attr: [E, edge_dim]; opposite edges that differ in them do not share a value.
            reverse: [E] index of each edge's reverse, or -1, where it is known; needed for edges
                between periodic images, which `edge_index` does not distinguish.
        """
        # a shared value would send the whole gradient to one edge of the pair
        differentiated = edge_attr is not None and edge_attr.requires_grad
        if differentiated or (self.antipode is None and self.oriented):
            return directed_plan(edge_index, num_nodes)
        if reverse is None:
            reverse = reverse_edges(edge_index, num_nodes, edge_attr)
        elif edge_attr is not None:
            same = (edge_attr == edge_attr.index_select(0, reverse.clamp(min=0))).all(1)
            reverse = torch.where(same, reverse, -1)
        return paired_plan(edge_index, num_nodes, reverse)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        ori: Tensor | None = None,
        plan: EdgePlan | None = None,
        edge_shift: Tensor | None = None,
    ) -> Basis:
        """Evaluate the basis.

        Args:
            pos: [N, d].
            edge_index: [2, E], source and target.
            edge_attr: [E, edge_dim].
            ori: [N, d], or [N, 3, 3] for SE(3): one orientation per node, only if `grid` is None.
            plan: made before by `plan()`.
            edge_shift: [E, d] added to pos[source] - pos[target]: from the source to its image.
        """
        self._check_inputs(pos, edge_attr, ori)
        if plan is None and edge_shift is not None:
            plan = directed_plan(edge_index, pos.size(0))
        elif plan is None:
            plan = self.plan(edge_index, pos.size(0), edge_attr)
        offset = offsets(pos, plan.source, plan.target)
        if edge_shift is not None:
            offset = offset + edge_shift.index_select(0, plan.edge)
        grid = None if self.tables is None else self.tables.table("grid", pos)
        value, harmonics = self._evaluate(
            *self._with_loops(offset, edge_attr, plan), *self._orientations(grid, ori, plan)
        )
        opposite = self.antipode if plan.paired else None
        rows = None
        if plan.order is None:
            rows = message_rows(plan.source, plan.target, opposite, self.points)
        return Basis(
            value, harmonics, self._fiber(pos), offset, plan, self.antipode, rows, grid=grid
        )

    def _fiber(self, like: Tensor) -> Tensor | None:
        """psi."""
        if self.fiber is None or self.tables is None:
            return None
        # computed for (source, target), as the kernels of layers need it
        return self.fiber[1:](self.tables.table("pairs", like)).transpose(0, 1)

    def _evaluate(
        self, offset: Tensor, extra: Tensor | None, here: Tensor | None, there: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Basis values, and harmonics if factored."""
        if self.harmonics and here is not None:
            feature, angle = self._factors(offset, here)
        else:
            feature, angle = self.embedding(offset, here, there), None
        lead = feature.shape[1:-1]
        if extra is not None:
            extra = extra.view(-1, *[1] * len(lead), self.edge_dim).expand(-1, *lead, -1)
            feature = torch.cat([feature, extra.to(feature.dtype)], -1)
        value = self.edge(feature)
        if self.cutoff is None:
            return value, angle
        distance = safe_length(offset).squeeze(-1)
        return value * self.cutoff(distance).view(-1, *[1] * (value.dim() - 1)), angle

    def _factors(self, offset: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        """Radial functions [R, K], and harmonics [R, O, M]."""
        radial = cast(LogGaussianBasis, self.embedding)
        distance = ((offset * offset).sum(-1) + radial.softening**2).sqrt()
        direction = (offset / distance[:, None])[:, None]
        return radial(distance), direction_harmonics(self.space, direction, here, self.degree)

    def _orientations(
        self, grid: Tensor | None, ori: Tensor | None, plan: EdgePlan
    ) -> tuple[Tensor | None, Tensor | None]:
        """Of targets and sources: the grid, or one per edge and then one per node."""
        if ori is None:
            return grid, None
        nodes = torch.arange(ori.size(0), device=ori.device)
        here, there = (torch.cat([end, nodes]) for end in (plan.target, plan.source))
        return ori.index_select(0, here), ori.index_select(0, there)

    def _with_loops(
        self, offset: Tensor, edge_attr: Tensor | None, plan: EdgePlan
    ) -> tuple[Tensor, Tensor | None]:
        """Offsets and features of edges, then zeros for each node and itself."""
        loops = plan.num_nodes if self.oriented and self.grid is None else 1
        offset = pad(offset, (0, 0, 0, loops))
        if edge_attr is None:
            return offset, None
        extra = edge_attr.index_select(0, plan.edge)
        return offset, pad(extra, (0, 0, 0, loops))

    def _check_options(self, grid: Tensor | None, fourth: bool, chiral: bool) -> None:
        if grid is not None and not self.oriented:
            raise ValueError(f"space {self.space!r} has no orientations: leave `grid` out.")
        shape = (3, 3) if self.space == "SE3" else (DIMENSION[self.space],)
        if grid is not None and grid.shape[1:] != shape:
            raise ValueError(
                f"grid has shape {tuple(grid.shape)}, but space {self.space!r} needs "
                f"[orientations, {', '.join(map(str, shape))}]."
            )
        if (fourth or chiral) and (self.separable or not self.oriented):
            raise ValueError(
                "fourth and chiral are attributes of both orientations: use separable=False, or "
                "one orientation per node (grid=None), in a space that has orientations."
            )
        if fourth and self.space != "R3xS2":
            raise ValueError(f"fourth completes R3xS2; leave it out for {self.space}.")
        if chiral and self.space == "SE3":
            raise ValueError("chiral is already in the attributes of SE3: leave it out.")

    def _check_factored(self, factored: bool, radial: LogGaussianBasis | None) -> None:
        if factored and (radial is None or not self.separable):
            raise ValueError(
                "factored=True needs `radial`, a grid of orientations and separable=True: it makes "
                "kernels of radial functions times harmonics of the direction seen from the grid."
            )

    def _check_inputs(self, pos: Tensor, edge_attr: Tensor | None, ori: Tensor | None) -> None:
        if pos.dim() != 2 or pos.size(1) != DIMENSION[self.space]:
            raise ValueError(
                f"pos has shape {tuple(pos.shape)}, but space {self.space!r} needs "
                f"[nodes, {DIMENSION[self.space]}]."
            )
        if edge_attr is not None and edge_attr.dim() != 2:
            raise ValueError(
                f"edge_attr has shape {tuple(edge_attr.shape)}, expected [edges, features]."
            )
        features = 0 if edge_attr is None else edge_attr.size(-1)
        if features != self.edge_dim:
            raise ValueError(f"edge_attr has {features} features, but edge_dim is {self.edge_dim}.")
        if ori is not None and not self.oriented:
            raise ValueError(f"space {self.space!r} has no orientations: leave `ori` out.")
        shape = (3, 3) if self.space == "SE3" else (DIMENSION[self.space],)
        if ori is not None and ori.shape != (pos.size(0), *shape):
            raise ValueError(
                f"ori has shape {tuple(ori.shape)}, expected [nodes, {', '.join(map(str, shape))}]."
            )
        if self.oriented and (self.grid is None) == (ori is None):
            raise ValueError(
                "Orientations must come either from the grid or from `ori`, one per node: "
                f"grid is {'absent' if self.grid is None else 'set'} and ori is "
                f"{'absent' if ori is None else 'given'}."
            )


def _network(features: int, hidden: int, basis: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, basis), nn.GELU()
    )
