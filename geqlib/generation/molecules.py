"""Molecules drawn by a denoiser, each from a random stream of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geqlib.generation.denoiser import Denoiser
from geqlib.generation.preconditioning import centred
from geqlib.generation.replayed import replayed
from geqlib.generation.sampler import HeunSampler
from geqlib.graph.complete import complete_graphs
from geqlib.graph.recordings import Recorder
from geqlib.graph.segments import segment_index, segment_lengths, segment_ptr

HEUN = HeunSampler()


@dataclass(frozen=True)
class Molecules:
    """Sampled molecules, one after the other.

    Args:
        numbers: [N] atomic numbers.
        pos: [N, 3] centred positions in angstrom; NaN throughout a molecule of which a number was
            NaN or infinite while it was sampled.
        lengths: [M] atoms of each.

    Example:
        >>> pos = torch.tensor([[0.0, 0.0, 0.0], [torch.nan, torch.nan, torch.nan]])
        >>> molecules = Molecules(torch.tensor([2, 2]), pos, torch.tensor([1, 1]))
        >>> molecules.dropped.tolist()
        [False, True]
    """

    numbers: Tensor
    pos: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def batch(self) -> Tensor:
        """[N] molecule of each atom."""
        return segment_index(self.lengths)

    @property
    def dropped(self) -> Tensor:
        """[M] whether sampling ended in NaN: such a molecule counts, as a failure."""
        strange = ~self.pos.isfinite().all(1)
        return segment_lengths(self.batch[strange], len(self)) > 0

    @staticmethod
    def joined(parts: Sequence[Molecules]) -> Molecules:
        """All molecules of several sets."""
        fields = [(part.numbers, part.pos, part.lengths) for part in parts]
        return Molecules(*(torch.cat(tensors) for tensors in zip(*fields, strict=True)))


def stream(seed: int, number: int) -> torch.Generator:
    """The random numbers of one sample, which depend on nothing but these two.

    Example:
        >>> torch.equal(*(torch.rand(3, generator=stream(0, 7)) for _ in range(2)))
        True
    """
    mixed = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


def drawn_sizes(histogram: Mapping[int, int], seed: int, numbers: Sequence[int]) -> Tensor:
    """[M] number of atoms of each sample, as frequent as in the histogram.

    Args:
        histogram: molecules by their number of atoms.
        seed: of all samples.
        numbers: [M] which samples these are.

    Raises:
        ValueError: a histogram that is empty or has negative counts, or molecules without atoms.

    Example:
        >>> drawn_sizes({3: 10, 5: 0}, 0, range(4)).tolist()
        [3, 3, 3, 3]
    """
    sizes = torch.tensor(sorted(histogram), dtype=torch.long)
    counts = torch.tensor([histogram[n] for n in sorted(histogram)], dtype=torch.float64)
    if not len(sizes) or bool((counts < 0).any()) or not counts.sum() > 0 or sizes[0] < 1:
        raise ValueError(
            f"The histogram of atoms {dict(histogram)} has no molecules to draw: give the number "
            "of molecules for each number of atoms from 1."
        )
    below = (counts / counts.sum()).cumsum(0)
    place = [torch.rand((), generator=stream(seed, k), dtype=torch.float64) for k in numbers]
    index = torch.searchsorted(below, torch.stack(place), right=True)
    return sizes[index.clamp(max=int(counts.nonzero().max()))]


@torch.no_grad()
def sample_molecules(
    denoiser: Denoiser,
    lengths: Tensor,
    *,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    sampler: HeunSampler = HEUN,
    condition: Tensor | None = None,
    guidance: float = 0.0,
    recorder: Recorder | None = None,
) -> Molecules:
    """Draw molecules by a denoiser.

    Source: the sampler of `HeunSampler`, with positions projected to zero mean at every step.
    Classifier-free guidance is that of Ho and Salimans (arXiv 2207.12598): D with the property, and
    `guidance` times the difference to D without it, added. Sampling is done in float64 around the
    network. Each sample has a random stream of its own, by (seed, number): which others are drawn
    beside it changes it by rounding alone.

    Args:
        denoiser: on any device, in evaluation mode.
        lengths: [M] atoms of each molecule.
        seed: of all samples.
        numbers: [M] which samples these are; 0, 1, ... by default.
        sampler: noise levels and churn.
        condition: [M, 2], see `Denoiser.forward`.
        guidance: how much the property is overdone; 0 for plain conditioning.
        recorder: records D once and replays it at every step, such as
            `geqlib.graph.recordings.CudaGraphs()` on a GPU; for networks that no step makes wait
            for the host. Where it cannot be recorded, a warning says so and D is computed as
            without it.

    Returns:
        Molecules, with NaN in those of which a number was not finite. The network is not shown
        these any more, and they are not replaced.

    Raises:
        ValueError: molecules without atoms, other numbers of samples than of molecules, guidance
            without a property.

    Example:
        >>> from geqlib.models import PONITA
        >>> denoiser = Denoiser(PONITA(6, 1, 5, 1, channels=8, layers=1))
        >>> molecules = sample_molecules(denoiser, torch.tensor([3, 5]), sampler=HeunSampler(2))
        >>> molecules.numbers.shape, molecules.pos.shape
        (torch.Size([8]), torch.Size([8, 3]))
    """
    numbers = range(len(lengths)) if numbers is None else numbers
    if len(numbers) != len(lengths):
        raise ValueError(f"{len(numbers)} numbers of samples for {len(lengths)} molecules.")
    if len(lengths) and int(lengths.min()) < 1:
        raise ValueError("A molecule has no atoms: lengths must be at least 1.")
    if guidance and condition is None:
        raise ValueError("guidance overdoes a property: give `condition`, too.")
    state = _Sampled(denoiser, lengths, condition, guidance)
    noise = _noise(seed, numbers, lengths, sampler.steps + 1, 3 + len(denoiser.species))
    noise = noise.to(denoiser.numbers.device)
    denoise = state.denoise
    if recorder is not None and len(lengths):
        denoise = replayed(state.at_levels, noise[0], len(lengths), recorder)
    final = sampler(denoise, noise, state.project)
    finite = state.finite(final)[state.batch]
    pos = torch.where(finite[:, None], final[:, :3], torch.nan)
    elements = denoiser.decode(torch.where(finite[:, None], final[:, 3:], 0.0))
    return Molecules(elements.cpu(), pos.cpu(), lengths.cpu())


class _Sampled:
    """What is the same at all steps of a batch: states are [N, 3 + species], positions first."""

    def __init__(
        self, denoiser: Denoiser, lengths: Tensor, condition: Tensor | None, guidance: float
    ) -> None:
        device = denoiser.numbers.device
        self.denoiser, self.guidance = denoiser, guidance
        self.count, self.batch = len(lengths), segment_index(lengths).to(device)
        near = complete_graphs(segment_ptr(lengths).to(device))
        edges = {"edge_index": near.edge_index, "reverse": near.reverse}
        plan = denoiser.plan(**edges, num_nodes=len(self.batch))
        self.fixed = edges | {"plan": plan, "batch": self.batch, "num_graphs": self.count}
        self.condition = None if condition is None else condition.to(device)
        floating = (p.dtype for p in denoiser.parameters() if p.is_floating_point())
        self.dtype = next(floating, torch.get_default_dtype())

    def project(self, state: Tensor) -> Tensor:
        return torch.cat([centred(state[:, :3], self.batch, self.count), state[:, 3:]], 1)

    def finite(self, state: Tensor) -> Tensor:
        """[M] molecules without NaN and infinity."""
        strange = ~state.isfinite().all(1)
        return state.new_zeros(self.count).index_add(0, self.batch, strange.to(state.dtype)) == 0

    def denoise(self, state: Tensor, sigma: float) -> Tensor:
        return self.at_levels(state, state.new_full((self.count,), sigma))

    def at_levels(self, state: Tensor, sigma: Tensor) -> Tensor:
        """D of a state, with the noise level [M] of each molecule."""
        finite = self.finite(state.to(self.dtype))[self.batch][:, None]
        estimate = self._denoised(torch.where(finite, state, 0.0), sigma, self.condition)
        if self.guidance:
            plain = self._denoised(torch.where(finite, state, 0.0), sigma, None)
            estimate = estimate + self.guidance * (estimate - plain)
        return torch.where(finite, estimate, torch.nan)

    def _denoised(self, state: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        inside, level = state.to(self.dtype), sigma.to(self.dtype)
        own = self.fixed | ({} if condition is None else {"condition": condition})
        return torch.cat(self.denoiser(inside[:, :3], inside[:, 3:], level, **own), 1).to(state)


def _noise(seed: int, numbers: Sequence[int], lengths: Tensor, draws: int, width: int) -> Tensor:
    """[draws, N, width] of all samples, after the number that their sizes are drawn by."""
    parts = []
    for number, length in zip(numbers, lengths.tolist(), strict=True):
        generator = stream(seed, number)
        torch.rand((), generator=generator, dtype=torch.float64)
        parts.append(torch.randn(draws, length, width, generator=generator, dtype=torch.float64))
    return torch.cat(parts, 1) if parts else torch.zeros(draws, 0, width, dtype=torch.float64)
