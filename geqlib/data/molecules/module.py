"""Structures with energies and forces from extended XYZ files, as a Lightning data module."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from copy import copy
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from ase.data import chemical_symbols
from torch.utils.data import DataLoader

from geqlib.data.download import find_files
from geqlib.data.loaders import StructureLoaders
from geqlib.data.molecules.extxyz import Frame, Missing, pack_frames, read_frames
from geqlib.data.molecules.frame_info import Info, read_infos
from geqlib.data.molecules.labels import (
    DipoleUnit,
    EnergyUnit,
    ForcesUnit,
    Labels,
    LengthUnit,
    PolarisabilityUnit,
    StressUnit,
)
from geqlib.data.molecules.replay import BothBatches, BothStructures, replay_settings
from geqlib.data.molecules.splits import split_frames
from geqlib.data.molecules.streamed import StreamedFrames, stream_frames
from geqlib.data.molecules.structures import with_neighbors
from geqlib.data.packed import PackedGraphs
from geqlib.data.shares import WholeBatches
from geqlib.files.checkpoint import build
from geqlib.files.plain import plain

LABELS = {"energy", "energies", "forces", "stress", "dipole", "polarisability"}
# settings that old structures have from the new ones, if they name no others
SHARED = (
    "cutoff",
    "energy_key",
    "forces_key",
    "stress_key",
    "virial_key",
    "energies_key",
    "dipole_key",
    "polarisability_key",
    "charge_key",
    "multiplicity_key",
    "energy_unit",
    "length_unit",
    "forces_unit",
    "stress_unit",
    "dipole_unit",
    "polarisability_unit",
    "molecules",
    "missing",
    "on_bad_frame",
    "isolated_atoms",
    "stream",
    "batch_size",
    "eval_batch_size",
    "data_seed",
    "workers",
    "cache",
)
STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class MoleculeData(StructureLoaders):
    """Molecules, crystals and surfaces with their labels, in eV and angstrom.

    Batches hold `pos` [N, 3], `z` [N] atomic numbers, `edge_index` [2, E] and `reverse` [E] of all
    pairs within the cutoff, `cell` [G, 3, 3] with vectors in rows (zeros without a cell), `pbc`
    [G, 3], `index` [G] the number of the frame in its source, `batch` [N], `ptr`; `cell_shift`
    [E, 3] if any structure is periodic: the offset of an edge is pos[source] - pos[target] +
    cell_shift @ cell. Of the labels those that have a key: `energy` [G] and `energies` [N] in
    float64, `forces` [N, 3], `stress` [G, 3, 3], `dipole` [G, 3] and `polarisability` [G, 3, 3];
    NaN where they are missing. `charge` and
    `multiplicity` [G] are inputs, which no frame may lack. Where atoms are far from their cell or
    the origin, `origin` [N, 3] in float64 is what was subtracted from their positions.

    A path that does not exist is looked for in the folder `GEQLIB_DATA`; the files of 3BPA are
    downloaded where they are not there, either.

    Args:
        train: extended XYZ files, which may be .xz, .gz or .bz2, or others that ASE reads, such as
            .traj and .db. Frames of several files are numbered on.
        val, test: files, or a part of the training files: a fraction, a count or a list of frame
            numbers. Drawn at random, by `data_seed` alone; no frame is in two splits.
        cutoff: of the neighbours, in angstrom. By default that of the network which is trained, or
            all pairs of molecules where it has none; another one than the network's is an error.
        energy_key, forces_key, stress_key, virial_key, energies_key, dipole_key,
            polarisability_key, charge_key, multiplicity_key: see `Labels`. A key that the files do
            not have is an error; null reads nothing.
        energy_unit, length_unit, forces_unit, stress_unit, dipole_unit, polarisability_unit: of the
            files: see `Labels`.
        molecules: whether structures are molecules, whatever cell and pbc the files give them.
        missing: "mask" allows that some frames lack a label, or have NaN. Structures of `test` need
            no labels for predictions.
        on_bad_frame: "skip" leaves out frames that cannot be used, with a warning.
        isolated_atoms: "references" takes isolated atoms out of the training frames, to be
            `reference_energies`; they are single atoms without an image within the cutoff, or
            with config_type=IsolatedAtom. "keep" trains on them.
        reference_file: a file of such atoms.
        stream: read frames from the disk when a batch needs them, for files larger than memory.
            They must not be compressed. The first time, all frames are read and checked.
        batch_size, eval_batch_size: structures in a batch of training, and outside of it.
        num_train: training frames used; a smaller number takes a part of a larger one.
        data_seed, shuffle_seed: of the splits, and of the order in training.
        workers: processes that make batches.
        replay: structures of another training, to be trained on and measured beside these: a file,
            or settings of a `MoleculeData` (`train`, `val`, and what differs from the settings
            here), or `{"class_path": ..., "init_args": ...}` of another data module; and `weight`,
            the number of their batches for each batch of these structures (1; 0 measures alone).
        cache: folder for the positions of streamed frames; the user's cache folder by default.

    Attributes:
        reference_energies: eV of an isolated atom by atomic number, after `setup`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from ase import Atoms
        >>> from ase.io import write
        >>> frames = [Atoms("H2", [[0, 0, 0], [0, 0, x]], info={"E": -x}) for x in (0.7, 0.8, 0.9)]
        >>> with TemporaryDirectory() as folder:
        ...     write(f"{folder}/h2.xyz", frames, format="extxyz")
        ...     keys = {"energy_key": "E", "forces_key": None}
        ...     data = MoleculeData(f"{folder}/h2.xyz", val=1, cutoff=5.0, **keys)
        ...     data.setup()
        >>> next(iter(data.train_dataloader())).energy.shape
        torch.Size([2])
    """

    def __init__(
        self,
        train: str | Path | list[str | Path],
        val: int | float | str | Path | list[int] | list[str | Path] = 0.1,
        test: int | float | str | Path | list[int] | list[str | Path] | None = None,
        *,
        cutoff: float | None = None,
        energy_key: str | None = "energy",
        forces_key: str | None = "forces",
        stress_key: str | None = None,
        virial_key: str | None = None,
        energies_key: str | None = None,
        dipole_key: str | None = None,
        polarisability_key: str | None = None,
        charge_key: str | None = None,
        multiplicity_key: str | None = None,
        energy_unit: EnergyUnit = "eV",
        length_unit: LengthUnit = "angstrom",
        forces_unit: ForcesUnit | None = None,
        stress_unit: StressUnit | None = None,
        dipole_unit: DipoleUnit = "e*A",
        polarisability_unit: PolarisabilityUnit = "A^3",
        molecules: bool = False,
        missing: Literal["error", "mask"] = "error",
        on_bad_frame: Literal["error", "skip"] = "error",
        isolated_atoms: Literal["keep", "references"] = "keep",
        reference_file: str | Path | None = None,
        stream: bool = False,
        batch_size: int = 5,
        eval_batch_size: int = 50,
        num_train: int | None = None,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        workers: int = 0,
        replay: dict[str, Any] | list[str] | str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if min(batch_size, eval_batch_size) < 1:
            raise ValueError(
                "batch_size and eval_batch_size must be at least 1, got "
                f"{batch_size} and {eval_batch_size}."
            )
        cutoff = None if cutoff is None else float(cutoff)
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, got {cutoff}.")
        for name, value, choices in (
            ("missing", missing, ("error", "mask")),
            ("on_bad_frame", on_bad_frame, ("error", "skip")),
            ("isolated_atoms", isolated_atoms, ("keep", "references")),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")
        # paths and numbers of numpy's, too
        self.sources: dict[str, Any] = plain({"train": train, "val": val, "test": test})
        self.files = {split: _files(source) for split, source in self.sources.items()}
        named = [path for files in self.files.values() for path in files]
        if len(set(named)) < len(named) or not self.files["train"]:
            raise ValueError(f"train, val and test must name files that differ, got {named}.")
        self.cutoff, self.missing, self.on_bad_frame = cutoff, missing, on_bad_frame
        self.labels = Labels(
            energy=energy_key,
            forces=forces_key,
            stress=stress_key,
            virial=virial_key,
            energies=energies_key,
            dipole=dipole_key,
            polarisability=polarisability_key,
            charge=charge_key,
            multiplicity=multiplicity_key,
            energy_unit=energy_unit,
            length_unit=length_unit,
            forces_unit=forces_unit,
            stress_unit=stress_unit,
            dipole_unit=dipole_unit,
            polarisability_unit=polarisability_unit,
            molecules=molecules,
        )
        self.isolated_atoms = isolated_atoms
        self.reference_file: str | None = plain(reference_file)
        if energy_key is None and (reference_file or isolated_atoms == "references"):
            raise ValueError("References are energies of atoms: name energy_key.")
        self.stream, self.cache = stream, None if cache is None else Path(cache)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_train, self.workers = num_train, workers
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.splits: dict[str, PackedGraphs | StreamedFrames] = {}
        self.reference_energies: dict[int, float] = {}
        self._unlabelled: set[str] = set()  # splits that were read for predictions alone
        self.old, self.replay_weight = self._old_data(replay)
        # of validation: what its loaders measure
        self.validated = ("val", "old") if self.old is not None else ("val",)

    def of_file(self, path: str | Path) -> MoleculeData:
        """Data with the same keys, units and cutoff, whose test split is another file."""
        other = copy(self)
        other.sources = {"train": None, "val": None, "test": str(path)}
        other.files = {"train": [], "val": [], "test": [str(path)]}
        other.splits, other._unlabelled, other.old = {}, set(), None
        return other

    def infos(self) -> list[Info]:
        """What each frame of the files that test structures come from says beside its labels."""
        paths = find_files(self.files["test"] or self.files["train"])
        return read_infos(paths, self.labels.keys.values())

    def prepare_data(self) -> None:
        """Download files and index streamed ones, which one process does for all."""
        trainer: Any = self.trainer
        stage = trainer.state.fn.value if trainer and trainer.state.fn else ""
        for split in self._needed(stage):
            own = split if self.files[split] else "train"
            find_files(self.files[own])
            if self.stream and trainer and trainer.world_size > 1:
                self._read(self.files[own], training=own == "train")
        if self.reference_file and "train" in self._needed(stage):
            find_files(self.reference_file)
        if self.old is not None and stage not in ("test", "predict"):
            self.old.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for split in self._needed(stage or ""):
            complete = split in self.splits and (
                stage == "predict" or split not in self._unlabelled
            )
            if complete:
                continue
            if split == "train" or not self.files[split]:
                self._split_training()
            elif stage == "predict":
                self.splits[split] = self._finished(self._read(self.files[split], missing="allow"))
                self._unlabelled.add(split)
            else:
                self.splits[split] = self._finished(self._read(self.files[split]))
                self._unlabelled.discard(split)
        if self.old is not None and stage not in ("test", "predict"):
            self._read_old(self.old)

    def train_dataloader(self) -> DataLoader:
        if "old_train" not in self.splits:
            return super().train_dataloader()
        new, old = self._split("train"), self.splits["old_train"]
        sampler = BothBatches(
            len(new),
            len(old),
            self.batch_size,
            weight=self.replay_weight,
            processes=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            seed=int(self.shuffle_seed),
        )
        return self._loader(WholeBatches(BothStructures(new, old)), None, sampler=sampler)

    def val_dataloader(self) -> Any:
        new = super().val_dataloader()
        return new if self.old is None else [new, self._in_order("old_val")]

    def _old_data(self, replay: Any) -> tuple[Any, float]:
        """The data module of structures of another training, and their weight."""
        if replay is None:
            return None, 0.0
        settings, weight = replay_settings(plain(replay, "replay"))
        if "class_path" in settings:
            return build(settings, L.LightningDataModule), weight
        own = inspect.signature(type(self)).parameters
        refused = ("replay", "test")  # old structures are trained on and validated
        unknown = next((n for n in settings if n not in own or n in refused), None)
        if unknown is not None:
            raise ValueError(
                f"replay has the setting {unknown!r}: it takes `weight` and settings of "
                f"{type(self).__name__}."
            )
        shared = {name: self.hparams[name] for name in own if name in SHARED}
        return type(self)(**{**shared, **settings, "test": None, "replay": None}), weight

    def _read_old(self, old: Any) -> None:
        if "old_val" in self.splits:
            return
        if hasattr(old, "cutoff"):
            old.cutoff = self.cutoff
        old.setup("fit")
        validation = old.splits.get("val")
        if validation is None or not len(validation):
            raise ValueError(
                "replay has no structures for validation, by which forgetting is measured: give it "
                "`val`, a fraction, a count or a file."
            )
        self.splits["old_val"] = validation
        if self.replay_weight:
            self.splits["old_train"] = old.splits["train"]

    def _needed(self, stage: str) -> list[str]:
        """The splits that there are of those that a stage measures or trains on."""
        splits = STAGES.get(stage, tuple(self.sources))
        return [split for split in splits if self.sources[split] is not None]

    def _split_training(self) -> None:
        frames = self._read(self.files["train"], training=True)
        drawn = {
            split: self.sources[split]
            for split in ("val", "test")
            if not self.files[split] and self.sources[split] is not None
        }
        parts = split_frames(
            frames.index.tolist(), **drawn, train=self.num_train, seed=self.data_seed
        )
        for split, part in drawn.items():
            if part and not len(parts[split]):
                raise ValueError(
                    f"{split} is {part} of {len(frames)} frames, which is none: give a count such "
                    f"as {split}=1, or 0 to do without."
                )
        for split in ("train", *drawn):
            self.splits[split] = self._finished(frames.subset(torch.from_numpy(parts[split])))
        if self.reference_file:
            self._add_references(self._isolated_atoms(self.reference_file))

    def _read(
        self, files: list[str], *, training: bool = False, missing: Missing | None = None
    ) -> PackedGraphs | StreamedFrames:
        references = training and self.isolated_atoms == "references"
        alone = (self.cutoff or math.inf) if references else None
        paths = find_files(files)
        options: dict[str, Any] = {
            "missing": missing or self.missing,
            "on_bad_frame": self.on_bad_frame,
            "alone": alone,
        }
        if self.stream:
            frames = stream_frames(paths, self.labels, self.cutoff, cache=self.cache, **options)
            self._add_references(frames.read(frames.isolated.nonzero()[:, 0].tolist()))
            return frames.subset((~frames.isolated).nonzero()[:, 0])
        frames = pack_frames(self._without_references(read_frames(paths, self.labels, **options)))
        return _without_empty(frames) if missing == "allow" else frames

    def _finished(self, frames: PackedGraphs | StreamedFrames) -> PackedGraphs | StreamedFrames:
        periodic = frames.periodic if isinstance(frames, StreamedFrames) else frames.pbc
        if self.cutoff is None and periodic.any():
            raise ValueError(
                "Periodic structures have infinitely many pairs: give MoleculeData a cutoff, or "
                "the network one."
            )
        if isinstance(frames, StreamedFrames):
            return frames
        return with_neighbors(frames, self.cutoff, keep=True)

    def _without_references(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.isolated:
                self._add_references([frame])
            else:
                yield frame

    def _isolated_atoms(self, path: str | Path) -> Iterator[Frame]:
        for frame in read_frames(find_files(path), self.labels.energy_only()):
            if len(frame.z) != 1:
                raise ValueError(
                    f"{path}: frame {frame.number} has {len(frame.z)} atoms: references are "
                    "single atoms."
                )
            yield frame

    def _add_references(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            z, energy = int(frame.z[0]), float(frame.labels["energy"])
            first = self.reference_energies.setdefault(z, energy)
            if not math.isclose(first, energy, rel_tol=0, abs_tol=1e-6):
                raise ValueError(
                    f"{frame.path}: an isolated atom of {chemical_symbols[z]} has {energy} eV, "
                    f"another one {first} eV: keep one."
                )


def _without_empty(frames: PackedGraphs) -> PackedGraphs:
    """Without labels that no frame has."""
    empty = {name for name in LABELS & frames.arrays.keys() if frames.arrays[name].isnan().all()}
    arrays = {name: array for name, array in frames.arrays.items() if name not in empty}
    fields = {name: field for name, field in frames.fields.items() if name not in empty}
    return PackedGraphs({"nodes": frames.counts["node"], **arrays}, fields)


def _files(source: Any) -> list[str]:
    """The files that a split names; none if it is a part of the training files."""
    names = [source] if isinstance(source, str) else source
    paths = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return names if paths else []
