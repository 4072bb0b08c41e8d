"""Pictures of generated molecules, as balls and sticks, and of generated graphs."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch

# isort: off: geqlib.report.pictures says what to install where matplotlib is missing
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from geqlib.generation import bond_orders, stability
from geqlib.report.pictures import INK, PALE, STYLE, colour, save_figure
from geqlib.report.prediction_pictures import project
from geqlib.report.structure_pictures import MARK, depth_axis, entry

# isort: on

SHOWN, COLUMNS = 8, 4
BALL = 0.4  # of the covalent radius
STICK = 0.22  # angstrom between the lines of a double bond
MARGIN = 0.7  # angstrom around the outermost centres
GAP = 0.25  # between fragments, in units of a layout
FEW = 100  # nodes up to which distances are kept by stress


def draw_molecules(molecules: Sequence[Any], path: Path) -> None:
    """The first molecules, each along its flattest direction, all in one scale.

    Sticks are the bonds by the rules of EDM, and rings mark the atoms that these do not call
    stable.

    Args:
        molecules: ASE's `Atoms`, at least one.
        path: of the PNG file.
    """
    chosen = molecules[:SHOWN]
    with rc_context(STYLE):
        flat = [project(atoms.positions, atoms.positions)[0] for atoms in chosen]
        half = np.max([np.abs(points).max(0) for points in flat], axis=0) + MARGIN
        figure, panels = _panels(len(chosen), float(half[1] / half[0]))
        elements: dict[str, Any] = {}
        for axes, atoms, points in zip(panels, chosen, flat, strict=True):
            elements |= _draw_molecule(axes, atoms, points)
            axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]), aspect="equal")
        entries = [entry(name, shade) for name, shade in elements.items()]
        figure.legend(handles=entries, loc="outside lower center", ncols=max(len(entries), 1))
        save_figure(figure, path)


def _draw_molecule(axes: Axes, atoms: Any, flat: np.ndarray) -> dict[str, Any]:
    """Atoms and bonds from back to front; returns the colour of each element."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    numbers, pos = torch.as_tensor(atoms.numbers), torch.as_tensor(atoms.positions)
    stable = stability(numbers.long(), pos).atom
    depth = (atoms.positions - atoms.positions.mean(0)) @ depth_axis(atoms.positions)
    order = np.argsort(np.argsort(depth))  # of each atom, the place from back to front
    for (i, j), kind in _bonds(numbers, pos):
        for side in range(kind):
            ends = _beside(flat[[i, j]], STICK * (side - (kind - 1) / 2))
            width = 2.4 if kind == 1 else 1.5
            behind = 1.5 + min(order[i], order[j])
            axes.plot(*ends.T, color=PALE, linewidth=width, zorder=behind)
    for k, (place, z) in enumerate(zip(flat, atoms.numbers, strict=True)):
        ring = not bool(stable[k])
        radius = BALL * float(covalent_radii[z])
        axes.add_patch(
            Circle(
                tuple(place),
                radius,
                facecolor=jmol_colors[z],
                edgecolor=MARK if ring else INK,
                linewidth=2.2 if ring else 0.6,
                zorder=2 + order[k],
            )
        )
    count = int((~stable).sum())
    verdict = "stable" if not count else f"{count} of {len(atoms)} atoms not stable"
    axes.set_title(f"{atoms.get_chemical_formula()}\n{verdict}", loc="center", fontsize=9.5)
    symbols = atoms.get_chemical_symbols()
    return {name: jmol_colors[z] for name, z in zip(symbols, atoms.numbers, strict=True)}


def _bonds(numbers: torch.Tensor, pos: torch.Tensor) -> list[tuple[tuple[int, int], int]]:
    bonds = bond_orders(numbers.long(), pos)
    pairs = [(int(i), int(j)) for i, j in bonds.pair.T.tolist()]
    return list(zip(pairs, map(int, bonds.order.tolist()), strict=True))


def _beside(ends: np.ndarray, shift: float) -> np.ndarray:
    """A segment [2, 2], shifted to its side."""
    along = ends[1] - ends[0]
    length = float(np.linalg.norm(along))
    return ends + shift * np.array([-along[1], along[0]]) / (length or 1.0)


def draw_graphs(graphs: Sequence[nx.Graph], path: Path) -> None:
    """The first graphs, one colour for each kind of nodes; edges of kind k have k lines' width.

    Args:
        graphs: with `kind` of nodes, and of edges from 1; at least one.
        path: of the PNG file.
    """
    chosen = graphs[:SHOWN]
    with rc_context(STYLE):
        figure, panels = _panels(len(chosen))
        for axes, graph in zip(panels, chosen, strict=True):
            _draw_graph(axes, graph)
        save_figure(figure, path)


def _draw_graph(axes: Axes, graph: nx.Graph) -> None:
    places = layout(graph)
    size = 90 / max(sqrt(len(graph)) / 3, 1) ** 2
    kinds = [kind for _, _, kind in graph.edges(data="kind", default=1)]
    widths = [(0.5 if len(graph) > FEW else 1.0) * (1.4 * kind - 0.4) for kind in kinds]
    nx.draw_networkx_edges(graph, places, ax=axes, width=widths, edge_color=PALE)
    nx.draw_networkx_nodes(
        graph,
        places,
        ax=axes,
        node_size=size,
        node_color=[colour(record.get("kind", 0)) for _, record in graph.nodes(data=True)],
        edgecolors="white",
        linewidths=0.5,
    )
    axes.set_aspect("equal", adjustable="datalim")
    title = f"{len(graph)} nodes, {graph.number_of_edges()} edges"
    axes.set_title(title, loc="center", fontsize=9.5)


def layout(graph: nx.Graph) -> dict[Any, np.ndarray]:
    """A place in the plane for each node: fragments in a row, each by its distances.

    Example:
        >>> places = layout(nx.path_graph(3))
        >>> sorted(places)
        [0, 1, 2]
    """
    places, right = {}, 0.0
    for nodes in sorted(nx.connected_components(graph), key=len, reverse=True):
        own = _connected(graph.subgraph(sorted(nodes)))
        points = np.array(list(own.values()))
        points = sqrt(len(own)) * points / max(float(np.abs(points).max()), 1e-9)
        points[:, 0] += right - points[:, 0].min()
        places |= dict(zip(own, points, strict=True))
        right = points[:, 0].max() + 2 * GAP + 1
    return places


def _connected(graph: nx.Graph) -> dict[Any, np.ndarray]:
    if len(graph) == 1:
        return dict.fromkeys(graph, np.zeros(2))
    if len(graph) <= FEW:
        return nx.kamada_kawai_layout(graph)
    first = nx.spectral_layout(graph)
    return nx.spring_layout(graph, pos=first, iterations=30, k=1 / sqrt(len(graph)), seed=0)


def _panels(count: int, height: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Panels of a height in units of their width."""
    columns = min(count, COLUMNS)
    rows = ceil(count / columns)
    size = (2.7 * columns, (2.7 * height + 0.5) * rows + 0.3)
    figure = Figure(size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    return figure, panels[:count]
