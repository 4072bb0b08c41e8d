"""A denoiser that is recorded once, and replayed at every step of a sampler."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from geqlib.graph.checks import values_unread
from geqlib.graph.recordings import Outputs, Recorder


def replayed(
    denoise: Callable[[Tensor, Tensor], Tensor], like: Tensor, count: int, recorder: Recorder
) -> Callable[[Tensor, float], Tensor]:
    """D(x; sigma) of numbers sigma, by a recording on tensors that stay where they are.

    Args:
        denoise: D of x and of a level [count] for each graph.
        like: [N, d], as x.
        count: of graphs.
        recorder: such as `geqlib.graph.recordings.CudaGraphs()`.

    Returns:
        The function, or one that computes D without a recording where there can be none, which a
        warning says.

    Example:
        >>> from geqlib.graph.recordings import Rerun
        >>> halved = replayed(lambda x, sigma: x * sigma, torch.ones(2, 1), 1, Rerun())
        >>> halved(torch.ones(2, 1), 0.5).flatten()
        tensor([0.5000, 0.5000])
    """
    state, level = torch.zeros_like(like), like.new_ones(count)

    def recorded() -> Outputs:
        with values_unread():
            return {"denoised": denoise(state, level)}

    try:
        replay = recorder(recorded)
    except RuntimeError as error:
        warnings.warn(
            f"cuda_graphs: sampling is not replayed, because the recording failed "
            f"({str(error).splitlines()[0]}).",
            stacklevel=2,
        )
        return lambda x, sigma: denoise(x, x.new_full((count,), sigma))

    def at_level(x: Tensor, sigma: float) -> Tensor:
        state.copy_(x)
        level.fill_(sigma)
        return replay()["denoised"].clone()

    return at_level
