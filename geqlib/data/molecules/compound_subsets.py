"""Compounds of high value among others: sets of molecules from which a subset is to be chosen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from geqlib.data.download import needed_file
from geqlib.data.loaders import SplitLoaders
from geqlib.data.molecules.moleculenet import FILES, read_values, scaffold_split
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.extras import extra_module
from geqlib.files.atomic import cached_arrays, file_hash

TRIES = 100  # of drawing sets whose subset is unique


class CompoundSubsetData(SplitLoaders):
    """Sets of molecules, of which those with the highest values are to be chosen.

    Values are of MoleculeNet (Wu et al., Chemical Science 9, 513, 2018): of a set of lipo the
    most lipophilic compounds (log D) are chosen, of esol the most soluble (log of mol/l), of
    freesolv those with the highest hydration energy. After the compound selection of Ou et al.
    (NeurIPS 2022), whose own data (PDBBind, BindingDB) this is not.

    The split is this library's own, and by molecule: 80, 10 and 10 % of the molecules, and sets of
    a split are drawn from its molecules alone, uniformly and without repetition within a set, so
    that no test molecule was seen in training. Sets in which the last chosen and the first other
    compound have one value are drawn again.

    Elements have Morgan fingerprints: how often each circular fragment of at most `radius` bonds
    occurs, folded to `bits` counts. Batches hold `x` [N, bits], `y` [N] 1 for the chosen and 0 for
    the others, `molecule` [N], the line of the file, `batch` and `ptr`. Training draws its sets
    once.

    The file is looked for as `MoleculeNetData` looks for it. Reading it takes rdkit.

    Args:
        name: "lipo", "esol" or "freesolv".
        batch_size: sets in a batch.
        size: molecules of a set.
        chosen: how many of them are to be chosen.
        train, val, test: number of sets.
        bits: length of fingerprints.
        radius: of their fragments, in bonds.
        split: "scaffold" gives molecules that share a Murcko scaffold to one part; "random" follows
            `data_seed`.
        data_seed: of the sets, and of the random split.
        shuffle_seed: of the order of the training sets.
        cache: folder for the fingerprints; the user's cache folder by default.

    Raises:
        ValueError: numbers out of range, a subset that is no smaller than its set, a set larger
            than the molecules of a split, values of which no subset is unique, a missing file,
            rdkit not installed, or a molecule that cannot be read.

    Example:
        >>> data = CompoundSubsetData("lipo", size=30, chosen=5)  # data.setup() reads the file
    """

    name: str
    noun: ClassVar[str] = "set"

    def __init__(
        self,
        name: Literal["lipo", "esol", "freesolv"] = "lipo",
        batch_size: int = 32,
        *,
        size: int = 30,
        chosen: int = 5,
        train: int = 1000,
        val: int = 200,
        test: int = 500,
        bits: int = 512,
        radius: int = 2,
        split: Literal["scaffold", "random"] = "scaffold",
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if name not in FILES:
            raise ValueError(f"name is {name!r}: choose one of {', '.join(FILES)}.")
        if split not in ("scaffold", "random"):
            raise ValueError(f'split must be "scaffold" or "random", got {split!r}.')
        if min(batch_size, train, val, test, bits) < 1 or radius < 0:
            raise ValueError(
                "batch_size, train, val, test and bits must be positive and radius at least 0, got "
                f"{batch_size}, {train}, {val}, {test}, {bits} and {radius}."
            )
        if not 1 <= chosen < size:
            raise ValueError(
                f"chosen is {chosen}, and sets have {size} compounds: choose at least one, and "
                "fewer than there are."
            )
        self.name, self.batch_size, self.size, self.chosen = name, batch_size, size, chosen
        self.sets = {"train": train, "val": val, "test": test}
        self.bits, self.radius, self.split = bits, radius, split
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        lookup = partial(with_fingerprints, torch.from_numpy(arrays["fingerprint"]))
        for k, (split, part) in enumerate(self._parts(arrays).items()):
            rng = np.random.default_rng([self.data_seed, k])
            if len(part) < self.size:
                raise ValueError(
                    f"The {split} split of {self.name} has {len(part)} molecules, and sets have "
                    f"{self.size}: take smaller sets."
                )
            molecule, y = highest(
                part, arrays["value"], self.sets[split], self.size, self.chosen, rng
            )
            nodes = np.full(len(y), self.size)
            packed = {"nodes": nodes, "molecule": molecule.ravel(), "y": y.ravel()}
            fields = {"molecule": "node", "y": "node"}
            self.splits[split] = PackedGraphs(packed, fields, transform=lookup)

    def _parts(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Molecules of each split."""
        if self.split == "scaffold":
            parts = scaffold_split(arrays["scaffold"])
        else:
            order = np.random.default_rng(self.data_seed).permutation(len(arrays["value"]))
            cuts = round(0.8 * len(order)), round(0.9 * len(order))
            parts = np.split(order, cuts)
        return dict(zip(self.sets, parts, strict=True))

    def _arrays(self) -> Arrays:
        file, smiles, target = FILES[self.name]
        path = needed_file(f"MoleculeNet/{self.name}/raw/{file}", "the file")
        parameters = {"name": self.name, "sha256": file_hash(path), "format": 1}
        parameters |= {"bits": self.bits, "radius": self.radius}
        return cached_arrays(
            "compounds",
            parameters,
            lambda: read_compounds(path, smiles, target, self.bits, self.radius),
            self.cache,
        )


def read_compounds(path: Path, smiles: int, target: int, bits: int, radius: int) -> Arrays:
    """Fingerprints [molecules, bits], values and numbers of scaffolds of a CSV file with a header.

    Args:
        path: of the file.
        smiles, target: numbers of the columns.
        bits, radius: of the fingerprints, counts of at most 255.
    """
    chem = extra_module("rdkit.Chem", "molecules")
    murcko = extra_module("rdkit.Chem.Scaffolds.MurckoScaffold", "molecules")
    generators = extra_module("rdkit.Chem.rdFingerprintGenerator", "molecules")
    generator = generators.GetMorganGenerator(radius=radius, fpSize=bits)
    fingerprints, scaffolds = [], []
    molecules = read_values(path, smiles, target)
    for text, _ in molecules:
        molecule = chem.MolFromSmiles(text)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError(
                f"In {path}, the molecule {text!r} cannot be read: correct or drop that line."
            )
        counts = generator.GetCountFingerprintAsNumPy(molecule)
        fingerprints.append(counts.clip(max=255).astype(np.uint8))
        scaffolds.append(murcko.MurckoScaffoldSmiles(mol=molecule))
    order = {scaffold: k for k, scaffold in enumerate(dict.fromkeys(scaffolds))}
    return {
        "fingerprint": np.stack(fingerprints),
        "value": np.array([value for _, value in molecules]),
        "scaffold": np.array([order[scaffold] for scaffold in scaffolds]),
    }


def with_fingerprints(fingerprints: Tensor, sets: Any) -> Any:
    """Sets with x [N, bits], the fingerprints of their molecules; in place."""
    table = fingerprints.to(sets.molecule.device)
    sets.x = table[sets.molecule].to(torch.get_default_dtype())
    return sets


def highest(
    molecules: np.ndarray,
    values: np.ndarray,
    count: int,
    size: int,
    chosen: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Random sets of molecules, [count, size], and 1 for the highest values of each, 0 for others.

    Args:
        molecules: to draw from.
        values: of all molecules.
        count: how many sets.
        size: molecules of each.
        chosen: how many of these are chosen, fewer than `size`.
        rng: draws the sets.

    Raises:
        ValueError: where no set has a unique subset, because values are equal.

    Example:
        >>> values = np.array([0.5, 2.0, 1.0])
        >>> sets, y = highest(np.arange(3), values, 1, 3, 1, np.random.default_rng(0))
        >>> int(sets[0, y[0].argmax()])
        1
    """
    sets = np.empty((count, size), dtype=np.int64)
    missing = np.arange(count)
    for _ in range(TRIES):
        for k in missing:
            sets[k] = rng.choice(molecules, size, replace=False)
        ordered = -np.sort(-values[sets], axis=1)
        missing = np.flatnonzero(ordered[:, chosen - 1] == ordered[:, chosen])
        if not len(missing):
            return sets, (values[sets] >= ordered[:, chosen - 1, None]).astype(np.uint8)
    raise ValueError(
        f"In {TRIES} draws, {len(missing)} sets of {size} had no unique {chosen} highest values, "
        "as values are equal: take other sizes."
    )
