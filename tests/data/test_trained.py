"""Data of one's own whose parts are the same files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from geqlib.data import CloudData, MoleculeTableData, OwnGraphData, PropertyData
from geqlib.data.trained import NamedLoaders


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table, structures, a folder of graphs and a folder of clouds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEQLIB_DATA", raising=False)
    rows = [f"{'C' * n},{n}" for n in range(1, 9)]
    Path("own.csv").write_text("\n".join(["smiles,size", *rows]))
    frames = [molecule("H2O") for _ in range(8)]
    for k, atoms in enumerate(frames):
        atoms.info["size"] = float(k)
    write("own.xyz", frames)
    for name, make in (("rings", nx.cycle_graph), ("trees", nx.path_graph)):
        Path("graphs", name).mkdir(parents=True)
        lines = [nx.to_graph6_bytes(make(n), header=False) for n in range(3, 9)]
        Path("graphs", name, "own.g6").write_bytes(b"".join(lines))
        Path("clouds", name).mkdir(parents=True)
        for k in range(3):
            np.save(f"clouds/{name}/{k}.npy", np.random.default_rng(k).normal(size=(8, 3)))
    for source in ("own.csv", "own.xyz"):
        shutil.copy(source, f"copy_of_{source}")
    for source in ("graphs", "clouds"):
        shutil.copytree(source, f"copy_of_{source}")


def table(**parts: Any) -> MoleculeTableData:
    pytest.importorskip("rdkit")
    return MoleculeTableData("own.csv", "size", **parts)


def structures(**parts: Any) -> PropertyData:
    return PropertyData(["own.xyz"], properties={"size": "graph:scalar"}, cutoff=3.0, **parts)


def graphs(**parts: Any) -> OwnGraphData:
    return OwnGraphData({"rings": "graphs/rings", "trees": "graphs/trees/own.g6"}, **parts)


def clouds(**parts: Any) -> CloudData:
    return CloudData("clouds", points=4, **parts)


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (table, "own.csv"),
        (table, "copy_of_own.csv"),
        (structures, "own.xyz"),
        (structures, "copy_of_own.xyz"),
        (graphs, {"rings": "graphs/rings"}),
        (graphs, {"trees": "copy_of_graphs/trees/own.g6"}),
        (clouds, "./clouds"),
    ],
    ids=["table", "copy", "xyz", "copy of xyz", "graphs", "copy of graphs", "clouds"],
)
def test_training_data_is_no_other_part(make: Any, source: Any) -> None:
    for split in ("val", "test"):
        data: NamedLoaders = make(**{split: source})
        data.setup()
        assert len(data.test_dataloader())  # which the data of a training may be
        with pytest.raises(ValueError, match=f"train and {split} are the same data"):
            data.train_dataloader()


def test_every_target_has_a_label_to_learn_from() -> None:
    pytest.importorskip("rdkit")
    rows = [f"{'C' * n},{n},{n if n == 4 else ''}" for n in range(1, 9)]
    Path("sparse.csv").write_text("\n".join(["smiles,size,rare", *rows]))
    labelled = []
    for seed in range(9):
        data = MoleculeTableData("sparse.csv", ["size", "rare"], 0.25, 0.25, data_seed=seed)
        data.setup()
        labelled.append(not data.splits["train"].y[:, 1].isnan().all())
        if labelled[-1]:
            data.train_dataloader()
            continue
        with pytest.raises(ValueError, match="training part has a value of rare, which would not"):
            data.train_dataloader()
    assert {True, False} == set(labelled)


@pytest.mark.filterwarnings("ignore:.* equal (graph|cloud)s of the training")
@pytest.mark.parametrize(
    ("make", "source"),
    [(graphs, {"rings": "copy_of_graphs/rings"}), (clouds, "copy_of_clouds")],
    ids=["graphs", "clouds"],
)
def test_other_folders_are_other_parts(make: Any, source: Any) -> None:
    data = make(test=source)
    data.setup()
    assert len(data.train_dataloader())
