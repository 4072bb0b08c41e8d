"""Neighbours within a cutoff, by torch operations on the device of the positions, for GPUs.

Points are sorted into bins that are at least as high as the cutoff, so that all neighbours of a
point lie in its own bin and the 26 bins around it. Along a periodic cell vector the bins divide the
cell. A cell that is lower than the cutoff is a single bin, and all of its periodic images within
the cutoff are searched. Along other directions the bins lie orthogonal to the periodic vectors. The
host waits for the device twice: for the number of candidate pairs, and for the number of
neighbours.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.graph.segments import masked, ragged_ranges, segment_index

SLACK = 1e-6  # by which bins are higher than the cutoff, relative to it: for rounding
ROUNDING = 1e-13  # of coordinates, relative to the largest


class Lattice(NamedTuple):
    """The periodic cells of the graphs of a batch.

    Args:
        cell: [G, 3, 3] cell vectors in rows, zeros for those that are not periodic.
        inverse: [G, 3, 3] matrix by which positions are multiplied to give coordinates: fractional
            ones along periodic vectors, lengths along the directions orthogonal to these.
        height: [G, 3] distance between the two faces of the cell along each vector.
        repeats: [G, 3] whether the graph is periodic along each vector.
        flat: 0-dimensional, whether the periodic vectors of some graph are linearly dependent.
    """

    cell: Tensor
    inverse: Tensor
    height: Tensor
    repeats: Tensor
    flat: Tensor


class Bins(NamedTuple):
    """The bin of each point, and the bins of its graph.

    Args:
        index: [N, 3] number of the bin along each direction.
        wrap: [N, 3] number of cells by which the point lies outside the cell at the origin.
        count: [N, 3] number of bins in a cell; along directions that are not periodic, the largest
            number that is allowed.
        images: [N, 3] number of periodic images to search where a cell is lower than the cutoff and
            has one bin; 1 elsewhere.
        repeats: [N, 3] whether the graph is periodic along each direction.
    """

    index: Tensor
    wrap: Tensor
    count: Tensor
    images: Tensor
    repeats: Tensor


@torch.no_grad()
def cell_list(
    pos: Tensor,
    cutoff: float,
    cell: Tensor | None = None,
    pbc: Tensor | None = None,
    batch: Tensor | None = None,
    *,
    least_volume: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Edges, shifts and reverse edges, in the form of `geqlib.graph.neighbor_list`.

    Args:
        pos: [N, d] positions; d is at most 3, and exactly 3 where a graph is periodic.
        cutoff: largest distance of neighbours, in the units of the positions.
        cell, pbc, batch: see `neighbor_list`, whose checks of shapes they have passed.
        least_volume: smallest volume of a cell, relative to that of a box with the same edge
            lengths; a cell with a smaller one counts as flat.

    Returns:
        Edges [2, E], shifts [E, 3] and the number of the reverse edge [E]. None if there are no
        points, a value is not finite, a cell is flat or a graph has no cell: `neighbor_list` then
        raises the error, or builds the list in another way.
    """
    points = torch.nn.functional.pad(pos.detach().double(), (0, 3 - pos.size(1)))
    graph = pos.new_zeros(len(pos), dtype=torch.long) if batch is None else batch.long()
    if not len(points):
        return None
    lattice = _lattice(points, cell, pbc, least_volume)
    graphs = len(lattice.cell) if cell is not None else len(points)
    own = graph.clamp(0, graphs - 1) if cell is not None else torch.zeros_like(graph)
    wrong = [~points.isfinite().all(), lattice.flat, graph.amin() < 0, graph.amax() >= graphs]
    wrong.append(~lattice.cell.isfinite().all())
    bits = (62 - graphs.bit_length()) // 3
    bins = _bins(points, lattice, own, cutoff, bits)
    order, row_start, row_length, row_image = _rows(bins, graph.clamp(0, graphs - 1), bits)
    length = row_length * bins.images.prod(1, keepdim=True) * (row_image[..., 3] > 0)
    total, *flags = torch.stack([length.sum(), *wrong]).tolist()
    if any(flags):
        return None
    row = segment_index(length.flatten(), total)
    target, place = row // 27, ragged_ranges(0, length.flatten(), total)
    members = row_length.flatten().index_select(0, row)
    source = order.index_select(0, row_start.flatten().index_select(0, row) + place % members)
    image = row_image.view(-1, 4)[:, :3].index_select(0, row)
    image = image + _images(place // members, bins.images.index_select(0, target))
    shift = image + bins.wrap.index_select(0, target) - bins.wrap.index_select(0, source)
    offset = points.index_select(0, source) - points.index_select(0, target)
    across = lattice.cell.index_select(0, own.index_select(0, target))
    offset = offset + (shift.double().unsqueeze(1) @ across).squeeze(1)
    near = torch.linalg.vector_norm(offset, dim=1) <= cutoff
    near &= (source != target) | shift.any(1)
    count = int(near.sum())
    chosen = masked(torch.arange(total, device=pos.device), near, count)
    ends = torch.stack([source, target]).index_select(1, chosen)
    return _sorted(ends, shift.index_select(0, chosen), len(points))


def _lattice(
    points: Tensor, cell: Tensor | None, pbc: Tensor | None, least_volume: float
) -> Lattice:
    if cell is None:
        cells = points.new_zeros(1, 3, 3)
        repeats = torch.zeros(1, 3, dtype=torch.bool, device=points.device)
    else:
        cells = cell.detach().to(points).view(-1, 3, 3)
        repeats = (cells != 0).any(2) if pbc is None else pbc.to(points.device).view(-1, 3).bool()
    cells = cells * repeats.unsqueeze(2)
    whole = _completed(cells, repeats)
    # the inverse by cofactors: torch's own makes the host wait
    faces = torch.stack([torch.linalg.cross(whole[:, k - 2], whole[:, k - 1]) for k in range(3)], 1)
    volume = (whole[:, 0] * faces[:, 0]).sum(1)
    box = torch.where(repeats, torch.linalg.vector_norm(cells, dim=2), 1.0).prod(1)
    flat = ~(volume.abs() > least_volume * box)
    height = volume.abs().unsqueeze(1) / torch.linalg.vector_norm(faces, dim=2)
    inverse = (faces / volume.view(-1, 1, 1)).mT
    return Lattice(cells, inverse, height, repeats, flat.any())


def _completed(cell: Tensor, repeats: Tensor) -> Tensor:
    """[G, 3, 3] cells whose vectors that are not periodic are replaced by unit vectors orthogonal
    to the periodic ones."""
    count, one = repeats.sum(1), torch.eye(3, dtype=cell.dtype, device=cell.device)
    whole = torch.where((count == 0).view(-1, 1, 1), one, cell)
    for k in range(3):
        first, second = (k + 1) % 3, (k + 2) % 3
        across = _unit(torch.linalg.cross(cell[:, first], cell[:, second]))
        missing = (count == 2) & ~repeats[:, k]
        whole[:, k] = torch.where(missing.unsqueeze(1), across, whole[:, k])
        # of a single vector: two directions, the first across the axis that is farthest from it
        far = one.index_select(0, cell[:, k].abs().argmin(1))
        across = _unit(torch.linalg.cross(cell[:, k], far))
        last = _unit(torch.linalg.cross(cell[:, k], across))
        single = ((count == 1) & repeats[:, k]).unsqueeze(1)
        whole[:, first] = torch.where(single, across, whole[:, first])
        whole[:, second] = torch.where(single, last, whole[:, second])
    return whole


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _bins(points: Tensor, lattice: Lattice, own: Tensor, cutoff: float, bits: int) -> Bins:
    """The bins of all points: at most 2^bits along each direction, less two."""
    most = 2**bits - 2
    height, repeats = lattice.height.index_select(0, own), lattice.repeats.index_select(0, own)
    place = (points.unsqueeze(1) @ lattice.inverse.index_select(0, own)).squeeze(1)
    reach = cutoff * (1 + SLACK) + ROUNDING * points.abs().amax()
    wrap = torch.where(repeats, place.floor(), 0.0)
    place = place - wrap
    least = torch.where(repeats, torch.inf, place).amin(0)
    extent = torch.where(repeats, -torch.inf, place).amax(0) - least
    size = torch.maximum(extent.clamp(min=0) / most, reach)
    count = torch.where(repeats, (height / reach).floor(), most).clamp(1, most)
    index = torch.where(repeats, place * count, (place - least) / size).floor()
    index = torch.minimum(index.clamp(min=0), count - 1)
    # all images on either side of the only bin that lie within the cutoff of a point in it
    low = repeats & (height < reach)
    images = torch.where(low, 2 * (reach / height).floor() + 3, 1.0)
    index, wrap, count, images = (t.nan_to_num().long() for t in (index, wrap, count, images))
    return Bins(index, wrap, count.clamp(min=1), images, repeats)


def _rows(bins: Bins, graph: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The 27 bins around each point.

    Returns:
        [N] points, sorted by bin; [N, 27] position of the first point of each bin among these, and
        number of points in it; [N, 27, 4] the cell in which the bin lies, and 1 if there is such a
        bin, 0 otherwise.
    """
    around = torch.tensor(list(product((-1, 0, 1), repeat=3)), device=graph.device)
    index = bins.index.unsqueeze(1) + around
    count, repeats = bins.count.unsqueeze(1), bins.repeats.unsqueeze(1)
    image = torch.where(repeats, index.div(count, rounding_mode="floor"), 0)
    index = index - image * count
    # of a low cell all images belong to the bin itself
    there = (
        (index >= 0) & (index < count) & ((bins.images == 1).unsqueeze(1) | (around == 0))
    ).all(2)
    ordered, order = _key(bins.index, graph, bits).sort(stable=True)
    key = _key(index.clamp(min=0), graph.unsqueeze(1), bits)
    start = torch.searchsorted(ordered, key)
    length = torch.searchsorted(ordered, key, right=True) - start
    return order, start, length, torch.cat([image, there.long().unsqueeze(2)], 2)


def _key(index: Tensor, graph: Tensor, bits: int) -> Tensor:
    first, second, third = index.unbind(-1)
    return (((graph << bits) + first << bits) + second << bits) + third


def _images(number: Tensor, images: Tensor) -> Tensor:
    """[E, 3] periodic image, as cells along each direction, from its number [E] among all
    images[:, 0] * images[:, 1] * images[:, 2] of them."""
    _, second, third = images.unbind(1)
    rest = number // third
    parts = torch.stack([rest // second, rest % second, number % third], 1)
    return parts - images // 2


def _sorted(ends: Tensor, shift: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edges and shifts sorted by target, source and shift, and the number of each reverse edge."""
    order = torch.arange(ends.size(1), device=ends.device)
    source, target = ends
    for key in (shift[:, 2], shift[:, 1], shift[:, 0], target * nodes + source):
        order = order.index_select(0, key.index_select(0, order).argsort(stable=True))
    ends, shift = ends.index_select(1, order), shift.index_select(0, order)
    source, target = ends
    key, back = target * nodes + source, source * nodes + target
    # images of two points have opposite shifts, and stand in the opposite order
    place = torch.arange(ends.size(1), device=ends.device) - torch.searchsorted(key, key)
    reverse = torch.searchsorted(key, back, right=True) - 1 - place
    return ends, shift, reverse
