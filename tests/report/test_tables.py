"""Result tables fit a terminal, say units, and curves show what was monitored."""

import json

import numpy as np
import pytest
import yaml
from rich.console import Console

from geqlib.report import write_report
from geqlib.report.pictures import _panels
from geqlib.report.runs import read_run
from geqlib.report.tables import build_tables, group_runs
from tests.report.test_report import write_run

METRICS = {f"test/{name}_per_atom_{kind}": 1.0 for name in "abcdef" for kind in ("mae", "rmse")}


def change(folder, **results):
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | results))


def groups_of(tmp_path, count):
    folders = [write_run(tmp_path, f"network-{k}-of-many", layers=k) for k in range(count)]
    for folder in folders:
        change(folder, metrics=METRICS, baselines={}, units={"a_per_atom_mae": "meV"})
    return group_runs([read_run(folder) for folder in folders]), folders


def test_many_metrics_of_one_run_are_rows(tmp_path):
    groups, _ = groups_of(tmp_path, 1)
    (table,) = build_tables(groups)
    assert table.header == ("metric", groups[0].name)
    assert table.rows[0] == ("a_per_atom_mae (meV)", "1.000")
    assert len(table.rows) == len(METRICS)


def test_many_metrics_of_many_runs_are_several_tables(tmp_path):
    groups, _ = groups_of(tmp_path, 7)
    tables = build_tables(groups)
    assert len(tables) > 1 and all(table.width <= 78 for table in tables)
    assert [len(table.rows) for table in tables] == [7] * len(tables)
    shown = [head for table in tables for head in table.header[1:]]
    assert [head.removesuffix(" (meV)") for head in shown] == [m[5:] for m in METRICS]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_terminal_of_80_characters_breaks_no_number(tmp_path, count):
    _, folders = groups_of(tmp_path, count)
    console = Console(record=True, width=80, quiet=False)
    write_report(folders, tmp_path / "out", console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert all(metric[5:] in text for metric in METRICS)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (
            {"class_path": "a.Task", "init_args": {"model": {"class_path": "b.GauntNet"}}},
            "GauntNet",
        ),
        (
            {
                "class_path": "a.EnergyForces",
                "init_args": {
                    "model": {
                        "class_path": "geqlib.models.Potential",
                        "init_args": {"model": {"class_path": "geqlib.models.PONITA"}},
                    }
                },
            },
            "PONITA",
        ),
        (
            {
                "class_path": "a.Task",
                "init_args": {
                    "model": {
                        "class_path": "geqlib.nn.FrameAveraging",
                        "init_args": {"module": {"class_path": "mine.Net"}, "group": "SE(3)"},
                    }
                },
            },
            "FrameAveraging of Net",
        ),
        (
            {
                "class_path": "geqlib.train.MoleculeDiffusion",
                "init_args": {
                    "model": {
                        "class_path": "geqlib.generation.Denoiser",
                        "init_args": {"network": {"class_path": "geqlib.models.PONITA"}},
                    }
                },
            },
            "PONITA",
        ),
        ({"init_args": {"layers": 3}}, "Recorded"),
        ("text", "Recorded"),
    ],
)
def test_names_of_networks(tmp_path, model, name):
    folder = write_run(tmp_path, "run")
    change(folder, model="Recorded")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    assert read_run(folder).network == name


def monitored(folder, monitor):
    path = folder / "config.yaml"
    text = yaml.safe_dump(yaml.safe_load(path.read_text()) | {"monitor": monitor})
    path.write_text(text + "monitor_mode: min\n")
    return read_run(folder)


def test_the_monitored_metric_is_drawn(tmp_path):
    runs = [write_run(tmp_path, name, baselines={}) for name in "abc"]
    first, second, missing = (
        monitored(folder, f"val/{metric}")
        for folder, metric in zip(runs, ("mse", "median", "nothing"), strict=True)
    )
    assert _panels(group_runs([first]), {}) == ["train/loss", "val/mse"]
    assert _panels(group_runs([second]), {}) == ["train/loss", "val/median"]
    assert _panels(group_runs([first, second]), {}) == ["train/loss", "val/mse", "val/median"]
    assert _panels(group_runs([missing]), {}) == ["train/loss", "val/median"]
    page = write_report([runs[1]], tmp_path / "out", Console(quiet=True)).read_text()
    assert "the ring" in page


def test_a_metric_that_was_never_finite_has_no_ring(tmp_path):
    folder = write_run(tmp_path, "run")
    monitored(folder, "val/mse")
    log = folder / "metrics" / "version_0" / "metrics.csv"
    log.write_text("epoch,step,train/loss,val/mse\n0,9,1,nan\n1,19,nan,nan\n")
    write_report([folder], tmp_path / "out", Console(quiet=True))
    assert np.isnan(read_run(folder).history["val/mse"][:, 1]).all()
