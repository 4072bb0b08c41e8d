"""Structures with any properties of theirs and of their atoms, as a Lightning data module."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from e3nn.io import CartesianTensor

from geqlib.atoms.properties import property_irreps, property_types
from geqlib.data.download import find_files
from geqlib.data.loaders import StructureLoaders
from geqlib.data.molecules.extxyz import atoms_of
from geqlib.data.molecules.labels import LENGTH, Labels, LengthUnit
from geqlib.data.molecules.structures import (
    STRUCTURE,
    check_structure,
    far_origins,
    structure_fields,
    with_neighbors,
)
from geqlib.data.molecules.table_file import is_sdf, sdf_structures
from geqlib.data.packed import Field, PackedGraphs
from geqlib.data.partition import Partition, checked_batch_size
from geqlib.data.targets import checked_units
from geqlib.data.trained import NamedLoaders
from geqlib.files.plain import plain
from geqlib.symmetry.types import TensorType

TAKEN = {*STRUCTURE, "x", "edge_index", "reverse", "cell_shift", "origin", "batch", "ptr"}
SYMMETRIC = 1e-4  # relative to the largest entry


class PropertyData(NamedLoaders, StructureLoaders):
    """Molecules and crystals with properties under any keys: scalars, vectors, tensors.

    Batches hold `pos`, `z`, `edge_index`, `reverse`, `cell`, `pbc`, `index` and `cell_shift` as
    those of `MoleculeData`, and each property under its name, [structures, dim] or [N, dim] in the
    unit of the file; NaN where it is missing. For energies and forces take `MoleculeData`. Without
    properties, `{}`, they are molecules that are to be generated, by `MoleculeDiffusion`.

    Args:
        source: extended XYZ files, or others that ASE reads, such as .traj and .db; .npz and HDF5
            files (`geqlib.data.molecules.array_files`); three-dimensional .sdf files, which take
            rdkit. One, or several.
        properties: name -> type: "scalar", "vector" or irreps such as "0e+2e" of each atom, after
            "graph:" of each structure. Tensors are e3nn's irreps; for "0e+2e" symmetric 3 x 3
            matrices are taken, too, and converted.
        val, test: shares, or files of their own.
        keys: name -> key in the file, of those properties for which it is another.
        units: of properties by name, for tables and reports; numbers stay as they are.
        cutoff: of the neighbours, in angstrom. By default that of the network which is trained, or
            all pairs of molecules where it has none.
        length_unit: of positions and cells.
        charge_key, multiplicity_key: of the total charge and of the spin multiplicity 2S + 1, which
            batches then hold as `charge` and `multiplicity` [structures], inputs of the network.
        missing: "mask" allows that some structures lack a property, or have NaN.
        fold, num_folds: test one of several folds.
        batch_size: structures in a batch.
        data_seed, shuffle_seed: of the splits, and of the order of the training structures.

    Raises:
        ValueError: one sentence with file and frame: it cannot be read, or lacks a property, or it
            has another shape than its type.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from ase.io import write
        >>> draw = np.random.default_rng(0)
        >>> water = [Atoms("OH2", draw.normal(size=(3, 3))) for _ in range(10)]
        >>> for atoms in water:
        ...     atoms.info["mu"] = draw.normal(size=3)
        >>> with TemporaryDirectory() as folder:
        ...     write(f"{folder}/water.xyz", water, format="extxyz")
        ...     data = PropertyData(f"{folder}/water.xyz", {"mu": "graph:vector"}, batch_size=4)
        ...     data.setup()
        >>> next(iter(data.train_dataloader())).mu.shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        source: str | Path | list[str | Path],
        properties: dict[str, str],
        val: float | str | Path = 0.1,
        test: float | str | Path = 0.1,
        *,
        keys: dict[str, str] | None = None,
        units: dict[str, str] | None = None,
        cutoff: float | None = None,
        length_unit: LengthUnit = "angstrom",
        charge_key: str | None = None,
        multiplicity_key: str | None = None,
        missing: Literal["error", "mask"] = "error",
        fold: int | None = None,
        num_folds: int = 10,
        batch_size: int = 16,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.types = property_types(properties) if properties else {}
        self.electrons = Labels(
            energy=None, forces=None, charge=charge_key, multiplicity=multiplicity_key
        )
        if taken := sorted((TAKEN | self.electrons.keys.keys()) & self.types.keys()):
            raise ValueError(
                f"A property cannot be called {taken[0]!r}, as structures have something of this "
                "name: give it another, and its key in the file as `keys`."
            )
        if unknown := sorted((keys or {}).keys() - self.types.keys()):
            raise ValueError(f"keys names {unknown[0]!r}, which is not among the properties.")
        if missing not in ("error", "mask"):
            raise ValueError(f'missing must be "error" or "mask", got {missing!r}.')
        if length_unit not in LENGTH:
            raise ValueError(f"length_unit must be one of {', '.join(LENGTH)}, got {length_unit}.")
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, got {cutoff}.")
        named = {"val": val, "test": test}
        files = {name: [str(p)] for name, p in named.items() if isinstance(p, str | Path)}
        listed: Any = plain(source)
        self.sources = {"train": [listed] if isinstance(listed, str) else list(listed)} | files
        shares = {n: float(p) for n, p in named.items() if not isinstance(p, str | Path)}
        self.partition = Partition(**shares, fold=fold, num_folds=num_folds, seed=data_seed)
        self.properties = dict(properties)
        self.units = checked_units(units, list(properties))
        self.keys = {name: (keys or {}).get(name, name) for name in properties}
        self.cutoff = None if cutoff is None else float(cutoff)
        self.length, self.missing = LENGTH[length_unit], missing
        self.batch_size, self.shuffle_seed = checked_batch_size(batch_size), shuffle_seed
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        """Look for the files, which one process does for all."""
        for files in self.sources.values():
            find_files(files)

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        origin, structures = [], []
        for name, files in self.sources.items():
            for path in find_files(files):
                for frame, atoms in enumerate(read_structures(path)):
                    structures.append(self._checked(atoms, f"{path}, frame {frame}"))
                    origin.append(name)
        if not structures:
            raise ValueError(f"{self.sources['train'][0]} is empty: expected structures.")
        whole = self._packed(structures)
        for name in self.types:
            if whole.arrays[name].isnan().all():
                raise ValueError(
                    f"No structure has the property {name!r} (key {self.keys[name]!r}): name the "
                    "right key in `keys`, or leave it out."
                )
        parts = {
            name: np.flatnonzero(np.array(origin) == name)
            for name in self.sources
            if name != "train"
        }
        self.divide(with_neighbors(whole, self.cutoff, keep=True), listed=parts)

    def _checked(self, atoms: Atoms, place: str) -> dict[str, np.ndarray]:
        """One structure in angstrom, with its properties."""
        pos, cell = atoms.positions * self.length, atoms.cell.array * self.length
        try:
            check_structure(atoms.numbers, pos, cell, atoms.pbc)
            values = {name: self._value(atoms, name, kind) for name, kind in self.types.items()}
            values |= {k: x[None] for k, x in self.electrons.read(atoms).items()}
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        origin = far_origins(pos, cell, atoms.pbc)
        return {
            "nodes": np.array([len(atoms)]),
            "z": atoms.numbers.astype(np.uint8),
            "pos": pos - origin,
            "origin": origin,
            "cell": cell[None],
            "pbc": atoms.pbc[None],
            **values,
        }

    def _value(self, atoms: Atoms, name: str, type_: TensorType) -> np.ndarray:
        key, irreps = self.keys[name], property_irreps(type_)
        count = len(atoms) if type_.level == "node" else 1
        value = _entry(atoms, key)
        if value is None:
            if self.missing == "error":
                raise ValueError(
                    f"there is no key {key!r} for {name!r}, only {_keys(atoms)}: name the right "
                    'one in `keys`, or set missing to "mask" if some structures lack it.'
                )
            return np.full((count, irreps.dim), np.nan)
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{key!r} is {str(value)[:40]!r}, which is no number.")
        rows = array.astype(np.float64).reshape(count, -1) if array.size % count == 0 else array
        if rows.shape == (count, 9) and str(irreps.simplify()) == "1x0e+1x2e":
            rows = _symmetric(rows.reshape(count, 3, 3), key)
        if rows.shape != (count, irreps.dim):
            of = "each atom" if type_.level == "node" else "the structure"
            raise ValueError(
                f"{key!r} has the shape {array.shape}, but {type_.text!r} is {irreps.dim} numbers "
                f"of {of}, of {len(atoms)} atoms: correct the type of {name!r}, or the file."
            )
        if np.isinf(rows).any():
            raise ValueError(f"{key!r} is infinite.")
        if self.missing == "error" and np.isnan(rows).any():
            raise ValueError(
                f'{key!r} is NaN: correct it, or set missing to "mask" if that says that it is '
                "unknown."
            )
        return rows

    def _packed(self, structures: Sequence[Mapping[str, np.ndarray]]) -> PackedGraphs:
        arrays = {
            name: np.concatenate([structure[name] for structure in structures])
            for name in structures[0]
        }
        arrays["index"] = np.arange(len(structures))
        far = bool(arrays["origin"].any())
        if not far:
            del arrays["origin"]
        kinds = {name: type_.level for name, type_ in self.types.items()}
        fields = structure_fields(self.electrons.keys, far=far) | {
            name: Field(per) for name, per in kinds.items()
        }
        return PackedGraphs(arrays, fields)


def read_structures(path: Path) -> Iterable[Atoms]:
    """The structures of a file, with all that it says of them.

    Raises:
        ValueError: one sentence with file and frame.
    """
    if is_sdf(path):
        return sdf_structures(path)
    return atoms_of(path)


def _results(atoms: Atoms) -> Mapping[str, Any]:
    return atoms.calc.results if atoms.calc is not None else {}


def _entry(atoms: Atoms, key: str) -> Any:
    sources = (atoms.info, _results(atoms), atoms.arrays)
    return next((values[key] for values in sources if key in values), None)


def _keys(atoms: Atoms) -> str:
    every = {str(key) for values in (atoms.info, _results(atoms), atoms.arrays) for key in values}
    return ", ".join(sorted(every - {"numbers", "positions"})) or "none"


def _symmetric(matrices: np.ndarray, key: str) -> np.ndarray:
    """[n, 6] e3nn's 0e + 2e of symmetric matrices [n, 3, 3]."""
    most = np.nan_to_num(np.abs(matrices)).max()
    if np.nan_to_num(np.abs(matrices - matrices.swapaxes(1, 2))).max() > SYMMETRIC * most:
        raise ValueError(f"{key!r} is no symmetric matrix, which 0e+2e are: give one.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        tensor: Any = CartesianTensor("ij=ji")
        return tensor.from_cartesian(torch.from_numpy(matrices)).numpy()
