"""Levels of theory, or data sets, as an input of a network on atoms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LevelEmbedding(nn.Module):
    """What the level of theory of a graph, or its data set, adds to its atoms' features.

    Source: the data-set encoding of DPA-3 (Zhang et al., 2025, arXiv 2506.01686), a one-hot vector
    before the network that all levels share. Here it is a learnt vector, x_i + v[level], that is 0
    at the start: a network that was trained on one level begins with equal predictions for all.

    Args:
        names: of the levels, whose numbers are their places.
        features: of an atom.
        level: the one that is meant where none is named.

    Shapes:
        level [G], numbers, to [G, features].

    Raises:
        ValueError: if names are missing or twice, or `level` is none of them.

    Example:
        >>> levels = LevelEmbedding(["pbe", "ccsd"], 4, level="pbe")
        >>> levels.number("ccsd"), levels(levels.resolve(None, 3)).shape
        (1, torch.Size([3, 4]))
    """

    def __init__(self, names: Sequence[str], features: int, level: str | None = None) -> None:
        super().__init__()
        self.names = tuple(str(name) for name in names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"Levels need names, each of which once, got {list(names)}.")
        # weights that are given, as others would be drawn, and change those drawn after them
        self.vectors = nn.Embedding(
            len(self.names), features, _weight=torch.zeros(len(self.names), features)
        )
        self.default = None if level is None else self.number(level)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.vectors.weight)

    def forward(self, level: Tensor) -> Tensor:
        return self.vectors(level)

    def number(self, name: str) -> int:
        """Of a level.

        Raises:
            ValueError: if there is none of this name, naming those that exist.
        """
        if name not in self.names:
            raise ValueError(
                f"This potential knows no level {name!r}: it was trained on {self.listed}."
            )
        return self.names.index(name)

    @property
    def listed(self) -> str:
        """The names of all levels, in a sentence."""
        return ", ".join(self.names)

    def resolve(self, level: Tensor | None, graphs: int) -> Tensor:
        """The numbers [G] of levels; of all graphs the default where there are none.

        Raises:
            ValueError: if there is no default, either.
        """
        if level is not None:
            return level.long()
        if self.default is None:
            raise ValueError(
                f"This potential knows the levels {self.listed}: name the one that is meant "
                "(level=...)."
            )
        return torch.full((graphs,), self.default, device=self.vectors.weight.device)

    def check(self, level: Tensor | None) -> None:
        """Refuse numbers that no level has. Reads values.

        Raises:
            ValueError: naming it.
        """
        level = self.resolve(level, 1)
        wrong = (level < 0) | (level >= len(self.names))
        if bool(wrong.any()):
            raise ValueError(
                f"A structure has the level {int(level[wrong][0])}, but there are "
                f"{len(self.names)}: {self.listed}, counted from 0."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.names)}, {self.vectors.embedding_dim})"
