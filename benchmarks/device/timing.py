"""How steps are timed on a device: interleaved medians, launches, peak memory, CUDA graphs.

It imports torch alone, so that peers with environments of their own use it, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

ROUNDS = 15  # at most; a median needs three
LEAST = 2e-3  # seconds of a sample, in which shorter steps are repeated
MOST_CALLS = 50
REPLAY_ERROR = 1e-2  # of a replayed loss, relative: sums in another order, in bfloat16 too
Run = Callable[[], object]


@dataclass(frozen=True)
class Clock:
    """Time that is left, by a clock that tests may replace.

    Args:
        end: when nothing further starts.
        now: seconds.
    """

    end: float
    now: Callable[[], float] = time.monotonic

    @property
    def left(self) -> float:
        return self.end - self.now()

    def check(self, what: str) -> None:
        """Raise `OutOfTimeError` if nothing is left."""
        if self.left <= 0:
            raise OutOfTimeError(f"cut off before {what}: its time was over")


class OutOfTimeError(RuntimeError):
    """A stage has used its time."""


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Run, device: torch.device, calls: int = 1) -> float:
    """Seconds of one call, synchronised before the first and after the last."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def interleaved(runs: Mapping[str, Run], device: torch.device, seconds: float) -> dict[str, float]:
    """Median seconds of each, all of them once per round, for about so many seconds in all."""
    calls = {}
    for name, run in runs.items():
        once = min(seconds_of(run, device) for _ in range(2))
        calls[name] = max(1, min(MOST_CALLS, int(LEAST / max(once, 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    for number in range(ROUNDS):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, run in runs.items():
            times[name].append(seconds_of(run, device, calls[name]))
    return {name: median(values) for name, values in times.items()}


def peak_mebibytes(run: Run, device: torch.device) -> float:
    """MiB at the peak of a call beyond what was allocated before it; CUDA devices only."""
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def launches(run: Run, device: torch.device) -> int:
    """Kernels of one call, by the profiler; copies and fills by the driver are not counted."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        run()
        synchronize(device)
    kernels = [
        event.name
        for event in recorded.events() or ()
        if event.device_type == DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
        and not event.name.startswith(("Memcpy", "Memset"))
    ]
    return len(kernels)


def captured(run: Callable[[], Tensor], device: torch.device) -> Run:
    """The same step as a CUDA graph, whose loss is that of the step.

    Raises:
        RuntimeError: if the step cannot be captured.
        ValueError: if the replay computes something else.
    """
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream(device).wait_stream(side)
    synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    replayed = [_replayed(graph, result) for _ in range(2)]
    expected = run().detach().double()
    scale = float(expected.abs().max().clamp(min=1e-30))
    error = max(float((value - expected).abs().max()) for value in replayed) / scale
    if not error <= REPLAY_ERROR:
        raise ValueError(f"the replayed step gives another loss, by {error:.1e}")

    def replay() -> None:
        graph.replay()

    return replay


def _replayed(graph: torch.cuda.CUDAGraph, result: Tensor) -> Tensor:
    graph.replay()
    torch.cuda.synchronize()
    return result.detach().double().clone()


def missing_package(error: BaseException) -> str:
    """The package for want of which an import has failed; "" if it is none of another project."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    package = (name or "").partition(".")[0]
    return "" if package in ("geqlib", "benchmarks", "tests") else package


def reason(error: BaseException) -> str:
    """One line that says what went wrong."""
    if package := missing_package(error):
        return f"{package} is not installed"
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "out of memory"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def alive(device: torch.device) -> bool:
    """Whether the device still computes: after some errors a process has lost it."""
    try:
        ok = bool((torch.ones(2, device=device) + 1).sum() == 4)
    except RuntimeError:
        return False
    return ok
