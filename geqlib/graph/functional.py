"""What cannot be done inside the transforms of `torch.func`, said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

FORWARD = "Jvp"  # torch's name of a level of forward-mode derivatives


def is_true(x: Tensor) -> bool:
    """Whether a single number is not 0, for which the host waits once.

    False where the value cannot be read, as `torch.func.vmap` vectorises it.

    Example:
        >>> import torch
        >>> is_true(torch.ones(()))
        True
    """
    try:
        return bool(x.item())
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        return False


@contextmanager
def outside_vmap(layer: str) -> Iterator[None]:
    """Say in a sentence that a layer cannot be vectorised, where torch says which line cannot.

    Args:
        layer: how the sentence begins.

    Raises:
        ValueError: in place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if "vmap" not in str(error) or "randomness" in str(error):
            raise
        raise ValueError(
            f"{layer} depends on the values of its inputs, which torch.func.vmap hides: call it on "
            "one batch of graphs instead. jacrev, jacfwd and hessian work."
        ) from error


def without_autocast(x: Tensor) -> torch.autocast:
    """A context in which autocast does not round what is computed of x.

    Example:
        >>> with without_autocast(torch.ones(2)):
        ...     pass
    """
    return torch.autocast(autocast_device(x), enabled=False)


def autocast_device(x: Tensor) -> str:
    """Under which name autocast lists the device of x: it does not list "meta", and rounds nothing
    there."""
    return "cpu" if x.is_meta else x.device.type


def transformed() -> bool:
    """Whether transforms of `torch.func` are at work."""
    return torch._C._are_functorch_transforms_active()


def vectorised(*tensors: Tensor | None) -> bool:
    """Whether one of them is a batch in disguise, as the gradients are that
    `torch.autograd.functional.hessian(vectorize=True)` computes at once."""
    keys: Any = torch._C._dispatch_key_set  # type: ignore[attr-defined]
    return any("Batched" in keys(t) for t in tensors if t is not None)


def asked(ctx: Any, tensors: Sequence[int]) -> dict[int, bool]:
    """Of which inputs the running backward pass asks for the derivative.

    `ctx.needs_input_grad` says of which any pass could: where forces are computed, those of all
    weights.

    Args:
        ctx: of an `autograd.Function`, inside its `backward`.
        tensors: which of its arguments are tensors.
    """
    needed = {n: ctx.needs_input_grad[n] for n in tensors}
    if transformed():
        return needed
    nodes = dict(zip(tensors, (node for node, _ in ctx.next_functions), strict=True))
    return {n: need and _runs(nodes[n]) for n, need in needed.items()}


def _runs(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)  # type: ignore[attr-defined]
    except RuntimeError:  # of a leaf that is asked for
        return True


def refuse_two_forward_modes() -> None:
    """Refuse forward-mode derivatives of forward-mode derivatives: called by each rule `jvp`.

    torch takes the inner derivative for a constant there, in every `autograd.Function` and in its
    own LayerNorm, without a word.

    Raises:
        ValueError: inside two of them.
    """
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    levels = functorch.get_interpreter_stack() or ()
    if sum(level.key().name == FORWARD for level in levels) > 1:
        raise ValueError(
            "forward-mode derivatives of forward-mode derivatives, as jacfwd(jacfwd(f)), are wrong "
            "in torch: use torch.func.hessian(f) or jacrev(jacrev(f))."
        )
