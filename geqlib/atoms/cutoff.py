"""How far a network sees."""

from __future__ import annotations

from torch import nn

from geqlib.radial import PolynomialCutoff


def network_cutoff(network: nn.Module) -> float | None:
    """The distance beyond which no pair of points matters; None if the network knows none.

    It is the network's attribute `cutoff` if that is a number, else the longest of its envelopes.

    Example:
        >>> from geqlib.models import PONITA
        >>> network_cutoff(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        5.0
    """
    own = getattr(network, "cutoff", None)
    if isinstance(own, int | float) and not isinstance(own, bool):
        return float(own)
    found = [part.cutoff for part in network.modules() if isinstance(part, PolynomialCutoff)]
    return float(max(found)) if found else None
