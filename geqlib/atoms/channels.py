"""What a network gives each atom or graph, by irreps."""

from __future__ import annotations

from typing import Any, cast

import torch
from e3nn import o3
from torch import Tensor, nn


class Channels:
    """What a network gives each atom or graph, by irreps, to be taken one channel after the other.

    Args:
        model: with `irreps_out`, or without.
        output: of its forward.
    """

    def __init__(self, model: nn.Module, output: Any) -> None:
        self.name = type(model).__name__
        self.free: dict[str, Tensor] = {}
        irreps = getattr(model, "irreps_out", None)
        if isinstance(output, tuple):
            self.free = {"0e": output[0][..., None], "1o": output[1]}
        elif irreps is None:
            self.free = {"0e": output[..., None]}
        else:
            parts = cast(o3.Irreps, o3.Irreps(irreps))
            for (mul, ir), part in zip(parts, parts.slices(), strict=True):
                self.free[str(ir)] = output[:, part].unflatten(1, (mul, ir.dim))

    def take(self, irreps: o3.Irreps, name: str) -> Tensor:
        """[n, dim] the next channels.

        Raises:
            ValueError: if there are none left.
        """
        parts = []
        for mul, ir in irreps:
            free = self.free.get(str(ir))
            if free is None or free.size(1) < mul:
                have = {key: part.size(1) for key, part in self.free.items() if part.size(1)}
                left = " + ".join(f"{count}x{key}" for key, count in have.items())
                raise ValueError(
                    f"{name!r} needs {mul}x{ir}, but of the outputs of {self.name} there are left "
                    f"{left or 'none'}: give it more output channels (out_scalars are 0e, "
                    "out_vectors 1o), or another network, such as GauntNet with irreps_out."
                )
            parts.append(free[:, :mul].flatten(1))
            self.free[str(ir)] = free[:, mul:]
        return torch.cat(parts, 1)


def irreps(text: str) -> o3.Irreps:
    """Irreps from their text."""
    return cast(o3.Irreps, o3.Irreps(text))
