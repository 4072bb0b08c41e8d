"""Energies of atoms in closed form, for a network that is trained already, wholly or in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geqlib.atoms.forces import GEOMETRY, potential_inputs
from geqlib.atoms.network import ELEMENTS
from geqlib.atoms.potential import Potential
from geqlib.elements import chemical_symbols
from geqlib.train.steps.precision import cast_to
from geqlib.train.tasks.references import (
    References,
    TrainingSet,
    fit_levels,
    fit_statistics,
    joined_sets,
)

FRAMES = 256  # that a fit looks at, a number that determines some ten energies of elements well
BATCH = 32  # frames that are predicted at once
FRAMES_PER_ELEMENT = 16  # at least, where there are so many, also of a rare element
# least share of the mean composition by which compositions differ in a direction that is fitted
SMALLEST_DIFFERENCE = 1e-2
RANK = 1e-8  # the same for a fit that has to find the energies of new elements


@dataclass(frozen=True)
class Residuals:
    """What energies of atoms have to make up for.

    Args:
        counts: [G, 119] atoms of each element.
        energies: [G] labels minus predictions, in eV.
        levels: [G] the number of each structure's level; 0 where there is one.

    Example:
        >>> counts = np.zeros((2, 119)); counts[:, 1] = 2, 4
        >>> Residuals(counts, np.array([1.0, 2.0])).references(1e-2)[1].round(6)
        np.float64(0.5)
    """

    counts: np.ndarray
    energies: np.ndarray
    levels: np.ndarray | None = None

    def of_level(self, number: int) -> Residuals:
        """Those of one level."""
        own = slice(None) if self.levels is None else self.levels == number
        return Residuals(self.counts[own], self.energies[own])

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
    counts, energies, levels = [np.zeros((0, ELEMENTS))], [np.zeros(0)], [np.zeros(0, int)]
    for piece in torch.as_tensor(numbers, dtype=torch.long).split(BATCH):
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
        level = batch.level.cpu() if "level" in batch else torch.zeros(len(error))
        levels.append(level.numpy()[labelled])
    return Residuals(*map(np.concatenate, (counts, energies, levels)))


@torch.no_grad()
def predicted_energies(potential: Potential, batch: Any) -> Tensor:
    """[G] total energies in eV, in float64 on the CPU."""
    return potential(**inputs_of(potential, batch)).total.detach().cpu().double()


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
            chosen |= {int(k) for k in np.flatnonzero(counts[:, z])[:FRAMES_PER_ELEMENT]}
    return sorted(chosen)


def frames_of(structures: Any, counts: np.ndarray | None = None) -> list[int]:
    """`some_frames` of each level of a training set."""
    levels = getattr(structures, "arrays", {}).get("level")
    if levels is None:
        return some_frames(len(structures), counts)
    chosen = []
    for number in levels.unique():
        own = (levels == number).nonzero()[:, 0].numpy()
        part = some_frames(len(own), None if counts is None else counts[own])
        chosen += own[part].tolist()
    return chosen


def adapt_statistics(
    potential: Potential,
    sets: Sequence[tuple[Any, TrainingSet]],
    references: References,
    isolated: Mapping[int, float] | Sequence[Mapping[int, float]] | None = None,
) -> None:
    """Energies of atoms of a potential that was trained on other data, in place.

    The scale stays, and so do energies of elements that the new data does not have. With
    "least_squares" the energies of the others are changed by what the trained network leaves of the
    total energies: next to nothing at the same level of theory, the difference between two levels
    otherwise, and the whole energy of an element that is new. Energies that are given replace the
    old ones, with "isolated" or by symbol, and the shift makes up for the rest. "keep" changes
    nothing. With several levels of theory, all of this holds for each.

    Args:
        potential: with the statistics of its own training.
        sets: structures that the new run learns from, and what `summarise` makes of them.
        references: of the task.
        isolated: eV of isolated atoms by atomic number; of each level, where there are several.

    Raises:
        ValueError: if an element of the data has no energy, naming it.
    """
    statistics, whole = potential.statistics, joined_sets([frames for _, frames in sets])
    levels = None if potential.levels is None else len(potential.levels.names)
    before = statistics.seen.cpu().numpy()
    own = np.asarray(
        whole.counts.any(0)
        if levels is None
        else [whole.of_level(k).counts.any(0) for k in range(levels)]
    )
    if references == "keep":
        if (own & ~before).any():
            missing = np.asarray((own & ~before).reshape(-1, ELEMENTS).any(0))
            raise ValueError(
                f"The checkpoint has no reference energy of {_symbols(missing)}: leave out "
                'references="keep", or give energies by symbol.'
            )
        return
    table = statistics.references.cpu().numpy().copy()
    if references != "least_squares":
        fitted = (
            fit_statistics(whole, references, isolated)  # type: ignore[arg-type]
            if levels is None
            else fit_levels(whole, levels, references, isolated)  # type: ignore[arg-type]
        )
        table = np.where(own, fitted.references.numpy(), table)
    seen = torch.from_numpy(before | own)
    statistics.set(torch.from_numpy(table), seen, float(statistics.scale), statistics.shift.cpu())
    rest = joined_residuals(
        [
            residuals(potential, structures, frames_of(structures, frames.counts))
            for structures, frames in sets
        ]
    )
    _add(potential, rest, RANK if references == "least_squares" else None)


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
    parts = [residuals(potential, part, frames_of(part)) for part in sets]
    if parts:
        _add(potential, joined_residuals(parts), SMALLEST_DIFFERENCE if elements else None)


def _add(potential: Potential, rest: Residuals, rcond: float | None) -> None:
    """Add what is left to the energies of elements, or with rcond=None to the shift."""
    statistics = potential.statistics
    count = 1 if potential.levels is None else len(potential.levels.names)
    parts = [rest.of_level(k) for k in range(count)]
    if rcond is None:
        shift = torch.tensor([part.shift() for part in parts], dtype=torch.float64)
        statistics.shift += shift.view(statistics.shift.shape).to(statistics.shift)
    else:
        table = torch.from_numpy(np.stack([part.references(rcond) for part in parts]))
        references = statistics.references
        references += table.view(references.shape).to(references)


def joined_residuals(parts: Sequence[Residuals]) -> Residuals:
    """Those of several sets."""
    levels = [np.zeros(len(p.energies), int) if p.levels is None else p.levels for p in parts]
    counts, energies = [part.counts for part in parts], [part.energies for part in parts]
    return Residuals(*map(np.concatenate, (counts, energies, levels)))


def _symbols(present: np.ndarray) -> str:
    return ", ".join(chemical_symbols[z] for z in np.flatnonzero(present))


def inputs_of(potential: Potential, batch: Any) -> dict[str, Any]:
    """The arguments of a potential, where and in the precision in which it is."""
    batch = batch.to(potential.statistics.references.device)
    cast_to(potential, batch, GEOMETRY)
    return potential_inputs(batch, "reverse")
