"""A model of another task or with other outputs: what fits is taken over, the rest begins anew."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from geqlib.files.checkpoint import read_checkpoint
from geqlib.models import PONITA, PointNet, Potential
from geqlib.train import ClassificationTask, EnergyForces, MaskedRegressionTask
from geqlib.train.fine_tuning.origin import Origin
from geqlib.train.fine_tuning.tables import Table
from geqlib.train.fine_tuning.weights import take_over
from geqlib.train.run import fit, read_run
from tests.train.potential import config, write_frames


@pytest.fixture(autouse=True)
def without_advice():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*number of training batches")
        yield


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained potential, its frames, and dipoles and charges of the same frames."""
    folder = tmp_path_factory.mktemp("weights")
    frames = write_frames(folder / "old.xyz", 14)
    settings = config(folder / "old.xyz", epochs=1, val=4, test=0)
    fit(settings, {"trainer.default_root_dir": str(folder / "first")})
    draw = np.random.default_rng(0)
    molecules = [Atoms(a.numbers, a.positions) for a in frames]
    for atoms in molecules:
        atoms.info["dipole"] = 5 + draw.normal(size=3)
        atoms.info["gap"] = 100 + draw.normal()
    write(folder / "dipoles.xyz", molecules, format="extxyz")
    return folder


def of_properties(top: Path, **network: Any) -> dict[str, Any]:
    settings = config(top / "old.xyz", epochs=1)
    described = settings["model"]["init_args"]["model"]
    described["init_args"] |= {"out_scalars": 2, "out_vectors": 1} | network
    named = {"gap": "graph:scalar", "dipole": "graph:vector"}
    task = {"properties": named, "lr": 1e-30, "model": described}
    settings["model"] = {"class_path": "geqlib.train.PropertyTask", "init_args": task}
    source = {"source": str(top / "dipoles.xyz"), "properties": named, "val": 0.3}
    settings["data"] = {"class_path": "geqlib.data.PropertyData", "init_args": source}
    return settings | {"monitor": "val/loss"}


def test_a_table_without_shared_elements_stays_as_it_is() -> None:
    new = torch.ones(4, 3)
    Table(0, (29, 47), (1, 8, 6)).copy(new, torch.zeros(6, 3))
    assert bool((new == 1).all())


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


def test_a_regression_begins_with_the_network_of_a_potential(top: Path) -> None:
    """Its own read-outs are those that the new run would have had, and so is its scale."""
    run = [f"--trainer.default_root_dir={top / 'second'}", f"--init={top / 'first'}"]
    said = r"scalars\.0, vectors\.0 begin anew, which the file lacks or has with another number"
    with pytest.warns(UserWarning, match=said):
        fit(of_properties(top), run)
    old, new = state_of(top / "first"), state_of(top / "second")
    fresh = read_run(of_properties(top)).task.state_dict()
    heads = ("scalars.0.", "vectors.0.")
    for name, value in new.items():
        if name.startswith(("model.mean_", "model.scale_")):
            continue
        own = name.removeprefix("model.model.").startswith(heads)
        if name == "model.embedding.weight":  # of elements that were trained
            seen = old["model.statistics.seen"]
            value, old[name], fresh[name] = value[seen], old[name][seen], fresh[name][seen]
        torch.testing.assert_close(value, fresh[name] if own else old[name], msg=name)
    assert float(new["model.scale_gap"]) not in (0.0, 1.0)
    assert 5 < float(new["model.mean_gap"]) < 100  # of an atom


def test_a_potential_begins_with_the_network_of_a_regression(top: Path) -> None:
    """Energies of atoms and the scale are those of its own data."""
    settings = of_properties(top)
    fit(settings, [f"--trainer.default_root_dir={top / 'dipoles'}"])
    own = config(top / "old.xyz", epochs=1, val=4, test=0)
    run = [f"--trainer.default_root_dir={top / 'third'}", f"--init={top / 'dipoles'}"]
    with pytest.warns(UserWarning, match=r"scalars\.0 begins anew.*; vectors\.0 of the file is"):
        fit(own, [*run, "--model.lr=1e-30"])
    old, new = state_of(top / "dipoles"), state_of(top / "third")
    name = "model.model.blocks.0.expand.weight"
    torch.testing.assert_close(new[name], old[name])
    fresh = state_of(top / "first")
    for part in ("references", "seen", "scale"):
        name = f"model.statistics.{part}"
        torch.testing.assert_close(new[name], fresh[name])


def test_a_regression_with_another_network_is_refused(top: Path) -> None:
    run = [f"--trainer.default_root_dir={top / 'refused'}", f"--init={top / 'first'}"]
    with pytest.raises(ValueError, match=r"PONITA of .* has channels 8, and that of this run 16"):
        fit(of_properties(top, channels=16), run)
    assert not (top / "refused" / "config.yaml").exists()


def classifier(classes: int, **options: Any) -> ClassificationTask:
    return ClassificationTask(PointNet(classes, channels=4, **options), classes)


def origin(task: Any) -> Origin:
    return Origin(Path("a.ckpt"), "", task.state_dict(), None, {}, {}, None)


def test_a_classifier_with_more_classes_keeps_all_but_its_last_layer() -> None:
    torch.manual_seed(0)
    old, new = classifier(3), classifier(5)
    fresh = {name: x.clone() for name, x in new.state_dict().items()}
    with torch.no_grad():
        taken = take_over(new, origin(old))
    assert taken.sentence == (
        "Weights begin with those of a.ckpt as far as they fit: head.6 begins anew, which the file "
        "lacks or has with another number of outputs."
    )
    for name, x in new.state_dict().items():
        source = fresh if name.startswith("model.head.6") else old.state_dict()
        assert torch.equal(x, source[name]), name


def test_what_fits_entirely_goes_without_saying() -> None:
    assert not take_over(classifier(3).requires_grad_(False), origin(classifier(3))).sentence


@pytest.mark.parametrize(
    ("old", "said"),
    [
        (classifier(3, in_scalars=2), r"points\.0\.weight is \(4, 5\) in the .* and \(4, 3\) here"),
        (MaskedRegressionTask(PONITA(1, 0, 3, 0, channels=4, layers=1)), "None of the weights"),
    ],
)
def test_networks_of_python_that_do_not_fit(old: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said), torch.no_grad():
        take_over(classifier(3), origin(old))


def test_another_number_of_targets_has_statistics_of_its_own() -> None:
    def regression(count: int) -> MaskedRegressionTask:
        net = PONITA(1, 0, count, 0, channels=4, layers=1)
        return MaskedRegressionTask(net, count)

    old = regression(3)
    old.mean.fill_(7.0)
    with torch.no_grad():
        assert not take_over(new := regression(2), origin(old)).statistics
        assert take_over(regression(3), origin(old)).statistics
    assert not new.mean.any()


def test_weights_find_their_network_within_and_without_a_potential() -> None:
    """Python's objects say nothing of it but by names."""
    inside = EnergyForces(Potential(PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=3.0)))
    alone = MaskedRegressionTask(PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=3.0))
    name = "blocks.0.expand.weight"
    with torch.no_grad():
        before = inside.state_dict()[f"model.model.{name}"].clone()
        take_over(alone, origin(inside))
        assert torch.equal(alone.state_dict()[f"model.{name}"], before)
        other = EnergyForces(Potential(PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=3.0)))
        assert "embedding begins anew" in take_over(other, origin(alone)).sentence
        assert torch.equal(other.state_dict()[f"model.model.{name}"], before)
