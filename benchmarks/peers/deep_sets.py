"""DeepSets as a scorer of elements, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.graph.pool import graph_index, sum_pool


class DeepSet(nn.Module):
    """A logit for each element from itself and the sum over its set: f([W x_i, sum_j phi(x_j)]).

    Zaheer et al., "Deep sets" (NeurIPS 2017). With phi of one hidden layer and f of two.

    Args:
        in_channels: of x.
        channels: of W and phi.
        hidden: width of the hidden layers.
        dropout: share of phi's hidden features that training leaves out.

    Shapes:
        x [N, in_channels], batch [N]; returns [N].
    """

    def __init__(self, in_channels: int, channels: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.own = nn.Linear(in_channels, channels)
        self.phi = nn.Sequential(
            nn.Linear(in_channels, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, channels),
        )
        self.f = nn.Sequential(
            nn.Linear(2 * channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(
        self, x: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> Tensor:
        batch, num_graphs = graph_index(batch, num_graphs, len(x), x.device)
        whole = sum_pool(self.phi(x), batch, num_graphs).index_select(0, batch)
        return self.f(torch.cat([self.own(x), whole], 1)).squeeze(-1)
