"""MD17 and revised MD17 as a Lightning data module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from geqlib.data.download import find_file
from geqlib.data.loaders import StructureLoaders
from geqlib.data.molecules.labels import ENERGY
from geqlib.data.molecules.structures import molecules, with_neighbors
from geqlib.data.packed import PackedGraphs
from geqlib.files.atomic import reading

FRAMES = 100_000


class MD17Data(StructureLoaders):
    """Energies and forces along a simulation of one molecule, in eV and angstrom.

    The split of Bekkers et al. (ICLR 2024): of the first 100 000 frames every hundredth is taken,
    every twentieth of those for validation and the others for training (950); all others are for
    testing. It is not one of the five splits that come with revised MD17, so that results are not
    comparable with theirs.

    The arrays are those of the raw files of `torch_geometric.datasets.MD17`. That class
    rounds energies to float32, for aspirin to steps of 1.4 meV, so its processed files are not
    used. Batches are as in `MoleculeData`, with `energy` and `forces`.

    Args:
        name: of the molecule, as in torch_geometric: "revised aspirin", "ethanol", ...
        root: folder that was given to torch_geometric, or that has the .npz files itself; looked
            for in the folder `GEQLIB_DATA`, too.
        cutoff: of the neighbours, in angstrom; None for all pairs.
        stride: of the frames that are not for testing.
        val_every: which of those are for validation.
        num_train: training frames used, drawn by `data_seed`; a smaller number takes a part of a
            larger one.
        batch_size, eval_batch_size: structures in a batch of training, and outside of it.
        data_seed, shuffle_seed: of `num_train`, and of the order in training.
        workers: processes that make batches.

    Example:
        >>> data = MD17Data("revised aspirin", cutoff=5.0)  # data.setup() reads the file
    """

    def __init__(
        self,
        name: str = "revised aspirin",
        root: str = "md17",
        *,
        cutoff: float | None = None,
        stride: int = 100,
        val_every: int = 20,
        num_train: int | None = None,
        batch_size: int = 5,
        eval_batch_size: int = 50,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if min(stride, val_every, batch_size, eval_batch_size) < 1:
            raise ValueError(
                "stride, val_every, batch_size and eval_batch_size must be at least 1."
            )
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, or null for all pairs, got {cutoff}.")
        self.molecule, self.root, self.cutoff = name, root, cutoff
        self.stride, self.val_every, self.num_train = stride, val_every, num_train
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.data_seed, self.shuffle_seed, self.workers = data_seed, shuffle_seed, workers
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        """Look for the file, which one process does for all."""
        _find(self.molecule, self.root)

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        frames = _read(_find(self.molecule, self.root))
        everything = torch.arange(min(len(frames), FRAMES))
        taken, rest = everything % self.stride == 0, everything % self.stride != 0
        order = everything[taken]
        validation = torch.arange(len(order)) % self.val_every == 0
        parts = {"train": self._some(order[~validation]), "val": order[validation]}
        for split, chosen in (parts | {"test": everything[rest]}).items():
            # each test frame is seen once: its neighbours are not worth the memory
            self.splits[split] = with_neighbors(
                frames.subset(chosen), self.cutoff, keep=split != "test"
            )

    def _some(self, frames: torch.Tensor) -> torch.Tensor:
        if self.num_train is None:
            return frames
        if not 1 <= self.num_train <= len(frames):
            raise ValueError(
                f"num_train must be from 1 to the {len(frames)} training frames, "
                f"got {self.num_train}."
            )
        order = np.random.default_rng(self.data_seed).permutation(len(frames))
        return frames[torch.from_numpy(np.sort(order[: self.num_train]))]


def _find(name: str, root: str) -> Path:
    # it loads all data sets of torch_geometric
    from torch_geometric.datasets import MD17

    names = [key for key, file in MD17.file_names.items() if file.endswith(".npz")]
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}, got {name!r}.")
    file = MD17.file_names[name]
    folders = ("raw/rmd17/npz_data", "rmd17/npz_data", f"{name}/raw", ".")
    for folder in folders:
        if path := find_file(Path(root) / folder / file):
            return path
    raise ValueError(
        f"{file} is not below {root}, here or in the folder GEQLIB_DATA: download it by hand "
        f"({MD17.revised_url if 'revised' in name else MD17.gdml_url}), "
        f"unpack it and set `root` to its folder."
    )


def _read(path: Path) -> PackedGraphs:
    with reading(path, "is not a file of MD17, or is damaged"):
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = ("nuclear_charges", "coords", "energies", "forces")
            keys = names if names[0] in file else ("z", "R", "E", "F")
            z, pos, energy, forces = (np.asarray(file[key]) for key in keys)
        count = len(pos)
        energy, shape = energy.reshape(count), (count, len(z), 3)
        if pos.shape != shape or forces.shape != shape:
            raise ValueError(f"positions are {pos.shape} and forces {forces.shape}, not {shape}")
    labels = {
        "energy": energy * ENERGY["kcal/mol"],
        "forces": forces.reshape(-1, 3) * ENERGY["kcal/mol"],
    }
    atoms = np.full(count, len(z))
    return molecules(np.tile(z, count), pos.reshape(-1, 3), atoms, np.arange(count), labels)
