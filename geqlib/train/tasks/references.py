"""Reference energies, scale and shift of a training set, fitted before any network is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from geqlib.atoms.network import ELEMENTS
from geqlib.graph.checks import check_numbers

SMALLEST_SPREAD = 1e-6  # eV or eV/angstrom: less than this is rounding
References = Literal["least_squares", "isolated", "none", "keep"] | dict[str, float]


@dataclass(frozen=True)
class EnergyStatistics:
    """Arguments of `AtomicStatistics.set`, of one level of theory or of several.

    Args:
        references: [119] or [levels, 119] energy of one atom of each element, in eV, float64.
        seen: of the same shape, whether the training set has the element.
        scale: eV for one unit of the network's output.
        shift: eV per atom; [levels] of several.
    """

    references: Tensor
    seen: Tensor
    scale: float
    shift: float | Tensor


@dataclass(frozen=True)
class TrainingSet:
    """The compositions and labels of a training set.

    Args:
        counts: [G, 119] atoms of each element.
        energies: [G] total energies in eV, NaN where missing.
        forces_rms: root of the mean square of a component of the forces in eV/angstrom; NaN
            without forces.
        charges, multiplicities: those that occur, if the data has any.
        levels: [G] the number of each structure's level, if the data has several.
    """

    counts: np.ndarray
    energies: np.ndarray
    forces_rms: float
    charges: Tensor | None = None
    multiplicities: Tensor | None = None
    levels: np.ndarray | None = None

    def of_level(self, number: int) -> TrainingSet:
        """Compositions and energies of one level; the forces are those of all."""
        own = np.asarray(self.levels == number)
        return TrainingSet(self.counts[own], self.energies[own], self.forces_rms)


def summarise(batches: Iterable[Any]) -> TrainingSet:
    """Go over a training set once.

    Args:
        batches: with `z` [N], `batch` [N], and where there are labels `energy` [G] and `forces`
            [N, 3], NaN where one is missing.

    Raises:
        ValueError: if the training set is empty, or a label infinite.
    """
    counts, energies, levels, squares, components = [], [], [], 0.0, 0
    electrons: dict[str, list[Tensor]] = {"charge": [], "multiplicity": []}
    for batch in batches:
        for name, values in electrons.items():
            if (value := getattr(batch, name, None)) is not None:
                values.append(value.cpu().unique())
        graph, z = batch.batch.cpu(), batch.z.cpu().long()
        check_numbers(z)
        energy, forces = (getattr(batch, name, None) for name in ("energy", "forces"))
        for name, label in (("energy", energy), ("forces", forces)):
            if label is not None and bool(label.isinf().any()):
                row = int(label.isinf().nonzero()[0, 0])
                raise ValueError(
                    f"The label {name} of the training set is infinite at row {row}: correct it, "
                    "or write NaN where there is none."
                )
        graphs = int(batch.num_graphs) if energy is None else len(energy)
        flat = torch.bincount(graph * ELEMENTS + z, minlength=graphs * ELEMENTS)
        counts.append(flat.view(graphs, ELEMENTS).int().numpy())
        if (level := getattr(batch, "level", None)) is not None:
            levels.append(level.cpu().numpy())
        missing = np.full(graphs, np.nan)
        energies.append(missing if energy is None else energy.cpu().double().numpy())
        if forces is not None:
            labelled = forces[~forces.isnan()].double()
            squares += float(labelled @ labelled)
            components += labelled.numel()
    if not counts:
        raise ValueError("The training set is empty: there is nothing to fit references to.")
    rms = (squares / components) ** 0.5 if components else float("nan")
    charges, multiplicities = (torch.cat(v).unique() if v else None for v in electrons.values())
    named = np.concatenate(levels) if levels else None
    compositions, totals = np.concatenate(counts), np.concatenate(energies)
    return TrainingSet(compositions, totals, rms, charges, multiplicities, named)


def joined_sets(sets: Sequence[TrainingSet]) -> TrainingSet:
    """The compositions and energies of several training sets; without forces and charges."""
    counts = np.concatenate([part.counts for part in sets])
    energies = np.concatenate([part.energies for part in sets])
    levels = [part.levels for part in sets if part.levels is not None]
    return TrainingSet(
        counts, energies, float("nan"), levels=np.concatenate(levels) if levels else None
    )


def fit_statistics(
    frames: TrainingSet,
    references: References = "least_squares",
    isolated: Mapping[int, float] | None = None,
) -> EnergyStatistics:
    """References, scale and shift of a training set.

    The scale is the root mean square of the forces, as in MACE; without forces the standard
    deviation of the energy per atom after subtraction of the references; 1 if that is below 1e-6.
    The shift is the mean of that energy.

    Args:
        frames: the result of `summarise`.
        references: energies of atoms: "least_squares" fits them to the total energies, of all
            solutions the one with the smallest sum of squares where compositions do not determine
            them (all frames of one molecule, say); "isolated" takes those of isolated atoms;
            "none" takes 0; or a dictionary from symbols to eV.
        isolated: eV of isolated atoms by atomic number, beside those in the training set.

    Raises:
        ValueError: if an element of the training set has no reference, naming it.

    Example:
        >>> water = np.zeros((1, 119), dtype=int); water[0, [1, 8]] = 2, 1
        >>> frames = TrainingSet(water, np.array([-2078.5]), 0.7)
        >>> statistics = fit_statistics(frames, {"H": -13.5, "O": -2041.5})
        >>> statistics.scale, round(statistics.shift, 3)
        (0.7, -3.333)
    """
    seen: np.ndarray = np.asarray(frames.counts.any(0))
    labelled = ~np.isnan(frames.energies) & frames.counts.any(1)
    counts, energies = frames.counts[labelled].astype(float), frames.energies[labelled]
    table = _table(counts, energies, seen, references, isolated or {})
    rest = (energies - counts @ table) / counts.sum(1)
    spread = rest.std() if len(rest) else 0
    if not np.isnan(frames.forces_rms):
        spread = frames.forces_rms
    return EnergyStatistics(
        references=torch.from_numpy(table),
        seen=torch.from_numpy(seen),
        scale=float(spread) if spread > SMALLEST_SPREAD else 1.0,
        shift=float(rest.mean()) if len(rest) else 0.0,
    )


def fit_levels(
    frames: TrainingSet,
    levels: int,
    references: References = "least_squares",
    isolated: Sequence[Mapping[int, float]] | None = None,
) -> EnergyStatistics:
    """References and shifts of each level of theory, and their common scale.

    Args:
        frames: the result of `summarise`, with `levels`.
        levels: their number.
        references: as of `fit_statistics`, of each level.
        isolated: of each level.

    Raises:
        ValueError: as of `fit_statistics`.
    """
    atoms = isolated or [{}] * levels
    parts = [fit_statistics(frames.of_level(k), references, atoms[k]) for k in range(levels)]
    return EnergyStatistics(
        references=torch.stack([part.references for part in parts]),
        seen=torch.stack([part.seen for part in parts]),
        scale=float(np.sqrt(np.mean([part.scale**2 for part in parts]))),
        shift=torch.tensor([part.shift for part in parts], dtype=torch.float64),
    )


def _table(
    counts: np.ndarray,
    energies: np.ndarray,
    seen: np.ndarray,
    references: References,
    isolated: Mapping[int, float],
) -> np.ndarray:
    """[119] energies of atoms."""
    table = np.zeros(ELEMENTS)
    if references == "least_squares":
        table[seen] = np.linalg.lstsq(counts[:, seen], energies, rcond=None)[0]
    elif references == "isolated":
        atoms = _single_atoms(counts, energies) | dict(isolated)
        _fill(table, seen, atoms, 'add isolated atoms, or use references="least_squares"')
    elif isinstance(references, Mapping):
        atoms = {_number(symbol): float(energy) for symbol, energy in references.items()}
        _fill(table, seen, atoms, "add it to `references`")
    elif references == "keep":
        raise ValueError(
            'references="keep" are those of the model that a run begins with, and this run begins '
            'with none: name it (init), or use references="least_squares".'
        )
    elif references != "none":
        raise ValueError(
            'references must be "least_squares", "isolated", "none" or energies by symbol, '
            f"got {references!r}."
        )
    return table


def _single_atoms(counts: np.ndarray, energies: np.ndarray) -> dict[int, float]:
    """Mean energy of the frames that are one atom, by element."""
    alone = counts.sum(1) == 1
    elements = counts[alone].argmax(1)
    return {int(z): float(energies[alone][elements == z].mean()) for z in np.unique(elements)}


def _fill(table: np.ndarray, seen: np.ndarray, energies: Mapping[int, float], fix: str) -> None:
    missing = [chemical_symbols[z] for z in np.flatnonzero(seen) if z not in energies]
    if missing:
        raise ValueError(f"There is no reference energy for {', '.join(missing)}: {fix}.")
    table[list(energies)] = list(energies.values())


def _number(symbol: str | int) -> int:
    number = atomic_numbers.get(symbol, symbol) if isinstance(symbol, str) else symbol
    if not (isinstance(number, int | np.integer) and 1 <= number < ELEMENTS):
        raise ValueError(f"references name {symbol!r}, which is no element: use symbols like C.")
    return int(number)
