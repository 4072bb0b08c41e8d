"""The residual block of position-orientation networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from geqlib.ponita.basis import Basis
from geqlib.ponita.conv import PositionOrientationConv
from geqlib.ponita.recompute import gelu_linear


class ConvNeXtBlock(nn.Module):
    """x + s W2 gelu(W1 norm(conv(x))): equivariant because all but conv acts on channels alone.

    Args:
        conv: the position-orientation convolution.
        widen: hidden width in units of the channels.
        layer_scale: initial value of s, one a channel; None for s = 1.
        dropout: of the hidden features.
    """

    def __init__(
        self,
        conv: PositionOrientationConv,
        *,
        widen: int = 4,
        layer_scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = conv.channels
        self.widen = widen
        self.conv = conv
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, widen * channels)
        self.contract = nn.Linear(widen * channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.initial_scale = layer_scale
        self.layer_scale = None
        if layer_scale is not None:
            self.layer_scale = nn.Parameter(torch.full((channels,), layer_scale))

    def reset_parameters(self) -> None:
        for part in (self.conv, self.norm, self.expand, self.contract):
            part.reset_parameters()
        if self.layer_scale is not None and self.initial_scale is not None:
            nn.init.constant_(self.layer_scale, self.initial_scale)

    def forward(self, x: Tensor, basis: Basis) -> Tensor:
        h = self.expand(self.norm(self.conv(x, basis)))
        if self.dropout.p > 0:
            h = self.contract(self.dropout(gelu(h)))
        else:
            h = gelu_linear(h, self.contract.weight, self.contract.bias)
        return x + (h if self.layer_scale is None else self.layer_scale * h)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.conv.channels}, widen={self.widen})"
