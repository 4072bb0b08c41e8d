"""A potential of two levels of theory: trained, measured, resumed, used, and fine-tuned to more."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import read, write

import geqlib
from geqlib.calculators import GeqCalculator
from geqlib.cli import main
from geqlib.data import LevelsData
from geqlib.data.molecules.levels import LevelSampler, largest_remainders
from geqlib.files.checkpoint import read_stored
from geqlib.files.export import export_model
from geqlib.train.fine_tuning.energy_refit import RANK, frames_of, residuals
from geqlib.train.run import fit, predict
from geqlib.train.run import test as measure
from tests.atoms.atoms import CUTOFF
from tests.train.potential import config, write_frames

SHIFT = {"H": -1.0, "C": -7.0, "O": 4.0}  # eV by which the second level's atoms differ
PARTS = {"val": 2, "test": 2, "energy_key": "E", "forces_key": "F"}


def write_levels(folder: Path) -> dict[str, dict[str, Any]]:
    """Twelve structures of one level, and six others of another with energies alone, in meV."""
    frames: Any = write_frames(folder / "low.xyz", 18)
    write(folder / "low.xyz", frames[:12], format="extxyz")
    for atoms in frames[12:]:
        symbols = atoms.get_chemical_symbols()
        atoms.info["REF"] = 1e3 * (atoms.info.pop("E") + sum(SHIFT[s] for s in symbols))
        del atoms.arrays["F"]
    write(folder / "high.xyz", frames[12:], format="extxyz")
    high = {"energy_key": "REF", "forces_key": None, "energy_unit": "meV"}
    return {
        "low": {"train": str(folder / "low.xyz"), **PARTS},
        "high": {"train": str(folder / "high.xyz"), **PARTS, **high, "val": 1, "test": 1},
    }


def configuration(levels: dict[str, Any], run: Path, **options: Any) -> dict[str, Any]:
    whole = config(Path("none"), 1, **options)
    data = {"levels": levels, "batch_size": 4, "cutoff": CUTOFF}
    whole["data"] = {"class_path": "geqlib.data.LevelsData", "init_args": data}
    whole["trainer"]["default_root_dir"] = str(run)
    return whole


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("levels")
    levels = write_levels(folder)
    run = fit(configuration(levels, folder / "run"))
    best = run.folder / "checkpoints" / "best.ckpt"
    measure(folder / "run" / "config.yaml", best)
    predict(folder / "run" / "config.yaml", best)
    return folder / "run", levels


# --- data ----------------------------------------------------------------------------------------


def test_structures_keep_their_labels_and_units(tmp_path: Path) -> None:
    data = LevelsData(write_levels(tmp_path), cutoff=CUTOFF)
    data.setup()
    splits = {name: data.splits[name] for name in ("train", "val", "test")}
    assert [s.level.tolist() for s in splits.values()] == [[0] * 8 + [1] * 4, [0, 0, 1], [0, 0, 1]]
    numbers = torch.cat([s.index for s in splits.values()])
    assert len(numbers.unique()) == 18  # the frames of all levels have numbers of their own
    train = splits["train"]
    energies = {i: float(e) for i, e in zip(train.index.tolist(), train.energy, strict=True)}
    frames: Any = read(tmp_path / "high.xyz", ":")
    for k, atoms in enumerate(frames):
        if 12 + k in energies:
            assert energies[12 + k] == pytest.approx(atoms.info["REF"] / 1e3)
    atoms_of_high = train.level[train.batch] == 1
    assert train.forces[atoms_of_high].isnan().all()
    assert not train.forces[~atoms_of_high].isnan().any()
    # a batch of both is its structures
    batch, one = train.__getitems__([11, 0]), train.__getitems__([11])
    assert batch.level.tolist() == [1, 0]
    edges = batch.edge_index[:, batch.batch[batch.edge_index[1]] == 0]
    assert torch.equal(edges, one.edge_index)
    assert [info["config_type"] for info in data.infos()] == ["low"] * 12 + ["high"] * 6


def test_levels_are_drawn_by_weight() -> None:
    sampler = LevelSampler([6, 4], [1.0, 4.0], seed=3)
    drawn = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        numbers = list(sampler)
        assert len(numbers) == len(sampler) == 10
        own = Counter(numbers)
        assert sum(n for k, n in own.items() if k < 6) == 2
        assert {n for k, n in own.items() if k >= 4 + 2} == {2}  # all once more before a third time
        assert numbers == list(sampler)
        drawn.append(numbers)
    assert drawn[0] != drawn[1]
    shares = [list(LevelSampler([5, 4], [1, 1], processes=2, rank=r)) for r in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 5
    assert sorted({*shares[0], *shares[1]}) == list(range(9))


@pytest.mark.parametrize("weights", [[1e-9, 1.0], [3.0, 1.0], [1.0, 1.0]])
def test_shares_add_up(weights: list[float]) -> None:
    shares = largest_remainders(7, weights)
    assert sum(shares) == 7 and min(shares) > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "levels is empty"),
        ({"low": {"val": 1}}, "The level low names no structures"),
        ({"low": {"train": "a.xyz", "weight": 0}}, "weight of the level low is 0"),
        ({"low": {"train": "a.xyz", "cutoff": 3.0}}, "'cutoff', which is a setting of all levels"),
        ({"low": {"train": "a.xyz", "stream": True}}, "'stream', which is no setting of a level"),
        ({"low": {"train": "a.xyz", "energi_key": "E"}}, "'energi_key', which is no setting"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LevelsData(change)


def test_weights_of_some_levels_alone(tmp_path: Path) -> None:
    levels = write_levels(tmp_path)
    levels["high"]["weight"] = 2.0
    data = LevelsData(levels, cutoff=CUTOFF)
    data.setup()
    with pytest.raises(ValueError, match="The level low has no weight"):
        data.train_dataloader()


# --- training ------------------------------------------------------------------------------------


def test_each_level_has_its_energies_of_atoms(trained: Any) -> None:
    """Fitted to its own structures: a constant of each element, which the other does not have."""
    potential: Any = geqlib.load(trained[0])
    assert potential.levels.names == ("low", "high")
    assert potential.levels.vectors.weight.abs().max() > 0
    statistics = potential.statistics
    data = LevelsData(trained[1], cutoff=CUTOFF)
    data.setup()
    train = data.splits["train"]
    for number in (0, 1):
        counts, energies = [], []
        for k in (train.level == number).nonzero()[:, 0].tolist():
            graph = train[k]
            counts.append(torch.bincount(graph.z, minlength=119).double().numpy())
            energies.append(float(graph.energy))
        own = np.array(counts).any(0)
        expected = np.linalg.lstsq(np.array(counts)[:, own], np.array(energies), rcond=None)[0]
        np.testing.assert_allclose(statistics.references[number, own], expected, atol=1e-6)
        assert statistics.seen[number].tolist() == own.tolist()


def test_errors_are_those_of_each_level(trained: Any) -> None:
    results = json.loads((trained[0] / "results.json").read_text())["metrics"]
    assert {"test/low/forces_rmse", "test/high/energy_mae"} <= results.keys()
    assert "test/high/forces_rmse" not in results or np.isnan(results["test/high/forces_rmse"])
    both = (2 * results["test/low/energy_mae"] + results["test/high/energy_mae"]) / 3
    assert results["test/energy_mae"] == pytest.approx(both, rel=1e-5)
    frames: Any = read(trained[0] / "predictions.xyz", ":")
    assert [atoms.info["config_type"] for atoms in frames] == ["low", "low", "high"]
    errors = [abs(a.get_potential_energy() - a.info["REF_energy"]) for a in frames]
    assert 1e3 * errors[2] == pytest.approx(results["test/high/energy_mae"], rel=1e-4)


def test_the_report_has_them(trained: Any, tmp_path: Path) -> None:
    from geqlib.report.run_report import write_report

    text = write_report([trained[0]], tmp_path).read_text()
    assert r"low/forces\_rmse (meV/Å)" in text and r"high/energy\_mae (meV)" in text


def test_the_checkpoint_is_one_potential_for_each_level(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, levels = trained
    frames: Any = read(levels["high"]["train"], ":")
    energies = {}
    for level in levels:
        atoms = frames[0].copy()
        atoms.calc = GeqCalculator(run, level=level, dtype=torch.float64)
        energies[level] = atoms.get_potential_energy()
        file = tmp_path / f"{level}.geqlib"
        export_model(run, file, level)
        assert not read_stored(file).get("optimizer_states")
        atoms.calc = GeqCalculator(file, dtype=torch.float64)
        assert atoms.get_potential_energy() == pytest.approx(energies[level], abs=1e-9)
    assert abs(energies["low"] - energies["high"]) > 1e-3
    # a file is read with the keys and units of its level
    args = ["predict", str(run), levels["high"]["train"], "--out", str(tmp_path / "out.xyz")]
    assert main(args) == 2
    assert "has the levels low, high: name the one" in capsys.readouterr().err
    assert main([*args, "--level", "high"]) == 0
    out: Any = read(tmp_path / "out.xyz", ":")
    assert out[0].get_potential_energy() == pytest.approx(energies["high"], abs=1e-4)
    assert out[0].info["REF_energy"] == pytest.approx(frames[0].info["REF"] / 1e3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This run was resumed with other settings")
@pytest.mark.parametrize("names", [("high", "low"), ("low", "other")])
def test_levels_of_a_checkpoint_keep_their_numbers(
    trained: Any, tmp_path: Path, names: tuple[str, str]
) -> None:
    """Resumed or measured in another order, each level would have what another one learnt."""
    run, levels = trained
    parts = {"other": levels["high"], **levels}
    options = configuration({name: parts[name] for name in names}, tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"
    for command in (fit, measure):
        with pytest.raises(ValueError, match="but the checkpoint has low, high, by whose numbers"):
            command(options, ckpt_path=last)
    options = configuration(levels, tmp_path / "same")
    options["trainer"]["max_epochs"] = 2
    assert fit(options, ckpt_path=last).task.model.levels.names == ("low", "high")


@pytest.mark.parametrize("name", ["", " ", 1])
def test_levels_have_names(name: Any) -> None:
    with pytest.raises(ValueError, match="give it a name, in quotes"):
        LevelsData({name: {"train": "a.xyz"}})


def test_one_more_level_begins_with_the_others(trained: Any, tmp_path: Path) -> None:
    """Vectors and energies of atoms go by name; a new one is fitted to what is left."""
    run, levels = trained
    more = {"new": levels["high"] | {"val": 1}, "low": levels["low"]}
    options = configuration(more, tmp_path / "more")
    del options["model"]
    second = fit({**options, "init": str(run)})
    before, after = geqlib.load(run), second.task.model
    assert after.levels.names == ("new", "low")
    low: Any = before
    difference = after.levels.vectors.weight - low.levels.vectors.weight[:1]
    assert difference[1].abs().max() < 0.02  # a few steps
    single = options | {
        "data": config(Path(levels["low"]["train"]), val=2, test=2)["data"],
        "init": str(run),
    }
    single["trainer"] = single["trainer"] | {"default_root_dir": str(tmp_path / "single")}
    with pytest.raises(ValueError, match="knows the levels low, high, and the data of this run"):
        fit(single)


@pytest.mark.slow
def test_levels_after_one(trained: Any, tmp_path: Path) -> None:
    """A potential of one level begins a training on several."""
    levels = trained[1]
    first = config(Path(levels["low"]["train"]), 1, val=2, test=2)
    first["trainer"]["default_root_dir"] = str(tmp_path / "one")
    fit(first)
    options = configuration(levels, tmp_path / "several")
    del options["model"]
    second = fit({**options, "init": str(tmp_path / "one"), "model.lr": 1e-9})
    one: Any = geqlib.load(tmp_path / "one")
    potential = second.task.model
    torch.testing.assert_close(potential.embedding.weight, one.embedding.weight)
    # what is left of each level's energies is no constant of an element any more
    structures: Any = second.data.splits["train"]
    rest = residuals(potential.cpu(), structures, frames_of(structures))
    for number in (0, 1):
        table = rest.of_level(number).references(RANK)
        assert np.abs(table).max() < 1e-3 < np.abs(rest.of_level(number).energies).max()
