"""Errors of each level of theory, beside those of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torchmetrics import Metric

from geqlib.atoms.levels import LevelEmbedding
from geqlib.train.tasks.atomic_errors import LABELS, PER_ATOM, AtomicErrors, LabelErrors

LEVELS = "levels"  # of a checkpoint: their names, in the order of their numbers
STAGES = ("val", "test")


class ErrorsOfLevels(nn.Module):
    """The metrics of `AtomicErrors` for each of several levels of theory, as LEVEL/NAME.

    Args:
        names: of the levels.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.errors = nn.ModuleDict(
            {stage: nn.ModuleList(AtomicErrors() for _ in names) for stage in STAGES}
        )
        self._labelled: dict[str, tuple[int, dict[int, set[str]]]] = {}

    def update(
        self, errors: Mapping[str, LabelErrors], batch: Any, stage: str, structures: Any
    ) -> dict[str, Metric | Tensor]:
        """Add a batch.

        Args:
            errors: of `label_errors`.
            batch: with `level` [G], and `batch` [N].
            stage: "val" or "test"; others are not measured by level.
            structures: of that split, all of them, or None.

        Returns:
            The metrics of what each level of the split has labels for, whether this batch has some
            or not, as the batches of other processes may.
        """
        if stage not in STAGES or "level" not in batch:
            return {}
        labelled = self._labels(stage, structures)
        metrics: dict[str, Metric | Tensor] = {}
        for number, (name, own) in enumerate(
            zip(self.names, cast(nn.ModuleList, self.errors[stage]), strict=True)
        ):
            labels = labelled.get(number, set()) if labelled is not None else set(LABELS)
            part = errors_of_level(errors, batch, number)
            part = {k: v for k, v in part.items() if k.removesuffix("_per_atom") in labels}
            updated = cast(AtomicErrors, own).update(part)
            metrics |= {f"{name}/{key}": metric for key, metric in updated.items()}
        return metrics

    def _labels(self, stage: str, structures: Any) -> dict[int, set[str]] | None:
        """The labels that structures of each level have; None if that is unknown."""
        arrays = getattr(structures, "arrays", {})
        if "level" not in arrays:
            return None
        before = self._labelled.get(stage)
        if before is None or before[0] != id(structures):
            before = self._labelled[stage] = id(structures), labels_of_levels(structures)
        return before[1]


def labels_of_levels(structures: Any) -> dict[int, set[str]]:
    """By the number of a level: which labels some of its structures have.

    Args:
        structures: `PackedGraphs` with `level`.
    """
    levels, graph = structures.level.long(), structures.batch.to(structures.device)
    labelled: dict[int, set[str]] = {number: set() for number in levels.unique().tolist()}
    for name in (name for name in LABELS if name in structures.arrays):
        present = ~structures.arrays[name].isnan().flatten(1 if name != "energy" else 0)
        present = present.any(1) if present.dim() > 1 else present
        each = levels.index_select(0, graph) if name in PER_ATOM else levels
        for number in each[present].unique().tolist():
            labelled[number].add(name)
    return labelled


def check_numbers(stored: Sequence[str] | None, levels: LevelEmbedding | None) -> None:
    """Refuse weights of a checkpoint for levels whose numbers there are others.

    Args:
        stored: names of the levels of the checkpoint; None if it has none.
        levels: of the potential that takes its weights.

    Raises:
        ValueError: naming both.
    """
    if stored is not None and levels is not None and list(stored) != list(levels.names):
        raise ValueError(
            f"The levels are {levels.listed}, but the checkpoint has {', '.join(stored)}, by whose "
            "numbers it knows them: name these, in this order."
        )


def errors_of_level(
    errors: Mapping[str, LabelErrors], batch: Any, number: int
) -> dict[str, LabelErrors]:
    """Those of structures of one level of theory, and of their atoms.

    Args:
        errors: of `label_errors`.
        batch: with `level` [G], and `batch` [N].
        number: of the level.
    """
    graphs = batch.level == number
    atoms = graphs.index_select(0, batch.batch)
    chosen = {name: atoms if name in PER_ATOM else graphs for name in errors}
    return {name: LabelErrors(*(x[chosen[name]] for x in pair)) for name, pair in errors.items()}
