"""Energies of atoms in closed form, for a network that is trained already, wholly or in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geqlib.atoms.forces import GEOMETRY, energy_forces, potential_inputs
from geqlib.atoms.potential import ELEMENTS, Potential
from geqlib.data.molecules.labels import ENERGY
from geqlib.elements import chemical_symbols
from geqlib.train.steps.precision import cast_to
from geqlib.train.tasks.references import References, TrainingSet, fit_statistics, joined_sets

FRAMES = 256  # that a fit looks at, a number that determines some ten energies of elements well
AT_ONCE = 32
RARE = 16  # frames with an element that few have
# least share of the mean composition by which compositions differ in a direction that is fitted
SMALLEST_DIFFERENCE = 1e-2
RANK = 1e-8  # the same for a fit that has to find the energies of new elements
SURE, NEAR = 0.9, 1.25  # correlation with other units' forces, and how near their ratio is


@dataclass(frozen=True)
class Residuals:
    """What energies of atoms have to make up for.

    Args:
        counts: [G, 119] atoms of each element.
        energies: [G] labels minus predictions, in eV.

    Example:
        >>> counts = np.zeros((2, 119)); counts[:, 1] = 2, 4
        >>> Residuals(counts, np.array([1.0, 2.0])).references(1e-2)[1].round(6)
        np.float64(0.5)
    """

    counts: np.ndarray
    energies: np.ndarray

    def shift(self) -> float:
        """eV per atom that make up for most of the residuals per atom."""
        return float((self.energies / self.counts.sum(1)).mean()) if len(self.energies) else 0.0

    def references(self, rcond: float) -> np.ndarray:
        """[119] eV of each element that make up for most of the residuals per atom.

        Of all solutions of the least squares the one with the smallest sum of squares, which leaves
        out combinations of elements in which the compositions hardly differ.

        Args:
            rcond: how much less than in the mean composition that is.
        """
        table = np.zeros(ELEMENTS)
        present = self.counts.any(0)
        if len(self.energies):
            atoms = self.counts.sum(1, keepdims=True)
            shares, each = self.counts[:, present] / atoms, self.energies / atoms[:, 0]
            table[present] = np.linalg.lstsq(shares, each, rcond=rcond)[0]
        return table


def residuals(potential: Potential, structures: Any, numbers: Sequence[int]) -> Residuals:
    """Residuals of the total energies of some structures, of those that have a label.

    Args:
        potential: on the device where it is.
        structures: with `__getitems__`, which makes batches with neighbours and `energy`.
        numbers: of the structures.
    """
    counts, energies = [np.zeros((0, ELEMENTS))], [np.zeros(0)]
    for piece in torch.as_tensor(numbers, dtype=torch.long).split(AT_ONCE):
        batch = structures.__getitems__(piece.tolist())
        if "energy" not in batch or not len(piece):
            continue
        predicted = predicted_energies(potential, batch)
        error = batch.energy.cpu().double() - predicted
        graph, z = batch.batch.cpu(), batch.z.cpu().long()
        flat = torch.bincount(graph * ELEMENTS + z, minlength=len(error) * ELEMENTS)
        labelled = ~error.isnan().numpy()
        counts.append(flat.view(-1, ELEMENTS).double().numpy()[labelled])
        energies.append(error.numpy()[labelled])
    return Residuals(np.concatenate(counts), np.concatenate(energies))


@torch.no_grad()
def predicted_energies(potential: Potential, batch: Any) -> Tensor:
    """[G] total energies in eV, in float64 on the CPU."""
    return potential(**_fields(potential, batch)).total.detach().cpu().double()


def some_frames(total: int, counts: np.ndarray | None = None) -> list[int]:
    """Numbers of up to 256 frames, evenly spread, and of some with each element.

    Args:
        total: number of frames.
        counts: [total, 119] atoms of each element, where they are known.

    Example:
        >>> some_frames(3)
        [0, 1, 2]
    """
    chosen = set(np.linspace(0, total - 1, min(total, FRAMES)).round().astype(int).tolist())
    if counts is not None and total > FRAMES:
        for z in np.flatnonzero(counts.any(0)):
            chosen |= {int(k) for k in np.flatnonzero(counts[:, z])[:RARE]}
    return sorted(chosen)


def forces_slope(potential: Potential, structures: Any) -> tuple[float, float]:
    """How many times the predicted forces those of the labels are, and their correlation.

    Args:
        potential, structures: as of `residuals`; the first frames are looked at.

    Returns:
        (NaN, 0) without forces.
    """
    batch = structures.__getitems__(list(range(min(len(structures), AT_ONCE))))
    if "forces" not in batch:
        return float("nan"), 0.0
    with torch.enable_grad():
        predicted = energy_forces(potential, **_fields(potential, batch), check=False)["forces"]
    true, ours = batch.forces.cpu().double().flatten(), predicted.detach().cpu().double().flatten()
    labelled = ~true.isnan()
    true, ours = true[labelled], ours[labelled]
    product = float(true @ ours)
    if not product:
        return float("nan"), 0.0
    return float(true @ true) / product, product / float(true.norm() * ours.norm())


def adapt_statistics(
    potential: Potential,
    sets: Sequence[tuple[Any, TrainingSet]],
    references: References,
    isolated: Mapping[int, float] | None = None,
) -> None:
    """Energies of atoms of a potential that was trained on other data, in place.

    The scale stays, and so do energies of elements that the new data does not have. With
    "least_squares" the energies of the others are changed by what the trained network leaves of the
    total energies: next to nothing at the same level of theory, the difference between two levels
    otherwise, and the whole energy of an element that is new. Energies that are given replace the
    old ones, with "isolated" or by symbol, and the shift makes up for the rest. "keep" changes
    nothing.

    Args:
        potential: with the statistics of its own training.
        sets: structures that the new run learns from, and what `summarise` makes of them.
        references: of the task.
        isolated: eV of isolated atoms by atomic number.

    Raises:
        ValueError: if an element of the data has no energy, naming it.
    """
    statistics = potential.statistics
    before = statistics.seen.cpu().numpy()
    own = np.asarray(np.concatenate([frames.counts for _, frames in sets]).any(0))
    table = statistics.references.cpu().numpy().copy()
    if references == "keep":
        if (own & ~before).any():
            raise ValueError(
                f"The checkpoint has no reference energy of {_symbols(own & ~before)}: leave out "
                'references="keep", or give energies by symbol.'
            )
        return
    if references != "least_squares":
        whole = fit_statistics(joined_sets([frames for _, frames in sets]), references, isolated)
        table = np.where(own, whole.references.numpy(), table)
    scale, shift = float(statistics.scale), float(statistics.shift)
    seen = torch.from_numpy(before | own)
    statistics.set(torch.from_numpy(table), seen, scale, shift)
    rest = joined_residuals(
        [
            residuals(potential, structures, some_frames(len(structures), frames.counts))
            for structures, frames in sets
        ]
    )
    if references == "least_squares":
        table = table + rest.references(RANK)
    else:
        shift += rest.shift()
    statistics.set(torch.from_numpy(table), seen, scale, shift)


def refit_statistics(potential: Potential, sets: Sequence[Any], *, elements: bool) -> None:
    """Fit the shift, or the energies of all elements, to what a network leaves, in place.

    Energies converge last: with a large weight of the forces, what is left of them is mostly the
    same for all atoms or for all atoms of an element. A few hundred training structures determine
    it by least squares.

    Args:
        potential: that is being trained, in evaluation mode.
        sets: training structures.
        elements: whether energies of elements are fitted, too. Energies of isolated atoms, and
            those that are given, stay as they are.
    """
    parts = [residuals(potential, part, some_frames(len(part))) for part in sets]
    if not parts:
        return
    rest, statistics = joined_residuals(parts), potential.statistics
    if elements:
        references = torch.from_numpy(rest.references(SMALLEST_DIFFERENCE))
        statistics.references += references.to(statistics.references)
    else:
        statistics.shift += rest.shift()


def joined_residuals(parts: Sequence[Residuals]) -> Residuals:
    """Those of several sets."""
    counts = np.concatenate([part.counts for part in parts])
    return Residuals(counts, np.concatenate([part.energies for part in parts]))


def _symbols(present: np.ndarray) -> str:
    return ", ".join(chemical_symbols[z] for z in np.flatnonzero(present))


def check_unit(task: Any, structures: Any, labels: Any) -> None:
    """Refuse forces that a trained potential predicts well in another unit than that of the data.

    Args:
        task: with the trained potential.
        structures: of the training.
        labels: of the data module, which has `energy_unit`; None if it has none.

    Raises:
        ValueError: naming the key, and both units.
    """
    slope, correlation = forces_slope(task.model, structures)
    own = getattr(labels, "energy_unit", None)
    if correlation < SURE or own is None:
        return
    for unit, size in ENERGY.items():
        times = ENERGY[own] / size
        if unit != own and abs(np.log(slope / times)) < np.log(NEAR):
            raise ValueError(
                f"The forces of the training data are {slope:.3g} times those that the checkpoint "
                f"predicts (correlation {correlation:.2f}), as if energy_unit were {unit}, and it "
                f"is {own}: set energy_unit to {unit}."
            )


def _fields(potential: Potential, batch: Any) -> dict[str, Any]:
    """The arguments of a potential, where and in the precision in which it is."""
    batch = batch.to(potential.statistics.references.device)
    cast_to(potential, batch, GEOMETRY)
    return potential_inputs(batch, "reverse")
