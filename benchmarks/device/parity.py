"""The parity gate: every layer, model and potential of the contract suite on a device.

Outputs, first derivatives (by floating inputs and parameters) and second derivatives (of the square
of the first) in float64 and float32 are compared with float64 on the CPU. An error is the largest
difference over the largest value of that kind. In float64 it may be `EXACT`; in float32 `ROUNDING`,
or `WORSE` times that of float32 on the CPU, where a layer loses more digits by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.device.timing import Clock, reason

if TYPE_CHECKING:
    from tests.contract import Case

KINDS = ("values", "first", "second")
EXACT = 1e-9
ROUNDING = 1e-4
WORSE = 10.0
DTYPES = (torch.float64, torch.float32)
CPU = torch.device("cpu")
Derivatives = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one case.

    Args:
        name: of the case.
        errors: by "float64 values", "float32 second" and so on.
        wrong: what is wrong; "" if all is right.
    """

    name: str
    errors: Mapping[str, float]
    wrong: str = ""


def gate(
    device: torch.device, clock: Clock, cases: Mapping[str, Case] | None = None
) -> Iterator[Verdict]:
    """A verdict for each case, one after the other.

    Args:
        device: that is compared with the CPU.
        clock: when to stop.
        cases: by name; all of the contract suite by default.

    Raises:
        OutOfTimeError: if the clock has run out before a case.
        ModuleNotFoundError: if a package that the contract suite needs is not installed.
    """
    if cases is None:
        from tests.properties.cases import all_cases

        cases = all_cases()
    for name, case in cases.items():
        clock.check(name)
        try:
            yield judge(name, case, device)
        except Exception as error:  # a case that fails is a result, too
            yield Verdict(name, {}, reason(error))


def judge(name: str, case: Case, device: torch.device) -> Verdict:
    exact = derivatives(case, CPU, torch.float64)
    own = differences(derivatives(case, CPU, torch.float32), exact)
    errors: dict[str, float] = {}
    wrong = []
    for dtype in DTYPES:
        short = str(dtype).removeprefix("torch.")
        for kind, error in differences(derivatives(case, device, dtype), exact).items():
            errors[f"{short} {kind}"] = error
            bound = EXACT if dtype == torch.float64 else max(ROUNDING, WORSE * own[kind])
            if not error <= bound:
                wrong.append(f"{kind} in {short} differ by {error:.1e}")
    return Verdict(name, errors, "; ".join(wrong))


def derivatives(case: Case, device: torch.device, dtype: torch.dtype) -> Derivatives:
    """Outputs, their gradient and the gradient of its square, on a device in a precision."""
    from tests.contract import RAGGED, join, random_graphs, values

    # drawn in float64 on the CPU; a copy, as parts that cases share must not be rounded
    module = deepcopy(case.make()).to(device, dtype)
    typed = join(random_graphs(case, RAGGED))
    tensors = {
        key: x.to(device).requires_grad_(x.is_floating_point())
        for key, x in values(typed, dtype).items()
    }
    points = [x for x in tensors.values() if x.requires_grad]
    points += list(module.parameters())
    torch.manual_seed(0)
    result = case.call(module, len(RAGGED), **tensors)
    outputs = case.tensors(result)
    computed: Derivatives = {"values": outputs, "first": [], "second": []}
    loss = weighted(outputs)
    if not loss.requires_grad:
        return _on_cpu(computed)
    first = grad(loss, points, create_graph=True, materialize_grads=True)
    computed["first"] = list(first)
    square = torch.stack([g.square().sum() for g in first]).sum()
    # of integers alone, second derivatives are asked for by nobody, and a case may have none
    integers = not any(x.requires_grad for x in tensors.values())
    if square.requires_grad and not (integers and "derivatives" in case.exceptions):
        computed["second"] = list(grad(square, points, materialize_grads=True))
    return _on_cpu(computed)


def weighted(outputs: list[Tensor]) -> Tensor:
    """A sum with another weight for every entry, in float64."""
    flat = torch.cat([x.flatten().double() for x in outputs])
    return flat @ torch.arange(1, len(flat) + 1, dtype=torch.float64).cos().to(flat.device)


def differences(computed: Derivatives, exact: Derivatives) -> dict[str, float]:
    """The largest difference of each kind over its largest exact value; inf if not comparable."""
    errors = {}
    for kind in KINDS:
        pairs = list(zip(computed[kind], exact[kind], strict=True))
        scale = max([1e-30, *(float(e.abs().max()) for _, e in pairs if e.numel())])
        errors[kind] = max([0.0, *(_largest(a, e) for a, e in pairs if e.numel())]) / scale
    return errors


def _largest(computed: Tensor, exact: Tensor) -> float:
    if computed.shape != exact.shape:
        return float("inf")
    error = (computed - exact).abs()
    return float(torch.where(error.isnan(), torch.inf, error).max())


def _on_cpu(computed: Derivatives) -> Derivatives:
    return {kind: [x.detach().double().cpu() for x in parts] for kind, parts in computed.items()}


def passed(verdicts: Sequence[Verdict]) -> bool:
    return not any(verdict.wrong for verdict in verdicts)
