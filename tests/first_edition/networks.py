"""A network of a user's own, which a configuration names: with a product that chooses by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.models import PONITA
from geqlib.nn import GauntTensorProduct, SelfMix


class Mixed(nn.Module):
    """Scalars and vectors of PONITA, multiplied as functions on the sphere, to one vector.

    Both products take what method="auto" means: the first edition measured it, and saved its
    choice in the state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = PONITA(1, 1, 4, 4, channels=4, layers=1)
        self.mix = SelfMix("4x0e+4x1o")
        self.product = GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", "4x1o", weights="degree")

    def forward(
        self, pos: Tensor, edge_index: Tensor, x: Tensor, vec: Tensor
    ) -> tuple[Tensor, Tensor]:
        scalars, vectors = self.net(pos, edge_index, x, vec)
        y = torch.cat([scalars, vectors.flatten(1)], 1)
        return scalars, self.product(y, self.mix(y)).unflatten(1, (4, 3)).mean(1, keepdim=True)
