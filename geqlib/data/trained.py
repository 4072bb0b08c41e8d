"""Data of one's own: its names are those that a model was trained on, and its parts differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch.utils.data import DataLoader

from geqlib.data.download import find_file, find_folder
from geqlib.data.partition import PartitionedLoaders
from geqlib.files.atomic import file_hash
from geqlib.files.plain import plain

SHOWN = 10  # names in messages


class NamedLoaders(PartitionedLoaders):
    """`PartitionedLoaders` of data that has names: checkpoints keep them, and hold data to them.

    A model knows its outputs by their order alone, which is that of the classes or targets. Files
    of validation or testing that are those of the training are refused.

    Attributes:
        sources: files or folders of each split, in lists or dictionaries.
        trained: names in a checkpoint that was read.
    """

    sources: Mapping[str, Any]
    trained: Mapping[str, Any] = MappingProxyType({})

    def state_dict(self) -> dict[str, Any]:
        names = {name: getattr(self, name, None) for name in ("classes", "targets")}
        return {name: plain(list(value), name) for name, value in names.items() if value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the names of a checkpoint over.

        Raises:
            ValueError: targets in another order than in the checkpoint.
        """
        self.trained = dict(state_dict)
        if "classes" in state_dict and not getattr(self, "classes", None):
            self.classes = state_dict["classes"]
        self.check_trained()

    def check_trained(self) -> None:
        """Refuse names whose numbers are others than in the checkpoint that was read.

        Raises:
            ValueError: naming those of the data and those of the checkpoint.
        """
        own = self.state_dict()
        for name in ("classes", "targets"):
            now, before = own.get(name, []), self.trained.get(name, [])
            if before and renumbered(now, before, renamed=name == "targets"):
                self.refuse(name, _listed(now), _listed(before))

    def refuse(self, name: str, now: object, before: object) -> None:
        """Raise the error of data that a model cannot be used on."""
        raise ValueError(
            f"The {name} of the data are {now}, but the model was trained on {before}, and knows "
            "them by this order: give it the same, or name a file (`geqlib test MODEL FILE`, "
            "`geqlib predict MODEL FILE`), which is read as the training data was."
        )

    def train_dataloader(self) -> DataLoader:
        check_sources(self.sources)  # not before: a model may be tested on what it was trained on
        self._check_learnt()
        return super().train_dataloader()

    def _check_learnt(self) -> None:
        """Refuse to train where an output would stay as it was drawn."""
        y = getattr(self.splits.get("train"), "arrays", {}).get("y")
        if y is None or not y.is_floating_point() or y.dim() != 2:
            return
        empty = y.isnan().all(0).nonzero()[:, 0].tolist()
        if empty:
            name = self.state_dict().get("targets", range(y.size(1)))[empty[0]]
            raise ValueError(
                f"Nothing in the training part has a value of {name}, which would not be learnt: "
                "leave this target out, or choose other shares, another seed or another fold."
            )

    def _split(self, split: str) -> Any:
        self.check_trained()  # with the names that are known once the data is read
        return super()._split(split)


def check_sources(sources: Mapping[str, Any]) -> None:
    """Refuse a file, or its copy, or a folder that is the source of two splits.

    Args:
        sources: of each split, as text or in lists or dictionaries; what is no file or folder is
            not looked at.

    Raises:
        ValueError: naming the splits and the source.
    """
    if len(sources) < 2:
        return  # files are read whole below
    owners: dict[Any, str] = {}
    for split, source in sources.items():
        for name in _texts(source):
            path = find_file(name) or find_folder(name)
            if path is None:
                continue
            content = file_hash(path) if path.is_file() else path.resolve()
            if (other := owners.setdefault(content, split)) != split:
                raise ValueError(
                    f"{other} and {split} are the same data ({name}): name files that differ, or "
                    f"a share as {split}."
                )


def _texts(source: Any) -> Iterator[str]:
    if isinstance(source, str):
        yield source
    elif isinstance(source, Mapping | list | tuple):
        for part in source.values() if isinstance(source, Mapping) else source:
            yield from _texts(part)


def renumbered(now: Sequence[Any], before: Sequence[Any], *, renamed: bool) -> bool:
    """Whether a name has another number than it had.

    Args:
        now, before: names in the order of their numbers.
        renamed: whether names that were not there before may stand for those that were.

    Example:
        >>> renumbered(["b"], ["a", "b"], renamed=True), renumbered(["a"], ["a", "b"], renamed=True)
        (True, False)
        >>> renumbered(["c"], ["a"], renamed=True), renumbered(["c"], ["a"], renamed=False)
        (False, True)
    """
    number = {name: k for k, name in enumerate(before)}
    return any(number.get(name, k if renamed else -1) != k for k, name in enumerate(now))


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
