"""The geometry that the inputs of a wrapped module hold together."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.frames.frame_types import Batch
from geqlib.frames.twists import twists
from geqlib.frames.vectors import Vectors


def centre(given: Batch, dim: int) -> Tensor:
    """[B, dim] mean of all points of each sample, in float64; 0 where there are none."""
    points = [pair for pair in given.tensors.values() if pair[1].kind == "point"]
    if not points:
        raise ValueError("a group with translations needs an input of type 'point': name one.")
    total = points[0][0].new_zeros(given.count, dim, dtype=torch.float64)
    number = total.new_zeros(given.count)
    for x, type_ in points:
        rows, owner = _flat(x, given.samples[type_.level])
        total = total.index_add(0, owner, rows.double())
        number = number + torch.bincount(owner, minlength=given.count)
    return total / number.clamp(min=1)[:, None]


def collect(given: Batch, shift: Tensor | None, *, dim: int, proper: bool) -> Vectors:
    """The geometry of a batch: all points, vectors and tensors together.

    Args:
        given: the batch.
        shift: [B, dim] what is taken from points; None if they do not move.
        dim: of space.
        proper: whether reflections are left out, so that axial vectors are vectors.
    """
    rows, twisted, rounding = [], [], torch.finfo(torch.float64).eps
    for x, type_ in given.tensors.values():
        if not type_.rotates:
            continue
        owner = given.samples[type_.level]
        rounding = max(rounding, torch.finfo(x.dtype).eps)
        if type_.kind in ("point", "vector"):
            flat, owner = _flat(x.double(), owner)
            if type_.kind == "point" and shift is not None:
                flat = flat - shift[owner]
            rows.append((flat, owner))
        else:
            _collect_irreps(x.double(), type_.kind, owner, proper, rows, twisted)
    if not rows and not twisted:
        raise ValueError("inputs name no point, vector or irreps: there is nothing to frame.")
    number = given.samples["graph"]
    vectors, tensors = _joined(rows, (dim,), number), _joined(twisted, (dim, dim), number)
    eps = vectors[0].new_full((given.count,), rounding)
    found = Vectors(*vectors, *tensors, eps)
    if shift is None:
        return found
    # far from the origin, positions are rounded more coarsely than the set is small; in coarse
    # steps, for what follows from it must not depend on where precisely the origin is
    far = shift.detach().abs().amax(1) / found.sizes()
    step = torch.where(far > 16, 16 ** far.clamp(min=16).log2().div(4).ceil(), 1.0)
    return Vectors(*vectors, *tensors, eps * step)


def _collect_irreps(
    x: Tensor, irreps: str, owner: Tensor, proper: bool, rows: list, twisted: list
) -> None:
    from e3nn import o3

    found = o3.Irreps(irreps)
    for part, (mul, ir) in zip(x.split([m * i.dim for m, i in found], -1), found, strict=True):
        flat, sample = _flat(part.unflatten(-1, (mul, ir.dim)), owner)
        if ir.l == 1 and (proper or ir.p == -1):
            rows.append((flat, sample))
        elif ir.l > 0:
            twisted.append((twists(flat, ir.l), sample))


def _flat(x: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, ..., d] as [n, d], with the sample of each."""
    each = x.reshape(len(x), -1, x.size(-1)) if len(x) else x.reshape(0, 1, x.size(-1))
    return each.flatten(0, 1), owner.repeat_interleave(each.size(1))


def _joined(parts: list, shape: tuple[int, ...], number: Tensor) -> tuple[Tensor, Tensor]:
    none = torch.zeros(0, *shape, dtype=torch.float64, device=number.device)
    values, owners = zip(*parts, strict=True) if parts else ((), ())
    return torch.cat([none, *values]), torch.cat([number[:0], *owners])
