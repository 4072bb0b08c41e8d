"""Molecules are read as torch_geometric reads them, and from pickles nothing else is."""

from __future__ import annotations

import os
import pickle
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.datasets import ZINC, MoleculeNet

from geqlib.data import MoleculeNetData, ZincData
from geqlib.data.molecules.moleculenet import scaffold_split
from geqlib.data.molecules.zinc import read_tensors
from tests.data.molecules import raw_molecules

rdkit = pytest.mark.skipif(
    find_spec("rdkit") is None, reason="molecules are read by rdkit, which is optional"
)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    raw_molecules.write(tmp_path)
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    return tmp_path


def lipo(folder: Path, **options: Any) -> MoleculeNetData:
    data = MoleculeNetData("lipo", 4, cache=str(folder / "cache"), **options)
    data.setup()
    return data


def edges(graph: Any) -> set[tuple[int, ...]]:
    attributes = graph.edge_attr if graph.edge_attr.dim() == 2 else graph.edge_attr[:, None]
    return {tuple(row) for row in torch.cat([graph.edge_index.T, attributes], 1).tolist()}


@rdkit
def test_molecules_are_those_of_torch_geometric(mirror: Path) -> None:
    data = lipo(mirror, split="random")
    expected = {
        round(float(graph.y), 4): graph
        for graph in MoleculeNet(str(mirror / "MoleculeNet"), "lipo")
    }
    actual = [part[k] for part in data.splits.values() for k in range(len(part))]
    assert len(actual) == 10
    for graph in actual:
        g: Any = graph
        same = expected[round(float(g.y), 4)]
        assert torch.equal(g.x, same.x) and edges(g) == edges(same)
        assert (g.edge_index[1].diff() >= 0).all()


@rdkit
def test_random_splits_are_disjoint_and_follow_the_seed(mirror: Path) -> None:
    def targets(data: Any) -> dict[str, list[float]]:
        parts = data.splits.items()
        return {name: [float(part[k].y) for k in range(len(part))] for name, part in parts}

    one, other = (targets(lipo(mirror, split="random", data_seed=seed)) for seed in (0, 1))
    assert {k: len(v) for k, v in one.items()} == {"train": 8, "val": 1, "test": 1}
    assert len({y for part in one.values() for y in part}) == 10
    assert one != other and one == targets(lipo(mirror, split="random", data_seed=0))
    data = lipo(mirror, split="random")
    y = torch.tensor(one["train"])
    assert data.target_scale() == pytest.approx((float(y.mean()), float(y.std())))


@rdkit
def test_scaffolds_stay_together(mirror: Path) -> None:
    """Benzene, toluene and chlorobenzene have one scaffold; five molecules have none."""
    data = lipo(mirror, split="scaffold")
    rings = {round(y, 2) for y in (3.69, 3.37, 2.25)}
    for part in data.splits.values():
        inside = {round(float(part[k].y), 2) for k in range(len(part))} & rings
        assert not inside or inside == rings


def test_scaffold_split_keeps_groups_and_shares() -> None:
    scaffold = np.random.default_rng(0).integers(0, 60, 500)
    parts = scaffold_split(scaffold)
    assert sorted(np.concatenate(parts).tolist()) == list(range(500))
    groups = [set(scaffold[part].tolist()) for part in parts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert len(parts[0]) == pytest.approx(400, abs=15) and len(parts[1]) <= 50


@rdkit
def test_bad_lines_and_missing_files(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = mirror / "MoleculeNet" / "lipo" / "raw" / "Lipophilicity.csv"
    file.write_text("id,exp,smiles\nA,1.0,nonsense\n")
    with pytest.raises(ValueError, match=r"'nonsense' cannot be read: correct or drop that line"):
        lipo(mirror)
    with pytest.raises(
        ValueError, match=r"There is no MoleculeNet/esol/raw/delaney-processed\.csv"
    ):
        MoleculeNetData("esol").prepare_data()
    for options, message in (
        ({"name": "qm9"}, "name 'qm9' is unknown: choose esol, freesolv, lipo"),
        ({"name": "esol", "split": "time"}, 'split must be "scaffold" or "random"'),
        ({"name": "esol", "batch_size": 0}, "batch_size must be positive, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MoleculeNetData(**options)


@rdkit
@pytest.mark.skipif("GEQLIB_DATA" not in os.environ, reason="GEQLIB_DATA names no data mirror")
def test_esol_of_the_mirror(tmp_path: Path) -> None:
    data = MoleculeNetData("esol", cache=str(tmp_path))
    data.setup()
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 902,
        "val": 113,
        "test": 113,
    }


# --- ZINC ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subset", [True, False])
def test_zinc_is_that_of_torch_geometric(mirror: Path, subset: bool) -> None:
    data = ZincData(3, subset=subset, cache=str(mirror / "cache"))
    data.setup()
    root = shutil.copytree(mirror / "ZINC", mirror / "copy")
    for split, part in data.splits.items():
        expected = ZINC(str(root), subset=subset, split=split)
        assert len(part) == len(expected) == (4 if subset else 6)
        for k, same in enumerate(expected):
            graph: Any = part[k]
            assert torch.equal(graph.x, same.x[:, 0]) and edges(graph) == edges(same)
            assert graph.y.shape == (1, 1) and graph.y.item() == same.y.item()
            assert (graph.edge_index[1].diff() >= 0).all()


@pytest.mark.parametrize("subset", [True, False])
def test_degrees_of_zinc_are_those_of_its_training_atoms(mirror: Path, subset: bool) -> None:
    data = ZincData(3, subset=subset, cache=str(mirror / "cache"))
    data.setup()
    root = shutil.copytree(mirror / "ZINC", mirror / "copy")
    training: Any = ZINC(str(root), subset=subset, split="train")
    degree = torch.cat([torch.bincount(g.edge_index[1], minlength=g.num_nodes) for g in training])
    assert data.degrees() == torch.bincount(degree).tolist()


class Payload:
    """Leaves a file behind if it is ever rebuilt."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("content", ["payload", "storage", "truncated", "text", "function"])
def test_pickles_run_no_code(tmp_path: Path, content: str) -> None:
    path, trace = tmp_path / "train.pickle", tmp_path / "trace"
    inner = pickle.dumps(Payload(trace), protocol=2)  # torch's own
    contents = {
        "payload": inner,
        # a storage whose bytes are a pickle with a payload
        "storage": b"ctorch.storage\n_load_from_bytes\n(" + pickle.dumps(inner, 3)[2:-1] + b"tR.",
        "truncated": pickle.dumps([raw_molecules.ring(3)])[:-20],
        "text": b"molecules",
        "function": pickle.dumps([os.getcwd]),
    }
    path.write_bytes(contents[content])
    with pytest.raises(ValueError, match="is damaged, or would run code when loaded"):
        read_tensors(path)
    assert not trace.exists()
    pickle.loads(inner)  # noqa: S301
    assert trace.exists()


def test_zinc_errors(mirror: Path) -> None:
    raw = mirror / "ZINC" / "raw"
    (raw / "val.index").write_text("0,99\n")
    with pytest.raises(
        ValueError, match=r"val\.pickle does not hold ZINC's molecules \(IndexError"
    ):
        ZincData(cache=str(mirror / "cache")).prepare_data()
    (raw / "val.pickle").write_bytes(pickle.dumps([{"atom_type": 1}]))
    with pytest.raises(ValueError, match=r"does not hold ZINC's molecules \(KeyError"):
        ZincData(subset=False, cache=str(mirror / "cache")).prepare_data()
    (raw / "val.pickle").unlink()
    with pytest.raises(ValueError, match=r"There is no ZINC/raw/val\.pickle: put the published"):
        ZincData(cache=str(mirror / "cache")).prepare_data()
    with pytest.raises(ValueError, match="batch_size must be positive"):
        ZincData(0)
