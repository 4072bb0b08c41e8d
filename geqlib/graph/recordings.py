"""Recordings of a function on fixed tensors: CUDA graphs, and what stands for them on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geqlib.graph.many import copy_all

Outputs = dict[str, Tensor]
Function = Callable[[], Outputs]
WARM_UPS = 2  # runs before the recording: libraries choose algorithms and allocate in them


class Recorder(Protocol):
    """Makes a function that does what the recorded one does, again and again.

    The function reads and writes tensors that stay where they are; its outputs are the same tensors
    after each replay.
    """

    def __call__(self, function: Function) -> Function: ...


class Rerun:
    """Runs the function again, with outputs in the tensors of the first run: for a CPU.

    Example:
        >>> x = torch.zeros(1)
        >>> replay = Rerun()(lambda: {"y": x + 1})
        >>> first = replay()["y"]
        >>> _ = x.fill_(2), replay()
        >>> first
        tensor([3.])
    """

    def __call__(self, function: Function) -> Function:
        outputs: Outputs = {}

        def replay() -> Outputs:
            for name, value in function().items():
                if name in outputs:
                    outputs[name].copy_(value)
                else:
                    outputs[name] = value.detach().clone()
            return outputs

        return replay


class CudaGraphs:
    """Records CUDA graphs, which share one pool of memory."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function) -> Function:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads, such as those of a loader, may go on
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            outputs = function()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


class Unchanged:
    """A context after which buffers, gradients and random states are as they were before it.

    Args:
        module: whose buffers are outputs.
        tensors: further ones.
        device: whose random state is outputs beside that of the CPU.
    """

    def __init__(self, module: nn.Module, tensors: Iterable[Tensor], device: torch.device) -> None:
        self.tensors = [*module.buffers(), *tensors]
        self.devices = [device] if device.type == "cuda" else []

    def __enter__(self) -> None:
        self.copies = [x.detach().clone() for x in self.tensors]
        self.fork = torch.random.fork_rng(self.devices)
        self.fork.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)
        with torch.no_grad():
            copy_all(self.tensors, self.copies)
