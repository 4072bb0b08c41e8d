"""Energies of atoms of a potential, from the training data of its run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, cast

import torch

from geqlib.atoms.potential import Potential
from geqlib.train.fine_tuning.energy_refit import adapt_statistics
from geqlib.train.fine_tuning.force_units import check_units
from geqlib.train.fine_tuning.frozen import check_new_elements
from geqlib.train.tasks.label_checks import check_splits
from geqlib.train.tasks.references import (
    References,
    TrainingSet,
    fit_levels,
    fit_statistics,
    summarise,
)

TRAINING = ("train", "old_train")  # splits that a run learns from
CHUNK = 256  # frames of a stream that are read at once


def fit_references(potential: Potential, trainer: Any, references: References) -> None:
    """Set a potential's references, scale and shift by the trainer's training set.

    Raises:
        ValueError: see `fit_statistics`; or if another split has elements that it has not.
    """
    data = getattr(trainer, "datamodule", None)
    frames = summarise(_training_frames(data, trainer))
    isolated: Any = getattr(data, "reference_energies", None)
    statistics = (
        fit_statistics(frames, references, isolated)
        if potential.levels is None
        else fit_levels(frames, len(potential.levels.names), references, isolated)
    )
    potential.statistics.set(
        statistics.references, statistics.seen, statistics.scale, statistics.shift
    )
    if potential.charges is not None:
        potential.charges.set_seen(frames.charges, frames.multiplicities)
    check_splits(getattr(data, "splits", {}), statistics.seen)


def adapt_references(task: Any, data: Any, references: References, elements: Any) -> None:
    """Energies of atoms for new data, of a network that another run has trained.

    Args:
        task: with that network, in evaluation.
        data: a data module with `splits`.
        references: of the task.
        elements: [119] elements that the network was trained on.
    """
    potential: Potential = task.model
    sets = training_sets(data)
    check_units(potential, data)
    frames = [summarise(pieces(structures)) for structures in sets]
    isolated = getattr(data, "reference_energies", None)
    adapt_statistics(potential, list(zip(sets, frames, strict=True)), references, isolated)
    new = potential.statistics.elements & ~elements.to(potential.statistics.seen.device)
    check_new_elements(task, new.nonzero()[:, 0].tolist())
    _remember_charges(potential, frames)
    check_splits(data.splits, potential.statistics.seen.cpu())


def _remember_charges(potential: Potential, frames: Iterable[TrainingSet]) -> None:
    if potential.charges is None:
        return
    if not potential.charges.seen_charges.any():  # the first model knew neutral singlets
        potential.charges.set_seen(torch.zeros(1), torch.ones(1))
    for part in frames:
        if not (part.charges is None and part.multiplicities is None):
            potential.charges.set_seen(part.charges, part.multiplicities)


def training_sets(data: Any) -> list[Any]:
    """The splits of a data module that a run learns from."""
    splits: Mapping[str, Any] = getattr(data, "splits", {})
    return [splits[name] for name in TRAINING if name in splits]


def pieces(structures: Any) -> Iterable[Any]:
    """All structures of a split, in pieces."""
    if hasattr(structures, "arrays"):  # PackedGraphs: all at once, and no search for neighbours
        return [structures]
    numbers = torch.arange(len(structures)).split(CHUNK)
    return (structures.__getitems__(piece.tolist()) for piece in numbers)


def _training_frames(data: Any, trainer: Any) -> Iterable[Any]:
    """All training frames, in pieces with `z`, `batch` and labels."""
    if getattr(data, "splits", {}).get("train") is not None:
        return chain.from_iterable(pieces(part) for part in training_sets(data))
    if trainer.world_size > 1:
        raise ValueError(
            "Statistics of one process's share are not those of the training set: give the "
            'data module `splits["train"]`, or pass a Potential whose statistics are set.'
        )
    return cast(Iterable[Any], trainer.train_dataloader)
