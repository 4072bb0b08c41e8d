"""Training on energies, forces and stress: fitted once, masked, resumable, exactly measured."""

from __future__ import annotations

import json
import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import write
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from safetensors.torch import load_file
from torch import Tensor
from torch_geometric.data import Batch

import geqlib
import geqlib.train.tasks.energy as module
from geqlib.cli.check import check_model
from geqlib.data import MoleculeData
from geqlib.models import Potential, compiled_energy_forces, energy_forces
from geqlib.train import EnergyForces
from geqlib.train.tasks.atomic_errors import AtomicErrors, LabelErrors, label_errors, masked_penalty
from geqlib.train.tasks.references import fit_statistics, summarise
from tests.atoms.atoms import CUTOFF, Pairs, fields, pairs, system
from tests.train.tiny import geqlib as command

E0 = {1: -13.6, 6: -1029.5, 8: -2042.0}
SIZES = (3, 4, 2, 5)
KEYS = {"energy_key": "E", "forces_key": "F", "stress_key": "S"}


def teacher() -> Potential:
    """What the frames of these tests obey."""
    potential = pairs()
    references = torch.zeros(119, dtype=torch.float64)
    references[list(E0)] = torch.tensor(list(E0.values()), dtype=torch.float64)
    potential.statistics.set(references, references < 0, 3.0, -1.5)
    return potential


def frame(number: int, potential: Potential) -> Atoms:
    periodic = number % 2 == 0
    pos, z, cell = system(SIZES[number % 4], periodic=periodic, seed=number)
    one = fields(pos, z, cell[None])
    actual = energy_forces(potential, **one, stress=True)
    atoms = Atoms(z.numpy(), pos.numpy(), cell=cell.numpy(), pbc=periodic)
    atoms.info["E"] = actual["energy"].item()
    atoms.info["S"] = (
        actual["stress"][0].numpy() if periodic else torch.full((3, 3), math.nan).numpy()
    )
    atoms.arrays["F"] = actual["forces"].numpy()
    return atoms


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, potential = tmp_path_factory.mktemp("frames"), teacher()
    frames = [frame(number, potential) for number in range(48)]
    parts = {"train": frames[:30], "val": frames[30:39], "test": frames[39:]}
    for name, part in parts.items():
        write(folder / f"{name}.xyz", part, format="extxyz")
    return {name: str(folder / f"{name}.xyz") for name in parts}


def data(files: dict[str, str], **options: Any) -> MoleculeData:
    arguments = {"cutoff": CUTOFF, "missing": "mask", "batch_size": 5, "eval_batch_size": 4}
    return MoleculeData(**files, **(arguments | KEYS | options))


def task(**options: Any) -> EnergyForces:
    torch.manual_seed(1)
    return EnergyForces(Pairs(), **({"lr": 1e-2, "stress_weight": 1.0} | options))


def trainer(folder: Path, *callbacks: L.Callback, epochs: int = 2) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    options = {"accelerator": "cpu", "default_root_dir": folder, "max_epochs": epochs}
    options["enable_checkpointing"] = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    return L.Trainer(callbacks=list(callbacks), **options, **quiet)


@pytest.fixture(autouse=True)
def without_advice():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*number of training batches")
        warnings.filterwarnings("ignore", message=".*when using `ckpt_path`")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory")
        yield


class Watch(L.Callback):
    """The metrics of every validation, and the loss of every step."""

    def __init__(self) -> None:
        self.validations: list[dict[str, float]] = []
        self.losses: list[float] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            seen = {k: float(v) for k, v in trainer.callback_metrics.items() if "val/" in k}
            self.validations.append(seen)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


@pytest.mark.slow
def test_learns_and_fits_statistics_to_the_training_set_before_the_first_step(files, tmp_path):
    net, loaders, watch = task(), data(files), Watch()
    trainer(tmp_path, watch, epochs=12).fit(net, loaders)
    assert watch.losses[-1] < 0.5 * watch.losses[0]
    frames = summarise([loaders.splits["train"].__getitems__(range(30))])
    expected = fit_statistics(frames)
    for name in ("references", "seen", "scale", "shift"):
        got = getattr(net.model.statistics, name)
        assert torch.equal(got, torch.as_tensor(getattr(expected, name), dtype=got.dtype)), name
    # with energies of -10^4 eV, a network that does not know them is off by 10^7 meV
    assert watch.validations[0]["val/energy_mae"] < 1e5
    last = watch.validations[-1]
    assert last["val/forces_rmse"] < watch.validations[0]["val/forces_rmse"]


def test_metrics_are_those_of_direct_predictions(files, tmp_path):
    """Also outside of training, where Lightning allows no derivatives."""
    net, loaders = task(), data(files)
    run = trainer(tmp_path, epochs=1)
    run.fit(net, loaders)
    (metrics,) = run.test(net, loaders, verbose=False)
    split = loaders.splits["test"]
    batch = split.__getitems__(range(len(split)))
    actual = net.predict_outputs(batch)
    energy = (actual["energy"] - batch.energy).detach()
    atoms = torch.bincount(batch.batch)
    forces, stress = (actual[k] - batch[k] for k in ("forces", "stress"))
    stress = stress[~stress.isnan()]
    assert 0 < len(stress) < 9 * len(split)
    expected = {
        "energy_mae": 1000 * energy.abs().mean(),
        "energy_rmse": 1000 * energy.square().mean().sqrt(),
        "energy_per_atom_mae": 1000 * (energy / atoms).abs().mean(),
        "energy_per_atom_rmse": 1000 * (energy / atoms).square().mean().sqrt(),
        "forces_mae": 1000 * forces.abs().mean(),
        "forces_rmse": 1000 * forces.square().mean().sqrt(),
        "stress_rmse": 1000 * stress.square().mean().sqrt(),
        "stress_rmse_gpa": 160.21766208 * stress.square().mean().sqrt(),
    }
    for name, value in expected.items():
        assert metrics[f"test/{name}"] == pytest.approx(float(value), rel=1e-4), name
    parts = run.predict(net, loaders)
    for name, value in (("energy", actual["energy"]), ("forces", actual["forces"])):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value.detach())
    assert torch.equal(torch.cat([part["energy_true"] for part in parts]), batch.energy)
    assert torch.cat([part["index"] for part in parts]).tolist() == batch.index.tolist()
    assert {"forces_true", "batch"} <= parts[0].keys()


@pytest.mark.slow
def test_a_resumed_run_equals_a_whole_one_and_does_not_fit_again(files, tmp_path, monkeypatch):
    """With averaged weights, whose copy was made before the statistics were known."""
    keep = ModelCheckpoint(
        tmp_path / "kept", "{epoch}", save_top_k=-1, save_on_train_epoch_end=True
    )
    whole, watch = task(), Watch()
    trainer(tmp_path, EMAWeightAveraging(decay=0.9), keep, watch, epochs=3).fit(whole, data(files))
    first = torch.load(tmp_path / "kept" / "epoch=0.ckpt", weights_only=True)
    for part in ("state_dict", "current_model_state"):
        for name, value in whole.model.statistics.state_dict().items():
            torch.testing.assert_close(
                first[part][f"model.statistics.{name}"], value, rtol=1e-12, atol=0
            )
    # the averaged weights are validated with their statistics
    assert max(seen["val/energy_mae"] for seen in watch.validations) < 1e5
    monkeypatch.setattr(EnergyForces, "fit_references", lambda self: pytest.fail("fitted again"))
    again = task()
    path = str(tmp_path / "kept" / "epoch=0.ckpt")
    run = trainer(tmp_path, EMAWeightAveraging(decay=0.9), epochs=3)
    run.fit(again, data(files), ckpt_path=path)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def batch_of(files: dict[str, str], **options: Any) -> Batch:
    loaders = data(files, **options)
    loaders.setup("test")
    return loaders.splits["test"].__getitems__(range(9))


def step(net: EnergyForces, batch: Batch) -> Tensor:
    net.log = lambda *_, **__: None  # type: ignore[method-assign]
    return net.training_step(batch, 0)


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_the_loss_is_the_formula_over_what_has_labels(files, loss):
    weights = {"energy_weight": 2.0, "forces_weight": 3.0, "stress_weight": 5.0}
    net, batch = task(loss=loss, huber_delta=0.1, **weights), batch_of(files)
    net.model.statistics.set(*teacher_statistics())
    batch.energy[2] = math.nan
    batch.forces[1] = math.nan
    actual = energy_forces(net.model, **module.potential_inputs(batch), stress=True)
    total, sizes = 0.0, torch.bincount(batch.batch).tolist()
    terms: dict[str, list[float]] = {"energy": [], "forces": [], "stress": []}
    for k, n in enumerate(sizes):
        terms["energy"].append(float(actual["energy"][k] - batch.energy[k]) / n)
    terms["forces"] = (actual["forces"] - batch.forces).flatten().tolist()
    terms["stress"] = (actual["stress"] - batch.stress).flatten().tolist()
    for name, errors in terms.items():
        known = [abs(e) for e in errors if not math.isnan(e)]
        assert 0 < len(known) < len(errors)
        each = [
            e * e if loss == "mse" else e * e / 2 if e < 0.1 else 0.1 * (e - 0.05) for e in known
        ]
        total += weights[f"{name}_weight"] * sum(each) / len(each)
    value = step(net, batch)
    assert value.item() == pytest.approx(total, rel=1e-5)
    value.backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)
    whole = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    assert whole.norm() > 0


def teacher_statistics() -> tuple[Tensor, Tensor, float, float]:
    known = teacher().statistics
    return known.references, known.seen, float(known.scale), float(known.shift)


def test_frames_without_any_label_add_nothing():
    none = LabelErrors(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    assert masked_penalty(*none, "mse", 1.0) == 0 and masked_penalty(*none, "huber", 1.0) == 0
    metrics = AtomicErrors()
    labelled = torch.tensor([[True, True, False]])
    touched = metrics.update({"forces": LabelErrors(torch.tensor([[1.0, -3.0, 0.0]]), labelled)})
    assert touched.keys() == {"forces_mae", "forces_rmse"}
    assert touched["forces_mae"].compute() == 2000
    assert float(touched["forces_rmse"].compute()) == pytest.approx(1000 * math.sqrt(5))


def test_errors_know_only_labels_that_are_there():
    batch = Batch(energy=torch.tensor([1.0, 2.0]), batch=torch.tensor([0, 0, 0]))
    actual = label_errors({"energy": torch.tensor([4.0, 2.0]), "forces": torch.zeros(3, 3)}, batch)
    assert actual.keys() == {"energy", "energy_per_atom"}
    assert actual["energy_per_atom"].error.tolist() == [1.0, 0.0]


def test_rotated_frames_obey_the_same_potential(files):
    """Positions, cells, forces and stress turn together."""
    net, batch = task(rotate=True), batch_of(files)
    torch.manual_seed(0)
    turned = net.rotated(batch)
    assert (turned.pos - batch.pos).abs().max() > 0.1
    actual = energy_forces(teacher().float(), **module.potential_inputs(turned), stress=True)
    # labels are float32
    for name, atol in (("energy", 1e-3), ("forces", 1e-4), ("stress", 1e-4)):
        error = (actual[name] - turned[name])[~turned[name].isnan()]
        assert error.abs().max() < atol, name
    assert task().rotated(batch) is batch


@pytest.mark.slow
def test_compiled_training_equals_eager_training(files, tmp_path, monkeypatch):
    torch.compiler.reset()
    quick = partial(compiled_energy_forces, backend="aot_eager")
    monkeypatch.setattr(module, "compiled_energy_forces", quick)
    nets = [task(compile=compiled, stress_weight=0.0) for compiled in (False, True)]
    for net in nets:
        trainer(tmp_path, epochs=1).fit(net, data(files))
    for (name, expected), got in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_amsgrad(files, tmp_path, amsgrad):
    run = trainer(tmp_path, epochs=1)
    run.fit(task(amsgrad=amsgrad), data(files))
    state = next(iter(run.optimizers[0].state.values()))
    assert ("max_exp_avg_sq" in state) == amsgrad


def test_an_unknown_element_is_named(files, tmp_path):
    gold = Atoms("AuH", [[0, 0, 0], [0, 0, 1.6]], cell=[9, 9, 9], pbc=True)
    gold.info |= {"E": -1.0, "S": torch.zeros(3, 3).numpy()}
    gold.arrays["F"] = torch.zeros(2, 3).numpy()
    write(tmp_path / "gold.xyz", gold, format="extxyz")
    strange = files | {"val": str(tmp_path / "gold.xyz")}
    with pytest.raises(ValueError, match=r"atom 0 is Au, which the training data never showed"):
        trainer(tmp_path).fit(task(), data(strange))


def test_a_label_that_is_weighted_must_be_there(files, tmp_path):
    with pytest.raises(ValueError, match=r"no forces, but forces_weight is 100\.0: name its key"):
        trainer(tmp_path).fit(task(), data(files, forces_key=None))
    net = task(forces_weight=0.0, stress_weight=0.0)
    trainer(tmp_path, epochs=1).fit(net, data(files, forces_key=None, stress_key=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mae"}, 'loss must be "mse" or "huber"'),
        ({"energy_weight": -1.0}, "Weights must not be negative"),
        ({"energy_weight": 0.0, "forces_weight": 0.0, "stress_weight": 0.0}, "nor all 0"),
        ({"huber_delta": 0.0}, "huber_delta must be positive"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        task(**options)


@pytest.mark.slow
def test_a_stream_gives_the_statistics_of_the_frames_in_memory(files, tmp_path):
    actual = []
    for stream in (False, True):
        net = task()
        loaders = data(files, stream=stream, cache=str(tmp_path))
        trainer(tmp_path, epochs=1).fit(net, loaders)
        actual.append(net.model.statistics.state_dict())
    for name, value in actual[0].items():
        torch.testing.assert_close(actual[1][name], value, rtol=1e-6, atol=1e-6)


def test_loaders_alone_will_do(files, tmp_path):
    loaders = data(files)
    loaders.setup("fit")
    net = task()
    trainer(tmp_path, epochs=1).fit(net, loaders.train_dataloader(), loaders.val_dataloader())
    assert net.model.statistics.seen.nonzero().flatten().tolist() == [1, 6, 8]


def config(files: dict[str, str]) -> dict[str, Any]:
    small = {"channels": 4, "layers": 1, "basis": 4, "cutoff": CUTOFF}
    widths = {"in_scalars": 4, "in_vectors": 0, "out_scalars": 1, "out_vectors": 0}
    network = {"class_path": "geqlib.models.PONITA", "init_args": widths | small}
    recipe = {"references": {"H": -13.6, "C": -1029.5, "O": -2042.0}, "zbl": True}
    frames = files | KEYS | {"cutoff": CUTOFF, "missing": "mask", "batch_size": 5}
    return {
        "ema": 0.9,
        "monitor": "val/loss",
        "model": {
            "class_path": "geqlib.train.EnergyForces",
            "init_args": recipe | {"model": network},
        },
        "data": {"class_path": "geqlib.data.MoleculeData", "init_args": frames},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }


@pytest.mark.slow
def test_commands(files, tmp_path):
    """fit, test, predict, check, and back from the checkpoint to a potential."""
    path, run = tmp_path / "run.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(config(files)))
    place = ["--config", str(path), "--trainer.default_root_dir", str(run)]
    assert command(["fit", *place]) == 0
    best = run / "checkpoints" / "best.ckpt"
    for name in ("test", "predict"):
        assert command([name, *place, "--ckpt_path", str(best)]) == 0
    metrics = json.loads((run / "results.json").read_text())["metrics"]
    assert metrics["test/forces_rmse"] > 0
    predicted = load_file(run / "predictions.safetensors")
    potential = geqlib.load(best)
    assert isinstance(potential, Potential) and potential.zbl is not None
    assert potential.statistics.references[8] == -2042.0
    actual = energy_forces(potential, **module.potential_inputs(batch_of(files)))
    torch.testing.assert_close(actual["energy"], predicted["energy"], rtol=0, atol=1e-6)
    torch.testing.assert_close(actual["forces"], predicted["forces"], rtol=0, atol=1e-5)
    errors = check_model(best, None, samples=2)
    exact = ("relabelling S_n", "translations T(3)", "icosahedral rotations")
    # energies of -10^4 eV, and relative to them
    assert max(errors[name]["float64"] for name in exact) < 1e-10
    assert errors["rotations SO(3)"]["float64"] > 1e-8
