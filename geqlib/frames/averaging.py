"""Frame averaging: an invariant or equivariant network from any network.

Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022, arXiv
2110.03336), equations 1 and 2. With a frame F(x), finitely many group elements of which
F(g x) = g F(x),

    y = 1 / |F(x)|  sum over g in F(x) of  g . module(g^-1 . x).

`transformed` is g^-1 . x for all g at once, `averaged` the sum.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from geqlib.frames.batches import Batch, typed_batch
from geqlib.frames.copies import FrameCopies, frame_copies
from geqlib.frames.learned_frames import LearnedFrame
from geqlib.frames.node_orders import sorted_copies
from geqlib.frames.outputs import OutputTypes, output, output_types
from geqlib.frames.point_frames import Frames, check_frames, drawn, point_frames
from geqlib.frames.preferred import (
    Confidence,
    as_returned,
    class_confidence,
    preferred_weights,
    surest_class_weights,
)
from geqlib.frames.quotient import quotient
from geqlib.frames.soft_orders import SoftOrder, check_soft
from geqlib.frames.vectors import Geometry, geometry_of
from geqlib.frames.weighted_frames import weighted_frames
from geqlib.graph.functional import outside_vmap
from geqlib.graph.pairs import PairPlan, pair_plan
from geqlib.symmetry.groups import Group, parse_group
from geqlib.symmetry.types import TensorType, Typed, parse_type, rotate

Mode = Literal["full", "stochastic", "weighted", "minimal", "learned", "argmax", "soft"]
FrameFunction = Callable[..., Frames]


def transformed(plan: FrameCopies, x: Tensor, type_: TensorType) -> Tensor:
    """g^-1 . x for every g in F(x): R^T x, and R^T (x - t) of points, one copy after the other."""
    if type_.kind == "edge_index":
        return plan.edge_index
    index, copy = plan.of(type_.level)
    if plan.mixing is not None and type_.level != "graph":
        x = plan.mixing.mixed(x, type_)
    x = x.index_select(0, index)
    if not type_.rotates or plan.matrix.size(-1) == 0:
        return x
    if type_.kind == "point" and plan.shift is not None:
        # in float64, as the centre may be far larger than the set
        x = (x.double() - _like(plan.shift[plan.sample[copy]], x.double())).to(x.dtype)
    return rotate(x, type_, plan.matrix.mT[copy], [d.mT[copy] for d in plan.wigner])


def averaged(plan: FrameCopies, y: Tensor, type_: TensorType) -> Tensor:
    """sum over g in F(x) of w_g g . y_g, where w_g = 1 / |F(x)| unless frames have weights."""
    index, copy = plan.of(type_.level)
    if type_.rotates and plan.matrix.size(-1) > 0:
        y = rotate(y, type_, plan.matrix[copy], [d[copy] for d in plan.wigner])
    if plan.orbit is not None and type_.level == "node":
        y = _class_means(y, plan.orbit)[plan.orbit]
    mean = y.new_zeros(plan.count(type_.level), *y.shape[1:])
    mean = mean.index_add(0, index, _like(plan.weight[copy], y) * y)
    if plan.mixing is not None and type_.level == "node":
        mean = plan.mixing.transposed(mean)
    if type_.kind == "point" and plan.shift is not None:
        sample = index.new_zeros(mean.size(0)).index_put((index,), plan.sample[copy])
        mean = (mean.double() + _like(plan.shift[sample], mean.double())).to(mean.dtype)
    return mean


class FrameAveraging(nn.Module):
    """Any module, averaged over a frame of its inputs: invariant or equivariant by construction.

    Symmetry: that of `group`, for every module, up to rounding; in mode "stochastic" on average.
    Relabelling of nodes is kept if the module keeps it, or if the group contains S_n.

    Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
    arXiv 2110.03336). With a frame F(x), finitely many elements of the group of which
    F(g x) = g F(x), and weights w_g of sum 1, all equal but in mode "weighted",

        y = sum over g in F(x) of  w_g  g . module(g^-1 . x).

    The frame is made of all geometric inputs together (`geqlib.frames.point_frames`): from the
    eigenvectors of their covariance, or, where eigenvalues are repeated, from the points.

    Args:
        module: called with keywords: the inputs, as seen from each frame, and `batch` and
            `num_graphs` as below.
        group: "O(d)", "SO(d)", "E(d)" or "SE(d)", "S_n" for the exact frame of node orders, or a
            product such as "S_n x E(3)"; or a function of the inputs, `batch` and `num_graphs`
            that returns your own `geqlib.frames.point_frames.Frames`.
        inputs: name -> type, as in `geqlib.testing`: "point", "vector", "scalar", "index", irreps,
            "edge_index", after "edge:" or "graph:" if the tensor is not per node.
        outputs: the type of what the module returns; types in a sequence or by name for modules
            that return a tuple or a mapping.
        mode: which elements of the frame are taken:

            - "full": all, 2^d for O(d), more where a degenerate input is symmetric.
            - "stochastic": `samples` of them, drawn in every call, also in evaluation; unbiased.
            - "weighted": continuous in points and vectors also where eigenvalues cross, for more
              elements there (d = 2 or 3).
            - "minimal": of copies of the input that equal each other only one is computed, which
              gives the same mean.
            - "learned": the frame of a small equivariant network, and the full one where that has
              none.
            - "argmax": of the full frame the one copy of which the module is most confident
              (`geqlib.frames.preferred`); as exact, but it jumps where the preference changes.
            - "soft": for "S_n", one soft order, continuous where scores of nodes tie
              (`geqlib.frames.soft_orders`): y = P^T module(P x, P A P^T). The module sees weighted
              edges between all pairs of nodes.
        samples: for mode "stochastic".
        confidence: for mode "argmax": of the outputs of all copies, as the module returns them, to
            [copies] numbers. By default the log-odds of the most probable class of the first
            output of type "graph:scalar".
        order: for mode "soft": where the scores of nodes come from, and how they make an order.
        dense: whether tensors have a first axis of samples, [B, points, ...], in place of `batch`.

    Shapes:
        With `batch`, [N] the sample of each node, all copies of all samples are one batch of
        graphs, and the module is called once, with their `batch` and, if it takes it,
        `num_graphs`. With `dense=True` it is called once on [copies, points, ...]. Otherwise there
        is one sample, and the module is called for each copy.

    Raises:
        ValueError: undeclared inputs, shapes that contradict the types, NaN, outputs that are not
            what `outputs` says.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3))
        >>> class Mine(nn.Module):
        ...     def forward(self, pos, batch):
        ...         return net(pos)
        >>> model = FrameAveraging(Mine(), "E(3)", inputs={"pos": "point"}, outputs="point")
        >>> model(pos=torch.randn(5, 3), batch=torch.tensor([0, 0, 0, 1, 1])).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        module: nn.Module,
        group: str | FrameFunction,
        *,
        inputs: Mapping[str, str],
        outputs: OutputTypes,
        mode: Mode = "full",
        samples: int = 1,
        dense: bool = False,
        confidence: Confidence | None = None,
        order: SoftOrder | None = None,
    ) -> None:
        super().__init__()
        self.module, self.group, self.mode = module, group, mode
        self.confidence, self.order = confidence, order
        self.samples, self.dense = samples, dense
        self.inputs, self.outputs = dict(inputs), outputs
        self.types = {name: parse_type(f"input {name!r}", text) for name, text in inputs.items()}
        self.output_types = output_types(outputs)
        self.symmetry = frame_group(group) if isinstance(group, str) else None
        self.takes = _arguments(module)
        self._check()
        types = [*self.types.values(), *self.output_types.values()]
        self.irreps = max((t.degree for t in types), default=-1)
        self.degree = max(self.irreps, int(any(t.rotates for t in types)))
        self.learned = None
        if mode == "learned" and self.symmetry is not None:
            self.learned = LearnedFrame(self.symmetry.dim, proper=self.symmetry.proper)

    def reset_parameters(self) -> None:
        for part in (self.module, self.learned, self.order):
            if part is not None and hasattr(part, "reset_parameters"):
                part.reset_parameters()  # type: ignore[operator]

    def forward(self, *, plan: FrameCopies | PairPlan | None = None, **tensors: Any) -> Any:
        """The averaged output: a tensor, a tuple or a dictionary, as the module returns it.

        Args:
            plan: computed before by `plan(...)` from these very inputs, or in mode "soft" by
                `pairs(...)`; compile and export need it.
            tensors: the inputs by name, `batch` and `num_graphs`. What is None is left out.
        """
        batch = self._batch(tensors, check=plan is None)
        self._check_call(batch)
        with outside_vmap("FrameAveraging"):
            plan = self._copies(batch, tensors, plan)
        copies = plan if plan.distinct is None else plan.distinct.copies
        seen = {name: _distinct(plan, *pair) for name, pair in _seen(plan, batch).items()}
        results = self._results(seen, copies, batch)
        of_copies, averages = {}, {}
        for key, type_ in self.output_types.items():
            y = output(results, self.outputs, key, type_, copies, batch.single)
            if plan.distinct is not None:
                y = y.index_select(0, plan.distinct.same(type_.level))
            of_copies[key] = y
        if self.mode == "argmax":
            plan = replace(plan, weight=self._preferred(plan, of_copies))
        for key, type_ in self.output_types.items():
            mean = averaged(plan, of_copies[key], type_)
            averages[key] = mean[0] if batch.single and type_.level == "graph" else mean
        if isinstance(self.outputs, str):
            return averages[0]
        return averages if isinstance(self.outputs, Mapping) else tuple(averages.values())

    def plan(self, **tensors: Any) -> FrameCopies:
        """The frames of these inputs, and the nodes and edges of each copy.

        Raises:
            ValueError: in mode "soft", whose orders depend on weights.
        """
        if self.order is not None:
            raise ValueError('orders of mode "soft" depend on weights: their plan is pairs(...).')
        return self._plan(self._batch(tensors, check=True), tensors)

    def pairs(self, **tensors: Any) -> PairPlan:
        """The pairs of nodes of these inputs: the plan of mode "soft"."""
        return _pairs(self._batch(tensors, check=True))

    def _preferred(self, plan: FrameCopies, outputs: Mapping[str | int, Tensor]) -> Tensor:
        """[copies] weights of the copies of which the module is most confident."""
        if self.confidence is None:
            return surest_class_weights(plan, outputs[class_confidence(self.output_types)])
        return preferred_weights(plan, self.confidence(as_returned(outputs, self.outputs)))

    def _results(self, seen: dict[str, Tensor], copies: FrameCopies, batch: Batch) -> list[Any]:
        """module(g^-1 . x): of all copies as one batch, or of each copy of a single sample."""
        count = copies.sample.size(0)
        if not batch.single:
            extra: dict[str, Any] = {} if self.dense else {"batch": copies.node_copy}
            sized = batch.sized if self.takes is None else "num_graphs" in self.takes
            if sized and not self.dense:
                extra["num_graphs"] = count
            return [self.module(**seen, **extra)]
        results = []
        for k in range(count):
            part: dict[str, Tensor] = {}
            for name, x in seen.items():
                type_ = self.types[name]
                size = x.size(type_.axis) // count
                part[name] = x.narrow(type_.axis, k * size, size)
                if type_.kind == "edge_index":
                    part[name] = part[name] - k * (len(copies.nodes) // count)
                elif type_.level == "graph":
                    part[name] = part[name][0]
            results.append(self.module(**part))
        return results

    def _copies(
        self, batch: Batch, tensors: Mapping[str, Any], plan: FrameCopies | PairPlan | None
    ) -> FrameCopies:
        """Those of a plan that was computed before, or of a new one."""
        if self.order is not None:
            return self.order(batch, plan if isinstance(plan, PairPlan) else _pairs(batch))
        return plan if isinstance(plan, FrameCopies) else self._plan(batch, tensors)

    def _plan(self, batch: Batch, tensors: Mapping[str, Any]) -> FrameCopies:
        frames, geometry = self._frames(batch, tensors)
        if self.mode == "stochastic":
            frames = drawn(frames, batch.count, self.samples)
        sample = batch.samples["node"]
        plan = frame_copies(frames, sample, batch.edge_index, batch.count, self.irreps)
        if self.symmetry is not None and self.symmetry.permutes:
            plan = sorted_copies(plan, _seen(plan, batch), _none(geometry, batch, 1024))
        if self.mode == "minimal":
            plan = quotient(plan, _seen(plan, batch), _none(geometry, batch, 64))
        return plan

    def _frames(self, batch: Batch, tensors: Mapping[str, Any]) -> tuple[Frames, Geometry | None]:
        """Frames, and the geometry that they are of."""
        group, number = self.symmetry, batch.samples["graph"]
        if group is None:
            return check_frames(self.group(**tensors), batch), None  # type: ignore[operator]
        if group.dim == 0:
            ones = torch.ones(batch.count, dtype=torch.float64, device=number.device)
            return Frames(ones.new_zeros(batch.count, 0, 0), number, ones), None
        geometry, shift = geometry_of(batch, group)
        if self.mode == "weighted":
            frames = weighted_frames(geometry, proper=group.proper, degree=self.degree)
        elif self.learned is not None:
            frames = self.learned(geometry, degree=self.degree)
        else:
            frames = point_frames(geometry, proper=group.proper, degree=self.degree)
        return replace(frames, shift=shift), geometry

    def _batch(self, tensors: Mapping[str, Any], *, check: bool) -> Batch:
        dim = 0 if self.symmetry is None else self.symmetry.dim
        return typed_batch(tensors, self.types, dim, dense=self.dense, check=check)

    def _check_call(self, batch: Batch) -> None:
        """That the module takes what it is called with."""
        if self.takes is None:
            return
        forward = f"{type(self.module).__name__}.forward takes no"
        if refused := sorted(batch.tensors.keys() - self.takes):
            names = ", ".join(sorted(self.takes))
            raise ValueError(f"{forward} {refused[0]!r}: pass some of {names}.")
        if not batch.single and not self.dense and "batch" not in self.takes:
            raise ValueError(
                f"{forward} `batch`, which separates the samples: add it, or pass one sample "
                "alone, without `batch`."
            )

    def _check(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {get_args(Mode)}, got {self.mode!r}.")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}.")
        if self.confidence is not None and self.mode != "argmax":
            raise ValueError(f'confidence is for mode "argmax", not for {self.mode!r}.')
        if self.mode == "argmax" and self.confidence is None:
            class_confidence(self.output_types)
        group = self.symmetry
        check_soft(self.mode, self.group, self.order, self.types.values())
        if group is None:
            if self.mode in ("weighted", "learned"):
                raise ValueError(f"mode {self.mode!r} chooses frames, but you pass your own.")
            return
        if group.dim == 0 and self.mode in ("weighted", "learned"):
            raise ValueError(f"mode {self.mode!r} is for rotations, not for group {group.label!r}.")
        if self.mode == "weighted" and group.dim not in (2, 3):
            raise ValueError(f'mode "weighted" needs 2 or 3 dimensions, not {group.label!r}.')
        if group.permutes and self.dense:
            raise ValueError("S_n orders nodes along the first axis: use `batch`, not dense=True.")
        edges = [t.where for t in self.output_types.values() if t.level == "edge"]
        if group.permutes and edges:
            raise ValueError(
                f"{edges[0]} is per edge: S_n averages outputs per node or graph only."
            )

    def __repr__(self) -> str:
        group = self.group if isinstance(self.group, str) else "own frame"
        return (
            f"{type(self).__name__}({type(self.module).__name__}, {group!r}, "
            f"inputs={self.inputs}, outputs={self.outputs!r}, mode={self.mode!r})"
        )


def _arguments(module: nn.Module) -> frozenset[str] | None:
    """Names of the arguments of its forward; None if it takes any."""
    parameters = inspect.signature(module.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters)


def frame_group(text: str) -> Group:
    """A group whose frames are implemented: O(d), SO(d), E(d), SE(d), S_n, or S_n x one of these.

    Raises:
        ValueError: any other.
    """
    try:
        group = parse_group(text, any_dimension=True)
    except ValueError:
        group = Group(text)
    if group.stretches:
        raise ValueError(
            f"group {text!r} has no finite frames, as it is not compact: take 'O', 'SO', 'E' or "
            "'SE', and train under stretches."
        )
    if not group.linear and (group.translates or not group.permutes):
        raise ValueError(
            f"group {text!r} is unknown: write 'O', 'SO', 'E' or 'SE' with (2), (3) or another "
            "dimension, 'S_n', a product such as 'S_n x E(3)', or pass a function that returns "
            "frames."
        )
    return group


def _none(geometry: Geometry | None, batch: Batch, units: float) -> Tensor:
    """[B] differences that count as none in what is seen from the frames."""
    if geometry is not None:
        return geometry.rounding.differences(units) * geometry.sizes()
    return torch.zeros(batch.count, dtype=torch.float64, device=batch.samples["graph"].device)


def _pairs(batch: Batch) -> PairPlan:
    node = batch.samples["node"]
    return pair_plan(len(node), node, batch.count)


def _seen(plan: FrameCopies, batch: Batch) -> Typed:
    """All inputs in all copies."""
    return {name: (transformed(plan, x, t), t) for name, (x, t) in batch.tensors.items()}


def _distinct(plan: FrameCopies, seen: Tensor, type_: TensorType) -> Tensor:
    """The input of the copies that are computed: means over the copies that equal them.

    The values are those of each; the derivatives are then those of the mean, as for invariant
    outputs they must be.
    """
    if plan.distinct is None:
        return seen
    if type_.kind == "edge_index":
        return plan.distinct.copies.edge_index
    same, size = plan.distinct.same(type_.level), plan.distinct.copies.of(type_.level)[0].size(0)
    if not seen.is_floating_point():
        return seen.new_empty(size, *seen.shape[1:]).index_copy(0, same, seen)
    return _class_means(seen, same)[:size]


def _like(x: Tensor, y: Tensor) -> Tensor:
    """x [n, ...], in the dtype of y [n, ..., ...] and with its number of axes."""
    return x.to(y.dtype).view(x.size(0), *[1] * (y.dim() - x.dim()), *x.shape[1:])


def _class_means(x: Tensor, label: Tensor) -> Tensor:
    """Means [n, ...] of x [n, ...] over the entries of each label below n; 0 for unused labels."""
    total = torch.zeros_like(x).index_add(0, label, x)
    return total / _like(torch.bincount(label, minlength=x.size(0)).clamp(min=1), x)
