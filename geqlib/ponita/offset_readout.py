"""Vectors from features that have no orientations."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.ponita.basis import Basis


class OffsetReadout(nn.Module):
    """Vectors from positions alone: sum_j k(|r_ij|) . h_j r_ij + sum_m c_m(h_i) v_im.

    Exactly equivariant under O(d). Here r_ij = p_j - p_i, k is a linear map of the kernel basis,
    and v_im are the input vectors.
    """

    def __init__(self, channels: int, basis: int, in_vectors: int, out_vectors: int) -> None:
        super().__init__()
        self.in_vectors, self.out_vectors = in_vectors, out_vectors
        self.kernel = nn.Linear(basis, channels, bias=False)
        self.weight = nn.Linear(channels, out_vectors, bias=False)
        self.mix = nn.Linear(channels, out_vectors * in_vectors) if in_vectors else None

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, h: Tensor, basis: Basis, vec: Tensor | None) -> Tensor:
        """Vectors [N, out_vectors, d] from features h [N, 1, C] and input vectors vec [N, M, d]."""
        plan, kernel, h = basis.plan, self.kernel(basis.edge)[:, 0], h[:, 0]
        offset = basis.offset[:, None]
        out = h.new_zeros(h.size(0), self.out_vectors, offset.size(2))
        here = self.weight(kernel * h.index_select(0, plan.source))[..., None] * offset
        out = out.index_add(0, plan.target, here)
        back = slice(0, plan.paired)
        there = kernel[back] * h.index_select(0, plan.target[back])
        there = self.weight(there)[..., None] * -offset[back]
        out = out.index_add(0, plan.source[back], there)
        if vec is None or self.mix is None:
            return out
        return out + self.mix(h).view(-1, self.out_vectors, self.in_vectors) @ vec

    def __repr__(self) -> str:
        width = self.kernel.out_features
        return f"{type(self).__name__}({width}, {self.in_vectors}, {self.out_vectors})"
