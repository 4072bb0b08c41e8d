"""Labels and elements of structures that no potential can be trained or measured on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from geqlib.graph.checks import HEAVIEST


def check_splits(splits: Mapping[str, Any], seen: Tensor) -> None:
    """`check_frames` of all splits in memory; those that are streamed are checked by batches."""
    for split, structures in splits.items():
        if "z" in getattr(structures, "arrays", {}):
            check_frames(split, structures, seen)


def check_labelled(splits: Mapping[str, Any], weights: Mapping[str, float]) -> None:
    """Refuse splits in memory, of those for training, none of whose frames has a weighted label.

    Their loss would be 0, which is the best there is.

    Raises:
        ValueError: naming the split and the label.
    """
    for split in ("train", "val"):
        arrays = getattr(splits.get(split), "arrays", {})
        for name, weight in weights.items():
            if weight and name in arrays and arrays[name].numel() and arrays[name].isnan().all():
                raise ValueError(
                    f"No frame of the {split} split has a label for {name}, but {name}_weight is "
                    f"{weight}: choose other frames for it, or set the weight to 0."
                )


def check_any_label(
    trainer: Any, labels: Iterable[str], splits: Iterable[str] = ("train", "val")
) -> None:
    """Refuse to train with splits in memory in which nothing has any of these labels.

    Their loss would be 0, which is the best there is: no step would change the weights, or the
    first epoch would be chosen. There is no label where a number is NaN, or a class negative.

    Args:
        trainer: with a data module that has `splits`, or another, of which nothing is known.
        labels: of a task.
        splits: to look at; not at one that the trainer leaves out.

    Raises:
        ValueError: naming the split and the labels.
    """
    parts = getattr(getattr(trainer, "datamodule", None), "splits", None) or {}
    for split in splits:
        arrays = getattr(parts.get(split), "arrays", {})
        own = {name: arrays[name] for name in labels if name in arrays and arrays[name].numel()}
        left_out = trainer.barebones or trainer.limit_val_batches == 0
        if not own or (split == "val" and left_out):
            continue
        if all(bool((x.isnan() if x.is_floating_point() else x < 0).all()) for x in own.values()):
            raise ValueError(
                f"Nothing in the {split} split has a label ({', '.join(own)}), so that its loss "
                "would be 0, the best there is: give it labels, or choose another share, seed or "
                "file for it."
            )


def check_outputs(potential: Any, weights: Mapping[str, float]) -> None:
    """Refuse to learn what a potential does not have.

    Args:
        potential: a `Potential`.
        weights: of the labels in a loss.

    Raises:
        ValueError: naming the weight.
    """
    if weights["dipole"] and potential.long_range is None:
        raise ValueError(
            f"dipole_weight is {weights['dipole']}, but the potential has no charges: build it "
            "with long_range, a geqlib.nn.GaussianCharges, and a network of two scalars an atom."
        )
    if weights["stress"] and not potential.conservative:
        raise ValueError(
            f"stress_weight is {weights['stress']}, but this potential has no stress, because its "
            "forces are no derivatives of its energy: set stress_weight to 0."
        )
    if weights["polarisability"] and not potential.polarisability:
        raise ValueError(
            f"polarisability_weight is {weights['polarisability']}, but the potential has none: "
            "build it with polarisability=True, and a network whose outputs end in 0e + 2e."
        )


def unused_labels(
    potential: Any, data: Any, weights: Mapping[str, float] | None = None
) -> list[str]:
    """A sentence for each label that the data reads, and that no loss compares with.

    Args:
        potential: a `Potential`.
        data: its data module, with `labels`, or with `parts` that have them; or any other.
        weights: of the labels in the loss; without them, what the potential has is used.
    """
    parts = list(getattr(data, "parts", {}).values()) or [data]
    labels = [part.labels for part in parts if hasattr(part, "labels")]
    unused = {
        "energies": "EnergyForces learns total energies, forces and stress",
        "dipole": "the potential has no charges: build it with long_range",
        "polarisability": "the potential has none: build it with polarisability=True",
    }
    if potential.long_range is not None:
        del unused["dipole"]
    if potential.polarisability:
        del unused["polarisability"]
    sentences = [
        f"{name}_key is read and not trained on: {reason}. null leaves it out."
        for name, reason in unused.items()
        if any(getattr(label, name, None) for label in labels)
    ]
    keys = {"stress": ("stress", "virial"), "dipole": ("dipole",)}
    keys["polarisability"] = ("polarisability",)
    for name, own in keys.items():
        key = next((k for k in own for label in labels if getattr(label, k, None)), None)
        if key and weights and not weights[name] and name not in unused:
            sentences.append(
                f"{key}_key is read and not trained on, as {name}_weight is 0: set {name}_weight "
                f"of the task, or {key}_key to null, unless its errors are only to be measured."
            )
    return sentences


def check_measured(split: str, structures: Any, names: Iterable[str]) -> None:
    """Refuse to measure a split in memory, none of whose structures has a label.

    Raises:
        ValueError: naming the split and the labels.
    """
    arrays = getattr(structures, "arrays", None)
    labels = [arrays[name] for name in names if name in arrays] if arrays else []
    if arrays is None or not len(structures) or not all(bool(x.isnan().all()) for x in labels):
        return
    raise ValueError(
        f"No frame of the {split} split has a label ({', '.join(names)}), so that there is nothing "
        "to measure: name the keys under which its file has them (energy_key, forces_key, "
        "stress_key of the data), or use `geqlib predict`, which needs none."
    )


def check_values(stage: str, metrics: Mapping[str, Any]) -> None:
    """Refuse measurements without any number, and warn of metrics that are NaN.

    A prediction that is NaN is an error before; so what is left are labels that are missing.

    Args:
        stage: "test" or "val".
        metrics: by name.

    Raises:
        ValueError: if all metrics but losses, which are 0 without labels, are NaN.

    Example:
        >>> check_values("test", {"test/mae": float("nan"), "test/loss": 0.0})
        Traceback (most recent call last):
        ...
        ValueError: Nothing was measured: test/mae is NaN, as nothing in the test split has the \
label that it compares with. Give the split labels, or use `geqlib predict`, which needs none.
    """
    empty = [name for name, value in metrics.items() if math.isnan(float(value))]
    if not empty:
        return
    names = f"{', '.join(empty)} {'is' if len(empty) == 1 else 'are'} NaN"
    reason = (
        f"nothing in the {stage} split has the label that "
        f"{'it compares' if len(empty) == 1 else 'they compare'} with"
    )
    if all(name in empty or name.endswith("/loss") for name in metrics):
        raise ValueError(
            f"Nothing was measured: {names}, as {reason}. Give the split labels, or use `geqlib "
            "predict`, which needs none."
        )
    warnings.warn(f"{names}: {reason}.", stacklevel=2)


def check_labels(labels: Iterable[str], batch: Any, task: str) -> None:
    """Refuse a batch without a label that a task compares with.

    Raises:
        ValueError: naming the label and the task.
    """
    for name in labels:
        if name not in batch:
            raise ValueError(
                f"The data has no label {name!r}, which {task} learns and is measured by: have the "
                f"data module put {name!r} into its batches, or use `geqlib predict`, which needs "
                "none."
            )


def check_label_values(labels: Iterable[str], batch: Any) -> None:
    """Refuse labels that are infinite: NaN is where there is none.

    Raises:
        ValueError: with the label and its first such row.
    """
    for name in labels:
        infinite = batch[name].isinf() if name in batch else torch.zeros(0)
        if infinite.any():
            raise ValueError(
                f"The label {name} is infinite at row {int(infinite.nonzero()[0, 0])}: correct "
                "it, or write NaN where there is none."
            )


def check_weighted(weights: Mapping[str, float], batch: Any) -> None:
    """Refuse a training batch without a label that has a weight in the loss.

    Raises:
        ValueError: with the label and its weight.
    """
    for name, weight in weights.items():
        if weight and name not in batch:
            raise ValueError(
                f"The data has no {name}, but {name}_weight is {weight}: name its key in the data "
                f"({name}_key), or set the weight to 0."
            )


def check_classes(batch: Any, classes: int) -> None:
    """Refuse labels `y` of a batch that are no class: torch would pass over -100 without a word.

    Raises:
        ValueError: naming the graph and the number of classes.
    """
    if "y" not in batch or batch.y.is_floating_point():
        return
    other = ((batch.y < 0) | (batch.y >= classes)).flatten().nonzero()[:, 0]
    if len(other):
        row = int(other[0])
        raise ValueError(
            f"y is {int(batch.y.flatten()[row])} at row {row}, but the task has {classes} classes, "
            f"0 to {classes - 1}: correct that label, leave it out, or set `classes`."
        )


def without_labels(labels: Iterable[str], batch: Any) -> Any:
    """A batch without the labels that a prediction does not need, or the batch if it has none."""
    own = [name for name in labels if name in batch]
    if not own:
        return batch
    rest = copy(batch)
    for name in own:
        del rest[name]
    return rest


def check_frames(split: str, structures: Any, seen: Tensor) -> None:
    """Refuse an element that the training frames do not have, and numbers of none.

    Args:
        split: to be named.
        structures: a batch, or all structures of a data set.
        seen: [119] whether the training set has the element; [levels, 119] of several levels.

    Raises:
        ValueError: naming the split, the frame and the atom.
    """
    z = structures.z.long()
    outside = (z < 0) | (z > HEAVIEST)
    entry = z.masked_fill(outside, 0)
    if seen.dim() == 1:
        of_atoms = seen.index_select(0, entry)
    else:
        each = structures.level.long().index_select(0, structures.batch)
        of_atoms = seen[each, entry]
    unseen = (~of_atoms | outside).nonzero()[:, 0]
    if not len(unseen):
        return
    atom = int(unseen[0])
    graph = int(structures.batch[atom])
    seen = seen if seen.dim() == 1 else seen[int(structures.level[graph])]
    index = getattr(structures, "index", None)
    first = int((structures.batch < graph).sum())
    number = int(z[atom])
    element = f"atomic number {number}" if bool(outside[atom]) else chemical_symbols[number]
    elements = ", ".join(chemical_symbols[k] for k in seen.nonzero()[:, 0].tolist())
    raise ValueError(
        f"Frame {graph if index is None else int(index[graph])} of the {split} split: atom "
        f"{atom - first} is {element}, which the training data never showed "
        f"({elements}): put such frames into the training data, or leave this one out."
    )


def check_volumes(batch: Any) -> None:
    """Refuse labels of the stress of graphs that have no volume.

    Raises:
        ValueError: naming the graph.
    """
    if "stress" not in batch:
        return
    labelled = ~batch.stress.isnan().flatten(1).all(1)
    bare = (labelled & ~volumes(batch)).nonzero()[:, 0]
    if len(bare):
        raise ValueError(
            f"Structure {int(bare[0])} of a batch has a stress, but no cell along which it repeats "
            "and that has a volume: make its stress NaN, which is no label."
        )


def volumes(batch: Any) -> Tensor:
    """[G] whether each graph repeats and has a volume."""
    if "cell" not in batch:
        return torch.zeros(batch.num_graphs, dtype=torch.bool, device=batch.pos.device)
    volume = torch.linalg.det(batch.cell.double()).abs() > 0
    return volume & batch.pbc.view(-1, 3).any(1) if "pbc" in batch else volume
