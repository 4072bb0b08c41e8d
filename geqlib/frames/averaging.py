"""Frame averaging: an invariant or equivariant network from any network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from geqlib.frames.calls import call_each, call_stacked, put_together
from geqlib.frames.canonical import LearnedFrame
from geqlib.frames.copies import FrameCopies, copies, dense_copies
from geqlib.frames.frame_types import (
    Batch,
    FrameGroup,
    checked_frames,
    highest_irrep,
    parse_frame_group,
    parse_outputs,
    typed_batch,
)
from geqlib.frames.frame_weights import weighted_frames
from geqlib.frames.geometry import centre, collect
from geqlib.frames.orders import ordered
from geqlib.frames.point_frames import Frames, drawn, point_frames
from geqlib.frames.quotient import quotient
from geqlib.symmetry.types import parse_type

Mode = Literal["full", "stochastic", "weighted", "minimal", "learned"]
FrameFunction = Callable[..., Frames]


class FrameAveraging(nn.Module):
    """Any module, averaged over a frame of its inputs: invariant or equivariant by construction.

    Symmetry: that of `group`, for every module, up to rounding; in mode "stochastic" on average.
    Relabelling of nodes is kept if the module keeps it, or if the group contains S_n.

    Source: Puny et al., "Frame averaging for invariant and equivariant network design" (ICLR 2022,
    arXiv 2110.03336). With a frame F(x), finitely many elements of the group of which F(g x) = g
    F(x),

        y = sum over g in F(x) of  w_g  g . module(g^-1 . x)

    The frame is made of all geometric inputs together (`geqlib.frames.point_frames`): from the
    eigenvectors of their covariance, or, where eigenvalues meet, from the points themselves.

    Args:
        module: called with keywords: the inputs, as seen from each frame, and `batch` and
            `num_graphs` as below.
        group: "O(d)", "SO(d)", "E(d)" or "SE(d)", "S_n" for the exact frame of node orders, or a
            product such as "S_n x E(3)"; or a function of the inputs, `batch` and `num_graphs`
            that returns your own `geqlib.frames.point_frames.Frames`.
        inputs: name -> type, as in `geqlib.testing`: "point", "vector", "scalar", "index", irreps,
            "edge_index", after "edge:" or "graph:" if the rows are no nodes.
        outputs: the type of what the module returns; types in a sequence or by name for modules
            that return a tuple or a mapping.
        mode: "full", the whole frame: 2^d elements for O(d), or as many as the symmetry of a
            degenerate input asks for. "stochastic": `samples` of them, drawn in every call, also
            in evaluation; unbiased. "weighted": continuous in points and vectors also where
            eigenvalues cross, for more elements there (d = 2 or 3). "minimal": each of the frame's
            copies of the input that equal each other is computed once, which gives the same mean.
            "learned": the frame of a small equivariant network, and the full one where that has
            none.
        samples: for mode "stochastic".
        dense: samples are rows: nodes have the shape [B, points, ...], without `batch`.

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
        outputs: str | Sequence[str] | Mapping[str, str],
        mode: Mode = "full",
        samples: int = 1,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.module, self.group, self.mode = module, group, mode
        self.samples, self.dense = samples, dense
        self.inputs, self.outputs = dict(inputs), outputs
        self.types = {name: parse_type(f"input {name!r}", text) for name, text in inputs.items()}
        self.output_types = parse_outputs(outputs)
        self.symmetry = parse_frame_group(group) if isinstance(group, str) else None
        self.takes = _arguments(module)
        self._check()
        types = [*self.types.values(), *self.output_types.values()]
        self.irreps = highest_irrep(types)
        self.degree = max(self.irreps, int(any(t.rotates for t in types)))
        self.learned = None
        if mode == "learned" and self.symmetry is not None:
            self.learned = LearnedFrame(self.symmetry.dim, proper=self.symmetry.proper)

    def reset_parameters(self) -> None:
        for part in (self.module, self.learned):
            if part is not None and hasattr(part, "reset_parameters"):
                part.reset_parameters()  # type: ignore[operator]

    def forward(self, *, plan: FrameCopies | None = None, **tensors: Any) -> Any:
        """The averaged output: a tensor, a tuple or a dictionary, as the module returns it.

        Args:
            plan: made before by `plan(...)` from these very inputs; needed for compile and export.
            tensors: the inputs by name, `batch` and `num_graphs`. What is None is left out.
        """
        given = self._batch(tensors, check=plan is None)
        self._check_call(given)
        if plan is None:
            plan = self._plan(given, tensors)
        shown = plan if plan.shown is None else plan.shown
        seen = {name: plan.compute(x, type_) for name, (x, type_) in given.tensors.items()}
        if given.single:
            found = call_each(self.module, shown, seen, self.types)
        else:
            sizes = not self.dense and (given.sized or "num_graphs" in (self.takes or ()))
            found = call_stacked(self.module, shown, seen, batch=not self.dense, sizes=sizes)
        return put_together(found, self.outputs, self.output_types, plan, shown, given.single)

    def plan(self, **tensors: Any) -> FrameCopies:
        """The frames of these inputs, and where each copy of each node is."""
        return self._plan(self._batch(tensors, check=True), tensors)

    def _plan(self, given: Batch, tensors: Mapping[str, Any]) -> FrameCopies:
        frames, rounding = self._frames(given, tensors)
        if self.mode == "stochastic":
            frames = drawn(frames, given.count, self.samples)
        if self.dense:
            plan = dense_copies(frames, given.count, self.irreps)
        else:
            plan = copies(frames, given.samples["node"], given.edge_index, given.count, self.irreps)
        if self.symmetry is not None and self.symmetry.permutes:
            plan = ordered(plan, given.tensors, 1024 * rounding)
        return quotient(plan, given.tensors, 64 * rounding) if self.mode == "minimal" else plan

    def _frames(self, given: Batch, tensors: Mapping[str, Any]) -> tuple[Frames, torch.Tensor]:
        """Frames, and [count] the rounding of what is seen from them."""
        group, number = self.symmetry, given.samples["graph"]
        none = torch.zeros(given.count, dtype=torch.float64, device=number.device)
        if group is None:
            own = self.group(**tensors)  # type: ignore[operator]
            return checked_frames(own, given), none
        if group.dim == 0:
            return Frames(none.new_zeros(given.count, 0, 0), number, none + 1), none
        return self._geometric(given, group)

    def _geometric(self, given: Batch, group: FrameGroup) -> tuple[Frames, torch.Tensor]:
        shift = centre(given, group.dim) if group.translates else None
        vectors = collect(given, shift, dim=group.dim, proper=group.proper)
        if self.mode == "weighted":
            frames = weighted_frames(vectors, proper=group.proper, degree=self.degree)
        elif self.learned is not None:
            frames = self.learned(vectors, degree=self.degree)
        else:
            frames = point_frames(vectors, proper=group.proper, degree=self.degree)
        placed = Frames(frames.matrix, frames.sample, frames.weight, shift)
        return placed, vectors.eps * vectors.sizes()

    def _batch(self, tensors: Mapping[str, Any], *, check: bool) -> Batch:
        dim = 0 if self.symmetry is None else self.symmetry.dim
        return typed_batch(tensors, self.types, dim, dense=self.dense, check=check)

    def _check_call(self, given: Batch) -> None:
        """That the module takes what it is to be given."""
        if self.takes is None:
            return
        forward = f"{type(self.module).__name__}.forward takes no"
        if strange := sorted(given.tensors.keys() - self.takes):
            known = ", ".join(sorted(self.takes))
            raise ValueError(f"{forward} {strange[0]!r}: give some of {known}.")
        if not given.single and not self.dense and "batch" not in self.takes:
            raise ValueError(
                f"{forward} `batch`, by which it would tell samples apart: add it, or pass one "
                "sample alone, without `batch`."
            )

    def _check(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {get_args(Mode)}, got {self.mode!r}.")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}.")
        group = self.symmetry
        if group is None:
            if self.mode in ("weighted", "learned"):
                raise ValueError(f"mode {self.mode!r} chooses frames, but you give your own.")
            return
        if group.dim == 0 and self.mode in ("weighted", "learned"):
            raise ValueError(f"mode {self.mode!r} is for rotations, not for group {group.text!r}.")
        if self.mode == "weighted" and group.dim not in (2, 3):
            raise ValueError(f'mode "weighted" needs 2 or 3 dimensions, not {group.text!r}.')
        if group.permutes and self.dense:
            raise ValueError("S_n orders rows: give nodes as rows with `batch`, not dense=True.")
        edges = [t.where for t in self.output_types.values() if t.level == "edge"]
        if group.permutes and edges:
            raise ValueError(f"{edges[0]} has rows of edges: S_n averages nodes and graphs only.")

    def __repr__(self) -> str:
        group = self.group if isinstance(self.group, str) else "own frame"
        return (
            f"{type(self).__name__}({type(self.module).__name__}, {group!r}, "
            f"inputs={self.inputs}, outputs={self.outputs!r}, mode={self.mode!r})"
        )


def _arguments(module: nn.Module) -> frozenset[str] | None:
    """Names that its forward takes; None if it takes any."""
    parameters = inspect.signature(module.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters)
