"""From run folders to a report: tables, pictures, and the commands that repeat the runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from geqlib.counted import legend
from geqlib.files.atomic import replace_file
from geqlib.report.forgetting import forgetting_table
from geqlib.report.page import (
    Block,
    Bullets,
    Commands,
    Heading,
    Paragraph,
    Picture,
    to_html,
    to_markdown,
)
from geqlib.report.runs import Run, read_run
from geqlib.report.samples import first_samples
from geqlib.report.sections import draw_samples, draw_section, first_predictions
from geqlib.report.tables import (
    NAME,
    WIDTH,
    Group,
    Table,
    build_tables,
    common_baselines,
    cross_validations,
    group_runs,
    training_table,
)

NOTES = {
    "folds": "Mean over folds: ± is the sample standard deviation over folds, whose values are "
    "means over seeds, each tested with the checkpoint that geqlib cv chose without its test "
    "fold.",
    "seeds": "Of several runs in one row: mean ± sample standard deviation over their seeds; "
    "minutes and epochs are means.",
    "baselines": "Baselines need no training and are measured on the same test set.",
    "standard": "std_mae and std_rmse are means over targets of their errors, divided by the "
    "standard deviations of the training values.",
    "untested": "Runs marked not tested have no results.json yet: run geqlib test on them.",
}


def write_report(runs: Sequence[Path], out: Path, console: Console | None = None) -> Path:
    """Compare runs in tables and in pictures.

    Writes `report.md`, `report.html`, `learning_curves.png` and, for runs with predictions:
    `trajectories.png` of moving points, `parity.png` of energies, forces and numbers,
    `structures.png` of the structures with the largest errors, `confusion.png` and `roc.png` of
    classes, `sampled_molecules.png` and `sampled_graphs.png` of what generative runs drew. Each
    file appears whole or not at all, the reports after the pictures.

    Args:
        runs: run folders; one named twice counts once.
        out: folder of the report, which is created.
        console: where the table is printed, the terminal by default.

    Returns:
        the path of `report.md`.

    Raises:
        ValueError: when there are no runs, a folder is no run folder, a file in it is damaged, or
            `out` is a file.
    """

    if not runs:
        raise ValueError("There are no runs to report on: name at least one run folder.")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"The report folder {out} is a file: choose another --out.")
    folders = {Path(folder).resolve(): Path(folder) for folder in runs}
    groups = group_runs([read_run(folder) for folder in folders.values()])
    folds = cross_validations(groups)
    # before anything is written, so that a damaged file leaves no half report
    predicted, samples = first_predictions(groups, folds), first_samples(groups)
    tables, training = build_tables(groups, folds), training_table(groups)
    title = f"Report: {_subject(groups, folds)}"
    blocks = [
        Heading("Results on the test set"),
        *tables,
        Paragraph(_notes(groups, tables, cross_validated=bool(folds))),
        Heading("Training"),
        training,
        *_forgetting(groups),
        *_draw_curves(groups, out / "learning_curves.png"),
        *(block for section in predicted for block in draw_section(section, out)),
        *(block for section in samples for block in draw_samples(section, out)),
        *_origin(groups),
    ]
    page, markdown = to_html(title, blocks), to_markdown(title, blocks)
    replace_file(out / "report.html", lambda part: part.write_text(page, encoding="utf-8"))
    replace_file(out / "report.md", lambda part: part.write_text(markdown, encoding="utf-8"))
    for table in (*tables, training):
        _print(table, console or Console())
    return out / "report.md"


def _subject(groups: Sequence[Group], folds: Mapping[str, Sequence[Group]]) -> str:
    """Names of cross-validations, and of groups that are in none."""
    inner = {group.name for members in folds.values() for group in members}
    names = [*folds, *(group.name for group in groups if group.name not in inner)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _notes(groups: Sequence[Group], tables: Sequence[Table], *, cross_validated: bool) -> str:
    holds = {
        "folds": cross_validated,
        "seeds": any(len(group.runs) > 1 for group in groups),
        "baselines": any(run.baselines for group in groups for run in group.runs),
        "standard": any(
            "std_mae" in name for t in tables for row in (t.header, *t.rows) for name in row
        ),
        "untested": not all(group.tested for group in groups),
    }
    notes = [text for key, text in NOTES.items() if holds[key]]
    names = (name for group in groups for run in group.runs for name in run.metrics or {})
    if meaning := legend(names):
        notes.append(f"{meaning[:1].upper()}{meaning[1:]}.")
    data = dict.fromkeys(run.about["data"] for g in groups for run in g.runs if "data" in run.about)
    measured = f"Measured once after training, on {', '.join(data)}." if data else ""
    return " ".join(filter(None, [measured, *notes])) or "No run has been tested yet."


def _forgetting(groups: Sequence[Group]) -> list[Block]:
    runs = [run for group in groups for run in group.runs]
    table = forgetting_table(runs)
    if table is None:
        return []
    begun = dict.fromkeys(str(run.init["path"]) for run in runs if "path" in run.init)
    after = "errors of validation structures of the earlier training, with the model that a run "
    after += "began with and at the epoch of its best checkpoint."
    note = f"Begun with {', '.join(begun)}: {after}" if begun else after.capitalize()
    return [Heading("What was known before"), table, Paragraph(note)]


def _draw_curves(groups: Sequence[Group], path: Path) -> list[Block]:
    from geqlib.report.pictures import draw_learning_curves

    baselines = common_baselines(groups)
    comparable = {name for g in groups for run in g.runs for name in run.baselines}
    shared = baselines if baselines.keys() == comparable else {}
    blocks: list[Block] = [Heading("Learning curves")]
    if draw_learning_curves(groups, shared, path):
        monitored = any(run.monitor for group in groups for run in group.runs)
        caption = "Training loss, and the validation metric"
        caption += " that chose the best checkpoint: the ring." if monitored else "."
        caption += " Dashed lines are baselines, measured on the test set." if shared else ""
        blocks.append(Picture(path, caption))
    else:
        blocks.append(Paragraph("The runs have logged no values yet."))
    return blocks


def _origin(groups: Sequence[Group]) -> list[Block]:
    runs = [run for group in groups for run in group.runs]
    folders: dict[str, list[str]] = {}
    for run in runs:
        facts = ", ".join(f"{key} {value}" for key, value in run.environment.items())
        if facts:
            folders.setdefault(facts, []).append(str(run.folder))
    single = len(folders) == 1
    lines = [f if single else f"{f}: {', '.join(names)}" for f, names in folders.items()]
    blocks: list[Block] = [
        Heading("Environment"),
        Bullets(tuple(lines)) if lines else Paragraph("Not recorded: no run has been tested."),
        Heading("How the numbers were made"),
        Bullets(tuple(_line(run) for run in runs)),
        Paragraph(
            "Test metrics come from each run's results.json, minutes (wall clock of training) and "
            "parameters from its fit.json, curves from its metrics.csv. All settings are in "
            "config.yaml; the same training again, in a folder of its own:"
        ),
    ]
    commands = tuple(_again(run) for run in runs if run.config)
    return [*blocks, Commands(commands)] if commands else blocks[:-1]


def _again(run: Run) -> str:
    """The command that repeats a run in a folder beside it."""
    named = run.folder if run.folder.name.strip(".") else run.folder.resolve()
    config, folder = run.folder / "config.yaml", named.with_name(f"{named.name}-again")
    return (
        f"geqlib fit --config {shlex.quote(str(config))} "
        f"--trainer.default_root_dir {shlex.quote(str(folder))}"
    )


def _line(run: Run) -> str:
    seed = [] if run.seed is None else [f"seed {run.seed}"]
    facts = [*(f"{key} {value}" for key, value in run.about.items()), *seed]
    return f"{run.folder}: {', '.join(facts) or 'not tested'}"


def _print(table: Table, console: Console) -> None:
    shown = TerminalTable(box=SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(table.header):
        first = k == 0
        shown.add_column(
            Text(name),
            justify="left" if first else "right",
            overflow="fold",
            no_wrap=not first and table.width <= WIDTH,
            max_width=NAME if first else None,
        )
    for row in table.rows:
        shown.add_row(*map(Text, row))
    shown.add_section()
    for row in table.baselines:
        shown.add_row(*map(Text, row), style="dim")
    console.print(shown)
