"""The sections of a report on the predictions of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geqlib.report.page import Block, Heading, Paragraph, Picture, Subheading
from geqlib.report.predictions import Predictions, joined, read_predictions, read_structures
from geqlib.report.runs import Run
from geqlib.report.samples import Samples
from geqlib.report.tables import Group, Table

if TYPE_CHECKING:
    from geqlib.report.prediction_pictures import Parity

PARITIES = 6  # targets that are drawn


@dataclass(frozen=True)
class Predicted:
    """The predictions of a run, with the structures of its energies.

    Args:
        run: its name.
        predictions: of its test set.
        structures: ASE's `Atoms` of the test set; None if the run predicts no energies, or has
            written no structures.
    """

    run: str
    predictions: Predictions
    structures: list[Any] | None = None


def first_predictions(
    groups: Sequence[Group], folds: Mapping[str, Sequence[Group]]
) -> list[Predicted]:
    """The predictions of the first run of each kind, such as energies or classes.

    Classes, answers and numbers of a cross-validation are those of all its folds.

    Args:
        groups: of runs.
        folds: see `geqlib.report.tables.cross_validations`.
    """
    sections: dict[str, Predicted] = {}
    for run in (run for group in groups for run in group.runs):
        predictions = read_predictions(run.folder)
        if predictions is None or predictions.kind in sections:
            continue
        validations = folds.items()
        own = [item for item in validations if any(run is group.runs[0] for group in item[1])]
        whole = _of_folds(*own[0]) if own else None
        sections[predictions.kind] = whole or _read(run, predictions)
    return list(sections.values())


def _of_folds(name: str, folds: Sequence[Group]) -> Predicted | None:
    """The predictions for the test sets of all folds, by the runs of the first seed."""
    parts = {group.runs[0].folder.name: read_predictions(group.runs[0].folder) for group in folds}
    whole = joined(parts)
    return None if whole is None else Predicted(f"{len(folds)} folds of {name}", whole)


def _read(run: Run, predictions: Predictions) -> Predicted:
    structures = None
    if predictions.kind == "energies":
        structures = read_structures(run.folder, predictions)
    return Predicted(run.name, predictions, structures)


def draw_section(predicted: Predicted, out: Path) -> list[Block]:
    """Write tables and pictures of the predictions of a run to the folder `out`."""
    draw = {
        "positions": _trajectories,
        "energies": _energies,
        "classes": _classes,
        "answers": _answers,
        "numbers": _numbers,
    }
    return draw[predicted.predictions.kind](predicted, out)


def _trajectories(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.prediction_pictures import draw_trajectories

    path = out / "trajectories.png"
    if not draw_trajectories(predicted.run, predicted.predictions.arrays, path):
        return []
    caption = (
        f"Test simulations of {predicted.run}, at fixed quantiles of the squared error per "
        "coordinate. One colour per ball; dotted lines join true and predicted ends. Each panel is "
        "seen along its flattest direction, and the bar is a length in the data's own unit."
    )
    return [Heading("Predicted trajectories"), Picture(path, caption)]


def _energies(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.prediction_pictures import divergent_values, draw_parity, parities

    arrays = predicted.predictions.arrays
    heading = Heading("Energies and forces")
    counts = divergent_values(arrays)
    listed = ", ".join(f"{count} of {name.lower()}" for name, count in counts.items())
    left_out = f"Predicted values that are NaN or infinite are not drawn: {listed}."
    missing: list[Block] = [Paragraph(left_out)] if counts else []
    labels = parities(arrays)
    if not draw_parity(predicted.run, labels, out / "parity.png"):
        return [heading, *missing] if missing else []
    caption = (
        f"Test set of {predicted.run}: predicted against true values, and predicted minus true. "
        "Energies are per atom, less the true mean; forces are components. Errors beyond the "
        "99.5 % quantile are in the outermost bars."
    )
    caption += _left_out(labels)
    picture = Picture(out / "parity.png", caption)
    reliability = _reliability(predicted, out)
    return [heading, picture, *missing, *reliability, *_structures(predicted, out)]


def _reliability(predicted: Predicted, out: Path) -> list[Block]:
    """The predicted standard deviations of a calibrated potential, compared with its errors."""
    from geqlib.report.reliability import draw_reliability, reliabilities, reliability_table

    labels = reliabilities(predicted.predictions.arrays)
    path = out / "reliability.png"
    if not draw_reliability(predicted.run, labels, path):
        return []
    caption = (
        f"Test set of {predicted.run}. Left: root mean squares in bins of equally many values, on "
        "the line where errors are as large as predicted. Right: how many errors are within "
        "central normal intervals; above the line, deviations are too large."
    )
    note = (
        "Predicted: root mean square of the standard deviations, which is the RMSE where they are "
        "right on average. The area is that between curve and line, 0 at best and 0.5 at worst."
    )
    table = reliability_table(labels)
    return [Subheading("Reliability"), table, Paragraph(note), Picture(path, caption)]


def _structures(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.structure_pictures import draw_worst_structures
    from geqlib.report.structures import (
        errors_by_element,
        errors_by_type,
        structure_errors,
        worst_structures,
    )

    if predicted.structures is None:
        note = "Errors by element and of single structures need predictions.xyz, which is missing "
        return [Paragraph(f"{note}or larger than 200 MB.")]
    errors = structure_errors(predicted.predictions.arrays, predicted.structures)
    forces = "Errors of forces are in meV/Å: of components, and the largest of an atom's vector."
    types = "Errors of energies are in meV per atom, of components of forces in meV/Å."
    blocks = [
        *_table("By element", errors_by_element(errors), forces),
        *_table("By configuration type", errors_by_type(errors), types),
    ]
    worst = worst_structures(errors)
    if worst is None:
        return blocks
    note = (
        "Frames are counted from 0 in the data. Energy: predicted minus true, in meV per atom. "
        "Forces in meV/Å: RMSE over components, and the largest error of an atom."
    )
    blocks += _table("Structures with the largest errors", worst, note)
    if draw_worst_structures(errors, out / "structures.png"):
        caption = (
            "The first of these structures, with the RMSE of their forces and a ring around the "
            "atom with the largest error."
        )
        blocks.append(Picture(out / "structures.png", caption))
    return blocks


def _classes(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.class_pictures import draw_confusion
    from geqlib.report.classes import class_names, confusion, labelled, recall_table, wrong_table

    predictions = predicted.predictions
    logits, true = labelled(predictions)
    if not len(true):
        return []
    names = class_names(predictions)
    draw_confusion(confusion(logits, true), out / "confusion.png", names, "Test set")
    caption = f"Test set of {predicted.run}: share of each true class, in %, with the counts."
    wrong = "The wrong classes that the network gave the highest probability"
    wrong += "." if predictions.names else "; examples are counted from 0 in the test set."
    return [
        Heading("Classes"),
        Picture(out / "confusion.png", caption, narrow=len(names) <= 8),
        recall_table(predictions),
        *_curves(predicted, out),
        *_table("Mistakes", wrong_table(predictions), wrong),
    ]


def _answers(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.classes import answer_table, questions

    asked = questions(predicted.predictions)
    if not asked:
        return []
    note = (
        "Answers at probability 1/2: how many true cases were answered by yes and how many were "
        "missed, and how many false cases were answered by no and how many wrongly by yes. Targets "
        "with a single answer in the whole test set are left out."
    )
    return [Heading("Classes"), answer_table(asked), Paragraph(note), *_curves(predicted, out)]


def _curves(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.class_pictures import CURVES, draw_roc
    from geqlib.report.classes import questions

    asked = questions(predicted.predictions)
    if not draw_roc(asked, out / "roc.png"):
        return []
    several = predicted.predictions.kind == "classes" and len(asked) > 1
    caption = "Receiver operating curves" + (
        " of each class against the others." if several else "."
    )
    caption += f" The first {CURVES} of {len(asked)}." if len(asked) > CURVES else ""
    return [Picture(out / "roc.png", caption, narrow=True)]


def _numbers(predicted: Predicted, out: Path) -> list[Block]:
    from geqlib.report.numbers import columns, target_table, worst_table
    from geqlib.report.prediction_pictures import draw_parity, number_parities

    targets = columns(predicted.predictions)
    table = target_table(targets)
    drawn = number_parities(targets[:PARITIES])
    if not draw_parity(predicted.run, drawn, out / "parity.png"):
        return []
    caption = (
        f"Test set of {predicted.run}: predicted against true values, and predicted minus true, "
        "each in its unit. Errors beyond the 99.5 % quantile are in the outermost bars."
    )
    caption += f" The first {PARITIES} of {len(targets)}." if len(targets) > PARITIES else ""
    caption += _left_out(drawn)
    note = "Largest by each target's standard deviation, and in its unit. Examples are "
    note += "named" if predicted.predictions.names else "numbered from 0"
    note += " as in the data."
    return [
        Heading("Targets"),
        table,
        Picture(out / "parity.png", caption),
        *_table("Largest errors", worst_table(predicted.predictions), note),
    ]


def draw_samples(samples: Samples, out: Path) -> list[Block]:
    """Draw the samples of a generative run, and write the picture to the folder `out`."""
    from geqlib.report.sample_pictures import SHOWN, draw_graphs, draw_molecules

    drawn = samples.molecules or samples.graphs
    number = f"The first {SHOWN} of {len(drawn)}" if len(drawn) > SHOWN else "All"
    if samples.molecules:
        path = out / "sampled_molecules.png"
        draw_molecules(samples.molecules, path)
        caption = (
            f"{number} samples that {samples.run} drew last. Each molecule is seen along its "
            "flattest direction, all in one scale. Bonds are those by the rules of EDM, and a red "
            "ring marks an atom whose bonds do not add up to a valence of its element."
        )
        return [Heading("Sampled molecules"), Picture(path, caption)]
    path = out / "sampled_graphs.png"
    draw_graphs(samples.graphs, path)
    caption = (
        f"{number} samples that {samples.run} drew last, one colour for each kind of nodes; an "
        "edge of a higher kind is wider."
    )
    return [Heading("Sampled graphs"), Picture(path, caption)]


def _left_out(labels: Sequence[Parity]) -> str:
    """The end of a caption: how many values of each label are not drawn."""
    counts = [f"{label.left_out} of {label.name}" for label in labels if label.left_out]
    if not counts:
        return ""
    return f" Left out are values without a label or that are no numbers: {', '.join(counts)}."


def _table(heading: str, table: Table | None, note: str) -> list[Block]:
    return [] if table is None else [Subheading(heading), table, Paragraph(note)]
