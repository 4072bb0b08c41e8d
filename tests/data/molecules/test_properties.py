"""Properties under any keys: scalars, vectors and tensors of structures and atoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from e3nn import o3

from geqlib.data import PropertyData
from geqlib.files.molecule_files import write_molecules

TYPES = {
    "mu": "graph:vector",
    "gap": "graph:scalar",
    "alpha": "graph:0e+2e",
    "q": "scalar",
    "spin": "vector",
}


def frames(count: int = 10, seed: int = 0) -> list[Atoms]:
    draw = np.random.default_rng(seed)
    structures = []
    for k in range(count):
        atoms = molecule(["H2O", "CH4", "NH3"][k % 3])
        atoms.rattle(0.05, seed=k)
        matrix = draw.normal(size=(3, 3))
        atoms.info |= {"mu": draw.normal(size=3), "gap": k + 0.5, "alpha": matrix + matrix.T}
        atoms.set_array("q", draw.normal(size=len(atoms)))
        atoms.set_array("spin", draw.normal(size=(len(atoms), 3)))
        structures.append(atoms)
    return structures


def data_of(path: Path, **options: Any) -> PropertyData:
    settings: dict[str, Any] = {"properties": TYPES, "val": 0.2, "test": 0.2, "cutoff": 3.0}
    data = PropertyData(path, **(settings | options))
    data.setup()
    return data


def test_every_property_is_that_of_its_structure(tmp_path: Path) -> None:
    structures = frames()
    write(tmp_path / "own.xyz", structures, format="extxyz")
    data = data_of(tmp_path / "own.xyz")
    numbers = []
    for part in data.splits.values():
        for k in range(len(part)):
            one = part[k]
            atoms = structures[int(one.index)]
            numbers.append(int(one.index))
            np.testing.assert_allclose(one.mu, atoms.info["mu"][None], rtol=1e-6)
            assert float(one.gap) == atoms.info["gap"]
            np.testing.assert_allclose(one.q[:, 0], atoms.arrays["q"], rtol=1e-6)
            np.testing.assert_allclose(one.spin, atoms.arrays["spin"], rtol=1e-6)
    assert sorted(numbers) == list(range(10))


def test_matrices_become_irreps(tmp_path: Path) -> None:
    """Rotated frames have rotated tensors, in the convention of e3nn."""
    structures = frames(1)
    rotation = o3.rand_matrix(dtype=torch.float64)
    turned = structures[0].copy()
    turned.positions = turned.positions @ rotation.numpy().T
    turned.info["alpha"] = rotation.numpy() @ turned.info["alpha"] @ rotation.numpy().T
    write(tmp_path / "own.xyz", [*structures, turned], format="extxyz")
    data = data_of(tmp_path / "own.xyz", properties={"alpha": "graph:0e+2e"}, val=0, test=0)
    one, two = data.splits["train"].alpha
    matrix = o3.Irreps("0e+2e").D_from_matrix(rotation)
    # six sums of float32 numbers of up to 5
    assert torch.allclose(matrix @ one.double(), two.double(), atol=1e-5)
    trace = np.trace(structures[0].info["alpha"])
    assert float(one[0].abs()) == pytest.approx(abs(trace) / np.sqrt(3), rel=1e-5)
    components = structures[0].copy()
    components.info["alpha"] = one.double().numpy()
    write(tmp_path / "six.xyz", [components], format="extxyz")
    six = data_of(tmp_path / "six.xyz", properties={"alpha": "graph:0e+2e"}, val=0, test=0)
    assert torch.allclose(six.splits["train"].alpha[0], one)


def test_trajectories_and_databases_of_ase(tmp_path: Path) -> None:
    structures = [bulk("Cu", cubic=True) for _ in range(4)]
    for k, atoms in enumerate(structures):
        atoms.calc = SinglePointCalculator(atoms, dipole=np.array([k, 0.5, 1]), energy=k)
    for name in ("own.traj", "own.db"):
        write(tmp_path / name, structures)
        data = data_of(
            tmp_path / name,
            properties={"mu": "graph:vector"},
            keys={"mu": "dipole"},
            val=0,
            test=0,
        )
        batch = data.splits["train"].__getitems__(range(4))
        assert batch.mu.tolist() == [[k, 0.5, 1] for k in range(4)]
        assert batch.pbc.all() and batch.cell_shift.abs().sum() > 0
        assert data.atoms(2, "train").pbc.all()


def test_arrays_and_units(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    pos = np.eye(3) + draw.normal(scale=0.05, size=(6, 3, 3))
    mu, q = draw.normal(size=(6, 3)), draw.normal(size=(6, 3))
    np.savez(tmp_path / "own.npz", z=[8, 1, 1], R=pos, mu=mu, q=q)
    data = data_of(
        tmp_path / "own.npz",
        properties={"mu": "graph:vector", "q": "scalar"},
        val=0,
        test=0,
        length_unit="bohr",
    )
    train = data.splits["train"]
    # of three atoms, whether three numbers are a vector or charges is what the type says
    np.testing.assert_allclose(train.mu, mu, rtol=1e-6)
    np.testing.assert_allclose(train.q[:, 0], q.reshape(-1), rtol=1e-6)
    np.testing.assert_allclose(train.pos, pos.reshape(-1, 3) * 0.529177, rtol=1e-5, atol=1e-7)


def test_missing_properties_are_masked(tmp_path: Path) -> None:
    structures = frames(4)
    del structures[1].info["gap"]
    structures[2].arrays["q"][0] = np.nan
    write(tmp_path / "own.xyz", structures, format="extxyz")
    with pytest.raises(
        ValueError, match=r"own.xyz, frame 1: there is no key 'gap' for 'gap', only"
    ):
        data_of(tmp_path / "own.xyz")
    structures[1].info["gap"] = 1.0
    write(tmp_path / "nan.xyz", structures, format="extxyz")
    with pytest.raises(ValueError, match=r"nan.xyz, frame 2: 'q' is NaN: correct it, or set miss"):
        data_of(tmp_path / "nan.xyz")
    train = data_of(tmp_path / "own.xyz", missing="mask", val=0, test=0).splits["train"]
    assert train.gap[:, 0].isnan().tolist() == [False, True, False, False]
    assert int(train.q.isnan().sum()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"properties": {"mu": "vector"}}, r"'mu' has the shape \(3,\), but 'vector' is 3 numbers"),
        ({"properties": {"q": "graph:scalar"}}, "'graph:scalar' is 1 numbers of the structure"),
        ({"properties": {"mu": "graph:0e+2e"}}, "correct the type of 'mu', or the file"),
        ({"properties": {"note": "graph:scalar"}}, "'note' is 'text', which is no number"),
        ({"properties": {"bent": "graph:0e+2e"}}, "'bent' is no symmetric matrix"),
        ({"properties": {"mu": "graph:arrow"}}, "has the unknown type 'graph:arrow'"),
        ({"properties": {"mu": "point"}}, "'point': choose 'scalar', 'vector' or irreps"),
        ({"properties": {"z": "scalar"}}, "cannot be called 'z'"),
        ({"properties": {"a.b": "scalar"}}, "cannot be called 'a.b': use letters"),
        ({"keys": {"dipole": "mu"}}, "keys names 'dipole', which is not among the properties"),
        ({"missing": "skip"}, '"error" or "mask"'),
        ({"length_unit": "nm"}, "length_unit must be one of angstrom, bohr"),
        ({"cutoff": 0.0}, "cutoff must be positive"),
        ({"source": "nowhere.xyz"}, r"There is no file nowhere.xyz, here or"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    structures = frames(2)
    for atoms in structures:
        atoms.info |= {"note": "text", "bent": np.arange(9.0).reshape(3, 3)}
    write(tmp_path / "own.xyz", structures, format="extxyz")
    with pytest.raises(ValueError, match=message):
        PropertyData(**({"source": tmp_path / "own.xyz", "properties": TYPES} | options)).setup()


def test_molecules_without_properties_have_all_pairs_as_edges(tmp_path: Path) -> None:
    """As they are for `MoleculeDiffusion`."""
    structures = frames()
    write(tmp_path / "own.xyz", structures, format="extxyz")
    data = data_of(tmp_path / "own.xyz", properties={}, cutoff=None)
    assert sum(map(len, data.splits.values())) == 10
    for one in (part[k] for part in data.splits.values() for k in range(len(part))):
        atoms = structures[int(one.index)]
        pairs = {(i, j) for i in range(len(atoms)) for j in range(len(atoms)) if i != j}
        assert set(zip(*one.edge_index.tolist(), strict=True)) == pairs
        np.testing.assert_allclose(one.pos, atoms.positions, atol=1e-7)  # of float32


def test_sdf_files(tmp_path: Path) -> None:
    """Positions, elements and properties that are numbers."""
    pytest.importorskip("rdkit", reason="SDF is read by rdkit")
    structures = frames()
    path = tmp_path / "own.sdf"
    numbers = torch.cat([torch.from_numpy(atoms.numbers) for atoms in structures])
    pos = torch.cat([torch.from_numpy(atoms.positions) for atoms in structures])
    lengths = torch.tensor([len(atoms) for atoms in structures])
    write_molecules(path, numbers, pos, lengths, range(10))
    parts = path.read_text().split("$$$$\n")[:-1]
    # as rdkit marks what is three-dimensional
    parts = [part.replace("  geqlib", "     geqlib          3D") for part in parts]
    dipole = "> <dipole>\n0.5 -1 2e-1\n\n"
    parts = [f"{part}> <gap>\n{k}.5\n\n{dipole}$$$$\n" for k, part in enumerate(parts)]
    path.write_text("".join(parts))
    data = data_of(path, properties={"gap": "graph:scalar", "dipole": "graph:vector"})
    for one in (part[k] for part in data.splits.values() for k in range(len(part))):
        atoms = structures[int(one.index)]
        assert one.z.tolist() == atoms.numbers.tolist() and float(one.gap) == int(one.index) + 0.5
        assert one.dipole.flatten().tolist() == pytest.approx([0.5, -1.0, 0.2])
        np.testing.assert_allclose(one.pos, atoms.positions, atol=1e-4)
    # rdkit takes a molecule for three-dimensional if one z is not 0, whatever its file says
    plane = pos * torch.tensor([1, 1, 0])
    write_molecules(tmp_path / "flat.sdf", numbers, plane, lengths, range(10))
    flat = (tmp_path / "flat.sdf").read_text().split("$$$$\n")[1]
    path.write_text("".join([parts[0], f"{flat}$$$$\n", *parts[2:]]))
    with pytest.raises(ValueError, match=r"own\.sdf, molecule 2 is not three-dimensional"):
        data_of(path, properties={})
