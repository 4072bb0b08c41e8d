"""Batches of structures, from memory and from disk, against one structure at a time."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from geqlib.data.molecules.extxyz import pack_frames, read_frames
from geqlib.data.molecules.labels import Labels
from geqlib.data.molecules.streamed import stream_frames
from geqlib.data.molecules.structures import find_neighbors, molecules, to_atoms, with_neighbors
from geqlib.graph import neighbor_list

LABELS = Labels(energy="E", forces="F", stress="S", energies="e", charge="Q")
MASK = {"missing": "allow"}  # molecules have no stress
CUTOFF = 3.0
KINDS = {
    "molecules": [(False,) * 3],
    "crystals": [(True,) * 3],
    "mixed": [(False,) * 3, (True, True, False), (True,) * 3],
}


def built(pbcs, count=12, seed=0):
    """Random structures of 1 to 7 atoms, some of them smaller than the cutoff, with labels."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        pbc, n = pbcs[k % len(pbcs)], int(rng.integers(1, 8)) if k else 1
        cell = 2.5 * np.eye(3) + 0.5 * rng.normal(size=(3, 3)) if any(pbc) else None
        atoms = Atoms(rng.integers(1, 80, n), 3 * rng.normal(size=(n, 3)), cell=cell, pbc=pbc)
        atoms.info |= {"E": rng.normal() - 1e5, "Q": 1, "S": rng.normal(size=9)}
        if not any(pbc):
            atoms.info["S"] = np.full(9, np.nan)
        atoms.set_array("F", rng.normal(size=(n, 3)))
        atoms.set_array("e", rng.normal(size=n))
        yield atoms


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    path = tmp_path / "frames.xyz"
    write(path, list(built(KINDS[request.param])), format="extxyz")
    return path


@pytest.fixture(params=["kept", "found", "streamed"])
def data(request, path, tmp_path):
    if request.param == "streamed":
        return stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
    structures = pack_frames(read_frames([path], LABELS, **MASK))
    return with_neighbors(structures, CUTOFF, keep=request.param == "kept")


def expected(path, chosen):
    """The fields of a batch, by concatenating one frame after the other."""
    frames = list(read_frames([path], LABELS, **MASK))
    periodic = any(frame.pbc.any() for frame in frames)
    parts, nodes, edges = [], 0, 0
    for number, k in enumerate(chosen):
        frame = frames[k]
        pos = torch.tensor(frame.pos, dtype=torch.float32)
        cell = torch.tensor(frame.cell, dtype=torch.float32)[None]
        pbc = torch.tensor(frame.pbc)[None]
        near = neighbor_list(pos, CUTOFF, cell=cell, pbc=pbc)
        part = {
            "pos": pos,
            "z": torch.tensor(frame.z),
            "edge_index": near.edge_index + nodes,
            "reverse": near.reverse + edges,
            "cell": cell,
            "pbc": pbc,
            "index": torch.tensor([k]),
            "batch": torch.full((len(pos),), number),
            "energy": torch.tensor(frame.labels["energy"], dtype=torch.float64)[None],
            "forces": torch.tensor(frame.labels["forces"], dtype=torch.float32),
            "stress": torch.tensor(frame.labels["stress"], dtype=torch.float32)[None],
            "energies": torch.tensor(frame.labels["energies"]),
            "charge": torch.tensor(frame.labels["charge"], dtype=torch.float32)[None],
        }
        if periodic:
            part["cell_shift"] = near.cell_shift.float()
        parts.append(part)
        nodes, edges = nodes + len(pos), edges + near.edge_index.size(1)
    return {
        key: torch.cat([part[key] for part in parts], dim=1 if key == "edge_index" else 0)
        for key in parts[0]
    }


@pytest.mark.parametrize("chosen", [[0], [3, 1, 8], [5, 5, 0, 11], list(range(12))], ids=str)
def test_batches_are_their_structures(path, data, chosen):
    batch = data.__getitems__(chosen)
    wanted = expected(path, chosen)
    assert batch.num_graphs == len(chosen) and batch.num_nodes == len(wanted["pos"])
    actual = dict(batch.to_dict())
    assert actual.pop("ptr").tolist() == [0, *wanted["batch"].bincount().cumsum(0).tolist()]
    assert actual.keys() == wanted.keys()
    for key, value in wanted.items():
        assert actual[key].dtype == value.dtype, key
        assert torch.equal(actual[key].nan_to_num(7), value.nan_to_num(7)), key


def test_edges_and_their_reverse(data):
    batch = data.__getitems__([2, 7, 4, 0])
    source, target = batch.edge_index
    shift = batch.cell_shift if "cell_shift" in batch else torch.zeros(len(source), 3)
    offset = torch.einsum("ed,edk->ek", shift, batch.cell[batch.batch[target]])
    offset = offset + batch.pos[source] - batch.pos[target]
    assert (offset.norm(dim=1) <= CUTOFF + 1e-5).all()
    # a sum and its negative round alike, but terms of 10 angstrom leave 1e-6
    assert torch.allclose(offset[batch.reverse], -offset, rtol=0, atol=1e-5)
    assert torch.equal(batch.edge_index[:, batch.reverse], batch.edge_index.flip(0))


def test_one_structure_and_ase(path, data):
    frame = list(read_frames([path], LABELS, **MASK))[6]
    assert data[6].num_nodes == len(frame.z) and len(data) == 12
    assert data.index.tolist() == list(range(12))
    atoms = to_atoms(data[6])
    assert np.array_equal(atoms.numbers, frame.z) and np.array_equal(atoms.pbc, frame.pbc)
    for actual, value in (
        (atoms.positions, frame.pos),
        (atoms.cell.array, frame.cell),
        (atoms.arrays["REF_forces"], frame.labels["forces"]),
        (atoms.info["REF_stress"], frame.labels["stress"]),
    ):
        assert np.allclose(actual, value, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert atoms.info["REF_energy"] == frame.labels["energy"] and atoms.info["index"] == 6


@pytest.mark.parametrize("data", ["streamed"], indirect=True)
def test_streamed_data_travels_to_workers(data):
    again = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert torch.equal(again[3].pos, data[3].pos)


def test_precision_is_the_default_of_torch(path, tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        data = stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
        exact = next(iter(read_frames([path], LABELS, **MASK))).pos
        assert np.array_equal(data[0].pos.numpy(), exact)
    finally:
        torch.set_default_dtype(torch.float32)
    assert data[0].pos.dtype == torch.float64  # also in a worker that has another default


def hydrogen(sizes, seed=0):
    pos = 2 * np.random.default_rng(seed).normal(size=(sum(sizes), 3))
    return molecules(np.ones(len(pos)), pos, sizes, np.arange(len(sizes)))


@pytest.mark.parametrize("sizes", [[1], [1, 4, 2, 1, 5], [3, 3]], ids=str)
def test_all_pairs(sizes):
    structures = hydrogen(sizes)
    near, far = find_neighbors(structures, None), find_neighbors(structures, 1e3)
    for name in ("edge_index", "cell_shift", "reverse"):
        assert torch.equal(getattr(near, name), getattr(far, name)), name


def test_all_pairs_of_a_crystal_are_too_many(tmp_path):
    write(tmp_path / "c.xyz", Atoms("Cu", cell=np.eye(3), pbc=True), format="extxyz")
    frames = read_frames([tmp_path / "c.xyz"], Labels(energy=None, forces=None))
    with pytest.raises(ValueError, match="infinitely many pairs: give a cutoff"):
        with_neighbors(pack_frames(frames), None)


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_neighbours_found_in_chunks(path, chunk, monkeypatch):
    structures = pack_frames(read_frames([path], LABELS, **MASK), torch.float64)
    whole = find_neighbors(structures, CUTOFF)
    monkeypatch.setattr("geqlib.data.molecules.structures.CHUNK", chunk)
    stored = with_neighbors(structures, CUTOFF, keep=True, periodic=True)
    everything = stored.__getitems__(range(len(structures)))
    assert torch.equal(everything.cell_shift.long(), whole.cell_shift)
    for name in ("edge_index", "reverse"):
        assert torch.equal(everything[name], getattr(whole, name)), name


def test_no_structures_at_all():
    assert len(with_neighbors(hydrogen([2, 2]).subset([]), 1.0, keep=True)) == 0
    with pytest.raises(ValueError, match="no frames left"):
        pack_frames([])


def test_frames_are_indexed_once(path, tmp_path, monkeypatch):
    first = stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
    with monkeypatch.context() as patch:
        patch.setattr(
            "geqlib.data.molecules.streamed.read_frames", lambda *a, **k: pytest.fail("again")
        )
        again = stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
        assert torch.equal(first.start, again.start) and torch.equal(first.stop, again.stop)
    write(path, list(built(KINDS["molecules"], count=3)), format="extxyz")
    os.utime(path, (0, 0))
    assert len(stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)) == 3


def test_index_of_bad_frames(tmp_path):
    path = tmp_path / "frames.xyz"
    write(path, list(built(KINDS["mixed"], count=4)), format="extxyz")
    path.write_text(path.read_text() + "7\nE=1\nC 0 0")
    with pytest.raises(ValueError, match="frame 4: it is cut off after 1 of 7 atoms"):
        stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
    for _ in range(2):  # from the file, and from the cache
        with pytest.warns(UserWarning, match="1 of 5 frames are left out"):
            frames = stream_frames(
                [path], LABELS, CUTOFF, on_bad_frame="skip", cache=tmp_path, **MASK
            )
        assert frames.index.tolist() == [0, 1, 2, 3]


def test_file_that_changes_under_the_index(path, tmp_path):
    data = stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
    path.write_text("gone")
    with pytest.raises(ValueError, match="has changed since it was indexed"):
        data[3]


def test_compressed_files_are_not_streamed(tmp_path):
    path = tmp_path / "frames.xyz.xz"
    write(path, list(built(KINDS["mixed"], count=4)), format="extxyz")
    with pytest.raises(ValueError, match="is compressed: unpack it"):
        stream_frames([path], LABELS, CUTOFF, cache=tmp_path, **MASK)
