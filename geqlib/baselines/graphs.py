"""Message-passing networks of torch_geometric as graph classifiers, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import GINEConv
from torch_geometric.nn.inits import reset
from torch_geometric.nn.models import GIN, MLP, PNA
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.graph.checks import as_index
from geqlib.graph.pool import beside_pooled, graph_index


class MessagePassingNet(nn.Module):
    """GIN or PNA: the states of all layers are concatenated, pooled over the nodes and mapped.

    Symmetry: invariant under relabelling of the nodes, exactly. Sources: Xu et al., "How Powerful
    are Graph Neural Networks?" (ICLR 2019); Corso et al., "Principal Neighbourhood Aggregation"
    (NeurIPS 2020); both as in torch_geometric.

    Args:
        in_channels: features per node.
        out_channels: outputs per graph, such as classes.
        conv: "GIN" or "PNA".
        channels: width.
        layers: number of convolutions.
        degrees: for PNA: number of training nodes with 0, 1, 2, ... neighbours.
        edge_dim: features per edge, 0 to leave them out. With them GIN has the messages
            relu(x_j + W e_ij) of Hu et al., "Strategies for Pre-training Graph Neural Networks"
            (ICLR 2020).
        graph_dim: features per graph, `motifs`, which join what is read out.
        readout: from nodes to graphs: "sum", "mean", or any aggregation of torch_geometric.
        dropout: before both layers of the read-out.

    Raises:
        ValueError: options out of range, features of another shape, or `batch` without
            `num_graphs`.

    Example:
        >>> net = MessagePassingNet(3, 2, channels=8, layers=2)
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> net(torch.randn(3, 3), edge_index).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        conv: Literal["GIN", "PNA"] = "GIN",
        channels: int = 32,
        layers: int = 4,
        degrees: Sequence[int] | None = None,
        edge_dim: int = 0,
        graph_dim: int = 0,
        readout: str | Aggregation = "sum",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if conv not in ("GIN", "PNA"):
            raise ValueError(f'conv must be "GIN" or "PNA", got {conv!r}.')
        if (conv == "PNA") != (degrees is not None):
            raise ValueError('degrees must be given with conv="PNA", and only then.')
        options: dict[str, Any] = {"norm": "batch_norm", "jk": "cat"}
        if conv == "PNA":
            options["aggregators"] = ["mean", "min", "max", "std"]
            options["scalers"] = ["identity", "amplification", "attenuation"]
            options["deg"] = torch.tensor(degrees)
        if edge_dim:
            options["edge_dim"] = edge_dim
        kind: Any = PNA if conv == "PNA" else _GINE if edge_dim else GIN
        self.in_channels, self.edge_dim, self.graph_dim = in_channels, edge_dim, graph_dim
        self.layers = kind(in_channels, channels, layers, channels, **options)
        self.readout = aggregation_resolver(readout)
        self.hidden = nn.Linear(channels + graph_dim, channels)
        self.out = nn.Linear(channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        edge_attr: Tensor | None = None,
        motifs: Tensor | None = None,
    ) -> Tensor:
        """Features x [N, in_channels], edge_attr [E, edge_dim] and motifs [graphs, graph_dim] to
        [graphs, out_channels]."""
        self._check(x, edge_index, edge_attr)
        edge_index = as_index(edge_index)
        index, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        of_edges = {"edge_attr": edge_attr} if self.edge_dim else {}
        pooled = self.readout(self.layers(x, edge_index, **of_edges), index, dim_size=num_graphs)
        pooled = beside_pooled(pooled, motifs, self.graph_dim)
        return self.out(self.dropout(self.hidden(self.dropout(pooled)).relu()))

    def _check(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> None:
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected [nodes, {self.in_channels}]: give every "
                "node that many features, or set in_channels of the model to those of x."
            )
        if not self.edge_dim:
            return
        expected = (edge_index.size(1), self.edge_dim)
        shape = None if edge_attr is None else tuple(edge_attr.shape)
        if shape != expected:
            raise ValueError(
                f"edge_attr {'is missing' if shape is None else f'has shape {shape}'}, expected "
                f"{expected}: set edge_dim of the model to the features of an edge, 0 for none."
            )


class _GINE(GIN):
    """torch_geometric's GIN with features of edges."""

    supports_edge_attr = True  # pyright: ignore[reportGeneralTypeIssues]

    def init_conv(self, in_channels: int, out_channels: int, **options: Any) -> GINEConv:
        norm = {"norm": self.norm, "norm_kwargs": self.norm_kwargs}
        layers = [in_channels, out_channels, out_channels]
        return GINEConv(MLP(layers, act=self.act, act_first=self.act_first, **norm), **options)
