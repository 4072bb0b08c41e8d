"""MNIST superpixels against torch_geometric's reading of the same miniature file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.datasets import MNISTSuperpixels
from torch_geometric.utils import remove_self_loops

from geqlib.data import SuperpixelData
from tests.data.points import raw_superpixels


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    return raw_superpixels.write(tmp_path / "raw")


def edges(edge_index: torch.Tensor) -> set[tuple[int, ...]]:
    return set(map(tuple, edge_index.T.tolist()))


def test_images_are_those_of_torch_geometric(raw: Path) -> None:
    data = SuperpixelData(4)
    data.prepare_data()
    data.setup()
    assert {split: len(part) for split, part in data.splits.items()} == {
        "train": 18,
        "val": 2,
        "test": 6,
    }
    expected = MNISTSuperpixels(str(raw.parents[1]), train=False)
    for k, same in enumerate(expected):
        graph: Any = data.splits["test"][k]
        assert torch.equal(graph.x, same.x) and torch.equal(graph.y, same.y)
        torch.testing.assert_close(14 * (graph.pos + 1), same.pos)
        assert edges(graph.edge_index) == edges(remove_self_loops(same.edge_index)[0])
        assert (graph.edge_index[1].diff() >= 0).all() and graph.edge_index.dtype == torch.long


def test_the_seed_decides_the_tenth_for_validation(raw: Path) -> None:
    first, same, other = (rows(SuperpixelData(data_seed=seed)) for seed in (0, 0, 1))
    assert first["val"] == same["val"] != other["val"]
    assert sorted(first["train"] + first["val"]) == sorted(other["train"] + other["val"])


def rows(data: SuperpixelData) -> dict[str, list[list[float]]]:
    data.setup()
    return {split: part.x.tolist() for split, part in data.splits.items()}


@pytest.mark.parametrize("wrong", ["edge", "nan", "key", "cut", "shape"])
def test_damaged_files(raw: Path, wrong: str) -> None:
    image = raw_superpixels.image(0)
    if wrong == "edge":
        image["edge_index"][0, 0] = 9
    if wrong == "nan":
        image["x"][0] = torch.nan
    if wrong == "key":
        del image["pos"]
    if wrong == "shape":
        image["y"] = torch.arange(2)
    torch.save([[image], [image]], raw)
    if wrong == "cut":
        raw.write_bytes(raw.read_bytes()[:-100])
    with pytest.raises(ValueError, match="does not hold superpixels of MNIST"):
        SuperpixelData().prepare_data()


def test_missing_file_and_wrong_size(raw: Path) -> None:
    raw.unlink()
    with pytest.raises(ValueError, match=r"There is no MNISTSuperpixels/raw/MNISTSuperpixels\.pt"):
        SuperpixelData().prepare_data()
    with pytest.raises(ValueError, match="batch_size must be positive"):
        SuperpixelData(0)
