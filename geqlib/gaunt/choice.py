"""Which algorithm a Gaunt product takes: the fastest one on this machine, measured once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import ceil, log2
from pathlib import Path
from typing import Any, get_args

import torch
from e3nn import o3

from geqlib.files.user_cache import cache_dir, replace_file
from geqlib.gaunt.form import BLOCK, TrilinearForm
from geqlib.gaunt.layout import Paths
from geqlib.gaunt.methods import Method, product_form

METHODS: tuple[Method, ...] = get_args(Method)
VARIABLE = "GEQLIB_GAUNT_METHOD"
BUDGET = 6e-3  # seconds that each method is measured for
COLUMNS = 4096  # nodes times channels, at most, that it is measured on
_found: dict[str, Method] = {}


def choose_method(irreps: Sequence[o3.Irreps], paths: Paths) -> Method:
    """The method that "auto" means: the variable `GEQLIB_GAUNT_METHOD`, or else the fastest.

    Some thousand rows and channels go forward and backward through every candidate, in torch's
    default type and on its default device, once for a key of irreps, paths, channels (to a power of
    two), type, device and torch version. The answer is kept in gaunt_methods.json in geqlib's cache
    folder; a file that cannot be read is measured anew, one that cannot be written is left out.
    "sparse" is a candidate up to degree 3 and "fft" on GPUs: elsewhere they are far behind
    (benchmarks/speed/gaunt.py). Where nothing can be measured (meta and fake tensors, compilation)
    it is "grid" up to degree 10 and "separable" above.

    Args:
        irreps: of both inputs and the output, of one multiplicity.
        paths: "gaunt", "bracket" or "all".

    Raises:
        ValueError: if the variable names no method.
    """
    if named := os.environ.get(VARIABLE):
        return named_method(named)
    top = max(ir.l for side in irreps for _, ir in side)
    if not _can_measure():
        return _candidates(top)[0]
    key = _key(irreps, paths)
    if key not in _found:
        known = _read().get(key)
        if known not in METHODS:
            known = fastest(irreps, paths, _candidates(top))
            _write(key, known)
        _found[key] = known
    return _found[key]


def named_method(name: str) -> Method:
    for method in METHODS:
        if name == method:
            return method
    raise ValueError(f"{VARIABLE}={name!r} is no method: set it to one of {', '.join(METHODS)}.")


def measured(form: TrilinearForm) -> Callable[[], float]:
    """A function that gives the seconds a row of one forward and backward pass.

    Through one block of the form, at most a few thousand nodes and channels.
    """
    channels = form.columns[0].channels
    rows = max(min(COLUMNS, BLOCK // form.points) // channels, 1)
    x, y, z = (torch.ones(rows, columns.dim, dtype=_dtype()) for columns in form.columns)
    # seconds of this thread alone, since other work may hold the processor for much longer
    clock = time.thread_time if x.device.type == "cpu" else time.perf_counter

    @torch.no_grad()
    def run() -> float:
        start = clock()
        form.gradients({0: x, 1: y}, [2])
        results = form.gradients({0: x, 1: y, 2: z}, [0, 1])
        float(results[0][0, 0])  # waits for a GPU
        return (clock() - start) / rows

    return run


def fastest(
    irreps: Sequence[o3.Irreps],
    paths: Paths,
    methods: Sequence[Method],
    measure: Callable[[TrilinearForm], Callable[[], float]] = measured,
) -> Method:
    """The method that needs the fewest seconds a row.

    Methods take turns and count by their best time, on one thread, so that other work on the
    machine disturbs little. The first one is left only for one that is a tenth faster.
    """
    runs = [measure(product_form(irreps, paths, method)) for method in methods]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in runs:  # first calls are slower
            run()
        best, end = [run() for run in runs], time.perf_counter() + BUDGET * len(methods)
        while time.perf_counter() < end:
            best = [min(known, run()) for known, run in zip(best, runs, strict=True)]
    finally:
        torch.set_num_threads(threads)
    seconds = [best[0] / 1.1, *best[1:]]
    return methods[seconds.index(min(seconds))]


def _candidates(top: int) -> list[Method]:
    found: list[Method] = ["grid", "separable"] if top <= 10 else ["separable", "grid"]
    if top <= 3:
        found.append("sparse")
    if torch.get_default_device().type != "cpu":
        found.append("fft")
    return found


def _can_measure() -> bool:
    probe = torch.empty(0)
    return (
        type(probe) is torch.Tensor
        and probe.device.type != "meta"
        and not torch.compiler.is_compiling()
    )


def _key(irreps: Sequence[o3.Irreps], paths: Paths) -> str:
    device = torch.get_default_device()
    machine = (
        f"cpu {torch.backends.cpu.get_cpu_capability()}"
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else device.type
    )
    channels = 2 ** ceil(log2(max(mul for mul, _ in irreps[0])))
    sides = [",".join(str(ir) for _, ir in side) for side in irreps]
    product = f"{sides[0]} x {sides[1]} -> {sides[2]}"
    return f"{product} | {paths} | {channels} | {_dtype()} | {machine} | torch {torch.__version__}"


def _dtype() -> torch.dtype:
    """What products of torch's default type are computed in."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def _path() -> Path:
    return cache_dir() / "gaunt_methods.json"


def _read() -> dict[str, Any]:
    with suppress(OSError, ValueError, RuntimeError):  # the last: there is no home
        content = json.loads(_path().read_text())
        if isinstance(content, dict):
            return content
    return {}


def _write(key: str, method: Method) -> None:
    text = json.dumps(_read() | {key: method}, indent=1)
    with suppress(OSError, RuntimeError):
        replace_file(_path(), partial(Path.write_text, data=text))
