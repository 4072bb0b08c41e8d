"""PONITA's layers as the formulas stand in the paper: a loop over everything, for float64.

Bekkers et al. (ICLR 2024, arXiv 2310.02970), theorem 1, eq. 8 and 9. Of geqlib's modules it takes
the weights and options alone: no plans, no shared rows, no batched kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations_with_replacement
from math import log, prod, sqrt

import torch
from torch import Tensor, nn

from geqlib.nn import KernelBasis, LogGaussianBasis, PositionOrientationConv

Collect = Callable[[Tensor], Tensor]  # a set of messages [M, C] to one [C]


def total(messages: Tensor) -> Tensor:
    return messages.sum(0)


def position_orientation_conv(
    kernel: KernelBasis,
    conv: PositionOrientationConv,
    x: Tensor,
    pos: Tensor,
    edge_index: Tensor,
    edge_attr: Tensor | None = None,
    ori: Tensor | None = None,
    collect: Collect = total,
) -> Tensor:
    """y [N, O, C] of x [N, O, C]: one node and one orientation at a time."""
    nodes, width, _ = x.shape
    rows = []
    for i in range(nodes):
        arriving = [
            (j, pos[j] - pos[i], None if edge_attr is None else edge_attr[e])
            for e, (j, target) in enumerate(edge_index.T.tolist())
            if target == i
        ]
        arriving.append((i, 0 * pos[i].detach(), pos.new_zeros(kernel.edge_dim)))
        y1 = [x[i, p] * 0 for p in range(width)]
        for p in range(width if arriving else 0):
            messages = [
                message(kernel, conv.kernel.weight, x[j], r, extra, p, _at(ori, i), _at(ori, j))
                for j, r, extra in arriving
            ]
            y1[p] = collect(torch.stack(messages))
        y = y1 if conv.fiber is None else fiber_conv(kernel, conv.fiber.kernel.weight, y1)
        rows.append(torch.stack(y) if conv.bias is None else torch.stack(y) + conv.bias)
    return torch.stack(rows) if rows else 0 * x


def message(
    kernel: KernelBasis,
    weight: Tensor,
    sent: Tensor,
    r: Tensor,
    extra: Tensor | None,
    p: int,
    target: Tensor | None,
    source: Tensor | None,
) -> Tensor:
    """What [C] one neighbour with features `sent` [O, C] says at the p-th orientation."""
    if kernel.harmonics:
        return factored(kernel, weight, r, kernel.grid[p], extra) * sent[p]
    if kernel.grid is None:
        return weight @ phi(kernel, r, target, source, extra) * sent[0]
    if kernel.separable:
        return weight @ phi(kernel, r, kernel.grid[p], None, extra) * sent[p]
    terms = [
        weight @ phi(kernel, r, kernel.grid[p], there, extra) * x
        for there, x in zip(kernel.grid, sent, strict=True)
    ]
    return total(torch.stack(terms)) / len(terms)


def factored(
    kernel: KernelBasis, weight: Tensor, r: Tensor, o: Tensor, extra: Tensor | None
) -> Tensor:
    """sum_m (W_m phi(|r|)) Y_m(direction), [C]."""
    distance = (r @ r + (kernel.embedding.r_min / 10) ** 2).sqrt()
    features = log_gaussians(kernel.embedding, distance)
    features = features if extra is None else torch.cat([features, extra])
    value = network(kernel.edge, features)
    if kernel.cutoff is not None:
        value = value * envelope(norm(r) / kernel.cutoff.cutoff)
    each = (weight @ value).view(kernel.harmonics, -1)
    seen = harmonics(kernel.space, r / distance, o, kernel.degree)
    return total(torch.stack([y * k for y, k in zip(seen, each, strict=True)]))


def harmonics(space: str, u: Tensor, o: Tensor, degree: int) -> list[Tensor]:
    """By explicit formulas, up to degree 3 (SE(3): 1)."""
    if space == "SE3":
        assert degree == 1
        return [torch.ones_like(u[0]), *(sqrt(3) * o.T @ u)]
    if space == "R2xS1":
        z = torch.complex(o @ u, o[0] * u[1] - o[1] * u[0])
        powers = [z**m for m in range(1, degree + 1)]
        return [z.real * 0 + 1, *(sqrt(2) * part for w in powers for part in (w.real, w.imag))]
    c = o @ u
    legendre = [c * 0 + 1, c, (3 * c**2 - 1) / 2, (5 * c**3 - 3 * c) / 2]
    return [sqrt(2 * k + 1) * p for k, p in enumerate(legendre[: degree + 1])]


def fiber_conv(kernel: KernelBasis, weight: Tensor, y1: Sequence[Tensor]) -> list[Tensor]:
    """1/O sum_o (U psi)(p, o) y1[o] for every p."""
    grid, y = kernel.grid, []
    for p in range(len(y1)):
        terms = [weight @ psi(kernel, grid[p], grid[o]) * y1[o] for o in range(len(y1))]
        y.append(total(torch.stack(terms)) / len(terms))
    return y


def phi(
    kernel: KernelBasis, r: Tensor, o: Tensor | None, there: Tensor | None, extra: Tensor | None
) -> Tensor:
    """The basis [B] on one pair; `there` is the source's orientation, if the kernel sees it."""
    features = embedding(kernel, r, o, there)
    if extra is not None:
        features = torch.cat([features, extra])
    value = network(kernel.edge, features)
    return value if kernel.cutoff is None else value * envelope(norm(r) / kernel.cutoff.cutoff)


def psi(kernel: KernelBasis, target: Tensor, source: Tensor) -> Tensor:
    """The basis [B] on two orientations."""
    pair = fiber_attributes(kernel.space, target, source)
    return network(kernel.fiber, monomials(pair, kernel.fiber[0].degree))


def embedding(kernel: KernelBasis, r: Tensor, o: Tensor | None, there: Tensor | None) -> Tensor:
    """Monomials of the attributes, or radial functions times monomials of the directions."""
    degree = kernel.embedding.monomials.degree
    if kernel.embedding.radial is None:
        return monomials(attributes(kernel, r, o, there), degree)
    distance = (r @ r + (kernel.embedding.radial.r_min / 10) ** 2).sqrt()
    radial = log_gaussians(kernel.embedding.radial, distance)
    if o is None:
        return radial
    angles = attributes(kernel, r / distance, o, there)
    if kernel.space == "R3xS2":
        del angles[1]
    directions = [torch.ones_like(distance), *monomials(angles, degree)]
    return torch.cat([m * radial for m in directions])


def attributes(
    kernel: KernelBasis, r: Tensor, o: Tensor | None, there: Tensor | None
) -> list[Tensor]:
    """Theorem 1, and the two that geqlib adds."""
    size = square if kernel.embedding.smooth else norm
    if o is None:
        return [size(r)]
    seen = {
        "R2xS1": lambda: [o @ r, o[0] * r[1] - o[1] * r[0]],
        "R3xS2": lambda: [o @ r, size(r - (o @ r) * o)],
        "SE3": lambda: list(o.T @ r),
    }[kernel.space]()
    if there is None:
        return seen
    seen += fiber_attributes(kernel.space, o, there)
    if kernel.embedding.fourth:
        seen.append(there @ r)
    if kernel.embedding.chiral and kernel.space == "R2xS1":
        seen.append(o[0] * there[1] - o[1] * there[0])
    elif kernel.embedding.chiral:
        seen.append(torch.linalg.det(torch.stack([r, o, there])))
    return seen


def fiber_attributes(space: str, target: Tensor, source: Tensor) -> list[Tensor]:
    return list((target.T @ source).flatten()) if space == "SE3" else [target @ source]


def monomials(a: Iterable[Tensor], degree: int) -> Tensor:
    a = list(a)
    terms = [t for d in range(1, degree + 1) for t in combinations_with_replacement(a, d)]
    return torch.stack([prod(t[1:], start=t[0]) for t in terms])


def log_gaussians(radial: LogGaussianBasis, distance: Tensor) -> Tensor:
    low, high = log(radial.r_min), log(radial.r_max)
    step = (high - low) / (radial.count - 1)
    centres = [low + k * step for k in range(radial.count)]
    place = (distance + radial.r_min).log()
    return torch.stack([torch.exp(-((place - u) ** 2) / (2 * step**2)) for u in centres])


def network(layers: nn.Sequential, features: Tensor) -> Tensor:
    """gelu(W2 gelu(W1 a + b1) + b2)."""
    first, second = (m for m in layers if isinstance(m, nn.Linear))
    return gelu(second.weight @ gelu(first.weight @ features + first.bias) + second.bias)


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / sqrt(2))) / 2


def envelope(t: Tensor, p: int = 6) -> Tensor:
    if t >= 1:
        return 0 * t
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return 1 - a * t**p + b * t ** (p + 1) - c * t ** (p + 2)


def square(v: Tensor) -> Tensor:
    return v @ v


def norm(v: Tensor) -> Tensor:
    return v.norm() if bool((v != 0).any()) else 0 * v.sum()


def _at(ori: Tensor | None, i: int) -> Tensor | None:
    return None if ori is None else ori[i]
