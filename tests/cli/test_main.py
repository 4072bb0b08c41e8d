"""The `geqlib` command: what a user types, and what comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

import geqlib
from geqlib.cli import main
from geqlib.data.packed import PackedGraphs
from geqlib.files.checkpoint import read_checkpoint
from tests.train import tiny

COMMANDS = ("fit", "validate", "test", "predict", "check", "report", "bench")


def sentence(capsys, code=2):
    """The only thing on standard error, but for the seed and the folder of the run."""
    lines = capsys.readouterr().err.splitlines()
    said = ("Seed set", "The run is in")
    (line,) = [line for line in lines if not line.startswith(said)]
    assert line.startswith("geqlib: error: ")
    return line


def refused(arguments, capsys):
    assert tiny.geqlib(arguments) == 2
    return sentence(capsys)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert tiny.geqlib(tiny.command("fit", folder)) == 0
    return folder


# --- without a run -------------------------------------------------------------------------------


def test_help(capsys):
    for arguments in (["--help"], ["-h"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(f"\n  {name} " in out for name in COMMANDS)
    assert main([]) == 2
    assert "usage: geqlib COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name, capsys):
    with pytest.raises(SystemExit) as stop:
        tiny.geqlib([name, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    options = {"check": "--samples", "report": "--out", "fit": "--ema", "bench": "--minutes"}
    assert options.get(name, "--ckpt_path") in out and "usage:" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"geqlib {geqlib.__version__}\n"


def test_as_a_program():
    script = "import sys; from geqlib.cli import main; raise SystemExit(main(sys.argv[1:]))"
    for command in (["-c", script], ["-m", "geqlib"]):
        done = subprocess.run(
            [sys.executable, *command, "nope"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("geqlib: error: there is no command 'nope': choose one of")


def test_unknown_command(capsys):
    line = refused(["train"], capsys)
    assert "no command 'train'" in line and all(name in line for name in COMMANDS)


def test_missing_config(capsys, tmp_path):
    for name in ("fit", "test", "check"):
        line = refused([name, "--config", str(tmp_path / "none.yaml")], capsys)
        assert "none.yaml" in line and "does not exist" in line


def test_missing_arguments(capsys):
    assert "required" in refused(["fit"], capsys)
    assert "needs a checkpoint or --config FILE" in refused(["check"], capsys)
    for arguments in (["check", "--nope"], ["report", "--nope"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


ABBREVIATED = (
    "md a b --out c --step 3",
    "relax a b --out c --lim 1",
    "report a --tes",
    "sample a --out b --coun 3",
    "check a --sample 3",
    "export a --out b --form torch",
    "new graphs a --minute 3",
    "predict a b --tru c",
)


@pytest.mark.parametrize("words", ABBREVIATED)
def test_options_are_written_in_full(words, capsys):
    """`--step` could be `--steps` or `--timestep`."""
    try:
        assert main(words.split()) == 2
    except SystemExit as stop:
        assert stop.code == 2
    said = capsys.readouterr().err
    assert next(word for word in reversed(words.split()) if word.startswith("--")) in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model.nope", "3"), "'nope' is not accepted: choose from model, "),
        (("--model.model.chanels", "3"), "PONITA': Option 'chanels' is not accepted"),
        (("--data.nope", "3"), "'nope' is not accepted"),
        (("--trainer.nope", "3"), "--trainer.nope"),
        (("--nope", "3"), "--nope"),
        (("--model.lr", "fast"), "\"lr\": Expected a <class 'float'>. Got value: fast"),
        (("--model.model.layers", "two"), "\"layers\": Expected a <class 'int'>. Got value: two"),
        (("--model.loss", "mae"), "mae"),
        (
            ("--trainer.max_epochs", "ten"),
            "\"trainer.max_epochs\": Expected a <class 'int'>. Got value: ten",
        ),
        (("--model.lr", "-1"), "lr must be positive, got -1.0."),
        (("--model.model.layers", "0"), "channels and layers must be positive, got 4 and 0."),
        (("--data.train", "-5"), "train, val and test must not be negative, got -5, 9 and 7."),
        (("--data.dim", "4"), "dim must be 2 or 3, got 4: choose the plane or space."),
        (
            ("--trainer.max_epochs", "-1"),
            "set trainer.max_epochs, trainer.max_steps or trainer.max_time.",
        ),
        (("--monitor", "val/nope"), "val/nope"),
        (("--trainer.accelerator", "nope"), "nope"),
    ],
    ids=str,
)
def test_wrong_options(options, said, capsys, tmp_path):
    line = refused(tiny.command("fit", tmp_path / "run", *options), capsys)
    assert said in line and "Namespace" not in line


@pytest.mark.slow
def test_wrong_keys_of_a_config(capsys, tmp_path):
    for place, key in (("model", "nope"), ("data", "nope"), ("trainer", "nope")):
        settings = tiny.config()
        part = settings[place]
        part.get("init_args", part)[key] = 1
        path = tmp_path / "wrong.yaml"
        path.write_text(yaml.safe_dump(settings))
        for name in ("fit", "check"):
            assert "nope" in refused([name, "--config", str(path)], capsys)
    path.write_text(yaml.safe_dump(tiny.config() | {"emma": 0.9}))
    assert "emma" in refused(["fit", "--config", str(path)], capsys)
    for text in ("model: [", "just text", ""):
        path.write_text(text)
        refused(["fit", "--config", str(path)], capsys)


@pytest.mark.slow
def test_three_lines_are_a_config(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(
        "model: {class_path: geqlib.train.DisplacementTask, init_args: {model: "
        "{class_path: PONITA, init_args: {in_scalars: 1, in_vectors: 1, out_scalars: 0, "
        "out_vectors: 1, layers: 1, channels: 4}}}}\n"
        "data: {class_path: NBodyData, init_args: {train: 4, val: 2, test: 1, input_frame: 0, "
        f"target_frame: 1, cache: {tmp_path}}}}}\n"
        f"trainer: {{max_steps: 1, accelerator: cpu, default_root_dir: {tmp_path / 'run'}, "
        "enable_progress_bar: false}\n"
    )
    assert tiny.geqlib(["fit", "--config", str(path)]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


# --- graphs that no model can work with ----------------------------------------------------------


def nan_position(batch):
    batch.pos[7, 1] = float("nan")


def far_edge(batch):
    batch.edge_index[1, 3] = len(batch.pos)


def wrong_shape(batch):
    batch.pos = torch.cat([batch.pos, batch.pos], 1)


def short_attributes(batch):
    batch.edge_attr = torch.zeros(3, 1)


def infinite_target(batch):
    batch.y[0] = float("inf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("fit", nan_position, "pos is NaN or infinite at row 7 (graph 1 of the batch)"),
        ("fit", far_edge, "but there are only nodes 0 to"),
        ("fit", wrong_shape, "expected [nodes, 2 or 3]."),
        ("fit", short_attributes, "edge_attr has 3 rows, but there are"),
        ("fit", infinite_target, "y is NaN or infinite at row 0"),
        ("validate", far_edge, "but there are only nodes 0 to"),
        ("test", nan_position, "pos is NaN or infinite at row 7"),
        ("predict", nan_position, "pos is NaN or infinite at row 7"),
    ],
)
def test_bad_graphs(name, spoil, said, capsys, tmp_path, monkeypatch):
    fetch = PackedGraphs.__getitems__

    def spoilt(self, indices):
        batch = fetch(self, indices)
        spoil(batch)
        return batch

    run, options = tmp_path / "run", []
    if name != "fit":
        assert tiny.geqlib(tiny.command("fit", run, epochs=1)) == 0
        options = ["--ckpt_path", run / "checkpoints" / "last.ckpt"]
        capsys.readouterr()
    monkeypatch.setattr(PackedGraphs, "__getitems__", spoilt)
    assert said in refused(tiny.command(name, run, *options), capsys)


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_measuring_needs_a_checkpoint(name, capsys, tmp_path):
    said = refused(tiny.command(name, tmp_path / "run"), capsys)
    assert f"geqlib {name} needs a trained model: give it --ckpt_path" in said


@pytest.mark.slow
def test_ctrl_c(capsys, tmp_path, monkeypatch):
    def stop(*args):
        if args[0].current_epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("geqlib.train.DisplacementTask.on_train_epoch_start", stop)
    handler = signal.getsignal(signal.SIGINT)
    try:  # Lightning ignores further signals
        assert tiny.geqlib(tiny.command("fit", tmp_path / "run")) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    err = capsys.readouterr().err
    assert "geqlib: stopped by SIGINT; resume with --ckpt_path" in err
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["epoch"] == 0


# --- fit, test, predict, check, report -----------------------------------------------------------


def test_what_a_fit_leaves(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.yaml", "fit.json", "checkpoints", "metrics", "tensorboard"}
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    fit = json.loads((run / "fit.json").read_text())
    assert fit["epochs"] == tiny.EPOCHS and fit["steps"] == 3 * tiny.EPOCHS
    weights = geqlib.load(run / "checkpoints" / "last.ckpt").parameters()
    assert fit["parameters"] == sum(p.numel() for p in weights)
    saved, inputs = yaml.safe_load((run / "config.yaml").read_text()), tiny.config()
    assert saved["seed_everything"] == 0 and saved["ema"] == 0.9
    assert saved["data"]["init_args"].items() >= inputs["data"]["init_args"].items()


@pytest.mark.slow
def test_fit_can_be_repeated(run, tmp_path):
    again = tmp_path / "again"
    assert (
        tiny.geqlib(
            ["fit", "--config", str(run / "config.yaml"), "--trainer.default_root_dir", str(again)]
        )
        == 0
    )
    one, two = (
        read_checkpoint(r / "checkpoints" / "last.ckpt")["state_dict"] for r in (run, again)
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = tmp_path / "other"
    assert tiny.geqlib(tiny.command("fit", other, "--seed_everything", "1")) == 0
    three = read_checkpoint(other / "checkpoints" / "last.ckpt")["state_dict"]
    assert any(not torch.equal(one[key], three[key]) for key in one)


@pytest.mark.slow
def test_the_chain(run, tmp_path, capsys):
    best = str(run / "checkpoints" / "best.ckpt")
    inputs = ["--config", str(run / "config.yaml"), "--ckpt_path", best]
    for name in ("validate", "test", "predict"):
        assert tiny.geqlib([name, *inputs]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["name"] == "run" and results["model"] == "PONITA" and results["seed"] == 0
    assert results["baselines"].keys() == {"copy", "constant velocity", "linear"}
    assert results["environment"]["torch"] == version("torch")
    actual = load_file(run / "predictions.safetensors")
    assert actual["batch"].tolist() == np.repeat(np.arange(7), 5).tolist()
    error = (actual["predicted"] - actual["true"]) ** 2
    # float32
    assert results["metrics"]["test/mse"] == pytest.approx(error.mean(), rel=1e-5)
    median = np.median(error.reshape(7, -1).mean(1))
    assert results["metrics"]["test/median"] == pytest.approx(median, rel=1e-5)
    copy = ((actual["pos"] - actual["true"]) ** 2).mean()
    assert results["baselines"]["copy"]["mse"] == pytest.approx(copy, rel=1e-5)
    assert len(list((run / "metrics").iterdir())) == 1  # testing logs nothing into the run
    capsys.readouterr()
    assert tiny.geqlib(["report", str(run), "--out", str(tmp_path / "out")]) == 0
    assert f"wrote {tmp_path / 'out' / 'report.md'}" in capsys.readouterr().out
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"{results['metrics']['test/mse']:.4}" in text


@pytest.mark.parametrize("source", ["checkpoint", "its config", "config"])
def test_check(source, run, capsys):
    arguments = {
        "checkpoint": [str(run / "checkpoints" / "best.ckpt")],
        "its config": ["--config", str(run / "config.yaml")],
        "config": tiny.command("check", run)[1:3],
    }
    assert tiny.geqlib(["check", *arguments[source], "--samples", "3"]) == 0
    out = capsys.readouterr().out
    assert "Equivariance error of PONITA" in out
    errors = {
        name.strip(): [float(value) for value in values]
        for name, *values in (
            line.strip("│ ").split("│") for line in out.splitlines() if "│" in line
        )
    }
    # a grid of four orientations is closed under the tetrahedral rotations, and no more
    for name in ("relabelling S_n", "translations T(3)", "tetrahedral rotations"):
        assert errors[name][0] < 1e-5 and errors[name][1] < 1e-13
    assert errors["rotations SO(3)"][1] > 1e-4


@pytest.mark.slow
def test_classifiers_too(tmp_path, capsys):
    run = tmp_path / "run"
    net = {"in_scalars": 1, "in_vectors": 0, "out_scalars": 10, "out_vectors": 0}
    net |= {"space": "R2xS1", "orientations": 4, "level": "graph", "channels": 4, "layers": 1}
    model = {"class_path": "geqlib.models.PONITA", "init_args": net}
    few = {f"limit_{stage}_batches": 2 for stage in ("train", "val", "predict")}
    settings = {
        "monitor": "val/loss",
        "model": {
            "class_path": "geqlib.train.ClassificationTask",
            "init_args": {"classes": 10, "model": model},
        },
        "data": {"class_path": "geqlib.data.DigitsData", "init_args": {"batch_size": 4}},
        "trainer": tiny.config(epochs=1)["trainer"] | few | {"default_root_dir": str(run)},
    }
    path, last = tmp_path / "digits.yaml", str(run / "checkpoints" / "last.ckpt")
    path.write_text(yaml.safe_dump(settings))
    assert tiny.geqlib(["fit", "--config", str(path)]) == 0
    assert tiny.geqlib(["predict", "--config", str(path), "--ckpt_path", last]) == 0
    actual = load_file(run / "predictions.safetensors")
    assert actual["logits"].shape == (8, 10) and actual["true"].shape == (8,)
    assert tiny.geqlib(["check", last, "--samples", "1"]) == 0
    assert "rotations SO(2)" in capsys.readouterr().out


def test_check_without_samples(run, capsys):
    assert tiny.geqlib(["check", str(run / "checkpoints" / "best.ckpt"), "--samples", "0"]) == 2
    assert "samples" in sentence(capsys)


def test_report_of_no_run(capsys, tmp_path):
    assert "no run folder" in refused(["report", str(tmp_path / "none")], capsys)


def test_unwritable_folder(capsys, tmp_path):
    (tmp_path / "run").write_text("a file")
    line = refused(tiny.command("fit", tmp_path / "run"), capsys)
    assert str(tmp_path / "run") in line
