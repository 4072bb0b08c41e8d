"""The contract that every layer and every model keeps: one test a property.

A test file says what its modules are, and pytest puts each of them through each property:

    class TestContract(Contract):
        cases = (Case("GINConv", build, inputs, "scalar", groups=("E(3)",)),)

What a module cannot keep stands in `exceptions` with the reason, and is reported as skipped.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from itertools import accumulate
from typing import Any, ClassVar

import pytest
import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor, nn
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call

from geqlib.testing import OutputTypes, degenerate_sets, equivariance_error, parse_type

Typed = dict[str, tuple[Tensor, str]]
RAGGED = (4, 1, 0, 3, 2, 0)
SIZES = ((4, 3), (5, 2, 4), (3, 2, 4, 6))
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}


@dataclass(frozen=True)
class Case:
    """One module, and what the contract must know of it.

    Args:
        name: what pytest shows.
        build: makes the module.
        inputs: (positions [N, dim], edge_index [2, E], generator) -> name -> (tensor, type of
            `geqlib.testing`) for one graph, in float64. A "batch" is all zero here: graphs are
            joined, and both kinds of index shifted, by their types.
        outputs: their types, as for `geqlib.testing`.
        groups: the exact symmetries beside relabelling, as for `geqlib.testing`.
        extra: (module, tensors, number of graphs) -> the other arguments of forward: numbers, and
            plans made once a batch, outside of what is compiled, exported and differentiated.
        dim: of the positions.
        rounding: dtype -> error of exact symmetries, relative as in `geqlib.testing`.
        autocast: the same for bfloat16 against float32.
        backend: of torch.compile; "eager" captures the same graph in a fifth of the time and leaves
            out the graph of its derivative.
        exceptions: property -> why this module cannot have it.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[Tensor, Tensor, torch.Generator], Typed]
    outputs: OutputTypes
    groups: Sequence[str | Tensor] = ()
    extra: Callable[[Any, dict[str, Tensor], int], dict[str, Any]] = lambda *_: {}
    dim: int = 3
    rounding: Mapping[torch.dtype, float] = field(default_factory=ROUNDING.copy)
    autocast: float = 0.05
    backend: str = "aot_eager"
    exceptions: Mapping[str, str] = field(default_factory=dict)

    def make(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        return self.build().to(dtype).eval()

    def arguments(self, module: nn.Module, tensors: dict[str, Tensor], graphs: int) -> dict:
        return tensors | self.extra(module, tensors, graphs)

    def call(self, module: nn.Module, graphs: int, /, **tensors: Tensor) -> Any:
        return module(**self.arguments(module, tensors, graphs))

    def results(self, result: Any) -> dict[str, list[Tensor]]:
        """Outputs of each kind of rows: "node", "edge" and "graph"."""
        if isinstance(self.outputs, str):
            pairs: list[Any] = [(result, self.outputs)]
        elif isinstance(self.outputs, Mapping):
            pairs = [(result[key], text) for key, text in self.outputs.items()]
        else:
            pairs = list(zip(result, self.outputs, strict=True))
        actual: dict[str, list[Tensor]] = {"node": [], "edge": [], "graph": []}
        for x, text in pairs:
            if text is not None:
                actual[parse_type(self.name, text).level].append(x)
        return actual

    def tensors(self, result: Any) -> list[Tensor]:
        return [x for rows in self.results(result).values() for x in rows]

    def loss(self, result: Any) -> Tensor:
        """A sum with another weight for every entry."""
        return self.weighted(torch.cat([x.flatten() for x in self.tensors(result)]))

    def weighted(self, flat: Tensor) -> Tensor:
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        return flat @ torch.arange(1, len(flat) + 1, dtype=flat.dtype).cos()


class Contract:
    """The properties; a subclass gives the cases."""

    cases: ClassVar[Sequence[Case]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        known = {name.removeprefix("test_") for name in dir(Contract) if name.startswith("test_")}
        for case in self.cases:
            if strays := case.exceptions.keys() - known:
                raise ValueError(f"{case.name} excepts {sorted(strays)}, none of {sorted(known)}.")
        if "case" in metafunc.fixturenames:
            name = metafunc.function.__name__.removeprefix("test_")
            metafunc.parametrize("case", [_param(case, name) for case in self.cases])

    def test_relabelling(self, case: Case) -> None:
        assert _error(case, torch.float64, "S_n") <= case.rounding[torch.float64]

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_symmetry(self, case: Case, dtype: torch.dtype) -> None:
        """Rotations, reflections, translations: whatever the exact groups are."""
        for group in case.groups:
            error = _error(case, dtype, group)
            assert error <= case.rounding[dtype], f"{error:.1e} under {group}"

    def test_batch_equals_one_by_one(self, case: Case) -> None:
        module, graphs = case.make(), random_graphs(case, RAGGED)
        batch = case.tensors(case.call(module, len(graphs), **values(join(graphs))))
        alone = [case.tensors(case.call(module, 1, **values(graph))) for graph in graphs]
        for got, *parts in zip(batch, *alone, strict=True):
            _close(got, torch.cat(parts), case.rounding[torch.float64])

    @pytest.mark.parametrize("sizes", [(0,), (1,), (0, 0), (1, 1), (3, 0, 0)], ids=str)
    def test_empty_graphs(self, case: Case, sizes: tuple[int, ...]) -> None:
        """No edges, no nodes, and last graphs that leave no trace in `batch`."""
        module, tensors = case.make(), values(join(random_graphs(case, sizes, kept=0)), leaf=True)
        result = case.call(module, len(sizes), **tensors)
        for kind, rows in {"node": sum(sizes), "edge": 0, "graph": len(sizes)}.items():
            got = [x.size(0) for x in case.results(result)[kind]]
            assert set(got) <= {rows}, f"{got} rows for {rows} {kind}s"
        points = [x for x in (*tensors.values(), *module.parameters()) if x.requires_grad]
        grads = grad(case.loss(result), points, materialize_grads=True)
        assert not _infinite(*case.tensors(result), *grads)

    def test_degenerate_sets(self, case: Case) -> None:
        """Symmetric, and finite up to second derivatives, where points coincide or line up."""
        module, broken = case.make(), []
        for name, pos in degenerate_sets().items():
            pos = pos[:, : case.dim]
            inputs = case.inputs(pos, all_edges(len(pos)), torch.Generator().manual_seed(0))
            if _infinite(*_second_derivatives(case, module, values(inputs, leaf=True))):
                broken.append(f"{name} is not finite")
            for group in case.groups:
                fn = partial(case.call, module, 1)
                error = equivariance_error(fn, inputs, case.outputs, group, samples=2)
                if not error <= 100 * case.rounding[torch.float64]:
                    broken.append(f"{name} has error {error:.1e} under {group}")
        assert not broken, "; ".join(broken)

    def test_dtype(self, case: Case) -> None:
        results = []
        for dtype in (torch.float64, torch.float32):
            inputs = values(join(random_graphs(case, RAGGED)), dtype)
            results.append(case.tensors(case.call(case.make(dtype), len(RAGGED), **inputs)))
            assert {x.dtype for x in results[-1]} == {dtype}
        for exact, got in zip(*results, strict=True):
            _close(got, exact, 10 * case.rounding[torch.float32])

    def test_autocast(self, case: Case) -> None:
        module = case.make(torch.float32)
        inputs = values(join(random_graphs(case, RAGGED)), torch.float32)
        expected = case.tensors(case.call(module, len(RAGGED), **inputs))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = case.call(module, len(RAGGED), **inputs)
        for got, full in zip(case.tensors(result), expected, strict=True):
            assert got.dtype in (torch.float32, torch.bfloat16)
            _close(got, full, case.autocast)
        points = list(module.parameters())
        grads = grad(case.loss(result), points, materialize_grads=True) if points else ()
        assert not _infinite(*grads) and {g.dtype for g in grads} <= {torch.float32}

    def test_derivatives(self, case: Case) -> None:
        """Finite differences agree to second order, for inputs, and parameters as one vector.

        As the share of one parameter in a direction is small, bounds are a hundredth of the usual.
        """
        module = case.make()
        inputs = case.arguments(module, values(join(random_graphs(case, (3,))), leaf=True), 1)
        state = dict(module.named_parameters())
        moved = {k: x for k, x in inputs.items() if isinstance(x, Tensor) and x.requires_grad}

        def fn(*tensors: Tensor) -> tuple[Tensor, ...]:
            supplied = dict(zip(moved, tensors, strict=False))
            parameters = _unflattened(tensors[-1], state) if state else {}
            return tuple(case.tensors(functional_call(module, parameters, (), inputs | supplied)))

        weights = [torch.cat([x.detach().flatten() for x in state.values()])] if state else []
        points = (*moved.values(), *(x.requires_grad_() for x in weights))
        gradcheck(fn, points, fast_mode=True, atol=1e-7, rtol=1e-5)
        gradgradcheck(fn, points, fast_mode=True, atol=1e-7, rtol=1e-5)

    @pytest.mark.slow
    def test_functional_derivatives(self, case: Case) -> None:
        """jacrev, hessian and vectorize=True agree with derivatives one by one."""
        outputs, point = _of_one_vector(case, 3)
        expected = jacobian(outputs, point)
        _close(torch.func.jacrev(outputs)(point), expected, 1e-10)

        def loss(vector: Tensor) -> Tensor:
            return case.weighted(outputs(vector))

        expected = hessian(loss, point)
        _close(torch.func.hessian(loss)(point), expected, 1e-10)
        _close(hessian(loss, point, vectorize=True), expected, 1e-10)

    def test_vmap(self, case: Case) -> None:
        """Several inputs of one graph at once, and the gradient of each."""
        outputs, point = _of_one_vector(case, 3)
        several = torch.stack([point, 0.9 * point + 0.1, point + 0.2 * point.cos()])

        def gradient(vector: Tensor) -> Tensor:
            return torch.func.grad(lambda v: case.weighted(outputs(v)))(vector)

        for fn in (outputs, gradient):
            alone = torch.stack([fn(vector) for vector in several])
            _close(torch.func.vmap(fn)(several), alone, 1e-11)

    @pytest.mark.slow
    # raised by dynamo itself wherever it meets an autograd.Function
    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
    def test_compile(self, case: Case) -> None:
        """One graph for all sizes, with the values and gradients of the module."""
        torch.compiler.reset()
        module = case.make()
        compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=case.backend)
        # lengths that are equal by chance in the first sample are no condition for the others
        with fx_config.patch(use_duck_shape=False):
            _assert_same(case, module, compiled, SIZES[0])
        with torch.compiler.set_stance("fail_on_recompile"):
            _assert_same(case, module, compiled, SIZES[1])

    @pytest.mark.slow
    def test_export(self, case: Case) -> None:
        module, sizes = case.make(), torch.export.AdditionalInputs()
        first, second = (_keywords(case, module, n) for n in SIZES[:2])
        for keywords in (first, second):  # what differs between the two is dynamic
            sizes.add((), keywords)
        exported: Any = torch.export.export
        program = exported(module, (), first, dynamic_shapes=sizes).module()
        _assert_same(case, module, program, SIZES[2])

    def test_state_dict(self, case: Case) -> None:
        module, other, file = case.make(), case.make(seed=1), io.BytesIO()
        torch.save(module.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        inputs = values(join(random_graphs(case, RAGGED)))
        results = (case.tensors(case.call(m, len(RAGGED), **inputs)) for m in (module, other))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))

    def test_copies(self, case: Case) -> None:
        """Pickled, as between processes, and copied, after use and with their plans."""
        module, inputs = case.make(), values(join(random_graphs(case, RAGGED)))
        arguments = case.arguments(module, inputs, len(RAGGED))
        expected = case.tensors(module(**arguments))
        for copied in (deepcopy, _pickled):
            other, own = copied((module, arguments))
            assert all(map(torch.equal, case.tensors(other(**own)), expected))

    def test_int32_indices(self, case: Case) -> None:
        """Edges and graph numbers of 32 bits, in `plan` and in `forward` with and without one."""
        module, typed = case.make(), join(random_graphs(case, RAGGED))
        kinds = {name: parse_type(name, text).kind for name, (_, text) in typed.items()}
        short = {
            k: x.int() for k, x in values(typed).items() if kinds[k] in ("edge_index", "batch")
        }
        if not short:
            pytest.skip("it takes neither edges nor graph numbers")
        expected = case.tensors(case.call(module, len(RAGGED), **values(typed)))
        arguments = case.arguments(module, values(typed) | short, len(RAGGED))
        for own in (arguments, _without_plan(module, arguments)):
            for got, exact in zip(case.tensors(module(**own)), expected, strict=True):
                _close(got, exact, case.rounding[torch.float64])

    def test_repr(self, case: Case) -> None:
        """Layers take one line; models may print their children."""
        layers = [m for m in case.make().modules() if type(m).__module__.startswith("geqlib.nn.")]
        poor = {type(m).__name__ for m in layers if "\n" in repr(m) or repr(m).endswith("()")}
        assert not poor, f"{sorted(poor)} need a one-line __repr__ with their arguments"

    def test_reset_parameters(self, case: Case) -> None:
        """A fresh initialisation, drawn like the first one, without a trace of the past."""
        built, used, filled = case.make(), case.make(), case.make(seed=1)
        for parameter in filled.parameters():
            nn.init.constant_(parameter, 7.0)
        for module in (used, filled):
            torch.manual_seed(2)
            module.reset_parameters()
        for name, fresh in used.named_parameters():
            assert torch.equal(fresh, filled.get_parameter(name)), f"{name} remembers its past"
            _assert_drawn_alike(name, fresh, built.get_parameter(name))


def all_edges(nodes: int) -> Tensor:
    """Every ordered pair of different nodes, [2, E]."""
    return (~torch.eye(nodes, dtype=torch.bool)).nonzero().T


def random_graphs(case: Case, sizes: Sequence[int], kept: float = 0.7) -> list[Typed]:
    """Graphs in which some nodes are joined both ways, some one way, some not at all."""
    graphs = []
    for seed, nodes in enumerate(sizes):
        generator = torch.Generator().manual_seed(seed)
        pos = torch.randn(nodes, case.dim, generator=generator, dtype=torch.float64)
        edges = all_edges(nodes)
        edges = edges[:, torch.rand(edges.size(1), generator=generator) < kept]
        graphs.append(case.inputs(pos, edges, generator))
    return graphs


def join(graphs: Sequence[Typed]) -> Typed:
    """One batch of several graphs."""
    nodes = [
        next(x.size(0) for x, text in graph.values() if parse_type("", text).level == "node")
        for graph in graphs
    ]
    shifts = {"edge_index": [0, *accumulate(nodes)], "batch": range(len(graphs))}
    joined = {}
    for name, (_, text) in graphs[0].items():
        type_ = parse_type(name, text)
        parts = [graph[name][0] for graph in graphs]
        if type_.kind in shifts:
            parts = [x + s for x, s in zip(parts, shifts[type_.kind], strict=False)]
        joined[name] = torch.cat(parts, dim=type_.axis), text
    return joined


def values(inputs: Typed, dtype: torch.dtype = torch.float64, leaf: bool = False) -> dict:
    """The tensors alone; those that are floating in `dtype`, and asking for gradients if leaves."""
    return {
        name: x.to(dtype, copy=True).requires_grad_(leaf) if x.is_floating_point() else x
        for name, (x, _) in inputs.items()
    }


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def _without_plan(module: nn.Module, arguments: dict[str, Any]) -> dict[str, Any]:
    plan = signature(module.forward).parameters.get("plan")
    needed = plan is None or plan.default is plan.empty
    return arguments if needed else {k: v for k, v in arguments.items() if k != "plan"}


def _param(case: Case, name: str) -> Any:
    reason = case.exceptions.get(name)
    if reason is None and name == "symmetry" and not case.groups:
        reason = "relabelling is the only exact symmetry"
    return pytest.param(case, id=case.name, marks=pytest.mark.skip(reason=reason) if reason else ())


def _error(case: Case, dtype: torch.dtype, group: str | Tensor) -> float:
    typed = join(random_graphs(case, RAGGED))
    tensors = values(typed, dtype)
    inputs = {name: (tensors[name], text) for name, (_, text) in typed.items()}
    fn = partial(case.call, case.make(dtype), len(RAGGED))
    return equivariance_error(fn, inputs, case.outputs, group)


def _close(got: Tensor, expected: Tensor, atol: float) -> None:
    """Equal up to `atol` times the largest value, if that is more than 1."""
    scale = float(expected.detach().abs().max().clamp(min=1)) if expected.numel() else 1.0
    torch.testing.assert_close(got, expected, atol=atol * scale, rtol=0, check_dtype=False)


def _infinite(*tensors: Tensor) -> bool:
    return not all(bool(x.isfinite().all()) for x in tensors)


def _unflattened(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = vector.split([x.numel() for x in like.values()])
    return {k: part.reshape(x.shape) for part, (k, x) in zip(parts, like.items(), strict=True)}


def _of_one_vector(case: Case, nodes: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """All outputs of a graph in one vector, as a function of all its floating inputs in one."""
    module, inputs = case.make().requires_grad_(False), values(join(random_graphs(case, (nodes,))))
    arguments = case.arguments(module, inputs, 1)
    moved = {name: x for name, x in inputs.items() if x.is_floating_point()}
    if not moved:
        pytest.skip("integers have no derivatives")

    def outputs(vector: Tensor) -> Tensor:
        result = module(**arguments | _unflattened(vector, moved))
        return torch.cat([x.reshape(x.numel()) for x in case.tensors(result)])

    return outputs, torch.cat([x.flatten() for x in moved.values()])


def _second_derivatives(case: Case, module: nn.Module, tensors: dict[str, Tensor]) -> list[Tensor]:
    """Outputs, their gradient, and the gradient of its square, as in training on forces."""
    points = [x for x in tensors.values() if x.requires_grad]
    result = case.call(module, 1, **tensors)
    first = grad(case.loss(result), points, create_graph=True, materialize_grads=True)
    if not any(g.requires_grad for g in first):
        return [*case.tensors(result), *first]
    square = torch.stack([g.square().sum() for g in first]).sum()
    second = grad(square, [*points, *module.parameters()], materialize_grads=True)
    return [*case.tensors(result), *first, *second]


def _keywords(case: Case, module: nn.Module, sizes: Sequence[int]) -> dict[str, Any]:
    tensors = values(join(random_graphs(case, sizes)), leaf=True)
    return case.arguments(module, tensors, len(sizes))


def _assert_same(case: Case, module: nn.Module, other: Any, sizes: Sequence[int]) -> None:
    """Equal outputs and gradients, of floating inputs and of parameters."""
    keywords = _keywords(case, module, sizes)
    points = [x for x in keywords.values() if isinstance(x, Tensor) and x.requires_grad]
    points += list(module.parameters())
    actual = []
    for fn in (module, other):
        result = fn(**keywords)
        grads = grad(case.loss(result), points, materialize_grads=True)
        actual.append([*case.tensors(result), *grads])
    for expected, got in zip(*actual, strict=True):
        _close(got, expected, 1e-10)


def _assert_drawn_alike(name: str, fresh: Tensor, built: Tensor) -> None:
    if fresh.numel() < 2:
        return
    if bool((built == built.flatten()[0]).all()):
        assert torch.equal(fresh, built), f"{name} is constant, and another constant when reset"
        return
    assert not torch.equal(fresh, built), f"{name} is not drawn again"
    ratio = float(fresh.detach().norm() / built.detach().norm())
    likely = math.exp(5 / math.sqrt(fresh.numel()))  # five standard deviations of normal entries
    assert 1 / likely < ratio < likely, f"{name} is drawn {ratio:.2f} times as large"
