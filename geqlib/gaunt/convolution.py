"""Convolutions on graphs in space: neighbours' features times harmonics of the edges."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal, get_args

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.aligned_messages import AlignedMessages
from geqlib.gaunt.grid_messages import GridMessages
from geqlib.gaunt.layout import connected, from_components, read_irreps, to_components
from geqlib.gaunt.neighbor_messages import NeighborMessages
from geqlib.gaunt.slots import NeighborSlots, neighbor_slots
from geqlib.sphere.harmonics import SolidHarmonics

Method = Literal["neighbors", "grid", "aligned"]
CROSSOVER: list[tuple[int, Method]] = [(3, "neighbors"), (99, "grid")]


class GauntConvolution(nn.Module):
    """Sums over neighbours j of Gaunt products of x_j with a function around the edge's direction.

    Symmetry: O(3), exactly, if the weights are invariant. Source: Luo, Chen, Krishnapriyan (ICLR
    2024, arXiv 2401.10216), section 3.2. With f_j = sum x_lm Y_lm, channel by channel,

        z_i = sum_j integral of f_j(q) k_ij(q) Y(q),   k_ij(q) = sum_l w_l(ij) S_l(v_ij) . Y_l(q)

    and S_l the solid harmonics |v|^l Y_l(v / |v|). Direction vectors v = r / sqrt(r^2 + s^2) are
    therefore smooth where points coincide; unit vectors give the plain harmonics.

    Args:
        irreps_in, irreps_out: e3nn irreps of equal multiplicities, each irrep once.
        degree: highest l of k.
        method: "neighbors" sums products of x_j and harmonics over neighbours, then applies the
            Gaunt coefficients once a node: O(L^4) an edge, O(L^6) a node. "grid" takes values of
            f_j once a node and multiplies and sums on a grid, on which
            k_ij(q) = sum_l w_l (2l + 1) / 4pi |v|^l P_l(q . v / |v|) by the addition theorem:
            O(L^3) an edge. "aligned" turns x_j into the frame of the edge, where k_ij depends on
            the polar angle only and orders do not mix: O(L^3) an edge. All are the same function;
            "auto" takes one by the highest degree, from the fixed table `CROSSOVER`.

    Shapes:
        x [N, irreps_in.dim], direction [E, 3], weight [E, degree + 1, C], output
        [N, irreps_out.dim]; mul_ir.

    "aligned" has no derivative by the direction where that is exactly zero, and takes it to be 0.
    Inside autocast, and for inputs in half precision, everything is computed in float32.

    Raises:
        ValueError: irreps that are unreadable, repeated, unreachable or of unequal multiplicities;
            an unknown method; inputs of wrong shapes.

    Example:
        >>> conv = GauntConvolution("8x0e+8x1o", "8x0e+8x1o+8x2e", 2)
        >>> x, edge_index = torch.randn(3, 32), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> direction = torch.nn.functional.normalize(torch.randn(3, 3), dim=1)
        >>> conv(x, direction, torch.randn(3, 3, 8), edge_index).shape
        torch.Size([3, 72])
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        degree: int,
        *,
        method: Literal["auto"] | Method = "auto",
    ) -> None:
        super().__init__()
        self.irreps_in = read_irreps("irreps_in", irreps_in)
        self.irreps_out = read_irreps("irreps_out", irreps_out)
        self.degree = degree
        self._check_options(method)
        top = max(degree, *self.irreps_in.ls, *self.irreps_out.ls)
        self.method: Method = choose_method(top) if method == "auto" else method
        # plain numbers, because torch.compile cannot look into irreps
        self._in, self._out = (
            [(mul, ir.dim) for mul, ir in irreps] for irreps in (self.irreps_in, self.irreps_out)
        )
        self._dim, self._channels = self.irreps_in.dim, self._in[0][0]
        forms: dict[str, Any] = {"grid": GridMessages, "aligned": AlignedMessages}
        form = forms.get(self.method, NeighborMessages)
        self.messages: Any = form(self.irreps_in, self.irreps_out, degree)
        self.harmonics = SolidHarmonics(degree) if self.method == "neighbors" else None

    def reset_parameters(self) -> None:
        """There are none: weights are given."""

    def forward(
        self,
        x: Tensor,
        direction: Tensor,
        weight: Tensor,
        edge_index: Tensor,
        slots: NeighborSlots | None = None,
    ) -> Tensor:
        """z [N, irreps_out.dim].

        Args:
            x: [N, irreps_in.dim].
            direction: [E, 3] from the target to the source, of length up to 1.
            weight: [E, degree + 1, C].
            edge_index: [2, E], source and target.
            slots: `neighbor_slots(edge_index, N, paired=False)` made before: needed by the method
                "neighbors" for compile and export.
        """
        self._check_inputs(x, direction, weight, edge_index)
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            rows = to_components(x.to(wide), self._in)
            edges = direction.to(wide), weight.to(wide)
            if self.harmonics is None:
                z = self.messages(rows, *edges, edge_index)
            else:
                if slots is None:
                    slots = neighbor_slots(edge_index, x.size(0), paired=False)
                z = self._by_slots(rows, self.harmonics(edges[0]), edges[1], slots)
            return from_components(z, self._out).to(x.dtype)

    def _by_slots(
        self, rows: Tensor, harmonics: Tensor, weight: Tensor, slots: NeighborSlots
    ) -> Tensor:
        filled = slots.sign.to(rows.dtype).unsqueeze(-1)
        harmonics = slots.spread(harmonics) * filled
        weights = slots.spread(weight.flatten(1)).unflatten(-1, weight.shape[1:])
        return self.messages.in_pieces(rows, harmonics, weights, slots.neighbor)

    def _check_options(self, method: str) -> None:
        if method not in ("auto", *get_args(Method)):
            known = ", ".join(("auto", *get_args(Method)))
            raise ValueError(f"method {method!r} is unknown: choose one of {known}.")
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or self.degree < 0:
            raise ValueError(f"degree must be a number from 0 on, got {self.degree!r}.")
        if len({mul for irreps in (self.irreps_in, self.irreps_out) for mul, _ in irreps}) > 1:
            raise ValueError(
                f"multiplicities differ in {self.irreps_in} -> {self.irreps_out}: messages are "
                "made channel by channel; make them equal."
            )
        edge = o3.Irreps.spherical_harmonics(self.degree)
        for _, out in self.irreps_out:
            pairs = product(self.irreps_in, edge)
            if not any(connected("gaunt", a.ir, b.ir, out) for a, b in pairs):
                raise ValueError(
                    f"irreps_out has {out}, which no path reaches from {self.irreps_in} with "
                    f"harmonics up to degree {self.degree}: leave it out, or raise the degree."
                )

    def _check_inputs(
        self, x: Tensor, direction: Tensor, weight: Tensor, edge_index: Tensor
    ) -> None:
        edges = edge_index.size(-1)
        for name, given, expected in (
            ("x", x, (x.size(0), self._dim)),
            ("direction", direction, (edges, 3)),
            ("weight", weight, (edges, self.degree + 1, self._channels)),
            ("edge_index", edge_index, (2, edges)),
        ):
            if given.shape != expected:
                raise ValueError(
                    f"{name} has shape {tuple(given.shape)}, expected {tuple(expected)}: see the "
                    "shapes of GauntConvolution."
                )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in}, {self.irreps_out}, degree={self.degree}, "
            f"method={self.method!r})"
        )


def choose_method(degree: int) -> Method:
    """The method that "auto" means, by the highest degree. Replace `CROSSOVER` to choose others."""
    for top, name in CROSSOVER:
        if degree <= top:
            return name
    return "aligned"
