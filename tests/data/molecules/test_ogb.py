"""Molecules of OGB, in a miniature of its archives."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from geqlib.data import OgbMoleculeData
from tests.data.molecules import raw_ogb


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path))
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))


def table(tmp_path: Path, name: str, file: str) -> list[list[str]]:
    text = gzip.decompress((tmp_path / name / f"{file}.csv.gz").read_bytes()).decode()
    return [line.split(",") for line in text.splitlines()]


def test_molecules_are_those_of_the_files(tmp_path: Path) -> None:
    raw_ogb.write(tmp_path, "ogbg_moltox21", targets=12)
    data = OgbMoleculeData("ogbg-moltox21")
    data.setup()
    assert {k: part.index.tolist() for k, part in data.splits.items()} == {
        "train": [7, 0, 1, 2, 3, 4],
        "val": [5, 8],
        "test": [6, 9],
    }
    starts = np.concatenate([[0], np.cumsum(raw_ogb.SIZES)])
    features = np.array(table(tmp_path, "ogbg_moltox21", "raw/node-feat"), dtype=int)
    bonds = np.array(table(tmp_path, "ogbg_moltox21", "raw/edge-feat"), dtype=int)
    first = np.concatenate([[0], np.cumsum(np.array(raw_ogb.SIZES) - 1)])
    for part in data.splits.values():
        for k in range(len(part)):
            one = part[k]
            number = int(one.index)
            size = raw_ogb.SIZES[number]
            assert np.array_equal(one.x, features[starts[number] : starts[number + 1]])
            # each bond in one direction and then the other, as ogb does
            pairs = [(i, i + 1) for i in range(size - 1)]
            both = [pair for i, j in pairs for pair in ((i, j), (j, i))]
            assert one.edge_index.T.tolist() == [list(pair) for pair in both]
            own = bonds[first[number] : first[number + 1]]
            assert np.array_equal(one.edge_attr, np.repeat(own, 2, axis=0))
            label = float("nan") if number % 5 == 4 else number % 2
            np.testing.assert_equal(one.y[0, :2].tolist(), [label, number // 5])
    assert data.target_scale()[0].shape == (12,)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name 'ogbg-ppa' is unknown: choose ogbg-molbace"):
        OgbMoleculeData("ogbg-ppa")
    data = OgbMoleculeData("ogbg-molhiv")
    with pytest.raises(
        ValueError, match=r"no ogbg_molhiv/raw/num-node-list.csv.gz: put .*hiv.zip, u"
    ):
        data.setup()
    raw_ogb.write(tmp_path)
    path = tmp_path / "ogbg_molhiv" / "raw" / "node-feat.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(whole).rsplit(b"\n", 2)[0] + b"\n"))
    with pytest.raises(
        ValueError, match=r"does not hold molecules of OGB .*34.* lines for 35 atoms"
    ):
        data.setup()
    path.write_bytes(whole)
    split = tmp_path / "ogbg_molhiv" / "split" / "scaffold" / "valid.csv.gz"
    split.write_bytes(gzip.compress(b"5\n99\n"))
    with pytest.raises(ValueError, match=r"valid.csv.gz names molecules beyond 9"):
        data.setup()
