"""What a layer makes of many generated graphs: is it finite, and symmetric within rounding?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from geqlib.symmetry.groups import act, elements, parse_group
from geqlib.symmetry.measure import level_sizes
from geqlib.symmetry.types import TensorType, Typed, parse_input, parse_type
from tests.contract import Case, join, values
from tests.properties.cases import FEWER
from tests.properties.samples import LARGEST, Sample, random_sample

Outputs = list[tuple[Tensor, TensorType]]


def wrong_with(name: str, case: Case, graphs: int, seed: int) -> str:
    """The first thing that is wrong with a layer on so many graphs; nothing, one hopes.

    The tolerance is the contract's, times how ill-conditioned the graph is: an offset between
    points of coordinates S at a distance d is rounded by S / d times as much as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    largest = next((n for part, n in FEWER.items() if part in name), LARGEST)
    samples = [random_sample(case.dim, largest, generator) for _ in range(graphs)]
    typed = join([case.inputs(s.pos, s.edge_index, generator) for s in samples])
    about = f"{name} with seed {seed}"
    for dtype in (torch.float64, torch.float32):
        if strange := _first_infinite(case, case.make(dtype), values(typed, dtype, True), samples):
            return f"{about} is not finite in {dtype}: {strange}"
    fn = partial(case.call, case.make(), graphs)
    worst, label, sample = max(
        (error, label, k)
        for label, errors in _errors(fn, case, typed, samples, seed)
        for k, error in enumerate(errors)
    )
    if worst <= case.rounding[torch.float64]:
        return ""
    return f"{about} is off by {worst:.1e} under {label}: graph {sample}, {samples[sample].name}"


def _first_infinite(
    case: Case, module: nn.Module, tensors: dict[str, Tensor], samples: list[Sample]
) -> str:
    result = case.call(module, len(samples), **tensors)
    owners = _owners(samples)
    for x, type_ in _typed(case, result):
        bad = ~x.isfinite().reshape(len(x), -1).all(1)
        if bad.any():
            return samples[int(owners[type_.level][bad][0])].name
    named = {k: x for k, x in {**tensors, **dict(module.named_parameters())}.items()}
    named = {k: x for k, x in named.items() if x.requires_grad}
    grads = grad(case.loss(result), list(named.values()), materialize_grads=True)
    strange = [k for k, g in zip(named, grads, strict=True) if not g.isfinite().all()]
    return f"gradient of {strange[0]}" if strange else ""


def _errors(
    fn: Any, case: Case, typed: dict[str, Any], samples: list[Sample], seed: int
) -> Iterator[tuple[str, list[float]]]:
    """Of each group and graph: relative as in `geqlib.testing`, over the conditioning."""
    inputs: Typed = {name: parse_input(name, pair) for name, pair in typed.items()}
    conditioning = torch.tensor([s.conditioning for s in samples], dtype=torch.float64)
    owners = _owners(samples)
    generator = torch.Generator().manual_seed(seed)
    expected = _typed(case, fn(**{name: x for name, (x, _) in inputs.items()}))
    for group in ("S_n", *case.groups):
        known = parse_group(group)
        (g,) = elements(known, inputs, level_sizes(inputs, known), 1, generator)
        moved = {name: act(x, type_, g).to(x.dtype) for name, (x, type_) in inputs.items()}
        errors = torch.zeros(len(samples), dtype=torch.float64)
        for (x, type_), (y, _) in zip(expected, _typed(case, fn(**moved)), strict=True):
            owner, right = owners[type_.level], act(x, type_, g)
            if type_.level == "node" and g.nodes is not None:
                owner = owner[g.nodes]
            off, size = (_largest(z, owner, len(samples)) for z in (y - right, right))
            errors = torch.maximum(errors, off / size.clamp(min=1))
        yield known.label, (errors / conditioning).tolist()


def _typed(case: Case, result: Any) -> Outputs:
    pairs = result if isinstance(result, (tuple, list)) else [result]
    texts = [case.outputs] if isinstance(case.outputs, str) else case.outputs
    return [
        (x.detach(), parse_type("output", text))
        for x, text in zip(pairs, texts, strict=True)
        if text is not None
    ]


def _owners(samples: list[Sample]) -> dict[str, Tensor]:
    """The graph of each row."""
    number = torch.arange(len(samples))
    sizes = torch.tensor([len(s.pos) for s in samples])
    edges = torch.tensor([s.edge_index.size(1) for s in samples])
    by_graph = {"node": sizes, "edge": edges}
    return {"graph": number} | {k: number.repeat_interleave(n) for k, n in by_graph.items()}


def _largest(x: Tensor, owner: Tensor, graphs: int) -> Tensor:
    """The largest absolute entry of each graph, 0 where it has none."""
    rows = x.detach().abs().double().reshape(len(x), -1)
    if not rows.numel():
        return rows.new_zeros(graphs)
    return rows.new_zeros(graphs).scatter_reduce(0, owner, rows.amax(1), "amax")
