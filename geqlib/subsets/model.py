"""EquiVSet and INSET: marginals of the elements of a set by mean field."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.nn.aggr import Aggregation

from geqlib.graph.pool import graph_index, sum_pool
from geqlib.graph.segments import segment_places
from geqlib.subsets.function import Background, SetFunction
from geqlib.subsets.recognition import Recognition, copula_noise, relaxed_subsets

Start = Literal["half", "independent", "copula"]
EVALUATION_SEED = 0


class EquiVSet(nn.Module):
    """Which elements of a set to choose: p(S | V) of the form exp F(S; V), by mean field.

    Marginals start at 1/2 or at those of a recognition network, and one step, or several, go to

        q_i <- sigma(mean over m of F(S_m + i; V) - F(S_m - i; V)),   S_m drawn from q,

    of which the last is differentiated. Without a background this is EquiVSet: Ou et al. (NeurIPS
    2022); with one it is INSET: Xie et al. (ICLR 2024), see `geqlib.subsets.function.SetFunction`.

    Symmetry: exchanges of the elements of a set, exactly for noise that goes with them, and in
    distribution otherwise.

    Args:
        in_channels: of x.
        channels, hidden, background, embed, aggr: of the set function.
        start: "half", called DiffMF in the paper; or a recognition network whose elements are drawn
            independently ("independent") or with a Gaussian copula ("copula") while it is trained,
            which take aggr="sum" alone.
        samples: M.
        steps: of mean field.
        rank: of the copula.
        calibrated: whether samples of the copula have the marginals q; False as published.

    Shapes:
        x [N, in_channels], batch [N], noise [N, steps M] uniform in [0, 1), drawn by default, in
        evaluation always alike, for the elements of each set; returns the logits [N] of q.

    Raises:
        ValueError: options out of range, batch without num_graphs, x or noise of another shape.

    Example:
        >>> inset = EquiVSet(2, 16, hidden=16, background="superset", samples=4)
        >>> inset(torch.randn(7, 2), torch.tensor([0, 0, 0, 1, 1, 1, 1]), 2).sigmoid().shape
        torch.Size([7])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        *,
        hidden: int = 500,
        background: Background | None = None,
        embed: nn.Module | None = None,
        aggr: Aggregation | str = "sum",
        start: Start = "half",
        samples: int = 5,
        steps: int = 1,
        rank: int = 5,
        calibrated: bool = False,
    ) -> None:
        super().__init__()
        if min(samples, steps, rank) < 1:
            raise ValueError(
                f"samples, steps and rank must be positive, got {samples}, {steps} and {rank}."
            )
        if start not in get_args(Start):
            raise ValueError(f'start must be "half", "independent" or "copula", got {start!r}.')
        self.samples, self.steps, self.calibrated = samples, steps, calibrated
        self.function = SetFunction(
            in_channels, channels, hidden=hidden, background=background, embed=embed, aggr=aggr
        )
        self.recognition = None
        if start != "half":
            if not self.function.sums:
                raise ValueError(
                    f'start="{start}" differentiates shares of elements, which takes aggr="sum": '
                    'set it, or start="half".'
                )
            self.recognition = Recognition(
                in_channels, channels, hidden=hidden, rank=rank if start == "copula" else 0
            )

    def reset_parameters(self) -> None:
        self.function.reset_parameters()
        if self.recognition is not None:
            self.recognition.reset_parameters()

    def forward(
        self,
        x: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        draws = self._draws(x, noise, batch, num_graphs)
        q = x.new_full((x.size(0),), 0.5)
        if self.recognition is not None:
            q = self.recognition(x).logits.detach().sigmoid()
        for uniform in draws[:-1]:
            with torch.no_grad():
                q = self._step(x, q, uniform, batch, num_graphs).sigmoid()
        return self._step(x, q, draws[-1], batch, num_graphs)

    def recognition_loss(
        self, x: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> Tensor | None:
        """-(mean over m of F(S_m; V) + H(q)) of each set [num_graphs], by which the recognition
        network learns; None without one.

        S_m are relaxed samples, H is the entropy of independent elements with the marginals q. The
        set function gets no gradient of this.
        """
        if self.recognition is None:
            return None
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        marginals = self.recognition(x)
        shape = (x.size(0), self.samples)
        if self.recognition.rank:
            own = torch.randn(shape, dtype=x.dtype, device=x.device)
            shared = own.new_empty(num_graphs, self.recognition.rank, self.samples).normal_()
            noise = copula_noise(marginals, own, shared, batch, calibrated=self.calibrated)
        else:
            noise = torch.rand(shape, dtype=x.dtype, device=x.device).logit(1e-6)
        subsets = relaxed_subsets(marginals.logits, noise)
        fixed = {name: p.detach() for name, p in self.function.named_parameters()}
        values = functional_call(self.function, fixed, (x, subsets, batch, num_graphs))
        q = marginals.logits.sigmoid()
        entropy = binary_cross_entropy_with_logits(marginals.logits, q, reduction="none")
        return -values.mean(1) - sum_pool(entropy, batch, num_graphs)

    def _step(
        self, x: Tensor, q: Tensor, uniform: Tensor, batch: Tensor, num_graphs: int
    ) -> Tensor:
        """Logits [N] of the next marginals."""
        return self.function.gains(x, uniform < q[:, None], batch, num_graphs).mean(1)

    def _draws(
        self, x: Tensor, noise: Tensor | None, batch: Tensor, num_graphs: int
    ) -> tuple[Tensor, ...]:
        """[N, M] for each step."""
        shape = (x.size(0), self.steps * self.samples)
        if noise is None and self.training:
            noise = torch.rand(shape, dtype=x.dtype, device=x.device)
        elif noise is None:  # by the place in the set, so that other sets beside it change nothing
            generator = torch.Generator().manual_seed(EVALUATION_SEED)
            noise = torch.rand(shape, generator=generator, dtype=x.dtype).to(x.device)
            noise = noise.index_select(0, segment_places(batch, num_graphs))
        if noise.shape != shape:
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}, expected {shape}: uniform numbers for "
                f"each of {self.steps} steps and {self.samples} samples."
            )
        return noise.split(self.samples, 1)
