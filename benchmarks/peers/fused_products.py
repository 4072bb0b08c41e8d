"""Products and convolutions by libraries of fused CUDA kernels: cuEquivariance, OpenEquivariance.

cuEquivariance is in a folder of its own (`make peers`; `make gpu-peers` adds its kernels), and on a
CPU takes its path without kernels, which tests the code here. OpenEquivariance works on CUDA
devices alone.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn

from benchmarks.peers.gaunt_cue import FOLDER, available

Convolution = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
CUE, OEQ = "cuEquivariance", "OpenEquivariance"


class MissingPeerError(RuntimeError):
    """A peer is not installed, or cannot work on this device."""


def cuequivariance(device: torch.device) -> tuple[Any, Any]:
    """The modules cuequivariance and cuequivariance_torch.

    Raises:
        MissingPeerError: if they, or on a CUDA device their kernels, are not there.
    """
    if not available():
        raise MissingPeerError("cuEquivariance is not installed: make peers")
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    if device.type == "cuda" and find_spec("cuequivariance_ops_torch") is None:
        raise MissingPeerError("the kernels of cuEquivariance are not installed: make gpu-peers")
    import cuequivariance as cue  # type: ignore[import-not-found]
    import cuequivariance_torch as cuet  # type: ignore[import-not-found]

    return cue, cuet


def openequivariance(device: torch.device) -> Any:
    """The module.

    Raises:
        MissingPeerError: if it is not there, or the device is no CUDA device.
    """
    if device.type != "cuda":
        raise MissingPeerError("OpenEquivariance needs a CUDA device")
    if find_spec("openequivariance") is None:
        raise MissingPeerError("OpenEquivariance is not installed: make gpu-peers")
    import openequivariance as oeq  # type: ignore[import-not-found]

    return oeq


class FusedConvolution(nn.Module):
    """A uvu product with weights of each edge, gathered and summed in the kernel, and a linear map.

    The function of `benchmarks.peers.edge_convolutions.ProductConvolution` up to the order and
    scale of weights; features in the library's own layout.

    Args:
        library: "cuEquivariance" or "OpenEquivariance".
        channels, degree: of features, harmonics and output, natural parity.
        device: of the kernels.
    """

    def __init__(self, library: str, channels: int, degree: int, device: torch.device) -> None:
        super().__init__()
        self.edge = _natural(1, degree)
        features = _natural(channels, degree)
        build = {CUE: _by_cue, OEQ: _by_oeq}[library]
        self.weights, self.product, mix = build(features, self.edge, device)
        self.mix = mix

    def forward(self, x: Tensor, direction: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        harmonics = o3.spherical_harmonics(self.edge, direction, False, normalization="component")
        return self.mix(self.product(x, harmonics, weight, edge_index))


def symmetric_contraction(
    channels: int, degree: int, order: int, elements: int, device: torch.device
) -> nn.Module:
    """Of features [n, (degree + 1)^2 channels] in the layout ir_mul, and int32 elements [n]."""
    cue, cuet = cuequivariance(device)
    irreps = cue.Irreps("O3", _text(channels, degree))
    options = {"layout": cue.ir_mul, "dtype": torch.float32, "device": device}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cuet.SymmetricContraction(
            irreps, irreps, order, elements, method=_method(device), **options
        )


def _by_cue(
    features: o3.Irreps, edge: o3.Irreps, device: torch.device
) -> tuple[int, Convolution, nn.Module]:
    cue, cuet = cuequivariance(device)
    x, y = (cue.Irreps("O3", str(irreps)) for irreps in (features, edge))
    product = cue.descriptors.channelwise_tensor_product(x, y, [ir for _, ir in x])
    middle = product.outputs[0].irreps
    fused = product.flatten_coefficient_modes().squeeze_modes().polynomial
    method = _method(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = cuet.SegmentedPolynomial(fused, method=method).to(device)
        mix = cuet.Linear(middle, x, layout=cue.ir_mul, device=device, dtype=torch.float32)

    def run(x: Tensor, harmonics: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        return whole([weight, x, harmonics], {1: source}, {0: x[:, :1]}, {0: target})[0]

    return product.inputs[0].dim, run, mix


def _by_oeq(
    features: o3.Irreps, edge: o3.Irreps, device: torch.device
) -> tuple[int, Convolution, nn.Module]:
    oeq = openequivariance(device)
    span = range(len(edge))
    paths = [
        (i, j, k)
        for k in span
        for i in span
        for j in span
        if abs(i - j) <= k <= i + j and (i + j + k) % 2 == 0
    ]
    channels = features[0].mul
    middle = o3.Irreps([(channels, features[k].ir) for _, _, k in paths])
    steps = [(i, j, n, "uvu", True) for n, (i, j, _) in enumerate(paths)]
    words = (oeq.Irreps(str(irreps)) for irreps in (features, edge, middle))
    problem = oeq.TPProblem(*words, steps, shared_weights=False, internal_weights=False)
    fused = oeq.TensorProductConv(problem, torch_op=True, deterministic=False)
    mix = o3.Linear(middle.simplify(), features).to(device)

    def run(x: Tensor, harmonics: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        return fused.forward(x, harmonics, weight, target, source)

    return problem.weight_numel, run, mix


def _method(device: torch.device) -> str:
    return "uniform_1d" if device.type == "cuda" else "naive"


def _natural(channels: int, degree: int) -> o3.Irreps:
    return o3.Irreps(_text(channels, degree))


def _text(channels: int, degree: int) -> str:
    return "+".join(f"{channels}x{n}{'eo'[n % 2]}" for n in range(degree + 1))
