"""MoleculeData: which frames land where, in which form, and what is said about bad requests."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from jsonargparse import ArgumentParser

from geqlib.data import MoleculeData
from geqlib.graph import check_graph

MIRROR = os.environ.get("GEQLIB_DATA")
needs_mirror = pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA is not set")
SPLITS = ("train", "val", "test")


def molecules(count, seed=0, start=0):
    """Water-like molecules whose energy is their number."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        pos = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]) + 0.1 * rng.normal(size=(3, 3))
        atoms = Atoms("OH2", pos, info={"E": float(start + k)})
        atoms.set_array("F", rng.normal(size=(3, 3)))
        yield atoms


def atom(symbol, energy, **info):
    return Atoms(symbol, [[0, 0, 0]], info={"E": energy, **info})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """train.xyz of 20 molecules, test.xyz of 7, atoms.xyz of two atoms."""
    write(tmp_path / "train.xyz", list(molecules(20)), format="extxyz")
    write(tmp_path / "test.xyz", list(molecules(7, seed=1, start=100)), format="extxyz")
    write(tmp_path / "atoms.xyz", [atom("H", -13.6), atom("O", -2041.0)], format="extxyz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(folder):
    def make(train="train.xyz", val=0.1, test=None, **options):
        keys = {"energy_key": "E", "forces_key": "F", "cutoff": 3.0, "cache": str(folder / "c")}
        return MoleculeData(train, val, test, **(keys | options))

    return make


@pytest.fixture
def ready(make):
    def ready(*args, stage=None, **options):
        data = make(*args, **options)
        data.setup(stage)
        return data

    return ready


def numbers(data):
    return {split: part.index.tolist() for split, part in data.splits.items()}


def order(loader):
    return [k for batch in loader for k in batch.index.tolist()]


def said(call, *args, **options):
    with pytest.raises(ValueError) as caught:
        call(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_splits_of_one_file(ready, stream):
    data = ready(val=0.2, test=3, stream=stream)
    actual = numbers(data)
    assert [len(actual[split]) for split in SPLITS] == [13, 4, 3]
    assert sorted(k for part in actual.values() for k in part) == list(range(20))
    assert numbers(ready(val=0.2, test=3, stream=not stream)) == actual
    assert numbers(ready(val=0.2, test=3, data_seed=1)) != actual
    smaller = numbers(ready(val=0.2, test=3, num_train=5))
    assert set(smaller["train"]) < set(actual["train"]) and smaller["val"] == actual["val"]


@pytest.mark.parametrize("stream", [False, True])
def test_batches_hold_their_frames(ready, stream):
    frames = list(molecules(20))
    data = ready(val=5, test="test.xyz", stream=stream, batch_size=4, eval_batch_size=3)
    for split in SPLITS:
        for batch in getattr(data, f"{split}_dataloader")():
            check_graph(batch)
            assert {"energy", "forces", "reverse"} <= set(batch.keys())
            assert not {"stress", "cell_shift", "charge"} & set(batch.keys())
            expected = batch.index + (100 if split == "test" else 0)
            assert torch.equal(batch.energy, expected.double())
            if split != "test":
                forces = np.concatenate([frames[k].arrays["F"] for k in batch.index])
                assert np.allclose(batch.forces, forces, rtol=1e-6, atol=1e-7)


def test_splits_of_several_files(ready):
    data = ready(["train.xyz", "test.xyz"], val=["atoms.xyz"], forces_key=None)
    assert numbers(data) == {"train": list(range(27)), "val": [0, 1]}
    assert data.splits["train"].energy[[0, 20]].tolist() == [0, 100]


def test_listed_frames(ready):
    actual = numbers(ready(val=[3, 1], test=[19, 0]))
    assert (actual["val"], actual["test"]) == ([1, 3], [0, 19])
    assert len(actual["train"]) == 16


def test_configuration_types_of_the_test_frames(make, folder):
    """Counted over all files, as frames are; of both readers."""
    kinds = ["bulk", None, "a surface", "bulk"]

    def types(data):
        return [info.get("config_type") for info in data.infos()]

    frames = list(molecules(4))
    for atoms, kind in zip(frames, kinds, strict=True):
        if kind is not None:
            atoms.info["config_type"] = kind
    write("first.xyz", frames[:2], format="extxyz")
    write("second.xyz.gz", frames[2:3], format="extxyz")
    write("third.traj", frames[3:])
    assert types(make(test=["first.xyz", "second.xyz.gz", "third.traj"])) == kinds
    assert types(make("first.xyz", test=0.5)) == kinds[:2]


def test_only_the_files_of_a_stage_are_read(make, folder):
    (folder / "train.xyz").unlink()
    data = make(test="test.xyz")
    data.setup("test")
    assert order(data.predict_dataloader()) == list(range(7))
    assert "There is no file train.xyz, here or in the folder GEQLIB_DATA" in said(
        data.setup, "fit"
    )
    data = make(["test.xyz"], val="atoms.xyz", forces_key=None)
    data.setup("validate")
    assert data.splits.keys() == {"val"}


def test_no_test_split(ready):
    data = ready(stage="fit")
    data.setup("test")
    assert "There is no test split: name its data in `test`" in said(data.test_dataloader)


def test_training_order_depends_on_seed_and_epoch_alone(ready):
    def training(epoch=0, **options):
        loader = ready(**options).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return order(loader)

    first = training()
    # 18 molecules by fives: the last three are left out
    assert training() == first and len(set(first)) == 15
    assert training(1) != first and training(shuffle_seed=1) != first
    assert training(stream=True) == first
    assert training(workers=1, num_train=4) == training(num_train=4)
    assert len(training(num_train=4)) == 4


def test_other_splits_keep_their_order(ready):
    data = ready(val=6, test="test.xyz", eval_batch_size=4)
    assert order(data.val_dataloader()) == sorted(order(data.val_dataloader()))
    assert [batch.num_graphs for batch in data.test_dataloader()] == [4, 3]


def test_data_is_found_in_the_mirror(make, folder, monkeypatch):
    monkeypatch.setenv("GEQLIB_DATA", str(folder))
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    data = make()
    data.setup()
    assert len(data.splits["train"]) == 18


@pytest.mark.parametrize("stream", [False, True])
def test_structures_for_ase(ready, stream):
    data = ready(val=4, test="test.xyz", stream=stream)
    number = data.splits["val"].index[2].item()
    wanted, actual = list(molecules(20))[number], data.atoms(number, "val")
    assert np.allclose(actual.positions, wanted.positions, atol=1e-6)
    assert actual.info["REF_energy"] == wanted.info["E"] and actual.info["index"] == number
    assert np.allclose(actual.arrays["REF_forces"], wanted.arrays["F"], atol=1e-6)
    assert data.atoms(6).info["REF_energy"] == 106
    assert "There is no frame 7 in the test split" in said(data.atoms, 7)


@pytest.mark.parametrize("stream", [False, True])
def test_isolated_atoms_become_references(ready, folder, stream):
    mixed = [atom("H", -13.6), *molecules(5), atom("O", -2041.0, config_type="IsolatedAtom")]
    mixed[-1].set_cell(np.eye(3))
    mixed[-1].pbc = True
    write(folder / "mixed.xyz", mixed, format="extxyz")
    data = ready("mixed.xyz", val=1, isolated_atoms="references", stream=stream)
    assert data.reference_energies == {1: -13.6, 8: -2041.0}
    assert sorted(sum(numbers(data).values(), [])) == [1, 2, 3, 4, 5]  # noqa: RUF017
    remaining = ready("mixed.xyz", val=1, missing="mask", stream=stream)
    assert remaining.reference_energies == {} and len(remaining.splits["train"]) == 6
    assert "no key 'F'" in said(ready, "mixed.xyz", val=1, stream=stream)


def test_references_in_a_file_of_their_own(ready, folder):
    data = ready(reference_file="atoms.xyz", energy_unit="Hartree")
    hartree = 27.2113860
    assert data.reference_energies == pytest.approx({1: -13.6 * hartree, 8: -2041 * hartree})
    write(folder / "double.xyz", [atom("H", -1.0), atom("H", -2.0)], format="extxyz")
    problem = said(ready, reference_file="double.xyz")
    assert "an isolated atom of H has -2.0 eV, another one -1.0 eV: keep one" in problem
    assert "frame 0 has 3 atoms: references are single" in said(ready, reference_file="test.xyz")


def test_crystals_and_molecules_in_one_file(ready, folder):
    copper = Atoms("Cu2", [[0, 0, 0], [1.8, 1.8, 0]], cell=[3.6, 3.6, 9], pbc=(True, True, False))
    copper.info["E"] = -7.0
    copper.info["S"] = np.arange(9.0)
    copper.set_array("F", np.zeros((2, 3)))
    write(folder / "both.xyz", [copper, *molecules(3)], format="extxyz")
    options = {"val": 0, "stress_key": "S", "missing": "mask", "stress_unit": "GPa"}
    data = ready("both.xyz", **options)
    batch = data.splits["train"].__getitems__([1, 0])
    assert batch.pbc.tolist() == [[False] * 3, [True, True, False]]
    assert torch.isnan(batch.stress[0]).all()
    assert batch.stress[1].flatten()[8].item() == pytest.approx(8 / 160.21766, rel=1e-6)
    in_copper = batch.batch[batch.edge_index[1]] == 1
    assert not batch.cell_shift[~in_copper].any() and batch.cell_shift[in_copper].any()
    assert not batch.cell_shift[:, 2].any()


def test_bad_frames_are_left_out(ready, folder):
    text = (folder / "train.xyz").read_text().replace("E=7.0", "E=nan")
    (folder / "train.xyz").write_text(text)
    assert "train.xyz, frame 7: 'E' (energy) is NaN" in said(ready)
    for stream in (False, True):
        with pytest.warns(UserWarning, match="1 of 20 frames are left out"):
            data = ready(on_bad_frame="skip", stream=stream)
        assert 7 not in sum(numbers(data).values(), [])  # noqa: RUF017
    with pytest.warns(UserWarning, match="left out"):
        assert "val lists frame 7, which does not exist" in said(
            ready, val=[7], on_bad_frame="skip"
        )


WRONG = {
    "batch_size": ({"batch_size": 0}, "batch_size and eval_batch_size must be at least 1"),
    "cutoff": ({"cutoff": 0.0}, "cutoff must be positive, got 0.0"),
    "missing": ({"missing": "skip"}, "missing must be one of error, mask, got 'skip'"),
    "on_bad_frame": ({"on_bad_frame": "x"}, "on_bad_frame must be one of error, skip"),
    "isolated_atoms": ({"isolated_atoms": "x"}, "isolated_atoms must be one of keep, references"),
    "unit": ({"energy_unit": "Ry"}, "energy_unit must be one of"),
    "same file": ({"test": "train.xyz"}, "train, val and test must name files that differ"),
    "no file": ({"train": []}, "train, val and test must name files that differ"),
    "reference_file": ({"energy_key": None, "reference_file": "atoms.xyz"}, "name energy_key"),
    "path": ({"train": "nowhere.xyz"}, "There is no file nowhere.xyz"),
    "one file by two names": ({"train": ["train.xyz", "./train.xyz"]}, "is named twice"),
    "key": ({"energy_key": "energy"}, "no key 'energy' for the energy, only E, F: name the right"),
    "num_train": ({"num_train": 19}, "num_train is 19, but there are 18 frames"),
    "all": ({"val": 10, "test": 10}, "val and test take all 20 frames"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(ready, case):
    options, sentence = WRONG[case]
    assert sentence in said(ready, **options)


@pytest.mark.parametrize(
    ("inputs", "understood"),
    [("0.25", 0.25), ("4", 4), ("v.xyz", "v.xyz"), ("[1, 2]", [1, 2]), ("[a, b]", ["a", "b"])],
)
@pytest.mark.filterwarnings("ignore")  # jsonargparse renames methods
def test_command_line(inputs, understood):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(MoleculeData, "data")
    options = [f"--data.val={inputs}", "--data.train=t.xyz", "--data.cutoff=5"]
    data = parser.instantiate_classes(parser.parse_args(options)).data
    assert data.sources == {"train": "t.xyz", "val": understood, "test": None}


@needs_mirror
def test_3bpa():
    """Counts, units and the reference energies that the data set's authors give."""
    data = MoleculeData(
        "3bpa/train_300K.xyz.xz",
        val=50,
        cutoff=5.0,
        reference_file="3bpa/iso_atoms.xyz",
    )
    data.setup("fit")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 450, "val": 50}
    assert data.reference_energies == {
        1: -13.587222780835477,
        6: -1029.4889999855063,
        7: -1484.9814568572233,
        8: -2041.9816003861047,
    }
    batch = next(iter(data.val_dataloader()))
    check_graph(batch)
    assert batch.num_graphs == 50 and batch.z[:27].bincount().nonzero()[:, 0].tolist() == [
        1,
        6,
        7,
        8,
    ]
    assert ((batch.energy > -17662) & (batch.energy < -17658)).all()
    assert 0.9 < batch.forces.std() < 1.2
    offset = batch.pos[batch.edge_index[0]] - batch.pos[batch.edge_index[1]]
    # the shortest bond, O-H or N-H, is about 1 angstrom
    assert offset.norm(dim=1).max() <= 5.0 + 1e-5 and 0.8 < offset.norm(dim=1).min() < 1.1
    assert all(a < b for a, b in pairwise(batch.index.tolist()))


@needs_mirror
def test_solvents():
    data = MoleculeData(
        "mace_tutorial_solvents/solvent_train.xyz.xz",
        val=0.1,
        cutoff=4.0,
        isolated_atoms="references",
    )
    data.setup()
    assert data.reference_energies.keys() == {1, 6, 8}
    assert sum(map(len, data.splits.values())) == 200
    batch = next(iter(data.train_dataloader()))
    assert batch.cell_shift.shape == (batch.edge_index.size(1), 3) and batch.pbc.all()
