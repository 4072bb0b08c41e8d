"""Checkpoints: whole or not written, one sentence when they are bad, never run as code."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from pathlib import Path
from zipfile import ZipFile

import lightning as L
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import geqlib
from geqlib.data import NBodyData
from geqlib.files.checkpoint import build, read_checkpoint
from geqlib.models import PONITA
from geqlib.train import DisplacementTask
from tests.train import tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of some epochs."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert tiny.geqlib(tiny.command("fit", run)) == 0
    return run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, to be spoilt."""
    return shutil.copytree(trained, tmp_path / "run")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def checkpoint(run: Path, name: str = "last") -> Path:
    return run / "checkpoints" / f"{name}.ckpt"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sentence(capsys) -> str:
    """The only thing on standard error, but for the seed and the folder of the run."""
    lines = capsys.readouterr().err.splitlines()
    said = ("Seed set", "The run is in")
    (line,) = [line for line in lines if not line.startswith(said)]
    assert line.startswith("geqlib: error: ")
    return line


def fit_on(run: Path) -> int:
    return tiny.geqlib(
        tiny.command("fit", run, "--ckpt_path", checkpoint(run), epochs=tiny.EPOCHS + 3)
    )


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_disk_is_full(run, monkeypatch, capsys):
    save = torch.save

    def write_half(content, path):
        save(content, path)
        raw = Path(path).read_bytes()
        Path(path).write_bytes(raw[: len(raw) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(run / "checkpoints")
    monkeypatch.setattr(torch, "save", write_half)
    assert fit_on(run) == 2
    said = sentence(capsys)
    assert "could not be written" in said and "No space left on device" in said
    assert "make room on the disk and resume" in said
    assert contents(run / "checkpoints") == before
    monkeypatch.undo()
    assert fit_on(run) == 0


def test_file_size_limit(run, capsys):
    """For real: the system refuses to write more than 16 kB, where a checkpoint needs 40 kB."""
    before = contents(run / "checkpoints")
    assert min(map(len, before.values())) > 2**14
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, hard))
    try:
        assert fit_on(run) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "could not be written" in sentence(capsys)
    assert contents(run / "checkpoints") == before


def test_checkpoints_get_the_usual_permissions(trained):
    plain = trained / "plain"
    plain.touch()
    modes = {path.stat().st_mode for path in trained.rglob("*") if path.is_file()}
    assert modes == {plain.stat().st_mode}
    plain.unlink()


# --- reading -------------------------------------------------------------------------------------


def half(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def changed(content, **entries):
    return {**content, **entries}


DAMAGES = {
    "truncated": (half, "is truncated or damaged"),
    "empty": (lambda raw: b"", "is truncated or damaged"),
    "other file": (lambda raw: b"model: PONITA\n" * 99, "is truncated or damaged"),
}
CONTENTS = {
    "no weights": (lambda c, canary: {"epoch": 3}, "is not a checkpoint: it holds no state_dict"),
    "a list": (lambda c, canary: [c], "is not a checkpoint: it holds no state_dict"),
    "no dictionary": (
        lambda c, canary: changed(c, state_dict=[1]),
        "is not a checkpoint: it holds no state_dict",
    ),
    "code": (lambda c, canary: changed(c, extra=Payload(canary)), "would run code when loaded"),
    "code in the weights": (
        lambda c, canary: changed(c, state_dict={"model.w": Payload(canary)}),
        "would run code when loaded",
    ),
}


def assert_refused(path: Path, run: Path, said: str, capsys) -> None:
    """By the commands and by `geqlib.load`, in one sentence that names the file."""
    for name in ("fit", "test"):
        assert tiny.geqlib(tiny.command(name, run, "--ckpt_path", path)) == 2
        line = sentence(capsys)
        assert said in line and str(path) in line
    assert tiny.geqlib(["check", str(path)]) == 2
    assert said in sentence(capsys)
    with pytest.raises(ValueError, match=said):
        geqlib.load(path)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files(name, trained, tmp_path, capsys):
    damage, said = DAMAGES[name]
    path = tmp_path / "bad.ckpt"
    path.write_bytes(damage(checkpoint(trained).read_bytes()))
    assert_refused(path, tmp_path / "run", said, capsys)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.csv",
            b"smiles,y\n",
            "is not a checkpoint of geqlib, but has the ending of tables: ",
        ),
        ("a.traj", b"", "but has the ending of structures: name one, such as checkpoints/best"),
        ("a.JSON", b'{"z":\n[ {"1": 2}]}', "but has the ending of tables"),
        ("a.txt", b'12345678{"not": 1}', "but has the ending of texts"),
        ("POSCAR", b"Cu\n1.0\n", "POSCAR is not a checkpoint of geqlib: name one"),
        ("a.dat", b"\x00" * 99, "a.dat is not a checkpoint of geqlib: name one"),
        ("last", b"PK\x03\x04cut off", "last is truncated or damaged"),
    ],
)
def test_other_files_are_not_called_damaged(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)):
        geqlib.load(tmp_path / name)


def test_arrays_are_an_archive_and_no_checkpoint(tmp_path):
    np.savez(tmp_path / "a.npz", z=np.ones(3))
    with pytest.raises(ValueError, match="but has the ending of arrays"):
        geqlib.load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", CONTENTS)
def test_wrong_contents(name, trained, tmp_path, capsys):
    change, said = CONTENTS[name]
    path, canary = tmp_path / "bad.ckpt", tmp_path / "canary"
    torch.save(change(read_checkpoint(checkpoint(trained)), canary), path)
    assert_refused(path, tmp_path / "run", said, capsys)
    assert not canary.exists()


def test_the_payload_is_live(tmp_path):
    """The tests above would pass on a payload that does nothing."""
    torch.save(Payload(tmp_path / "canary"), tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "canary").exists()


@pytest.mark.slow
def test_missing_file(trained, tmp_path, capsys):
    for path in (tmp_path / "none.ckpt", tmp_path):
        assert_refused(path, tmp_path / "run", "There is no checkpoint", capsys)


def test_runs_beside_a_missing_one_are_named(tmp_path):
    for name in ("second", "first"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"lost: check the path; runs there are .*first, .*second"):
        read_checkpoint(tmp_path / "lost")


def test_a_flipped_bit_in_the_weights(run, capsys):
    path = checkpoint(run)
    with ZipFile(path) as archive:
        info = max(archive.infolist(), key=lambda i: i.file_size * ("/data/" in i.filename))
        block = archive.read(info)
    raw = bytearray(path.read_bytes())
    raw[raw.index(block) + 5] ^= 1
    path.write_bytes(raw)
    assert_refused(path, run, "a checksum disagrees", capsys)


@pytest.mark.slow
def test_weights_alone_do_not_resume(trained, tmp_path, capsys):
    path, state = tmp_path / "weights.ckpt", read_checkpoint(checkpoint(trained))
    torch.save({"state_dict": state["state_dict"]}, path)
    for name in ("fit", "test"):
        assert tiny.geqlib(tiny.command(name, tmp_path / "run", "--ckpt_path", path)) == 2
        assert "not the state of a training run" in sentence(capsys)


@pytest.mark.slow
def test_weights_of_another_model(trained, tmp_path, capsys):
    other = ("--model.model.channels", "8", "--ckpt_path", checkpoint(trained))
    for name in ("fit", "test"):
        assert tiny.geqlib(tiny.command(name, tmp_path / "run", *other)) == 2
        assert "The weights do not fit PONITA (size mismatch for model." in sentence(capsys)
    with pytest.raises(ValueError, match=r"do not fit the model \(size mismatch"):
        geqlib.load(checkpoint(trained), model=PONITA(1, 1, 0, 1, channels=8, layers=1))


# --- from a checkpoint to a model ----------------------------------------------------------------


def test_loaded_model_has_the_averaged_weights(trained):
    state = read_checkpoint(checkpoint(trained))
    model = geqlib.load(checkpoint(trained))
    assert isinstance(model, PONITA) and not any(m.training for m in model.modules())
    averaged = {k.removeprefix("model."): v for k, v in state["state_dict"].items()}
    assert model.state_dict().keys() == averaged.keys()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in averaged.items())
    raw = state["current_model_state"]
    assert any(not torch.equal(value, raw[f"model.{key}"]) for key, value in averaged.items())


def test_loaded_model_predicts_as_the_command_does(run):
    path = checkpoint(run)
    assert tiny.geqlib(tiny.command("predict", run, "--ckpt_path", path)) == 0
    actual = load_file(run / "predictions.safetensors")
    data = NBodyData(**tiny.config()["data"]["init_args"])
    data.setup()
    (batch,) = data.test_dataloader()
    with torch.no_grad():
        _, moved = geqlib.load(path)(batch.pos, batch.edge_index, batch.x, batch.vec)
    # float32, of order one
    assert torch.allclose(actual["predicted"], batch.pos + moved[:, 0], rtol=0, atol=1e-6)
    assert torch.equal(actual["true"], batch.y) and torch.equal(actual["batch"], batch.batch)


@pytest.mark.filterwarnings("ignore")  # advice of Lightning's to scripts
def test_task_of_a_script_needs_its_model(tmp_path):
    def net():
        return PONITA(1, 1, 0, 1, channels=4, layers=1)

    trainer = L.Trainer(
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    task = DisplacementTask(net())
    trainer.fit(task, NBodyData(**tiny.config()["data"]["init_args"]))
    path = tmp_path / "script.ckpt"
    trainer.save_checkpoint(path)
    assert read_checkpoint(path)["hyper_parameters"]["lr"] == 2e-3
    with pytest.raises(ValueError, match=r"does not say how its model was built, .*model="):
        geqlib.load(path)
    loaded = geqlib.load(path, model=net())
    weights = task.model.state_dict()
    assert all(torch.equal(loaded.state_dict()[key], weights[key]) for key in weights)
    with pytest.raises(ValueError, match=r"do not fit the model"):
        geqlib.load(path, model=nn.Linear(1, 1))


EVALUATED = {"input_args": "x -> __import__('pathlib').Path({!r}).touch()", "modules": []}
FOREIGN = "which is not a class of geqlib or a layer of torch_geometric"
DESCRIPTIONS = {
    "foreign": ({"class_path": "subprocess.Popen", "init_args": {"args": ["true"]}}, FOREIGN),
    "plain": ({"class_path": "Popen"}, FOREIGN),
    "look-alike": ({"class_path": "geqlibs.models.PONITA"}, FOREIGN),
    "re-exported": ({"class_path": "geqlib.ponita.network.nn.Linear"}, "which this version lacks"),
    "imported there": ({"class_path": "geqlib.ponita.conv.Tensor"}, "which is not a Module"),
    "evaluates": (
        {"class_path": "torch_geometric.nn.Sequential", "init_args": EVALUATED},
        FOREIGN,
    ),
    "no module": ({"class_path": "geqlib.data.NBodyData"}, "which is not a Module"),
    "function": ({"class_path": "geqlib.files.checkpoint.load"}, "which is not a Module"),
    "unknown": ({"class_path": "geqlib.models.Nope"}, "which this version lacks"),
    "unknown module": ({"class_path": "geqlib.nope.PONITA"}, "which this version lacks"),
    "arguments": (
        {"class_path": "geqlib.models.PONITA", "init_args": {"nope": 1}},
        "arguments that this version does not take",
    ),
    "nested": (
        {
            "class_path": "geqlib.models.PONITA",
            "init_args": {"aggr": {"class_path": "builtins.eval", "init_args": {"x": "1"}}},
        },
        FOREIGN,
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_only_known_classes_are_built(name, trained, tmp_path, capsys):
    description, said = DESCRIPTIONS[name]
    canary = tmp_path / "canary"
    if name == "evaluates":
        text = EVALUATED["input_args"].format(str(canary))
        description = changed(description, init_args=EVALUATED | {"input_args": text})
    state = read_checkpoint(checkpoint(trained))
    path = tmp_path / "crafted.ckpt"
    torch.save(
        changed(state, hyper_parameters=state["hyper_parameters"] | {"model": description}), path
    )
    with pytest.raises(ValueError, match=said):
        geqlib.load(path)
    assert tiny.geqlib(["check", str(path)]) == 2
    assert said in sentence(capsys)
    assert not canary.exists()


def test_a_foreign_task_or_data_module(trained, tmp_path, capsys):
    state = read_checkpoint(checkpoint(trained))
    for part in ("hyper_parameters", "datamodule_hyper_parameters"):
        arguments = state[part] | {"_class_path": "subprocess.Popen"}
        path = tmp_path / f"{part}.ckpt"
        torch.save(changed(state, **{part: arguments}), path)
        assert tiny.geqlib(["check", str(path)]) == 2
        assert f"asks for subprocess.Popen, {FOREIGN}" in sentence(capsys)
        torch.save(changed(state, **{part: [1]}), path)
        assert tiny.geqlib(["check", str(path)]) == 2
        assert "was not written by `geqlib fit`" in sentence(capsys)


def test_layers_of_torch_geometric_are_built():
    aggr = {"class_path": "torch_geometric.nn.SoftmaxAggregation", "init_args": {"t": 2.0}}
    sizes = {"in_scalars": 1, "in_vectors": 0, "out_scalars": 1, "out_vectors": 0}
    described = {"class_path": "geqlib.models.PONITA", "init_args": sizes | {"aggr": aggr}}
    net = build(described, nn.Module)
    assert any(type(m).__name__ == "SoftmaxAggregation" for m in net.modules())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_tensors_that_a_gpu_saved_load_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    path = tmp_path / "gpu.ckpt"
    torch.save({"state_dict": {"weight": torch.arange(3.0)}}, path)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(path, weights_only=True)
    weight = read_checkpoint(path)["state_dict"]["weight"]
    assert weight.device.type == "cpu" and weight.tolist() == [0, 1, 2]
