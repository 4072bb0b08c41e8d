"""Penalised log P: ZINC's regression target, computed for molecules of other files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import Dataset

from geqlib.data.download import find_files
from geqlib.data.graphs.motif_counts import with_motifs
from geqlib.data.graphs.planned import with_plans
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs, joined
from geqlib.extras import extra_module
from geqlib.files.atomic import cached_arrays, file_hash, reading
from geqlib.motifs.features import motif_features
from geqlib.spen.ego_nets import Neighbourhood

FILES = ("MoleculeNet/lipo/raw/Lipophilicity.csv", "MoleculeNet/esol/raw/delaney-processed.csv")
FIELDS = {"x": "node", "edge_attr": "edge", "terms": "graph"}
ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")  # of ZINC
CHARGES = (-1, 0, 1)
BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
LONG = 6  # atoms of a ring that costs nothing
SHARES = (0.8, 0.1)  # of training and validation


class PenalisedLogPData(SplitLoaders):
    """log P, less synthetic accessibility, less long rings, of the molecules of some CSV files.

    The target of ZINC in "Benchmarking graph neural networks" (Dwivedi et al., JMLR 2023; Jin et
    al., ICML 2018), for where that set cannot be had. These are other molecules in a split of their
    own, so that numbers are comparable among networks here, and not with published ones. Each term
    is computed by rdkit (Crippen's log P, the score of Ertl and Schuffenhauer, atoms of the largest
    ring beyond six) and standardised by its mean and deviation over the training molecules.

    Batches hold `x` [N, 12] element and charge one-hot, `edge_attr` [E, 4] kind of bond one-hot,
    `edge_index` [2, E], `y` [molecules, 1], `batch`, `ptr`, and on request counts of motifs and
    `plan`. Molecules of several parts, without bonds, or with other elements or charges are left
    out, and so are repetitions.

    Args:
        files: CSV files with a column `smiles`; by default those of MoleculeNet's lipo and esol.
        batch_size: molecules in a batch.
        hops, symmetric, shared, degree, features: see `geqlib.data.GraphData`.
        data_seed: of the split, 80, 10 and 10 %.
        shuffle_seed: of the order of the training molecules.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: files that are missing, without that column or with a molecule that cannot be
            read; rdkit not installed; options out of range.

    Example:
        >>> data = PenalisedLogPData(features={"nodes": ["C5", "C6"]})  # data.setup() reads files
    """

    noun: ClassVar[str] = "molecule"

    def __init__(
        self,
        files: list[str] | None = None,
        batch_size: int = 128,
        *,
        hops: int | None = None,
        symmetric: bool = False,
        shared: bool = True,
        degree: int | None = None,
        features: dict[str, Any] | None = None,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        self.files, self.batch_size = list(files or FILES), batch_size
        self.neighbourhood = None if hops is None else Neighbourhood(hops)
        self.degree, self.options = degree, {"symmetric": symmetric, "shared": shared}
        self.features = None if features is None else motif_features(features)
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, Any] = {}

    def prepare_data(self) -> None:
        """Compute the targets and counts, which one process does for all."""
        self._graphs()

    def setup(self, stage: str | None = None) -> None:
        graphs = self._graphs()
        order = np.random.default_rng(self.data_seed).permutation(len(graphs))
        cuts = np.cumsum([round(share * len(graphs)) for share in SHARES])
        parts = dict(zip(("train", "val", "test"), np.split(order, cuts), strict=True))
        if not all(map(len, parts.values())):
            raise ValueError(
                f"{len(graphs)} molecules are too few for training, validation and test: name "
                "files with more."
            )
        terms = graphs.terms[parts["train"]]
        std = terms.std(0)  # of one molecule not a number, of terms that are all equal 0
        scaled = (graphs.terms - terms.mean(0)) / torch.where(std > 0, std, 1.0)
        graphs = PackedGraphs(
            {**_counts(graphs), **graphs.arrays, "y": scaled.sum(1, keepdim=True)},
            {**{k: v for k, v in graphs.fields.items() if k != "terms"}, "y": "graph"},
        )
        self.splits = {name: self._planned(graphs.subset(part)) for name, part in parts.items()}

    def degrees(self) -> list[int]:
        """How many training atoms have 0, 1, 2, ... neighbours, for PNA's scalers."""
        train = self.splits["train"]
        return (train if isinstance(train, PackedGraphs) else train.graphs).degrees()

    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training targets."""
        train = self.splits["train"]
        y = (train if isinstance(train, PackedGraphs) else train.graphs).y
        return float(y.mean()), float(y.std())

    def _planned(self, graphs: PackedGraphs) -> Dataset:
        return with_plans(graphs, self.neighbourhood, self.degree, **self.options)

    def _graphs(self) -> PackedGraphs:
        paths = find_files(self.files)
        parameters = {"sha256": [file_hash(path) for path in paths], "format": 1}
        arrays = cached_arrays("penalised_logp", parameters, lambda: read(paths), self.cache)
        graphs = PackedGraphs(arrays, FIELDS)
        return graphs if self.features is None else with_motifs(graphs, self.features, self.cache)


def read(paths: Sequence[Path]) -> Arrays:
    """The molecules of files, and the three terms of their targets."""
    chem = extra_module("rdkit.Chem", "molecules")
    smiles = [(path, text) for path in paths for text in _column(path)]
    console, seen = Console(stderr=True), set()
    steps = track(smiles, "molecules", console=console, disable=not console.is_terminal)
    graphs = []
    for path, text in steps:
        molecule = chem.MolFromSmiles(text)
        if molecule is None:
            raise ValueError(f"In {path}, {text!r} is no molecule: correct or drop that line.")
        name = chem.MolToSmiles(molecule)
        if name in seen or not _fits(molecule, name):
            continue
        seen.add(name)
        graphs.append(_graph(molecule) | {"terms": penalised_terms(molecule)[None]})
    if not graphs:
        raise ValueError(f"No molecule of {paths[0]} fits: its elements are not those of ZINC.")
    return joined(graphs, FIELDS)


def penalised_terms(molecule: Any) -> np.ndarray:
    """[3] log P, - synthetic accessibility, - atoms of the largest ring beyond six.

    Example:
        >>> from rdkit.Chem import MolFromSmiles
        >>> float(penalised_terms(MolFromSmiles("C1CCCCCCC1"))[2])
        -2.0
    """
    crippen = extra_module("rdkit.Chem.Crippen", "molecules")
    score = extra_module("rdkit.Contrib.SA_Score.sascorer", "molecules")
    rings = [len(ring) for ring in molecule.GetRingInfo().AtomRings()]
    beyond = max(max(rings, default=0) - LONG, 0)
    return np.array([crippen.MolLogP(molecule), -score.calculateScore(molecule), -beyond])


def _column(path: Path) -> Iterator[str]:
    with (
        reading(path, "is no table of molecules", "name a CSV file with a column smiles"),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        table = csv.DictReader(file)
        if "smiles" not in (table.fieldnames or ()):
            raise ValueError("it has no column smiles")
        texts = [(row["smiles"] or "").strip() for row in table]
    return filter(None, texts)


def _fits(molecule: Any, name: str) -> bool:
    atoms = list(molecule.GetAtoms())
    allowed = all(a.GetSymbol() in ELEMENTS and a.GetFormalCharge() in CHARGES for a in atoms)
    return allowed and "." not in name and molecule.GetNumBonds() > 0


def _graph(molecule: Any) -> dict[str, np.ndarray]:
    atoms, bonds = list(molecule.GetAtoms()), list(molecule.GetBonds())
    element = [ELEMENTS.index(atom.GetSymbol()) for atom in atoms]
    charge = [CHARGES.index(atom.GetFormalCharge()) for atom in atoms]
    ends = np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in bonds]).T
    kind = [BONDS.index(str(bond.GetBondType())) for bond in bonds]
    edges = np.concatenate([ends, ends[::-1]], 1)
    order = np.argsort(edges[1], kind="stable")
    one_hot = [np.eye(len(ELEMENTS))[element], np.eye(len(CHARGES))[charge]]
    return {
        "x": np.concatenate(one_hot, 1).astype(np.float32),
        "edge_index": edges[:, order],
        "edge_attr": np.eye(len(BONDS), dtype=np.float32)[np.tile(kind, 2)[order]],
    }


def _counts(graphs: PackedGraphs) -> dict[str, Any]:
    return {f"{kind}s": count for kind, count in graphs.counts.items() if kind != "graph"}
