"""The unit of forces in new data, judged by those that a trained potential predicts for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from geqlib.atoms.forces import energy_forces
from geqlib.atoms.potential import Potential
from geqlib.data.molecules.labels import ENERGY, FORCES, Labels
from geqlib.train.fine_tuning.energy_refit import inputs_of

FRAMES = 32  # that are compared
LEAST_CORRELATION = 0.9  # of predicted forces with labels, from which on their ratio says something
TOLERANCE = 1.25  # factor by which that ratio may differ from that of two units


def check_units(potential: Potential, data: Any) -> None:
    """Refuse forces that a trained potential predicts well in another unit than that of the data.

    Each level of `LevelsData` is compared with its own units, and so are structures of a replay.

    Args:
        potential: which was trained before.
        data: a data module with `splits`; nothing is compared if it does not say its units.

    Raises:
        ValueError: naming the key to set, and both units.
    """
    for part, labels, structures, numbers in _parts(data):
        slope, correlation = forces_slope(potential, structures, numbers)
        if correlation < LEAST_CORRELATION:
            continue
        unit = better_unit(slope, labels)
        if unit is not None:
            raise ValueError(
                f"The forces of the training data{part} are {slope:.3g} times those that the "
                f"checkpoint predicts (correlation {correlation:.2f}), as if they were in {unit} "
                f"and not in {unit_of_forces(labels)}: {_advice(unit, labels)}."
            )


def forces_slope(
    potential: Potential, structures: Any, numbers: Sequence[int]
) -> tuple[float, float]:
    """How many times the predicted forces those of the labels are, and their correlation.

    Args:
        potential: on the device where it is.
        structures: with `__getitems__`, which makes batches with neighbours and `forces`.
        numbers: of the structures.

    Returns:
        (NaN, 0) without forces.
    """
    batch = structures.__getitems__(list(numbers))
    if "forces" not in batch:
        return float("nan"), 0.0
    with torch.enable_grad():
        predicted = energy_forces(potential, **inputs_of(potential, batch), check=False)["forces"]
    true, ours = batch.forces.cpu().double().flatten(), predicted.detach().cpu().double().flatten()
    labelled = ~true.isnan()
    true, ours = true[labelled], ours[labelled]
    product = float(true @ ours)
    if not product:
        return float("nan"), 0.0
    return float(true @ true) / product, product / float(true.norm() * ours.norm())


def unit_of_forces(labels: Labels) -> str:
    """The unit in which forces are read.

    Example:
        >>> unit_of_forces(Labels(energy_unit="Hartree", length_unit="bohr"))
        'Hartree/bohr'
    """
    length = "A" if labels.length_unit == "angstrom" else labels.length_unit
    return labels.forces_unit or f"{labels.energy_unit}/{length}"


def better_unit(slope: float, labels: Labels) -> str | None:
    """The unit in which forces are, if they are `slope` times what they should be.

    Args:
        slope: labels by predictions.
        labels: with the units in which they were read.

    Returns:
        None if it is none, or that of the labels.

    Example:
        >>> better_unit(23.1, Labels()), better_unit(1.2, Labels())
        ('kcal/mol/A', None)
    """
    sizes = dict(FORCES)
    for energy, size in ENERGY.items():
        # which are read as such where forces_unit does not say otherwise
        if labels.forces_unit is None:
            other = Labels(energy_unit=energy, length_unit=labels.length_unit)  # type: ignore[arg-type]
            sizes[unit_of_forces(other)] = size / labels.length
    own = sizes[unit_of_forces(labels)]
    ratios = {unit: abs(np.log(slope * size / own)) for unit, size in sizes.items()}
    nearest = min(ratios, key=lambda unit: ratios[unit])
    right = np.isclose(sizes[nearest], own) or abs(np.log(slope)) <= ratios[nearest]
    return None if right or ratios[nearest] > np.log(TOLERANCE) else nearest


def _advice(unit: str, labels: Labels) -> str:
    """Which key to set."""
    length = unit.rpartition("/")[2]
    energy = unit.removesuffix(f"/{length}")
    of_energies = f"energy_unit to {energy}"
    if unit not in FORCES:
        return f"set {of_energies}"
    same_length = length == ("A" if labels.length_unit == "angstrom" else labels.length_unit)
    if labels.forces_unit is not None or energy == labels.energy_unit or not same_length:
        return f"set forces_unit to {unit}"
    return f"set forces_unit to {unit}, or {of_energies} if that is the unit of its energies, too"


def _parts(data: Any) -> Iterator[tuple[str, Labels, Any, list[int]]]:
    """What has units of its own: its name in a sentence, its labels, and some structures."""
    splits = data.splits
    if (labels := getattr(data, "labels", None)) is not None:
        yield "", labels, splits["train"], list(range(min(len(splits["train"]), FRAMES)))
    for number, (name, part) in enumerate(getattr(data, "parts", {}).items()):
        own = (splits["train"].arrays["level"] == number).nonzero()[:FRAMES, 0].tolist()
        if own:
            yield f" of the level {name}", part.labels, splits["train"], own
    old = getattr(getattr(data, "old", None), "labels", None)
    if old is not None and "old_train" in splits:
        frames = list(range(min(len(splits["old_train"]), FRAMES)))
        yield " of the replay", old, splits["old_train"], frames
