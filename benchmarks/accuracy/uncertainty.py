"""Standard deviations of GauntNet on 3BPA: calibration, correlation, and other temperatures.

Protocol: the run of configs/3bpa_gaunt.yaml that accuracy/potential_3bpa trains, calibrated by
`geqlib calibrate` on its 450 training and 50 validation frames, all of train_300K: with the
covariance of its last layer, and with an ensemble of {members} last layers (seed {seed}). Both are
tested on every {every}th of the 1669 frames of test_300K and on the last third of train_mixedT,
which is at 1200 K; nothing was chosen by these frames. The correlation is Spearman's, of errors
with standard deviations: of energies frame by frame, of forces atom by atom. "Told apart" is the
area under the ROC curve by which the largest deviation of a force in a frame tells the hot frames
from those at 300 K.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/uncertainty.py [KIND ...]

With KIND, covariance or ensemble, that one alone is measured. Its rows are written when it has
ended.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.potential_3bpa import trained_on_frames
from benchmarks.provenance import of_measurement, start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured
from benchmarks.tables import publish
from geqlib.data import MoleculeData
from geqlib.train.calibration import calibrate, miscalibration_area
from geqlib.train.predictor import load_predictor

NAME, TRAINER = "accuracy/uncertainty", "accuracy/potential_3bpa"
EVERY = 4
MEMBERS, SEED = 16, 0
KINDS = {"covariance": "covariance", "ensemble": f"ensemble of {MEMBERS}"}
FILES = {"300 K": "3bpa/test_300K.xyz.xz", "1200 K": "3bpa/train_mixedT.xyz.xz"}
COLUMNS = (
    Column("rmse", "RMSE", "meV, meV/Å", ".1f"),
    Column("area", "miscalibration area", "", ".3f"),
    Column("correlation", "correlation of error and deviation", "", ".2f"),
    Column("auroc", "300 K and 1200 K told apart", "", ".3f"),
)


class Frames(NamedTuple):
    """Errors and deviations of energies [G] and forces [N], and the largest deviation [G]."""

    energy: Tensor
    energy_std: Tensor
    forces: Tensor
    forces_std: Tensor
    largest: Tensor


def main() -> None:
    for kind in sys.argv[1:] or KINDS:
        table = Table(("last layer", "test frames"), COLUMNS, tuple(measure(kind)), "area")
        publish(measured(NAME, __doc__, [joined(NAME, table)]))


def measure(kind: str) -> list[Row]:
    """Of the forces and the energies, at both temperatures."""
    folder, runs = trained_on_frames("gaunt")
    path = folder / "checkpoints" / f"calibrated-{kind}.ckpt"
    calibrate(folder, path, members=MEMBERS if kind == "ensemble" else None, seed=SEED)
    frames = {name: _predicted(path, name) for name in FILES}
    rows = rows_of(KINDS[kind], frames)
    by = of_measurement(runs["300 K"], TRAINER, NAME)
    return [replace(row, **by) for row in rows]


def rows_of(kind: str, frames: dict[str, Frames]) -> list[Row]:
    """The rows of a kind of last layer."""
    auroc = separation(frames["300 K"].largest, frames["1200 K"].largest)
    rows = []
    for name, part in frames.items():
        cells: dict[str, Cell] = {"auroc": auroc} if name == "1200 K" else {}
        rows.append(_row((kind, f"forces, {name}"), part.forces, part.forces_std, cells))
        rows.append(_row((kind, f"energies, {name}"), part.energy, part.energy_std, {}))
    return rows


def separation(cold: Tensor, hot: Tensor) -> float:
    """The probability that a hot frame has a larger value than a cold one; ties count half."""
    ranks = rankdata(torch.cat([cold, hot]).numpy())[len(cold) :]
    return float((ranks.sum() - len(hot) * (len(hot) + 1) / 2) / (len(hot) * len(cold)))


def _row(
    labels: tuple[str, str], errors: Tensor, deviations: Tensor, cells: dict[str, Cell]
) -> Row:
    each = deviations if errors.dim() == 1 else deviations[:, None].expand_as(errors)
    size = errors.abs() if errors.dim() == 1 else errors.norm(dim=1)
    rank_correlation: Any = spearmanr(size.numpy(), deviations.numpy())
    cells = cells | {
        "rmse": 1000 * float(errors.square().mean().sqrt()),
        "area": miscalibration_area((errors / each).flatten()),
        "correlation": float(rank_correlation.statistic),
    }
    return Row(labels, cells, "geqlib")


def _predicted(path: Path, name: str) -> Frames:
    predictor = load_predictor(path)
    data: Any = MoleculeData(
        "3bpa/train_300K.xyz.xz", 50, FILES[name], reference_file="3bpa/iso_atoms.xyz", cutoff=5.0
    )
    data.setup("test")
    test = data.splits["test"]
    count = len(test)
    numbers = np.arange(0, count, EVERY) if name == "300 K" else np.arange(2 * count // 3, count)
    parts = []
    for piece in np.array_split(numbers, max(len(numbers) // 16, 1)):
        batch = test.__getitems__(piece.tolist())
        outputs = predictor(batch)
        each = outputs["forces_std"]
        largest = torch.zeros(batch.num_graphs, dtype=each.dtype)
        largest = largest.scatter_reduce(0, batch.batch, each, "amax")
        errors = outputs["energy"] - batch.energy, (outputs["forces"] - batch.forces).double()
        parts.append(Frames(errors[0], outputs["energy_std"], errors[1], each, largest))
    return Frames(*(torch.cat(values) for values in zip(*parts, strict=True)))


if __name__ == "__main__":
    start(main)
