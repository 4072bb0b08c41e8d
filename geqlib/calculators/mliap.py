"""Trained potentials for LAMMPS's `pair_style mliap unified`, also on several processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from geqlib.atoms.forces import derivatives_only
from geqlib.atoms.network import network_cutoff
from geqlib.atoms.potential import Potential
from geqlib.calculators.trained import neighbor_cutoff, trained_potential
from geqlib.files.atomic import replace_file
from geqlib.graph.checks import check_device


class MLIAPModel:
    """A trained potential as LAMMPS's ML-IAP package calls it, with pairs from LAMMPS.

    LAMMPS passes the vectors r_ij of all pairs of its own atoms i with neighbours j, which may be
    copies of atoms ("ghosts"): from the other side of a periodic box, or from another process. The
    result is dE/dr_ij for each pair, from which LAMMPS computes forces and virial. Features that a
    later layer reads of a ghost are those of the atom that it is a copy of: LAMMPS passes them
    before each such layer, and their derivatives back. It needs LAMMPS with Kokkos and Python in
    ML-IAP:

        lammps.mliap.load_unified_kokkos(MLIAPModel("run/checkpoints/best.ckpt", ["O", "H"]))
        # pair_style mliap unified EXISTS; pair_coeff * * O H

    Args:
        model: a checkpoint of `geqlib fit`, a file of `geqlib export`, or a potential in memory.
            Its network is GauntNet or PONITA, or another one with an attribute `layer_inputs`.
        species: elements in the order of LAMMPS's `pair_coeff`.
        device, dtype: those of the model by default.
        cutoff: of networks without one.
        level: of theory, by name, for potentials that were trained on several.

    Attributes:
        element_types, rcutfac, ndescriptors, nparams, interface: what ML-IAP reads; `rcutfac` is
            half of the cutoff.

    Raises:
        ValueError: if the model is no potential, has a Coulomb energy or no cutoff, or its network
            has no `layer_inputs`.

    Example:
        >>> from geqlib.models import GauntNet
        >>> net = GauntNet(["H", "O"], channels=4, degree=1, cutoff=4.0)
        >>> MLIAPModel(Potential(net), ["O", "H"]).rcutfac
        2.0
    """

    def __init__(
        self,
        model: str | Path | Potential,
        species: Sequence[str],
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        cutoff: float | None = None,
        level: str | None = None,
    ) -> None:
        unknown = sorted(set(species) - set(atomic_numbers))
        if unknown:
            raise ValueError(f"species has {unknown[0]!r}, which is no element: write H, C, ...")
        potential, trained_cutoff = trained_potential(model, level)
        _check(potential)
        check_device(device)
        self.potential = potential.to(device=device, dtype=dtype).eval().requires_grad_(False)
        weights = next(self.potential.parameters())
        self.device, self.dtype = weights.device, weights.dtype
        radius = neighbor_cutoff(cutoff, network_cutoff(potential.model), trained_cutoff)
        if radius is None:
            raise ValueError("This network has no cutoff, which LAMMPS's pairs need: pass cutoff.")
        self.numbers = torch.tensor([atomic_numbers[name] for name in species], device=self.device)
        self.potential.check(self.numbers)
        self.element_types, self.rcutfac = list(species), radius / 2
        self.interface, self.ndescriptors, self.nparams = None, 1, 1

    def compute_descriptors(self, data: Any) -> None:
        """There are none: called by LAMMPS."""

    def compute_gradients(self, data: Any) -> None:
        """There are none: called by LAMMPS."""

    def compute_forces(self, data: Any) -> None:
        """Fill the energies of the atoms and dE/dr of the pairs: called by LAMMPS.

        A process without atoms or pairs goes through the layers, too: the others wait for it there.

        Args:
            data: LAMMPS's, with `nlocal`, `ntotal`, `npairs`, `elems` [ntotal] (numbers in
                `element_types`), `pair_i`, `pair_j` [npairs], `rij` [npairs, 3], x_j - x_i.
        """
        vectors = torch.as_tensor(data.rij, device=self.device).to(self.dtype).requires_grad_()
        edges = torch.stack([self._index(data.pair_j), self._index(data.pair_i)])
        order = edges[1].argsort(stable=True)
        z = self.numbers.index_select(0, self._index(data.elems))
        with torch.enable_grad(), ghosts_exchanged(self.potential.model, data):
            atoms = self._energies(z, edges[:, order], vectors[order])[: data.nlocal]
            total = atoms.sum()
            (slopes,) = torch.autograd.grad(total, vectors, materialize_grads=True)
        own = torch.as_tensor(data.eatoms)
        own.copy_(atoms.detach().to(own))
        data.energy = total.item()
        self._write_pair_gradients(data, slopes.double())

    def pickle(self, path: str | Path, *, runs_code_when_read: bool = False) -> None:
        """Write the file that `pair_style mliap unified FILE` reads.

        Args:
            path: of the file.
            runs_code_when_read: must be true: it is a pickle, and whoever reads one from a stranger
                runs the stranger's code. LAMMPS reads no other kind; loading this class from Python
                needs none.

        Raises:
            ValueError: without the flag.
        """
        if not runs_code_when_read:
            raise ValueError(
                "LAMMPS reads a pickle, which can run any code when it is read: pass "
                "runs_code_when_read=True to write one, and give it only to people who trust you."
            )
        replace_file(Path(path), lambda part: part.write_bytes(pickle.dumps(self)))

    def _index(self, numbers: Any) -> Tensor:
        return torch.as_tensor(numbers, device=self.device).long()

    def _energies(self, z: Tensor, edges: Tensor, vectors: Tensor) -> Tensor:
        """Energies [ntotal] of atoms, all at the origin: the shifts of edges are their vectors."""
        unit = torch.eye(3, device=self.device, dtype=self.dtype)[None]
        return self.potential(
            vectors.new_zeros(len(z), 3), z, edges, cell=unit, cell_shift=vectors
        ).atoms

    def _write_pair_gradients(self, data: Any, slopes: Tensor) -> None:
        if slopes.is_cuda:
            data.update_pair_forces_gpu(slopes)
        else:
            data.update_pair_forces(slopes.numpy())


class GhostExchange(torch.autograd.Function):
    """Features of all atoms, those of ghosts replaced by those of the atoms they are copies of.

    Example:
        >>> # GhostExchange.apply(x, data), x [ntotal, C]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, data: Any) -> Tensor:
        ctx.data = data
        out = torch.empty_like(x)
        data.forward_exchange(x, out, x.size(1))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        data, gradient = ctx.data, gradient.contiguous()
        out = torch.empty_like(gradient)
        data.reverse_exchange(gradient, out, gradient.size(1))
        out[data.nlocal :] = 0.0  # what a ghost held before the exchange was not used
        return out, None


@contextmanager
def ghosts_exchanged(network: nn.Module, data: Any) -> Iterator[None]:
    """A context in which `GhostExchange` acts on what the layers in `layer_inputs` take first."""

    def before(dimension: int) -> Any:
        def exchange(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            x = inputs[0].movedim(dimension, 0)
            flat = x.flatten(1).contiguous()
            passed = GhostExchange.apply(flat, data).view(x.shape)  # pyright: ignore
            return passed.movedim(0, dimension), *inputs[1:]

        return exchange

    layers: Any = network.layer_inputs
    if layers and not hasattr(data, "forward_exchange"):
        raise ValueError(
            "This LAMMPS cannot pass features between atoms and their copies, which a network of "
            "several layers needs: use one with Kokkos in ML-IAP, or LammpsForces."
        )
    hooks = [layer.register_forward_pre_hook(before(dimension)) for layer, dimension in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check(potential: Potential) -> None:
    derivatives_only(potential, "Forces of ML-IAP")
    name = type(potential.model).__name__
    if potential.long_range is not None:
        raise ValueError(
            "A potential with long_range needs all atoms at once, and ML-IAP gives neighbours: use "
            "LammpsForces."
        )
    if not hasattr(potential.model, "layer_inputs"):
        raise ValueError(
            f"{name} does not say what its layers read of neighbours (an attribute layer_inputs): "
            "use LammpsForces."
        )
    if potential.whole:
        raise ValueError(f'{name} gives energies of graphs: build it with level="node".')
