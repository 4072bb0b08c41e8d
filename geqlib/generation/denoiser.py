"""The denoiser of molecules around any network that returns scalars and vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.elements import atomic_numbers, chemical_symbols
from geqlib.generation.preconditioning import centred, preconditioning
from geqlib.graph.checks import values_readable
from geqlib.graph.plan import accepted
from geqlib.graph.pool import graph_index

SPECIES = ("H", "C", "N", "O", "F")
AVERAGED = ("pos", "x", "vec", "edge_index")  # what a frame average may take
TYPE_SCALE = 4.0  # one-hot elements are divided by it, so that positions are settled first


class Denoised(NamedTuple):
    """A denoiser's estimate of the clean molecules.

    Args:
        pos: [N, 3] centred positions, in angstrom.
        x: [N, species] elements, one-hot divided by the type scale.

    Example:
        >>> Denoised(torch.zeros(1, 3), torch.tensor([[0.0, 0.25]])).x.argmax(1)
        tensor([1])
    """

    pos: Tensor
    x: Tensor


class Denoiser(nn.Module):
    """Clean molecules from noisy ones, by a network in Karras preconditioning.

    Symmetry: that of the network; translations are removed, as all positions are projected to zero
    mean in each molecule. Source: Karras et al. (NeurIPS 2022), equation 7, with the network of
    Bekkers et al. (ICLR 2024) for molecules:

        D(y; sigma) = skip y + out (into y - network(into y, noise)),  y = (positions, elements),

    so that the vector output of the network is a displacement, which is projected as well. The
    noise level is an invariant feature of each atom, and so are a property and whether it is known
    where the denoiser is conditional. At a network output of 0, which a network with a method
    `zero_readout` starts with, D = y (1 + sigma) / (1 + sigma^2).

    Args:
        network: its `forward` takes what it names of `pos`, `x` [N, `features`], `vec` [N, 1, 3]
            (the positions once more, if its attribute `in_vectors` is 1), `edge_index`, `edge_attr`
            [E, `edge_features`] (if its attribute `edge_dim` is not 0: the noise level, and sum and
            product of the noisy elements of both atoms), `reverse`, `batch`, `num_graphs` and
            `plan`, and it returns scalars [N, species] and vectors [N, 1, 3]. Of a
            `FrameAveraging`, `inputs` says what it takes of `pos`, `x`, `vec` and `edge_index`.
            GauntNet takes elements, and for a denoiser it is a `DenoisingGauntNet`.
        species: symbols of the elements.
        type_scale: one-hot elements are divided by it.
        conditional: whether it knows one property of each molecule, or that it is not known.

    Raises:
        ValueError: a network without vector outputs or with other numbers of inputs and outputs, a
            frame average of other inputs, species that are no elements or come twice.

    Example:
        >>> from geqlib.models import PONITA
        >>> network = PONITA(6, 1, 5, 1, channels=8, layers=1)  # 5 elements and the noise level
        >>> denoiser = Denoiser(network)
        >>> pos, x = torch.tensor([[0.0, 0, 1], [0, 0, -1]]), denoiser.encode(torch.tensor([6, 8]))
        >>> edge_index = torch.tensor([[0, 1], [1, 0]])
        >>> denoiser(pos, x, torch.tensor([1.0]), edge_index).pos.detach()  # untrained
        tensor([[ 0.,  0.,  1.],
                [ 0.,  0., -1.]])
    """

    numbers: Tensor

    def __init__(
        self,
        network: nn.Module,
        species: Sequence[str] = SPECIES,
        *,
        type_scale: float = TYPE_SCALE,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        self.species, self.conditional = tuple(species), conditional
        strange = [symbol for symbol in self.species if symbol not in atomic_numbers]
        if strange or not self.species or len(set(self.species)) < len(self.species):
            raise ValueError(
                f"species are {', '.join(self.species) or 'none'}: name symbols of elements, each "
                "once."
            )
        if not type_scale > 0:
            raise ValueError(f"type_scale must be positive, got {type_scale}.")
        self.type_scale = float(type_scale)
        self.features = len(self.species) + (3 if conditional else 1)
        self.edge_features = 2 * len(self.species) + 1
        self.network = network
        self.averaged = frame_inputs(network)
        self._check_network()
        zero_readouts(network)
        numbers = torch.tensor([atomic_numbers[symbol] for symbol in self.species])
        self.register_buffer("numbers", numbers, persistent=False)

    def reset_parameters(self) -> None:
        reset(self.network)
        zero_readouts(self.network)

    def encode(self, numbers: Tensor) -> Tensor:
        """[N, species] one-hot elements divided by the type scale, of atomic numbers [N].

        Raises:
            ValueError: an element that is not one of the species.
        """
        same = numbers[:, None].eq(self.numbers)
        if values_readable() and len(strange := numbers[~same.any(1)]):
            raise ValueError(
                f"{chemical_symbols[int(strange[0])]} is not one of the species of the denoiser "
                f"({', '.join(self.species)}): add it to `species`, or leave such molecules out."
            )
        return same.to(torch.get_default_dtype()) / self.type_scale

    def decode(self, x: Tensor) -> Tensor:
        """[N] atomic numbers: of each atom the species of the largest feature."""
        return self.numbers.index_select(0, x.argmax(1))

    def plan(self, edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None) -> Any:
        """The network's plan of the edges of a batch; None if it makes none of edges alone."""
        make = getattr(self.network, "plan", None)
        if make is None or "edge_index" not in signature(make).parameters:
            return None
        tensors = {"edge_index": edge_index, "num_nodes": num_nodes, "reverse": reverse}
        return make(**accepted(make, tensors))

    def forward(
        self,
        pos: Tensor,
        x: Tensor,
        sigma: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        reverse: Tensor | None = None,
        plan: Any = None,
        condition: Tensor | None = None,
    ) -> Denoised:
        """Estimate clean molecules.

        Args:
            pos: [N, 3] noisy positions.
            x: [N, species] noisy elements, see `encode`.
            sigma: [G] noise level of each molecule, the same for positions and elements.
            edge_index, reverse: pairs of atoms, as of `geqlib.graph.Neighbors`.
            batch: [N] molecule of each atom, and num_graphs: their number.
            plan: made before by `self.plan`.
            condition: [G, 2] standardised property and 1, or zeros where it is not known; without
                it, no property is known.
        """
        batch, num_graphs = graph_index(batch, num_graphs, pos.size(0), pos.device)
        if condition is not None and not self.conditional:
            raise ValueError(
                "The denoiser knows no property: build it with conditional=True and train it so."
            )
        pos = centred(pos, batch, num_graphs)
        skip, out, into, noise = (c.index_select(0, batch)[:, None] for c in preconditioning(sigma))
        elements = into * x
        features = [elements, noise]
        if self.conditional:
            shown = x.new_zeros(num_graphs, 2) if condition is None else condition.to(x.dtype)
            features.append(shown.index_select(0, batch))
        scaled = into * pos
        tensors = {"pos": scaled, "x": torch.cat(features, 1), "edge_index": edge_index}
        tensors |= {"batch": batch, "num_graphs": num_graphs, "reverse": reverse, "plan": plan}
        tensors["vec"] = scaled[:, None]
        if getattr(self.network, "edge_dim", 0):
            tensors["edge_attr"] = _pair_features(elements, noise, edge_index)
        scalars, vectors = self._outputs(self.network(**self._taken(tensors)), pos.size(0))
        moved = centred(vectors[:, 0], batch, num_graphs)
        return Denoised(skip * pos + out * (scaled - moved), skip * x + out * (elements - scalars))

    def _taken(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """What the network names of these: in its `forward`, or in `inputs` of a frame average."""
        if self.averaged is not None:
            return {name: tensors[name] for name in (*self.averaged, "batch", "num_graphs")}
        if not getattr(self.network, "in_vectors", 0):
            del tensors["vec"]
        return accepted(self.network.forward, tensors)

    def _outputs(self, outputs: Any, atoms: int) -> tuple[Tensor, Tensor]:
        shapes = [(len(self.species),), (1, 3)]
        pair = isinstance(outputs, tuple) and len(outputs) == 2
        fits = pair and [tuple(part.shape[1:]) for part in outputs] == shapes
        # of which exported programs would hold the number of atoms
        traced = torch.compiler.is_compiling()
        if fits and (traced or all(part.size(0) == atoms for part in outputs)):
            return outputs
        kind = [list(part.shape) for part in outputs] if pair else type(outputs).__name__
        raise ValueError(
            f"{type(self.network).__name__} returned {kind} for {atoms} atoms, but a denoiser "
            f"takes scalars {[atoms, *shapes[0]]} and vectors {[atoms, *shapes[1]]}: build it "
            f"with out_scalars={len(self.species)} and out_vectors=1."
        )

    def _check_network(self) -> None:
        network = self._averaged()
        name = type(network).__name__
        if getattr(network, "out_vectors", 1) == 0:
            raise ValueError(
                f"{name} returns no vectors, along which a denoiser moves atoms: build it with "
                "out_vectors=1, or take a network that has them."
            )
        expected = {"in_scalars": self.features, "out_scalars": len(self.species)}
        expected |= {"out_vectors": 1}
        if getattr(network, "edge_dim", 0):  # which a frame average does not pass on
            expected["edge_dim"] = self.edge_features if self.averaged is None else 0
        for argument, value in expected.items():
            actual = getattr(network, argument, value)
            if actual != value:
                raise ValueError(
                    f"{name} has {argument}={actual}, and a denoiser of {', '.join(self.species)} "
                    f"takes {value}: build it with {argument}={value}."
                )
        if getattr(network, "level", "node") != "node":
            raise ValueError(f'{name} gives outputs of graphs: build it with level="node".')

    def _averaged(self) -> nn.Module:
        """The network, or the one that a frame average is of."""
        if self.averaged is None:
            return self.network
        if strange := [name for name in self.averaged if name not in AVERAGED]:
            raise ValueError(
                f"The frame average takes {strange[0]!r}, and a denoiser has "
                f"{', '.join(AVERAGED)}: name some of these in its `inputs`."
            )
        module = getattr(self.network, "module", None)
        return module if isinstance(module, nn.Module) else self.network


def _pair_features(x: Tensor, noise: Tensor, edge_index: Tensor) -> Tensor:
    """[E, 2 species + 1] of edges, the same in both directions, so that these share a kernel."""
    source, target = (x.index_select(0, end) for end in edge_index)
    level = noise.index_select(0, edge_index[0])
    return torch.cat([level, source + target, source * target], 1)


def frame_inputs(network: nn.Module) -> tuple[str, ...] | None:
    """What a frame average takes, by its attribute `inputs`; None of any other network."""
    inputs = getattr(network, "inputs", None)
    return tuple(inputs) if isinstance(inputs, Mapping) else None


def zero_readouts(network: nn.Module) -> None:
    """Let all parts with a method `zero_readout` return 0 until they are trained."""
    for part in network.modules():
        if hasattr(part, "zero_readout"):
            part.zero_readout()  # type: ignore[operator]
