"""Plans: index tensors that depend on the structure of a batch alone, made once and shared.

A model that makes one has a method `plan` and takes its result as the argument `plan` of `forward`:

    plan = model.plan(**accepted(model.plan, batch))
    out = model(**accepted(model.forward, batch), plan=plan)

Parameters of both methods carry the names of a batch's tensors (`edge_index`, `batch`, `reverse`,
...), or are `num_nodes` and `num_graphs`, which a batch of torch_geometric has too. `forward` gives
the same result without a plan, and makes it then. A plan may also come with the batch, made in the
workers of a loader. Compiled and exported models need one, where making it reads values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from inspect import signature
from types import NoneType
from typing import Any, Self, get_args, get_origin, get_type_hints

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """Base of frozen dataclasses that hold tensors, other plans, tuples of these, and numbers.

    A plan is made by torch operations where the batch lives, or before, in a loader. It moves as
    one object, and goes through files and between processes as a dictionary of tensors.

    Example:
        >>> from geqlib.graph import EdgePlan, directed_plan
        >>> plan = directed_plan(torch.tensor([[0, 1], [1, 0]]), 2).to("cpu")
        >>> sorted(plan.tensors())
        ['edge', 'num_nodes', 'paired', 'source', 'target']
        >>> EdgePlan.from_tensors(plan.tensors()).num_nodes
        2
    """

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same plan on another device: arguments as of `Tensor.to`."""

        return self._mapped(lambda part: part.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """The same plan in pinned memory, from which copies to a device need no wait."""
        return self._mapped(lambda part: part.pin_memory())

    def _mapped(self, function: Callable[[Any], Any]) -> Self:
        """With the function applied to each tensor and plan of the fields."""

        def mapped(value: Any) -> Any:
            if isinstance(value, (Tensor, Plan)):
                return function(value)
            return tuple(map(mapped, value)) if isinstance(value, tuple) else value

        return replace(self, **{f.name: mapped(getattr(self, f.name)) for f in fields(self)})

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name: "field", "field.inner" of a plan in it, "field.0" of a tuple in it.

        Numbers become tensors without dimensions on the CPU; a field that is None is left out.
        """
        parts = [_named(f.name, getattr(self, f.name)) for f in fields(self)]
        return {name: tensor for part in parts for name, tensor in part.items()}

    def rounded(self) -> Self:
        """The same plan, of a batch that is padded to one of a few sizes (`geqlib.graph.padding`),
        in one of a few sizes, too.

        Raises:
            NotImplementedError: if its sizes follow the structure of each graph.
        """
        raise NotImplementedError(
            f"the sizes of its {type(self).__name__} follow the structure of each graph"
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The plan whose `tensors()` these are.

        Raises:
            ValueError: if the tensors are those of another kind of plan.
        """
        kinds = get_type_hints(cls)
        unused = {key.partition(".")[0] for key in tensors} - {f.name for f in fields(cls)}
        if unused:
            raise ValueError(
                f"{cls.__name__} has no {', '.join(sorted(unused))}: these tensors belong to "
                "another kind of plan; make the plan again from the batch."
            )
        return cls(**{f.name: _restored(f.name, kinds[f.name], tensors) for f in fields(cls)})


def split_plan(plan: Plan | None) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors of a plan, which a recording reads anew, and its numbers, which are fixed in it.

    Example:
        >>> from geqlib.graph import directed_plan
        >>> tensors, numbers = split_plan(directed_plan(torch.tensor([[0], [1]]), 2))
        >>> sorted(tensors), numbers
        (['edge', 'source', 'target'], {'num_nodes': 2, 'paired': 0})
    """
    parts = {} if plan is None else plan.tensors()
    numbers = {name: int(value) for name, value in sorted(parts.items()) if not value.dim()}
    return {name: value for name, value in parts.items() if value.dim()}, numbers


def joined_plan(
    kind: type[Plan], tensors: Mapping[str, Tensor], numbers: Mapping[str, int]
) -> Plan:
    """The plan of that kind of which `split_plan` gave tensors and numbers."""
    return kind.from_tensors({**tensors, **{k: torch.tensor(v) for k, v in numbers.items()}})


def accepted(function: Callable[..., Any], tensors: Any) -> dict[str, Any]:
    """Those of the tensors that `function` names as parameters, without those that are None.

    So a batch reaches `forward` and `plan` of any model, each of which takes what it needs by name.

    Args:
        function: such as `model.forward` or `model.plan`.
        tensors: a mapping, or an object with attributes such as a batch of torch_geometric.

    Example:
        >>> accepted(lambda pos, batch=None: pos, {"pos": 1, "z": 2})
        {'pos': 1}
    """
    get = tensors.get if isinstance(tensors, Mapping) else partial(_attribute, tensors)
    values = {name: get(name) for name in signature(function).parameters}
    return {name: value for name, value in values.items() if value is not None}


def _attribute(holder: Any, name: str) -> Any:
    return getattr(holder, name, None)


def _named(name: str, value: Any) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, Plan):
        return {f"{name}.{key}": tensor for key, tensor in value.tensors().items()}
    if isinstance(value, tuple):
        parts = [_named(f"{name}.{number}", part) for number, part in enumerate(value)]
        return {key: tensor for part in parts for key, tensor in part.items()}
    return {} if value is None else {name: torch.tensor(value, device="cpu")}


def _restored(name: str, kind: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The field `name` of the annotated type `kind`."""
    inner = {
        key.removeprefix(f"{name}."): value
        for key, value in tensors.items()
        if key.startswith(f"{name}.")
    }
    if get_origin(kind) is tuple:
        count = len({key.partition(".")[0] for key in inner})
        return tuple(_restored(str(k), get_args(kind)[0], inner) for k in range(count))
    kinds = get_args(kind) or (kind,)
    if name not in tensors and not inner and (NoneType in kinds):
        return None
    plans = [k for k in kinds if isinstance(k, type) and issubclass(k, Plan)]
    if plans:
        return plans[0].from_tensors(inner)
    if name not in tensors:
        raise ValueError(f"The tensors of a plan lack {name!r}: make the plan again.")
    return tensors[name] if Tensor in kinds else tensors[name].item()
