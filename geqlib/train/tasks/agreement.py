"""What a network and its data have to agree on: the cutoff, charges, and counts of motifs."""

from __future__ import annotations

import math
import warnings
from typing import Any

from torch import nn

from geqlib.atoms.network import AtomNetwork, network_cutoff
from geqlib.atoms.potential import Potential
from geqlib.data.molecules.labels import Labels
from geqlib.motifs.features import MotifFeatures, check_taken


def share_charge(model: nn.Module, data: Any) -> bool:
    """Let a potential know the charges that its data reads, if it does not yet.

    Args:
        model: of a task.
        data: a data module, with `labels` or without.

    Returns:
        Whether the potential was changed.

    Raises:
        ValueError: if its network has no input for them.
    """
    parts = list(getattr(data, "parts", {}).values()) or [data]
    labels = [getattr(part, "labels", None) for part in parts]
    named = any(isinstance(x, Labels) and bool(x.charge or x.multiplicity) for x in labels)
    if not (named and isinstance(model, Potential)) or model.charges is not None:
        return False
    model.take_charge()
    return True


def check_features(model: nn.Module, data: Any) -> None:
    """Refuse a network that takes no counts of motifs which its data has.

    Args:
        model: of a task.
        data: a data module, with `features` or without; None if there is none.

    Raises:
        ValueError: if they would be left out without a word.
    """
    features = getattr(data, "features", None)
    if isinstance(features, MotifFeatures):
        check_taken(model, features.settings)


def share_levels(model: nn.Module, data: Any) -> tuple[str, ...] | None:
    """Let a potential know the levels of theory of its data, if it does not yet.

    Args:
        model: of a task.
        data: a data module, with `level_names` or without.

    Returns:
        Their names, if the potential was changed.

    Raises:
        ValueError: if its network has no input for them, or knows others.
    """
    names = getattr(data, "level_names", None)
    if names is None or not isinstance(model, Potential):
        return None
    before = model.levels
    model.take_levels(names)
    return None if before is not None else tuple(names)


def share_cutoff(model: nn.Module, data: Any) -> None:
    """Give a data module without a cutoff that of the network, and refuse one that differs.

    Outside of atoms (`Potential`, `MoleculeModel`), neighbours are a choice of the data: there it
    is enough that the network does not reach further than them.

    Args:
        model: of a task.
        data: a data module, with a `cutoff` in angstrom or without; None if there is none.

    Raises:
        ValueError: if energies would jump where a neighbour leaves.
    """
    if not hasattr(data, "cutoff"):
        return
    atoms = isinstance(model, AtomNetwork)
    network: nn.Module = model.model if isinstance(model, AtomNetwork) else model
    own, name = network_cutoff(network), type(network).__name__
    if data.cutoff is None and own is not None:
        data.cutoff = own
        data.hparams["cutoff"] = own
    if data.cutoff is None:
        return
    if own is None:
        if isinstance(model, Potential):
            _without_cutoff(network, data.cutoff)
        return
    beyond = own > data.cutoff and not math.isclose(own, data.cutoff)
    if beyond or (atoms and not math.isclose(own, data.cutoff)):
        raise ValueError(
            f"The cutoff of {name} is {own}, but that of {type(data).__name__} is {data.cutoff}: "
            "make them equal, or leave out that of the data, which then takes the network's."
        )


def _without_cutoff(network: nn.Module, cutoff: float) -> None:
    """Refuse a network of this library, and warn of others, which may fade out by themselves."""
    name = type(network).__name__
    jump = f"the energy jumps at {cutoff} angstrom, beyond which the data leaves out pairs"
    if type(network).__module__.startswith("geqlib."):
        raise ValueError(
            f"{name} has no cutoff, so {jump}: give it the same cutoff, or the data none."
        )
    warnings.warn(
        f"{name} has no attribute `cutoff`. Unless it fades out by itself, {jump}: set "
        "`self.cutoff` to the distance at which messages vanish.",
        stacklevel=2,
    )
