"""Pictures of structures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

# isort: off: geqlib.report.pictures says what to install where matplotlib is missing
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from geqlib.report.pictures import INK, STYLE, save_figure
from geqlib.report.prediction_pictures import project
from geqlib.report.structures import StructureErrors, title, worst_atom
from geqlib.report.tables import number

# isort: on

SHOWN = 3
MARK = "#C8102E"


def draw_worst_structures(errors: StructureErrors, path: Path) -> bool:
    """The worst structures, each along its flattest direction, with a ring at the worst atom.

    Args:
        errors: of the test set.
        path: of the PNG file.

    Returns:
        whether there was anything to draw.
    """
    numbers = errors.worst[:SHOWN]
    if not numbers:
        return False
    with rc_context(STYLE):
        figure = Figure((3.2 * len(numbers), 3.7), layout="constrained")
        panels = figure.subplots(1, len(numbers), squeeze=False)[0]
        elements: dict[str, Any] = {}
        for axes, k in zip(panels, numbers, strict=True):
            elements |= _draw_structure(axes, errors, k)
        entries = [entry(name, shade) for name, shade in elements.items()]
        figure.legend(handles=entries, loc="outside lower center", ncols=min(len(entries), 8))
        save_figure(figure, path)
    return True


def _draw_structure(axes: Axes, errors: StructureErrors, k: int) -> dict[str, Any]:
    """Returns the colour of each element."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    atoms, worst = errors.structures[k], worst_atom(errors, k)
    pos = atoms.positions - atoms.positions.mean(0)
    cell = _cell_lines(atoms)
    flat, *lines = project(pos, pos, *(line - atoms.positions.mean(0) for line in cell))
    depth = pos @ depth_axis(pos)
    for line in lines:
        axes.plot(*line.T, color="#BBBBBB", linewidth=0.8, zorder=0)
    for place, atom in enumerate(np.argsort(depth)):
        z = atoms.numbers[atom]
        ring = worst is not None and atom == worst[0]
        axes.add_patch(
            Circle(
                tuple(flat[atom]),
                0.55 * float(covalent_radii[z]),
                facecolor=jmol_colors[z],
                edgecolor=MARK if ring else INK,
                linewidth=2.5 if ring else 0.6,
                zorder=2 + place / len(atoms) + 2 * ring,
            )
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.set_axis_off()
    rmse = errors.force_rmse[k]
    error = f"{number(rmse, 3)} meV/Å" if math.isfinite(rmse) else ""
    axes.set_title(f"{title(errors, k)}\n{error}", loc="left")
    names = atoms.get_chemical_symbols()
    return {name: jmol_colors[z] for name, z in zip(names, atoms.numbers, strict=True)}


def _cell_lines(atoms: Any) -> list[np.ndarray]:
    """The edges of a cell that repeats, as pairs of points."""
    if not atoms.pbc.all():
        return []
    corners = [np.array([a, b, c]) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    return [
        np.stack([p, q]) @ atoms.cell.array
        for p in corners
        for q in corners
        if (q - p).min() >= 0 and (q - p).sum() == 1
    ]


def depth_axis(pos: np.ndarray) -> np.ndarray:
    """The direction along which the points, whose mean is subtracted, are flattest."""
    return np.linalg.svd(pos - pos.mean(0), full_matrices=True)[2][2]


def entry(name: str, shade: Any) -> Line2D:
    """A ball of the legend."""
    options: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 9}
    return Line2D([], [], mfc=shade, mec=INK, mew=0.6, label=name, **options)
