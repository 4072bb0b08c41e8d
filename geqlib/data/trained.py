"""What a model was trained on, and data that names its classes, targets and features otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from geqlib.data.partition import PartitionedLoaders
from geqlib.files.plain import plain

SHOWN = 10  # names in messages


class NamedLoaders(PartitionedLoaders):
    """`PartitionedLoaders` of data that has names: checkpoints keep them, and hold data to them.

    A model knows its outputs by their order alone, which is that of the classes or targets.

    Attributes:
        trained: names in a checkpoint that was read.
    """

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

    def _split(self, split: str) -> Any:
        self.check_trained()  # with the names that are known once the data is read
        return super()._split(split)


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
