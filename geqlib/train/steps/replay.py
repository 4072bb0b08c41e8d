"""Training steps and evaluations that are recorded once per size of batch, and replayed.

A batch is padded to the size of a bucket (`geqlib.graph.padding`), copied into tensors that stay
where they are, and what was recorded for that bucket runs on them: on a GPU a CUDA graph, which
costs the host one launch. On other devices the same function runs again on the same tensors.

Before a bucket is recorded, the step is computed on the batch as it is and as padded: a model or a
task for which these differ, or which makes the host wait, is not replayed, and one sentence says
why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch_geometric.data import Batch

from geqlib.graph import accepted
from geqlib.graph.checks import values_unread
from geqlib.graph.many import add_all, copy_all, zero_all
from geqlib.graph.padding import Level, Sizes, cut, mixing_layers, padded, sizes_of
from geqlib.graph.plan import Plan, joined_plan, split_plan
from geqlib.graph.recordings import CudaGraphs, Function, Outputs, Recorder, Rerun, Unchanged
from geqlib.symmetry.types import parse_type
from geqlib.train.steps.host_reads import HostReads

BUCKETS = 64  # of one run; a recording keeps its tensors
# relative differences between padded and plain steps that are rounding
ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


class NotReplayableError(Exception):
    """Why steps cannot be replayed: half a sentence."""


@dataclass
class Bucket:
    """What is recorded for batches of one size: tensors that stay, and a function on them."""

    batch: Batch
    tensors: dict[str, Tensor]
    replay: Function | None = None
    layout: Any = None

    def __call__(self) -> Outputs:
        if self.replay is None:
            raise RuntimeError("Nothing is recorded for this bucket.")
        return self.replay()


@dataclass
class PaddedBatch:
    """A padded batch: its tensors, those of its plan among them, and what else it holds."""

    tensors: dict[str, Tensor]
    plan: Plan | None
    others: dict[str, Any]
    real: Sizes
    sizes: Sizes

    def key(self) -> tuple[Any, ...]:
        shapes = tuple((name, tuple(x.shape), x.dtype) for name, x in self.tensors.items())
        return shapes, tuple(sorted((k, repr(v)) for k, v in self.others.items()))


class Replay:
    """Replays the training steps and the evaluations of a task.

    At most `BUCKETS` sizes are recorded. With one more, the stage that needs it goes on without
    replay, which a warning says: data of so many sizes would be recorded anew again and again.

    Args:
        task: a `geqlib.train.Task`.
        recorder: by default CUDA graphs on a CUDA device, and `Rerun` elsewhere.
    """

    def __init__(self, task: Any, recorder: Recorder | None = None) -> None:
        self.task = task
        device = task.device
        if recorder is None:
            recorder = CudaGraphs() if device.type == "cuda" else Rerun()
            if device.type != "cuda":
                _say(
                    f"cuda_graphs: {device.type} has no CUDA graphs, so that steps are padded, and "
                    "not replayed."
                )
        self.recorder: Recorder = recorder
        self.buckets: dict[Any, Bucket] = {}
        self.grads: dict[nn.Parameter, Tensor] = {}
        self.refused: set[str] = set()  # "training", "evaluation"
        self.running = False

    # --- training --------------------------------------------------------------------------------

    def step(self, batch: Any, accumulate: int, *, first: bool) -> Outputs | None:
        """Forward and backward pass of one batch; None if it is not replayed.

        Args:
            batch: after augmentation.
            accumulate: batches of one optimiser step.
            first: whether this is the first of them, before which gradients become zero.

        Returns:
            "loss", "total" with what aggregations add to it, and what the task watches, of real
            nodes and graphs; gradients are in `grad` of the parameters.
        """
        if "training" in self.refused:
            return None
        with self._refusing("training"):
            self._check_training()
            packed = self._padded(batch)
            bucket, new = self._bucket(("training", accumulate), packed)
            function = self._training(bucket, accumulate)
            if new:
                self._compare_steps(batch, bucket, accumulate)
                self._record(bucket, function)
            self._assign_grads(zero=first)
            outputs = bucket()
            return {name: _cut(x, packed) for name, x in outputs.items()}
        return None

    def zero_grad(self) -> None:
        """Zero the gradients for a batch that is not replayed, where they are."""
        self._assign_grads(zero=True)

    def _check_training(self) -> None:
        trainer = self.task.trainer
        if trainer.world_size > 1:
            raise NotReplayableError("several processes exchange gradients in each step")
        if str(trainer.precision) == "16-mixed":
            raise NotReplayableError("16-mixed scales each loss: use bf16-mixed or 32-true")

    def _training(self, bucket: Bucket, accumulate: int) -> Function:
        def function() -> Outputs:
            outputs, grads = self._gradients(bucket.batch, accumulate)
            add_all((self.grads[p] for p in grads), grads.values())
            return outputs

        return function

    def _gradients(self, batch: Any, accumulate: int) -> tuple[Outputs, dict[nn.Parameter, Tensor]]:
        """Loss and watched tensors of a batch, and the gradient of each parameter that has one."""
        task, device = self.task, self.task.device.type
        parameters = [p for p in task.parameters() if p.requires_grad]
        with self._watching(), torch.enable_grad(), _uncached_autocast(device):
            loss = task.loss(batch)
            total = task.with_auxiliary(loss)
            watched = dict(task._watched)
        # derivatives have the types of what they are derivatives of
        with torch.autocast(device, enabled=False):
            grads = torch.autograd.grad(total / accumulate, parameters, allow_unused=True)
        named = {p: g for p, g in zip(parameters, grads, strict=True) if g is not None}
        scalars = {"loss": loss.detach(), "total": total.detach()}
        return watched | scalars, named

    def _assign_grads(self, *, zero: bool) -> None:
        for parameter, grad in self.grads.items():
            if parameter.grad is not grad:
                parameter.grad = grad
        if zero:
            zero_all(self.grads.values())

    def _compare_steps(self, batch: Any, bucket: Bucket, accumulate: int) -> None:
        """Refuse what padding changes, or what makes the host wait."""
        with self._trial():
            plain, plain_grads = self._gradients(batch, accumulate)
            with HostReads() as reads:
                outputs, grads = self._gradients(bucket.batch, accumulate)
        _refuse_reads(self.task.model, reads)
        for parameter, grad in grads.items():
            self.grads.setdefault(parameter, torch.zeros_like(grad))
        changes = [("the loss", plain["total"], outputs["total"])]
        names = {p: name for name, p in self.task.named_parameters()}
        if plain_grads.keys() != grads.keys():
            raise NotReplayableError("padding changes which parameters the loss depends on")
        scale = max((float(g.abs().max()) for g in plain_grads.values() if g.numel()), default=0.0)
        changes += [(f"the gradient of {names[p]}", g, grads[p]) for p, g in plain_grads.items()]
        for name, before, after in changes:
            self._compare(name, before, after, scale)

    # --- evaluation ------------------------------------------------------------------------------

    def evaluate(self, batch: Any, function: Callable[[Any], Any], name: str) -> tuple[Any] | None:
        """What `function` gives for a batch, in a tuple; None if it is not replayed.

        Args:
            batch: outside of training.
            function: of a batch to outputs, of which tensors have an entry per node or graph.
            name: of the function, one for each.
        """
        if "evaluation" in self.refused:
            return None
        with self._refusing("evaluation"), torch.inference_mode(False), torch.no_grad():
            packed = self._padded(batch)
            bucket, new = self._bucket((name, self.task.model.training), packed)
            if new:
                self._compare_outputs(batch, bucket, function, packed)
                self._record(bucket, lambda: _leaves(function(bucket.batch))[0])
            leaves = bucket()
            values, spec = bucket.layout
            tensors = (_cut(x, packed).clone() for x in leaves.values())
            return (tree_unflatten([next(tensors) if v is None else v for v in values], spec),)
        return None

    def _compare_outputs(
        self, batch: Any, bucket: Bucket, function: Callable[[Any], Any], packed: PaddedBatch
    ) -> None:
        copy = Batch(**{k: _copied(v) for k, v in batch.to_dict().items()})
        copy._num_graphs = packed.real.graphs
        with self._trial():
            plain = _leaves(function(copy))[0]
            with HostReads() as reads:
                leaves, bucket.layout = _leaves(function(bucket.batch))
        _refuse_reads(self.task.model, reads)
        for name, value in plain.items():
            try:
                after = cut(leaves[name], packed.real, packed.sizes)
            except ValueError as error:
                raise NotReplayableError(str(error)) from error
            scale = float(value.abs().max()) if value.numel() else 0.0
            self._compare("a prediction", value, after, scale)

    # --- both ------------------------------------------------------------------------------------

    def _padded(self, batch: Any) -> PaddedBatch:
        mixing = mixing_layers(self.task.model)
        if mixing and self.task.model.training:
            raise NotReplayableError(
                f"{', '.join(mixing)} takes statistics over all nodes of a batch, so that padding "
                "would change them"
            )
        stored = batch.to_dict()
        own = {k: v for k, v in stored.items() if isinstance(v, Tensor)}
        if "batch" not in own:
            raise NotReplayableError("its batches have no tensor `batch`")
        real = sizes_of(own, int(batch.num_graphs))
        sizes = real.rounded()
        try:
            tensors = padded(
                own,
                real,
                sizes,
                declared=_levels(self.task),
                missing=self.task.labels_may_miss,
            )
        except ValueError as error:
            raise NotReplayableError(str(error)) from error
        others = {
            k: v for k, v in stored.items() if k not in own and k not in ("plan", "padded_plan")
        }
        plan = stored.get("padded_plan")
        if plan is None:
            plan = plan_of_padded(self.task.model, tensors, sizes)
        parts, numbers = split_plan(plan)
        tensors |= {f"plan.{k}": v for k, v in parts.items()}
        others |= {f"plan.{k}": v for k, v in numbers.items()}
        return PaddedBatch(tensors, plan, others, real, sizes)

    def _bucket(self, kind: tuple[Any, ...], packed: PaddedBatch) -> tuple[Bucket, bool]:
        """The bucket of a batch, filled with it, and whether nothing is recorded for it yet."""
        key = (kind, packed.key())
        bucket = self.buckets.get(key)
        if bucket is None or bucket.replay is None:
            if len(self.buckets) >= BUCKETS:
                raise NotReplayableError(
                    f"its batches have more than {BUCKETS} different sizes: take larger batches, "
                    "or graphs whose edges have both directions"
                )
            bucket = self.buckets[key] = _new_bucket(packed)
            return bucket, True
        copy_all((bucket.tensors[name] for name in packed.tensors), packed.tensors.values())
        return bucket, False

    def _record(self, bucket: Bucket, function: Function) -> None:
        def recorded() -> Outputs:
            self.running = True
            try:
                with values_unread():
                    return function()
            finally:
                self.running = False

        with Unchanged(self.task, self.grads.values(), self.task.device):
            try:
                bucket.replay = self.recorder(recorded)
            except RuntimeError as error:
                raise NotReplayableError(
                    f"the recording failed ({str(error).splitlines()[0]})"
                ) from error

    def _compare(self, name: str, before: Tensor, after: Tensor, scale: float) -> None:
        device = self.task.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else before.dtype
        own = float(before.abs().max()) if before.numel() else 0.0
        limit = ROUNDING.get(dtype, 1e-3) * max(own, 0.01 * scale, 1e-6)
        change = float((after.double() - before.double()).abs().max()) if before.numel() else 0.0
        both_bad = not bool(before.isfinite().all())  # which is for others to say
        if not change <= limit and not both_bad:
            raise NotReplayableError(f"padding changes {name} by {change:.1e}")

    @contextmanager
    def _trial(self) -> Iterator[None]:
        """A context that leaves no trace, without dropout and checks of values."""
        drops = [
            part
            for part in self.task.model.modules()
            if isinstance(part, _DropoutNd) and part.training
        ]
        self.running = True
        try:
            with Unchanged(self.task, (), self.task.device), self._watching(), values_unread():
                for part in drops:
                    part.training = False
                yield
        finally:
            self.running = False
            for part in drops:
                part.training = True

    @contextmanager
    def _watching(self) -> Iterator[None]:
        watched, self.task._watched = self.task._watched, {}
        try:
            yield
        finally:
            self.task._watched = watched

    @contextmanager
    def _refusing(self, stage: str) -> Iterator[None]:
        """A context that ends where replaying is not possible, and says why once."""
        try:
            yield
        except NotReplayableError as error:
            self.refused.add(stage)
            _say(
                f"cuda_graphs: {stage} of {type(self.task).__name__} with "
                f"{_network(self.task.model)} is not replayed, because {error}."
            )


def plan_of_padded(model: nn.Module, tensors: Mapping[str, Tensor], sizes: Sizes) -> Plan | None:
    """The plan of a model for a padded batch, in sizes of which there are few; None without one.

    Raises:
        NotReplayableError: if the sizes of its plan follow the structure of each graph.
    """
    make = getattr(model, "plan", None)
    if make is None or ambiguous(tensors):
        return None
    counts = {"num_nodes": sizes.nodes, "num_graphs": sizes.graphs}
    plan = make(**accepted(make, {**tensors, **counts}))
    if plan is None:
        return None
    try:
        return plan.rounded()
    except NotImplementedError as error:
        raise NotReplayableError(str(error)) from error


def ambiguous(tensors: Any) -> bool:
    """Whether edges between periodic images have no `reverse`, from which opposite ones follow."""
    return "reverse" not in tensors and ("cell_shift" in tensors or "edge_shift" in tensors)


def _new_bucket(packed: PaddedBatch) -> Bucket:
    tensors = {name: value.detach().clone() for name, value in packed.tensors.items()}
    parts = {k: v for k, v in {**tensors, **packed.others}.items() if not k.startswith("plan.")}
    batch = Batch(**parts)
    batch._num_graphs = packed.sizes.graphs
    if packed.plan is not None:
        own = {k[5:]: v for k, v in tensors.items() if k.startswith("plan.")}
        batch.plan = joined_plan(type(packed.plan), own, split_plan(packed.plan)[1])
    return Bucket(batch, tensors)


def _leaves(output: Any) -> tuple[Outputs, Any]:
    """The tensors of an output by their number, and the rest: values that are none, and a spec."""
    leaves, spec = tree_flatten(output)
    tensors = {str(k): x.detach() for k, x in enumerate(leaves) if isinstance(x, Tensor)}
    return tensors, ([None if isinstance(x, Tensor) else x for x in leaves], spec)


def _cut(output: Tensor, packed: PaddedBatch) -> Tensor:
    return output if output.dim() == 0 else cut(output, packed.real, packed.sizes)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _levels(task: Any) -> dict[str, Level]:
    """Of the tensors of a batch that a task declares, and of labels where all outputs agree."""
    types = {**task.inputs, **task.outputs}
    levels: dict[str, Any] = {name: parse_type(name, text).level for name, text in types.items()}
    of_outputs = {levels[name] for name in task.outputs}
    if len(of_outputs) != 1:
        return levels
    of_labels: dict[str, Any] = dict.fromkeys(task.labels, *of_outputs)
    return of_labels | levels


def _refuse_reads(model: nn.Module, reads: HostReads) -> None:
    if reads.names:
        raise NotReplayableError(
            f"{_network(model)} reads values of its tensors in each step ({reads.names[0]}), for "
            "which the host waits"
        )


def _network(model: nn.Module) -> str:
    inner = getattr(model, "model", None)
    return type(inner if isinstance(inner, nn.Module) else model).__name__


def _uncached_autocast(device: str) -> Any:
    """The same autocast without its cache of weights, which a recording must not outlive."""
    return torch.autocast(
        device,
        dtype=torch.get_autocast_dtype(device),
        enabled=torch.is_autocast_enabled(device),
        cache_enabled=False,
    )


def _say(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)
