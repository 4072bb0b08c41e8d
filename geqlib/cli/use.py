"""`geqlib predict MODEL [FILE]` and `geqlib test MODEL [FILE]`: a trained model on any file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

DESCRIPTIONS = {
    "predict": """Write what a trained model predicts for what a file holds (structures, molecules,
graphs, clouds), with or without labels. Structures with energies and forces become extended XYZ,
all else a table (CSV): of properties, those of whole structures. A .safetensors file has all.""",
    "test": """Measure a trained model on a file with labels.""",
}
DATA = "--data."


def main(command: Literal["predict", "test"], args: Sequence[str]) -> int:
    """Run one of the commands; returns the exit code."""
    parser = ArgumentParser(
        f"geqlib {command}",
        description=DESCRIPTIONS[command],
        epilog="--data.NAME VALUE changes a setting of the data, such as --data.batch_size 100.",
        allow_abbrev=False,
    )
    parser.add_argument("model", type=Path, help="folder of a run, checkpoint or exported model")
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="any that the model could be trained on; else the test split of its run",
    )
    endings = ".xyz, .csv or .safetensors" if command == "predict" else ".json"
    parser.add_argument("--out", type=Path, help=f"file to write ({endings})")
    parser.add_argument("--level", metavar="NAME", help="of theory, of potentials with several")
    parser.add_argument("--trust", metavar="MODULE", help="of your own code that the model names")
    options, rest = parser.parse_known_args(args)
    settings = data_settings(rest)
    own = options.out is None and options.level is None and not settings
    if options.file is None and own:
        run, checkpoint = run_of(options.model)
        if run is not None:  # whose folder has the results
            leave_results(command, run, checkpoint)
            return 0

    from geqlib.train.predictor import load_predictor

    predictor = load_predictor(options.model, options.level)
    predictor.bar = True
    data = predictor.data(options.file, settings, labelled=command == "test")
    if command == "test":
        from geqlib.train.runs.record import metric_units

        metrics = predictor.metrics(data)
        show(metrics, metric_units(predictor.task, data), options.out)
        return 0

    from geqlib.counted import counted
    from geqlib.data.loaders import noun_of
    from geqlib.train.runs.predicted_files import counted_in, predictions_path, write_predictions

    out = options.out or predictions_path(predictor.task, options.file or options.model)
    if options.file is not None and out.resolve() == options.file.resolve():
        raise ValueError(f"--out {out} is the file itself: name another one.")
    graphs = write_predictions(out, predictor.task, data, predictor.predictions(data))
    noun = "node" if counted_in(predictor.task) == "node" else noun_of(data)
    sys.stdout.write(f"wrote {out}: {counted(graphs, noun)}\n")
    return 0


def leave_results(command: Literal["predict", "test"], run: Path, checkpoint: str) -> None:
    """Test or predict the test split of a run, into its folder.

    Args:
        command: which.
        run: the configuration in its folder.
        checkpoint: of it.
    """
    if _is_calibrated(checkpoint):  # which the configuration does not describe
        from geqlib.train.predictor import load_predictor

        predictor = load_predictor(checkpoint)
        predictor.bar = True
        predictor.leave(command, run.parent)
    else:
        from geqlib.cli.train import main as with_configuration

        with_configuration(command, ["--config", str(run), "--ckpt_path", checkpoint])
    results = {
        "test": ["results.json"],
        "predict": ["predictions.safetensors", "predictions.xyz"],
    }
    written = [run.parent / name for name in results[command]]
    paths = [str(path) for path in written if path.exists()]
    if not paths:
        raise ValueError(
            f"The test split of {run} is empty: name a file (`geqlib {command} MODEL FILE`), or "
            "give the data of its run a test split."
        )
    sys.stdout.write(f"wrote {' and '.join(paths)}\n")


def _is_calibrated(checkpoint: str) -> bool:
    from geqlib.files.checkpoint import read_stored

    model = read_stored(checkpoint).get("hyper_parameters", {}).get("model")
    path = model.get("class_path") if isinstance(model, dict) else None
    return str(path).endswith(".CalibratedPotential")


def run_of(model: Path) -> tuple[Path | None, str]:
    """The configuration of the run that a model belongs to, if there is one, and its checkpoint."""
    from geqlib.files.checkpoint import model_file

    checkpoint = model_file(model)
    config = checkpoint.parent.parent / "config.yaml"
    belongs = checkpoint.parent.name == "checkpoints" and config.is_file()
    return (config if belongs else None), str(checkpoint)


def data_settings(words: Sequence[str]) -> dict[str, Any]:
    """The settings in `--data.NAME VALUE` and `--data.NAME=VALUE`.

    Raises:
        ValueError: for other options, or one without a value.

    Example:
        >>> data_settings(["--data.batch_size", "8", "--data.energy_key=E"])
        {'batch_size': 8, 'energy_key': 'E'}
    """
    settings, rest = {}, list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        name = option.removeprefix(DATA).removeprefix("init_args.")
        if not option.startswith(DATA) or not name:
            raise ValueError(
                f"{option} is no option here: give MODEL, FILE, --out and {DATA}NAME VALUE, or "
                "--config FILE --ckpt_path CHECKPOINT for the options of a configuration."
            )
        if not equals and not rest:
            raise ValueError(f"{option} has no value: write {option} VALUE.")
        settings[name] = yaml.safe_load(value if equals else rest.pop(0))
    return settings


def show(metrics: Mapping[str, float], units: Mapping[str, str], out: Path | None) -> None:
    """Print metrics with their units, and write them as JSON where a file is named."""
    import json

    from geqlib.files.atomic import replace_file
    from geqlib.train.steps.progress import print_metrics

    print_metrics(metrics, units)
    if out is not None:
        text = json.dumps(dict(metrics), indent=1)
        replace_file(out, lambda part: part.write_text(text + "\n"))
        sys.stdout.write(f"wrote {out}\n")
