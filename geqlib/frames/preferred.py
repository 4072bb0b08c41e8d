"""Adaptive canonicalisation: of a frame, the element that the network itself prefers.

Source: "Adaptive canonicalization with application to invariant anisotropic geometric networks"
(ICLR 2026, arXiv 2509.24886), which takes the group element of the highest confidence,

    y = g* . module(g*^-1 . x),     g* = argmax over g in F(x) of  confidence(module(g^-1 . x)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from geqlib.frames.copies import FrameCopies
from geqlib.graph.checks import values_readable
from geqlib.graph.functional import is_true
from geqlib.symmetry.types import TensorType

Confidence = Callable[[Any], Tensor]


def preferred_weights(plan: FrameCopies, confidence: Tensor) -> Tensor:
    """[F] weights of copies: 1 for the most confident of each sample, shared among equal ones.

    Args:
        plan: of all copies.
        confidence: [F] of each; constants.

    Raises:
        ValueError: another shape, or NaN.

    Example:
        >>> from geqlib.frames.point_frames import Frames
        >>> from geqlib.frames.copies import frame_copies
        >>> frames = Frames(torch.eye(1).repeat(3, 1, 1), torch.tensor([0, 0, 1]), torch.ones(3))
        >>> plan = frame_copies(frames, torch.tensor([0, 1]), None, 2, 0)
        >>> preferred_weights(plan, torch.tensor([0.3, 0.9, 0.1])).tolist()
        [0.0, 1.0, 1.0]
    """
    count = len(plan.sample)
    if confidence.shape != (count,):
        raise ValueError(
            f"confidence returned shape {list(confidence.shape)} for {count} copies: return one "
            "number for each."
        )
    return _shared(plan, confidence[:, None])


def surest_class_weights(plan: FrameCopies, logits: Tensor) -> Tensor:
    """[F] weights of copies: 1 for the one that is surest of a class, shared among equal ones.

    A copy is as sure of a class as the log-odds of its probability say, the logit minus the
    logsumexp of the others: where the probability is 1 to rounding, they still differ. Of copies
    that are equally sure of different classes, those of the first class are taken: the mean over
    different classes would be sure of none.

    Args:
        plan: of all copies.
        logits: [F, classes]; constants.

    Raises:
        ValueError: fewer than two classes, or NaN.

    Example:
        >>> from geqlib.frames.point_frames import Frames
        >>> from geqlib.frames.copies import frame_copies
        >>> frames = Frames(torch.eye(1).repeat(2, 1, 1), torch.tensor([0, 0]), torch.ones(2))
        >>> plan = frame_copies(frames, torch.tensor([0]), None, 1, 0)
        >>> surest_class_weights(plan, torch.tensor([[20.0, 0.0], [0.0, 14.0]])).tolist()
        [1.0, 0.0]
    """
    if logits.dim() != 2 or logits.size(1) < 2:
        raise ValueError(
            f'mode "argmax" takes classes [graphs, at least 2] for its confidence, got shape '
            f"{list(logits.shape)}: give a function `confidence` of the outputs."
        )
    logits = logits.detach()
    share = logits.log_softmax(1)
    highest = logits.argmax(1, keepdim=True)
    others = logits.scatter(1, highest, -torch.inf).logsumexp(1, keepdim=True)
    odds = share - torch.log1p(-share.exp())  # of all others, whose probability is at most 1/2
    return _shared(plan, odds.scatter(1, highest, logits.gather(1, highest) - others))


def _shared(plan: FrameCopies, score: Tensor) -> Tensor:
    """[F] weights of the copies with the highest of the scores [F, classes], for the first class
    that has it."""
    score = score.detach()
    if not score.is_floating_point():
        score = score.to(torch.get_default_dtype())
    unsure = score.isnan().any()
    if values_readable() and is_true(unsure):
        raise ValueError("confidence returned NaN: no copy is the most confident one.")
    score = score.clamp(max=torch.finfo(score.dtype).max)  # infinite ones are alike
    lowest = score.new_full((plan.num_graphs,), -torch.inf)
    best = lowest.scatter_reduce(0, plan.sample, score.amax(1), "amax")[plan.sample]
    # copies that differ by rounding, as those of symmetric samples, are alike
    rounding = torch.finfo(score.dtype).eps ** 0.75 * best.abs().clamp(min=1)
    equal = score >= (best - rounding)[:, None]
    equal = (equal & (plan.weight > 0)[:, None]).to(plan.weight)
    count = equal.new_zeros(plan.num_graphs, score.size(1)).index_add(0, plan.sample, equal)
    first = (count > 0).to(torch.uint8).argmax(1)[plan.sample, None]
    chosen, total = equal.gather(1, first), count[plan.sample].gather(1, first)
    return (chosen / total.clamp(min=1))[:, 0]


def class_confidence(types: Mapping[str | int, TensorType]) -> str | int:
    """The first output of graphs that is a scalar: logits, whose log-odds are the confidence.

    Raises:
        ValueError: if there is none.
    """
    keys = (k for k, t in types.items() if t.level == "graph" and t.kind == "scalar")
    key = next(keys, None)
    if key is None:
        raise ValueError(
            'mode "argmax" needs an output of type "graph:scalar", whose classes say how confident '
            "the module is, or a function `confidence` of its outputs."
        )
    return key


def as_returned(outputs: Mapping[str | int, Tensor], declared: str | Sequence[str] | Any) -> Any:
    """Outputs of all copies, as the module returns them."""
    if isinstance(declared, str):
        return outputs[0]
    return dict(outputs) if isinstance(declared, Mapping) else tuple(outputs.values())
