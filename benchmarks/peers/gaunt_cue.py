"""Gaunt products by cuequivariance's PyTorch path for CPUs, `make peers`.

The library's kernels are for GPUs; on CPUs it offers "naive", which contracts segments one by one.
It needs nothing that this environment lacks, so that it runs in the same process, from a folder of
its own. (openequivariance has no such path: with a torch for CPUs, importing its kernels ends with
"Only CUDA and HIP backends are supported".)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from geqlib.sphere.coefficients import gaunt_coefficients

FOLDER = Path(__file__).parents[2] / ".peers/cuequivariance"


def available() -> bool:
    """Whether `make peers` was run."""
    return (FOLDER / "installed").exists()


def product(degree: int, channels: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Of two [n, channels (degree + 1)^2] tensors in the library's own layout, ir_mul."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    import cuequivariance as cue  # type: ignore[import-not-found]
    import cuequivariance_torch as cuet  # type: ignore[import-not-found]

    tensors: Any = cue.SegmentedTensorProduct.from_subscripts("iu,ju,ku+ijk")
    for operand in range(3):
        for ell in range(degree + 1):
            tensors.add_segment(operand, (2 * ell + 1, channels))
    span = range(degree + 1)
    for i in span:
        for j in span:
            for k in range(abs(i - j), min(i + j, degree) + 1, 2):
                tensors.add_path(i, j, k, c=gaunt_coefficients(i, j, k).numpy())
    whole = cue.SegmentedPolynomial.eval_last_operand(tensors)
    module = cuet.SegmentedPolynomial(whole, method="naive")
    return lambda x, y: module([x, y])[0]
