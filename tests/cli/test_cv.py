"""Cross-validation: every fold once, both protocols, and a run that was killed goes on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.numpy import load_file
from scipy.stats import ttest_rel

from geqlib.cli.cv import plan_runs
from geqlib.report.cross_validation import paired_test, write_summary
from geqlib.report.runs import read_history
from geqlib.train.runs import sweep
from tests.data.graphs import raw_graphs
from tests.train import tiny

EPOCHS = 2


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    raw_graphs.write(tmp_path / "mirror", "TINY", kinds=3)


def config(folder: Path, **data: Any) -> str:
    net = {"in_channels": 3, "out_channels": 2, "channels": 4, "layers": 1}
    settings = {
        "monitor": "val/loss",
        "model": {
            "class_path": "geqlib.train.GraphClassificationTask",
            "init_args": {"classes": 2, "model": {"class_path": "SPEN", "init_args": net}},
        },
        "data": {
            "class_path": "geqlib.data.GraphData",
            "init_args": {"name": "TINY", "hops": 1, **data},
        },
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
    }
    path = folder / "tiny_spen.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def cv(*arguments: object) -> int:
    return tiny.geqlib(["cv", *map(str, arguments)])


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "folds.json").read_text())


@pytest.mark.slow
def test_two_folds_and_two_seeds(tmp_path, capsys) -> None:
    out = tmp_path / "out"
    inputs = ("--config", config(tmp_path), "--out", out, "--folds", 4, 7, "--seeds", 0, 3)
    assert cv(*inputs) == 0
    printed = capsys.readouterr().out
    assert "each fold's epoch chosen by its validation split" in printed
    assert "mean ± standard deviation over folds, in %" in printed
    assert printed.endswith(f"folds.json. Next: geqlib report {out}\n")
    assert printed.count("  test/accuracy ") == 4 and "DataLoader" not in printed
    names = {path.name for path in out.iterdir()}
    runs = {"fold4-seed0", "fold7-seed0", "fold4-seed3", "fold7-seed3"}
    assert names == {*runs, "folds.json", "confusion.png", "learning_curves.png"}
    actual = read(out)
    assert actual["folds"] == [4, 7] and actual["seeds"] == [0, 3] and actual["epochs"] == EPOCHS
    curves = {run: read_history(out / run)["val/test_accuracy"][:, 1] for run in runs}
    counts = np.zeros((2, 2), int)
    for row, seed in enumerate((0, 3)):
        mean = (curves[f"fold4-seed{seed}"] + curves[f"fold7-seed{seed}"]) / 2
        epoch = int(mean.argmax())
        assert actual["best_epochs"][row] == epoch + 1
        for column, fold in enumerate((4, 7)):
            folder = out / f"fold{fold}-seed{seed}"
            curve = curves[folder.name]
            assert actual["published"]["values"][row][column] == pytest.approx(curve[epoch])
            results = json.loads((folder / "results.json").read_text())
            accuracy = results["metrics"]["test/accuracy"]
            assert actual["selected"]["values"][row][column] == accuracy
            saved = load_file(folder / "predictions.safetensors")
            right = saved["logits"].argmax(1) == saved["true"]
            assert right.mean() == pytest.approx(accuracy) and len(right) == 4
            np.add.at(counts, (saved["true"], saved["logits"].argmax(1)), 1)
    assert actual["confusion"] == counts.tolist()
    for protocol in (actual["published"], actual["selected"]):
        means = np.mean(protocol["values"], 0)
        assert protocol["mean"] == pytest.approx(means.mean())
        assert protocol["std"] == pytest.approx(means.std(ddof=1))
    folders = [out / run for run in sorted(runs)]
    write_summary(out, folders, [out])  # with itself
    assert read(out)["against"]["out"]["selected"] == {"difference": 0.0, "p": 1.0}


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, monkeypatch, capsys) -> None:
    out, path = tmp_path / "out", config(tmp_path)
    inputs = ("--config", path, "--out", out, "--folds", 0, 1)
    complete = sweep.complete

    def killed(run) -> None:
        if run.folder.name == "fold1-seed0":
            raise SIGTERMException
        complete(run)

    monkeypatch.setattr(sweep, "complete", killed)
    assert cv(*inputs) == 143
    assert "geqlib: stopped by SIGTERM; the same command goes on" in capsys.readouterr().err
    assert not (out / "folds.json").exists()
    first = (out / "fold0-seed0" / "results.json").stat().st_mtime_ns
    monkeypatch.setattr(sweep, "complete", complete)
    # fold 1 was cut off after an epoch
    cut = ["--config", path, "--data.init_args.fold=1", "--trainer.max_epochs=1"]
    folder = out / "fold1-seed0"
    quiet = [f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"]
    assert tiny.geqlib(["fit", *cut, *quiet]) == 0
    (folder / "fit.json").unlink()
    record = json.loads((out / "fold0-seed0" / "recipe.json").read_text()) | {"fold": 1}
    (folder / "recipe.json").write_text(json.dumps(record))
    assert cv(*inputs) == 0
    assert (out / "fold0-seed0" / "results.json").stat().st_mtime_ns == first
    assert json.loads((folder / "fit.json").read_text())["epochs"] == EPOCHS
    assert len(read_history(folder)["val/accuracy"]) == EPOCHS


@pytest.mark.slow
def test_finished_folds_count_only_if_they_were_made_alike(tmp_path, capsys) -> None:
    """Settings, data and code are compared; what differs is named, and nothing is changed."""
    out, path = tmp_path / "out", config(tmp_path)
    inputs = ("--config", path, "--out", out, "--folds", 0, "--trainer.max_epochs=1")
    assert cv(*inputs) == 0
    results = out / "fold0-seed0" / "results.json"
    before = results.stat().st_mtime_ns
    assert cv(*inputs) == 0
    assert cv(*inputs, "--trainer.enable_progress_bar=false") == 0
    capsys.readouterr()
    for change, said in (
        ("--model.lr=0.5", "model.init_args.lr was 0.002 and is 0.5"),
        ("--trainer.max_epochs=2", "trainer.max_epochs was 1 and is 2"),
        ("--model.model.channels=8", "model.init_args.model.init_args.channels was 4 and is 8"),
        ("--data.batch_size=4", "data.init_args.batch_size was 32 and is 4"),
    ):
        assert cv(*inputs, change) == 2
        error = capsys.readouterr().err
        assert said in error and "fold0-seed0 holds a run that was made otherwise" in error
    record = out / "fold0-seed0" / "recipe.json"
    text = record.read_text()
    for key, said in (("data", "the data has changed"), ("code", "the code has changed")):
        record.write_text(json.dumps(json.loads(text) | {key: "0"}))
        assert cv(*inputs) == 2
        assert said in capsys.readouterr().err
    record.unlink()
    assert cv(*inputs) == 2
    assert "no record of how it was made" in capsys.readouterr().err
    assert results.stat().st_mtime_ns == before
    assert cv(*inputs, "--model.lr=0.5", "--overwrite") == 0
    assert results.stat().st_mtime_ns != before
    saved = yaml.safe_load((out / "fold0-seed0" / "config.yaml").read_text())
    assert saved["model"]["init_args"]["lr"] == 0.5


@pytest.mark.slow
def test_only_the_same_folds_are_paired(tmp_path, capsys, monkeypatch) -> None:
    """Other options on the same graphs are; other graphs under the same name, and old files not."""
    short = ("--folds", 0, 1, "--trainer.max_epochs=1")
    inputs = ("--config", config(tmp_path), *short)
    assert cv(*inputs, "--out", tmp_path / "a") == 0
    assert (
        cv(*inputs, "--out", tmp_path / "b", "--data.hops=null", "--against", tmp_path / "a") == 0
    )
    assert read(tmp_path / "b")["against"]["a"].keys() == {"published", "selected"}
    summary = read(tmp_path / "a")
    old = {key: value for key, value in summary.items() if key != "test_sets"}
    for changed, said in (
        (old, "does not say what fold 0 tests"),
        (
            summary | {"test_sets": {"0": summary["test_sets"]["0"], "1": "0"}},
            "another test set in fold 1",
        ),
        (summary | {"folds": [0, 2]}, "has other folds"),
    ):
        (tmp_path / "a" / "folds.json").write_text(json.dumps(changed))
        capsys.readouterr()
        again = ("--out", tmp_path / "b", "--data.hops=null", "--against", tmp_path / "a")
        assert cv(*inputs, *again) == 2
        assert said in capsys.readouterr().err
    raw_graphs.write(tmp_path / "mirror", "OTHER", kinds=3)
    other = ("--data.name=OTHER", "--data.folds=stratified", "--out", tmp_path / "c")
    (tmp_path / "a" / "folds.json").write_text(json.dumps(summary))
    assert cv(*inputs, *other, "--against", tmp_path / "a") == 2
    assert "has another test set in fold 0" in capsys.readouterr().err


@pytest.mark.slow
def test_training_on_all_of_the_training_part(tmp_path) -> None:
    out = tmp_path / "out"
    path = config(tmp_path, validation=0.0)
    assert cv("--config", path, "--out", out, "--folds", 2, "--trainer.max_epochs=1") == 0
    actual = read(out)
    assert actual["selected"] is None and actual["epochs"] == 1
    curve = read_history(out / "fold2-seed0")["val/accuracy"]
    assert actual["published"]["values"] == [[pytest.approx(curve[0, 1])]]


@pytest.mark.slow
def test_several_at_a_time(tmp_path) -> None:
    runs = plan_runs(tmp_path, config(tmp_path), [], None, [0, 0], jobs=2)
    names = [run.folder.name for run in runs]
    assert names == [f"fold{k}-seed0" for k in range(10)] and (runs[0].threads or 0) >= 1
    sweep.complete_all([], jobs=2)
    inputs = ("--config", config(tmp_path), "--out", tmp_path / "out", "--folds", 0, 1)
    assert cv(*inputs, "--jobs", 2, "--trainer.max_epochs=1") == 0
    assert read(tmp_path / "out")["folds"] == [0, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--folds", "10"), "--folds names 10: choose from 0 to 9"),
        (("--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("--against", "nowhere"), "There is no folds.json in nowhere: name a folder that"),
        (("--data.init_args.nope=1",), "nope"),
        (("--data.fold=1",), "--data.fold is of one run, and this command makes several"),
        (("--seed_everything", "7"), "name seeds by --seeds"),
        (("--ckpt_path=last.ckpt",), "--ckpt_path is of one run"),
        (("--trainer.default_root_dir=here",), "name a folder by --out"),
    ],
    ids=str,
)
def test_errors(options, said, tmp_path, capsys) -> None:
    assert cv("--config", config(tmp_path), "--out", tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err


def test_data_without_folds(tmp_path, capsys) -> None:
    path = tmp_path / "points.yaml"
    path.write_text(yaml.safe_dump(tiny.config()))
    assert cv("--config", path, "--out", tmp_path / "out") == 2
    assert "NBodyData has no folds: geqlib cv needs data such as GraphData" in (
        capsys.readouterr().err
    )


def test_links_have_no_folds(tmp_path, capsys) -> None:
    nx.write_graphml(nx.karate_club_graph(), tmp_path / "club.graphml")
    network = {"in_channels": 1, "aggr": "mean", "out_node": 2}
    model = {"model": {"class_path": "MonoidGNN", "init_args": network}}
    data = {"source": str(tmp_path / "club.graphml"), "predict": "links"}
    content = {
        "model": {"class_path": "LinkPredictionTask", "init_args": model},
        "data": {"class_path": "OwnGraphData", "init_args": data},
    }
    path = tmp_path / "links.yaml"
    path.write_text(yaml.safe_dump(content))
    assert cv("--config", path, "--out", tmp_path / "out") == 2
    assert "Links have no folds" in capsys.readouterr().err


def test_paired_test_is_scipys() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paired_test(a, b)["p"] == pytest.approx(ttest_rel(a, b).pvalue)
        assert paired_test([1, 2], [0, 1]) == {"difference": 1.0, "p": 0.0}
        assert paired_test([1], [1]) == {"difference": 0.0, "p": 1.0}


def test_check_measures_relabelling_alone(tmp_path, capsys) -> None:
    assert tiny.geqlib(["check", "--config", config(tmp_path), "--samples", "2"]) == 0
    out = capsys.readouterr().out
    assert "relabelling S_n" in out and "rotations" not in out
    errors = out.split("relabelling S_n")[1].split("│")
    assert float(errors[1]) < 1e-5 and float(errors[2]) < 1e-13
