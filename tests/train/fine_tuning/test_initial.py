"""A run that begins with another model: what it takes over, freezes, refuses and remembers."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from ase.io import read, write
from rich.console import Console
from torch import nn

from geqlib.data import MoleculeData
from geqlib.files.checkpoint import read_checkpoint
from geqlib.models import GauntNet, Potential
from geqlib.report.run_report import write_report
from geqlib.report.runs import read_history
from geqlib.train import EnergyForces
from geqlib.train.fine_tuning.energy_refit import adapt_statistics, residuals
from geqlib.train.fine_tuning.frozen import freeze
from geqlib.train.fine_tuning.origin import Origin, read_origin
from geqlib.train.fine_tuning.tables import Table
from geqlib.train.fine_tuning.weights import take_over
from geqlib.train.predictor import load_predictor
from geqlib.train.run import fit
from geqlib.train.runs.configuration import read_run
from geqlib.train.runs.init_arguments import with_model_of_init
from geqlib.train.tasks.references import summarise
from tests.train.potential import write_frames

SMALL = {"channels": 2, "degree": 1, "order": 2, "layers": 2, "cutoff": 3.0, "hidden": 4}
NEW_LEVEL = {1: -1.0, 6: 2.5, 8: 4.0}  # eV by which another level of theory differs


@pytest.fixture(autouse=True)
def without_advice():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*number of training batches")
        warnings.filterwarnings("ignore", message=".*when using `ckpt_path`")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory")
        warnings.filterwarnings("ignore", message="This run was resumed")
        yield


def config(file: Path, elements: str = "HCO", epochs: int = 1, **data: Any) -> dict[str, Any]:
    network = {
        "class_path": "geqlib.models.GauntNet",
        "init_args": SMALL | {"elements": [*elements]},
    }
    keys = {"energy_key": "E", "forces_key": "F", "val": 4, "batch_size": 5}
    return {
        "monitor": "val/forces_rmse",
        "model": {
            "class_path": "geqlib.train.EnergyForces",
            "init_args": {"model": network, "lr": 3e-3},
        },
        "data": {
            "class_path": "geqlib.data.MoleculeData",
            "init_args": {"train": str(file)} | keys | data,
        },
        "trainer": {"max_epochs": epochs, "accelerator": "cpu", "enable_progress_bar": False},
    }


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, its frames, and frames of another level of theory with another element."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    frames = write_frames(folder / "old.xyz", 14)
    for atoms in frames:
        atoms.info["E"] += sum(NEW_LEVEL[z] for z in atoms.numbers)
    write(folder / "level.xyz", frames, format="extxyz")
    for atoms in frames[::2]:
        atoms.numbers[0] = 7
    write(folder / "nitrogen.xyz", frames, format="extxyz")
    fit(config(folder / "old.xyz", epochs=2), {"trainer.default_root_dir": str(folder / "first")})
    return folder


def run(top: Path, settings: dict[str, Any], name: str, *options: str) -> Path:
    """Fit in this process; the folder."""
    own = [f"--trainer.default_root_dir={top / name}", f"--init={top / 'first'}"]
    fit(settings, [*own, *options])
    return top / name


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(last_path(folder))


# --- tables by element ----------------------------------------------------------------------------


def test_a_network_with_more_elements_is_the_old_one_on_those_that_it_had() -> None:
    """In another order, in every parameter: the networks give the same to rounding."""
    from tests.atoms.atoms import fields, system

    torch.manual_seed(0)
    old = EnergyForces(GauntNet(["O", "H", "C"], **SMALL)).double()
    new = EnergyForces(GauntNet(["H", "N", "C", "O"], **SMALL)).double()
    fresh = {name: p.detach().clone() for name, p in new.named_parameters()}
    origin = Origin(Path("a"), "", old.state_dict(), None, {}, {}, None, (8, 1, 6))
    with torch.no_grad():
        take_over(new, origin)
    pos, z, _ = system(5, periodic=False)
    one = fields(pos, z)
    torch.testing.assert_close(new.model(**one).total, old.model(**one).total, rtol=1e-13, atol=0)
    name = "model.model.power.weight"
    state = new.state_dict()
    assert torch.equal(state[name][1], fresh[name][1])  # nitrogen
    assert torch.equal(state[name][3], old.state_dict()[name][0])  # oxygen
    assert set(new.model.model.element_axes) == {
        "density.mix.weight",
        "power.weight",
        "layers.0.skip.weight",
        "layers.0.power.weight",
    }


def test_blocks_are_copied_one_by_one() -> None:
    """Against a loop, along each axis, with elements that come, go and change places."""
    generator = torch.Generator().manual_seed(0)
    new_order, old_order = (6, 1, 9, 8), (8, 7, 6)
    for axis in range(3):
        shape = [2, 3, 5]
        shape[axis] = 4 * 2
        new = torch.randn(shape, generator=generator)
        shape[axis] = 3 * 2
        old, before = torch.randn(shape, generator=generator), new.clone()
        table = Table(axis, new_order, old_order)
        assert table.fits(new, old)
        table.copy(new, old)
        for k, z in enumerate(new_order):
            own = new.narrow(axis, 2 * k, 2)
            source = (
                old.narrow(axis, 2 * old_order.index(z), 2)
                if z in old_order
                else before.narrow(axis, 2 * k, 2)
            )
            assert torch.equal(own, source), (axis, z)
    assert not Table(0, (1, 6), (1,)).fits(torch.zeros(4, 3), torch.zeros(2, 4))


def test_embeddings_of_elements_that_were_never_trained_stay_new() -> None:
    from tests.atoms.atoms import ponita

    old, new = EnergyForces(ponita(torch.float32)), EnergyForces(ponita(torch.float32))
    with torch.no_grad():
        new.model.embedding.weight.normal_()
        fresh = new.model.embedding.weight.clone()
        seen = torch.zeros(119, dtype=torch.bool)
        seen[[1, 8]] = True
        old.model.statistics.set(torch.zeros(119), seen, 2.0, 1.0)
        take_over(new, Origin(Path("a"), "", old.state_dict(), None, {}, {}, None))
    weight = new.model.embedding.weight
    assert torch.equal(weight[seen], old.model.embedding.weight[seen])
    assert torch.equal(weight[~seen], fresh[~seen])
    assert float(new.model.statistics.scale) == 2.0


# --- a run ----------------------------------------------------------------------------------------


def test_begins_with_the_weights_and_is_no_resume(top: Path) -> None:
    """Without training, the network, its scale and its energies are those of the first run."""
    settings = config(top / "old.xyz")
    folder = run(top, settings, "same", "--model.lr=1e-30", "--model.references=keep")
    old = read_checkpoint(top / "first" / "checkpoints" / "best.ckpt")
    new = last(folder)
    for name, value in old["state_dict"].items():
        torch.testing.assert_close(new["state_dict"][name], value, msg=name)
    assert new["epoch"] == 0 and new["global_step"] == 2
    (group, *_) = new["optimizer_states"][0]["state"].values()
    assert int(group["step"]) == 2
    record = json.loads((folder / "init.json").read_text())
    assert record == new["begun_from"] == read_origin(top / "first").record
    assert record["path"].endswith("first/checkpoints/best.ckpt") and len(record["sha256"]) == 64


def test_energies_of_atoms_make_up_for_another_level_of_theory(top: Path) -> None:
    """To what fits the old level they differ by its difference, whatever the network leaves."""
    tables = {}
    for name in ("old", "level"):
        data = MoleculeData(top / f"{name}.xyz", 0, energy_key="E", forces_key="F", cutoff=3.0)
        data.setup("fit")
        torch.manual_seed(0)
        potential = Potential(GauntNet(["H", "C", "O"], **SMALL))
        start = torch.arange(119.0).double()
        potential.statistics.set(start, start == 8, 3.0, -1.0)
        train = data.splits["train"]
        adapt_statistics(potential, [(train, summarise([train]))], "least_squares")
        tables[name] = potential.statistics.references
        rest = residuals(potential, train, range(14))
        assert np.abs(rest.energies / rest.counts.sum(1)).mean() < 3.0  # scale of the network
        assert float(potential.statistics.scale) == 3.0 and float(potential.statistics.shift) == -1
        assert potential.statistics.seen.nonzero()[:, 0].tolist() == [1, 6, 8]
    change = (tables["level"] - tables["old"]).numpy()
    for z, energy in NEW_LEVEL.items():
        assert change[z] == pytest.approx(energy, abs=1e-6), z
    assert float(tables["level"][9]) == 9.0  # which no frame has


@pytest.mark.slow
def test_new_elements(top: Path) -> None:
    settings = config(top / "nitrogen.xyz")
    with pytest.raises(ValueError, match=r"has N, which is none of.*\[H, C, N, O\]"):
        run(top, settings, "refused")
    assert not (top / "refused" / "config.yaml").exists()
    folder = run(top, config(top / "nitrogen.xyz", "HCNO"), "nitrogen", "--model.lr=1e-30")
    weights = last(folder)["state_dict"]
    assert weights["model.model.power.weight"].size(0) == 4
    assert weights["model.statistics.seen"].nonzero()[:, 0].tolist() == [1, 6, 7, 8]
    assert abs(float(weights["model.statistics.references"][7])) > 0
    with pytest.raises(ValueError, match="no reference energy of N"):
        run(top, config(top / "nitrogen.xyz", "HCNO"), "x1", "--model.references=keep")
    with pytest.raises(ValueError, match=r"freeze.*N.*new"):
        run(top, config(top / "nitrogen.xyz", "HCNO"), "x2", "--freeze=power")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model.model.channels=3"], r"channels 2, and that of this run 3"),
        (["--model.model.cutoff=2.5"], r"cutoff 3\.0, and that of this run 2\.5"),
        (["--model.zbl=true"], r"zbl False, and that of this run True"),
        (["--init=nowhere.ckpt"], "no checkpoint nowhere.ckpt"),
        (["--freeze=layer"], r"freeze names 'layer'.*it has density, layers, layers\.0, power, r"),
        (["--freeze=*"], "all weights"),
    ],
)
def test_refused(options: list[str], said: str, top: Path) -> None:
    with pytest.raises(ValueError, match=said):
        run(top, config(top / "old.xyz"), "refused", *options)
    assert not (top / "refused" / "config.yaml").exists()


def test_another_architecture_is_refused(top: Path) -> None:
    settings = config(top / "old.xyz")
    settings["model"]["init_args"]["model"] = {
        "class_path": "geqlib.models.PONITA",
        "init_args": {
            "in_scalars": 2,
            "in_vectors": 0,
            "out_scalars": 1,
            "out_vectors": 0,
            "channels": 4,
            "cutoff": 3.0,
        },
    }
    with pytest.raises(ValueError, match="is GauntNet, and that of this run PONITA"):
        run(top, settings, "refused")


@pytest.mark.slow
def test_forces_in_another_unit_are_refused(top: Path) -> None:
    """Frames that the model predicts, in kcal/mol."""
    first = read_run(top / "first" / "config.yaml")
    first.task.load_state_dict(last(top / "first")["state_dict"])
    frames = read(top / "old.xyz", ":")
    for atoms in frames:
        atoms.arrays["F"] = predicted_forces(first.task.model, atoms) * 23.06
        atoms.info["E"] *= 23.06
    write(top / "kcal.xyz", frames, format="extxyz")
    with pytest.raises(ValueError, match="as if they were in kcal/mol/A and not in eV/A"):
        run(top, config(top / "kcal.xyz"), "refused")
    settings = config(top / "kcal.xyz", energy_unit="kcal/mol")
    run(top, settings, "kcal", "--trainer.limit_train_batches=1")


def predicted_forces(potential: Potential, atoms: Any) -> np.ndarray:
    from geqlib.calculators import GeqCalculator

    copy = atoms.copy()
    copy.calc = GeqCalculator(potential)
    return copy.get_forces()


def test_the_model_of_the_checkpoint_is_taken_where_none_is_named(top: Path) -> None:
    def named(settings: dict[str, Any], *more: str) -> list[str]:
        path = top / "partly.yaml"
        path.write_text(yaml.safe_dump(settings))
        return [f"--config={path}", f"--init={top / 'first'}", *more]

    whole = config(top / "old.xyz")
    assert with_model_of_init(named(whole)) == named(whole)
    bare = {k: v for k, v in whole.items() if k != "model"}
    task = read_run(
        top / "partly.yaml", with_model_of_init(named(bare, "--model.lr=5e-4"))[2:]
    ).task
    assert task.lr == 5e-4 and isinstance(task, EnergyForces)
    partly = bare | {"model": {"init_args": {"lr": 7e-4}}}
    assert read_run(partly, [f"--init={top / 'first'}"]).task.lr == 7e-4
    settings = config(top / "old.xyz")
    del settings["model"]["init_args"]["model"]
    other = read_run(settings, [f"--init={top / 'first'}", "--model.model.channels=3"]).task
    network: Any = other.model.model
    assert other.lr == 3e-3 and network.channels == 3 and network.elements == (1, 6, 8)


def test_classes_that_a_checkpoint_names_are_not_built_unless_trusted(top: Path) -> None:
    path = top / "evil.ckpt"
    stored = last(top / "first")
    stored["hyper_parameters"]["model"]["init_args"]["model"] = {
        "class_path": "os.system",
        "init_args": {"command": "true"},
    }
    torch.save(stored, path)
    bare = {k: v for k, v in config(top / "old.xyz").items() if k != "model"}
    with pytest.raises(ValueError, match=r"os\.system, which is not a class of geqlib"):
        read_run(bare, [f"--init={path}"])


# --- frozen parts ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_parts_do_not_change(top: Path) -> None:
    settings = config(top / "level.xyz", epochs=2) | {"ema": 0.5}
    folder = run(top, settings, "frozen", "--freeze", "density", "layers.0.power")
    old = read_checkpoint(top / "first" / "checkpoints" / "best.ckpt")["state_dict"]
    new = last(folder)
    for state in (new["state_dict"], plain_names(new["current_model_state"])):
        changed = {
            name.removeprefix("model.model.")
            for name, value in old.items()
            if name.startswith("model.model.") and not torch.equal(state[name], value)
        }
        frozen = {n for n in changed if n.startswith(("density.", "layers.0.power."))}
        assert not frozen and "power.weight" in changed
    assert json.loads((folder / "fit.json").read_text())["parameters"] < sum(
        value.numel() for name, value in old.items() if "statistics" not in name
    )


def plain_names(state: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("module."): value for name, value in state.items()}


def test_statistics_of_frozen_batch_norms_stay() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.free = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
            self.last = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(x) + self.free(x))

    from geqlib.train import Task

    task = Task(Small())
    freeze(task, ["norm"])
    task.eval()
    task.train()
    before = [x.clone() for x in (task.model.norm.running_mean, task.model.free.running_mean)]
    task.model(torch.randn(5, 2) + 3).sum().backward()
    assert torch.equal(task.model.norm.running_mean, before[0])
    assert not torch.equal(task.model.free.running_mean, before[1])
    assert task.model.norm.weight.grad is None and task.model.last.weight.grad is not None
    with pytest.raises(ValueError, match="did you mean last"):
        freeze(task, ["lats"])


# --- replay, and resuming -------------------------------------------------------------------------


def mixed(top: Path) -> dict[str, Any]:
    """New structures and old ones, averaged weights, energies refitted."""
    old = {"train": str(top / "old.xyz"), "val": 4, "weight": 1.0}
    settings = config(top / "level.xyz", epochs=3, replay=old) | {"ema": 0.5}
    settings["model"]["init_args"]["refit"] = True
    return settings


@pytest.fixture(scope="module")
def whole(top: Path) -> Path:
    return run(top, mixed(top), "whole", "--freeze", "density")


@pytest.mark.slow
def test_old_structures_are_measured_before_training_and_beside_the_new_ones(
    top: Path, whole: Path
) -> None:
    history = read_history(whole)
    assert len(history["val/old/forces_rmse"]) == len(history["val/forces_rmse"]) == 3
    record = json.loads((whole / "init.json").read_text())
    data = MoleculeData(top / "old.xyz", 4, energy_key="E", forces_key="F", cutoff=3.0)
    data.setup("fit")
    batch = data.splits["val"].__getitems__(range(4))
    first = load_predictor(top / "first")
    errors = (first(batch)["forces"] - batch.forces).square().mean().sqrt()
    assert record["old"]["forces_rmse"] == pytest.approx(1000 * float(errors), rel=1e-4)
    # energies as the first model has them, before those of atoms were fitted to the new data
    per_atom = (first(batch)["energy"] - batch.energy) / batch.batch.bincount()
    error = 1000 * float(per_atom.square().mean().sqrt())
    assert record["old"]["energy_per_atom_rmse"] == pytest.approx(error, rel=1e-4)
    last_metrics = history["val/old/forces_rmse"][-1, 1]
    errors = (load_predictor(last_path(whole))(batch)["forces"] - batch.forces).square()
    assert last_metrics == pytest.approx(1000 * float(errors.mean().sqrt()), rel=1e-4)
    assert json.loads((whole / "fit.json").read_text())["steps"] == 3 * 2 * 2
    text = write_report([whole], whole / "report", Console(quiet=True)).read_text()
    assert "What was known before" in text


@pytest.mark.slow
def test_a_resumed_run_equals_a_whole_one_without_the_first_model(
    top: Path, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(top / "first", tmp_path / "first")
    part = [f"--trainer.default_root_dir={tmp_path / 'part'}", "--freeze", "density"]
    part.append(f"--init={tmp_path / 'first'}")
    stop = {"class_path": "tests.train.fine_tuning.test_initial.StopAfterOne"}
    settings = mixed(top)
    settings["trainer"] |= {"callbacks": [stop]}
    fit(settings, part)
    shutil.rmtree(tmp_path / "first")
    checkpoint = tmp_path / "part" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(checkpoint)["epoch"] == 0
    fit(mixed(top), part, ckpt_path=checkpoint)
    one, two = last(whole), last(tmp_path / "part")
    assert one["epoch"] == two["epoch"] == 2
    for state in ("state_dict", "current_model_state"):
        for name, value in one[state].items():
            assert torch.equal(value, two[state][name]), name
    assert two["begun_from"]["path"].startswith(str(tmp_path / "first"))
    assert two["begun_from"]["sha256"] == one["begun_from"]["sha256"]
    other = [f"--trainer.default_root_dir={tmp_path / 'part'}", "--freeze", "density"]
    with pytest.raises(ValueError, match=r"began with .*first.* and init is"):
        fit(mixed(top), [*other, f"--init={top / 'whole'}"], ckpt_path=checkpoint)


def last_path(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


class StopAfterOne(L.Callback):
    """Ends training after the first epoch, with the schedule of the whole run."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True
