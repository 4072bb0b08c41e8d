"""Features that the data has and the network does not take: said once, before training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from inspect import Parameter, signature
from typing import Any

NOTHING = (0, None, [], ())


def warn_of_unused(data: Any, names: Iterable[str]) -> None:
    """Warn of features that neither the network nor the task of a data module's trainer takes.

    A batch reaches a network by the names in its `forward` (`geqlib.graph.accepted`), so that what
    it does not name would be left out without a word.

    Args:
        data: a data module, with a trainer or without.
        names: of the tensors of a batch.
    """
    task = getattr(getattr(data, "trainer", None), "lightning_module", None)
    model = getattr(task, "model", None)
    if model is None:
        return
    parameters = dict(signature(model.forward).parameters)
    if hasattr(model, "plan"):
        parameters |= signature(model.plan).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # it may take anything
    used = {*parameters, *getattr(task, "labels", ()), *getattr(task, "outputs", ())}
    if getattr(model, "edge_dim", True) in NOTHING:
        used.discard("edge_attr")
    unused = [name for name in names if name not in used]
    if unused:
        warnings.warn(
            f"{' and '.join(unused)} of {type(data).__name__} {_are(unused)} not used: neither "
            f"{type(model).__name__}, as it is built, nor {type(task).__name__} takes "
            f"{'it' if len(unused) == 1 else 'them'}. {_advice(unused)}",
            stacklevel=2,
        )


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _advice(unused: list[str]) -> str:
    if "edge_weight" in unused:
        return "Networks of this library take features of edges as edge_attr [E, features]."
    return "Take a network that does, or leave it out of the data."
