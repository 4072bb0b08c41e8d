"""Structures of several data sets or levels of theory, as a Lightning data module."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from geqlib.data.loaders import StructureLoaders
from geqlib.data.molecules.module import MoleculeData
from geqlib.data.packed import Field, PackedGraphs
from geqlib.files.plain import plain

WEIGHT = "weight"
# of MoleculeData: what all levels have in common, or what they cannot have
COMMON = ("cutoff", "batch_size", "eval_batch_size", "data_seed", "shuffle_seed", "workers")
REFUSED = ("stream", "replay", "cache")
# what a structure has where its level does not say it; NaN are labels that are missing
NEUTRAL = {"charge": 0.0, "multiplicity": 1.0, "origin": 0.0, "cell_shift": 0}


class LevelsData(StructureLoaders):
    """Structures of several data sets or levels of theory, for one potential that knows them all.

    Each level is a `MoleculeData` with files, keys and units of its own. Batches are those of
    `MoleculeData` with `level` [G], the number of each structure's level in the order of `levels`;
    `EnergyForces` lets its potential learn what differs between them. Labels that a level does not
    have are NaN, its charges 0 and its multiplicities 1. `index` counts through all levels.

    Args:
        levels: name -> settings of a `MoleculeData`, and `weight`: how often structures of the
            level are drawn, relative to those of the others. By default it is its number of
            training structures, so that an epoch is one pass over all. The number of structures in
            an epoch is that of all levels together; those of a level are drawn without repetition
            until all were drawn.
        cutoff: of the neighbours, in angstrom; see `MoleculeData`.
        batch_size, eval_batch_size: structures in a batch of training, and outside of it.
        data_seed, shuffle_seed: of the splits, and of the order in training.
        workers: processes that make batches.

    Raises:
        ValueError: if there are no levels, one has no name, a setting is none of `MoleculeData`, or
            a weight is no positive number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from ase import Atoms
        >>> from ase.io import write
        >>> frames = [Atoms("H2", [[0, 0, 0], [0, 0, x]], info={"E": -x}) for x in (0.7, 0.8, 0.9)]
        >>> with TemporaryDirectory() as folder:
        ...     write(f"{folder}/h2.xyz", frames, format="extxyz")
        ...     one = {"train": f"{folder}/h2.xyz", "val": 1, "energy_key": "E", "forces_key": None}
        ...     data = LevelsData({"low": one, "high": one | {"weight": 3.0}}, cutoff=5.0)
        ...     data.setup()
        >>> next(iter(data.val_dataloader())).level
        tensor([0, 1])
    """

    def __init__(
        self,
        levels: dict[str, dict[str, Any]],
        *,
        cutoff: float | None = None,
        batch_size: int = 5,
        eval_batch_size: int = 50,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not levels:
            raise ValueError("levels is empty: name at least one, with the files of its data.")
        wrong = [name for name in levels if not isinstance(name, str) or not name.strip()]
        if wrong:
            raise ValueError(f"A level is called {wrong[0]!r}: give it a name, in quotes.")
        self.cutoff = None if cutoff is None else float(cutoff)
        self.batch_size = batch_size
        self.eval_batch_size: int = eval_batch_size
        self.data_seed, self.shuffle_seed, self.workers = data_seed, shuffle_seed, workers
        self.weights: dict[str, float | None] = {}
        self.parts: dict[str, MoleculeData] = {}
        for name, settings in levels.items():
            own = dict(plain(settings, f"levels.{name}"))
            self.weights[name] = _weight(name, own.pop(WEIGHT, None))
            self.parts[name] = self._part(name, own)
        self.splits: dict[str, PackedGraphs] = {}
        self._frames: dict[str, int] = {}  # of each level, as far as they were read

    @property
    def level_names(self) -> tuple[str, ...]:
        """In the order of their numbers."""
        return tuple(self.parts)

    @property
    def reference_energies(self) -> list[dict[int, float]]:
        """Of each level: eV of an isolated atom by atomic number."""
        return [part.reference_energies for part in self.parts.values()]

    def prepare_data(self) -> None:
        for part in self.parts.values():
            part.trainer = self.trainer
            part.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for part in self.parts.values():
            part.cutoff = self.cutoff
            part.setup(stage)
        first, total = {}, 0
        for name, part in self.parts.items():
            last = [int(s.index.max()) for s in part.splits.values() if len(s)]
            self._frames[name] = max([self._frames.get(name, 0) - 1, *last]) + 1
            first[name] = total
            total += self._frames[name]
        for split in ("train", "val", "test"):
            sets = [
                _numbered(part.splits[split], number, first[name])
                for number, (name, part) in enumerate(self.parts.items())
                if split in part.splits
            ]
            filled = [part for part in sets if len(part)]
            if sets:
                self.splits[split] = join_structures(filled) if filled else sets[0]

    def infos(self) -> list[dict[str, str]]:
        """The level of each structure, by which reports list errors."""
        frames = self._frames.items()
        return [{"config_type": name} for name, count in frames for _ in range(count)]

    def train_dataloader(self) -> DataLoader:
        data = self._split("train")
        counts = data.level.bincount(minlength=len(self.parts)).tolist()
        weights = [float(n) if w is None else w for n, w in self._weighted(counts)]
        sampler = LevelSampler(
            counts,
            weights,
            processes=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            seed=int(self.shuffle_seed),
        )
        size = min(self.batch_size, len(sampler))
        return self._loader(data, size, sampler=sampler, drop_last=self.drop_last)

    def _weighted(self, counts: Sequence[int]) -> list[tuple[int, float | None]]:
        """Training structures and weight of each level."""
        named = [w for w in self.weights.values() if w is not None]
        if named and len(named) < len(self.weights):
            missing = next(name for name, w in self.weights.items() if w is None)
            raise ValueError(
                f"The level {missing} has no weight, and others have one: give all levels one, or "
                "none."
            )
        empty = [name for name, n in zip(self.parts, counts, strict=True) if not n]
        if empty:
            raise ValueError(f"The level {empty[0]} has no training structures: leave it out.")
        return list(zip(counts, self.weights.values(), strict=True))

    def _part(self, name: str, settings: Mapping[str, Any]) -> MoleculeData:
        accepted = inspect.signature(MoleculeData).parameters
        for key in settings:
            if key not in accepted or key in (*COMMON, *REFUSED):
                common = "a setting of all levels" if key in COMMON else "no setting of a level"
                raise ValueError(
                    f"The level {name} has the setting {key!r}, which is {common}: it takes "
                    "`weight` and settings of MoleculeData about its files, keys and units."
                )
        if "train" not in settings:
            raise ValueError(f"The level {name} names no structures: give it `train`.")
        return MoleculeData(
            **settings,
            cutoff=self.cutoff,
            batch_size=self.batch_size,
            eval_batch_size=self.eval_batch_size,
            data_seed=self.data_seed,
        )


class LevelSampler(DistributedSampler):
    """Numbers of structures, those of each level as often as its weight says, in a random order.

    The structures of an epoch are equal in number to those of the data. Those of a level are drawn
    without repetition until all were drawn. Everything is decided by (seed, epoch), so that resumed
    runs equal uninterrupted ones.

    Args:
        counts: structures of each level, which are numbered level by level.
        weights: of the levels, positive.
        processes, rank: how many there are, and number of this one.
        seed: of the order.

    Example:
        >>> LevelSampler([6, 2], [1.0, 3.0]).shares
        [2, 6]
        >>> sorted(LevelSampler([6, 2], [6.0, 2.0]))
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        counts: Sequence[int],
        weights: Sequence[float],
        *,
        processes: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        # Lightning would replace any other kind of sampler
        super().__init__(range(sum(counts)), processes, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.counts = list(counts)
        self.shares = largest_remainders(sum(counts), weights)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        first, parts = 0, []
        for count, share in zip(self.counts, self.shares, strict=True):
            rounds = range(-(-share // count))
            drawn = [torch.randperm(count, generator=generator) for _ in rounds]
            parts.append(torch.cat(drawn)[:share] + first)
            first += count
        numbers = torch.cat(parts)
        numbers = numbers[torch.randperm(len(numbers), generator=generator)]
        # the same on all processes, of which each takes its share
        wanted = self.num_samples * self.num_replicas
        numbers = torch.cat([numbers, numbers])[:wanted]
        yield from numbers[self.rank :: self.num_replicas].tolist()


def settings_of_level(arguments: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The arguments of a `MoleculeData` that reads files as one level of a `LevelsData` does.

    Args:
        arguments: of the `LevelsData`.
        name: of the level.

    Raises:
        ValueError: if there is no such level, naming those that exist.

    Example:
        >>> settings_of_level({"levels": {"pbe": {"train": "a.xyz"}}, "cutoff": 5.0}, "pbe")
        {'cutoff': 5.0, 'train': 'a.xyz'}
    """
    levels = arguments["levels"]
    if name not in levels:
        names = ", ".join(levels)
        raise ValueError(
            f"The data has the levels {names}: name the one whose keys and units the file has "
            "(--level)."
            if name is None
            else f"The data has no level {name!r}: it has {names}."
        )
    common = {key: value for key, value in arguments.items() if key in COMMON}
    return common | {key: value for key, value in levels[name].items() if key != WEIGHT}


def largest_remainders(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in the ratio of weights that add up to `total`; none is 0 if it suffices.

    Example:
        >>> largest_remainders(10, [1.0, 1.0, 1.0])
        [4, 3, 3]
    """
    exact = np.asarray(weights, dtype=np.float64)
    exact = exact / exact.sum() * total
    whole = np.floor(exact).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    for k in np.flatnonzero(whole == 0):
        if whole.max() > 1:
            whole[whole.argmax()] -= 1
            whole[k] = 1
    return whole.tolist()


def join_structures(sets: Sequence[PackedGraphs]) -> PackedGraphs:
    """Structures of several sets, one set after the other.

    Args:
        sets: with neighbours. Labels that a set does not have are NaN for its structures.
    """
    fields: dict[str, Field] = {}
    like: dict[str, Tensor] = {}
    for part in sets:
        fields |= {name: field for name, field in part.fields.items() if name not in fields}
        like |= {name: array for name, array in part.arrays.items() if name not in like}
    arrays = {
        name: torch.cat([_array(part, name, field, like[name]) for part in sets], field.dim)
        for name, field in fields.items()
    }
    kinds = ("node", "edge")
    counts = {f"{kind}s": torch.cat([part.counts[kind] for part in sets]) for kind in kinds}
    shifted = next((p.transform for p in sets if "cell_shift" in p.fields), sets[0].transform)
    return PackedGraphs({**counts, **arrays}, fields, transform=shifted)


def _array(part: PackedGraphs, name: str, field: Field, like: Tensor) -> Tensor:
    """An array of a set, or what stands for it."""
    if name in part.arrays:
        return part.arrays[name].to(like.dtype)
    length = int(part.counts[field.per].sum())
    fill = NEUTRAL.get(name, float("nan"))
    return like.new_full((length, *like.shape[1:]), fill)


def _numbered(structures: Any, level: int, first: int) -> PackedGraphs:
    """The same structures with the number of their level, counted on from `first`."""
    fields = structures.fields | {"level": Field("graph")}
    arrays = structures.arrays | {
        "level": torch.full((len(structures),), level, dtype=torch.uint8),
        "index": structures.arrays["index"] + first,
    }
    counts = {f"{k}s": n for k, n in structures.counts.items() if k != "graph"}
    return PackedGraphs({**counts, **arrays}, fields, transform=structures.transform)


def _weight(name: str, weight: Any) -> float | None:
    if weight is None:
        return None
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (number and 0 < weight < float("inf")):
        raise ValueError(
            f"weight of the level {name} is {weight!r}: it is how often its structures are drawn, "
            "a positive number."
        )
    return float(weight)
