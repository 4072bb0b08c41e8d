"""Energies and forces of one structure after another, recorded once per size and replayed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geqlib.atoms.forces import energy_forces
from geqlib.atoms.potential import Potential
from geqlib.graph.checks import values_unread
from geqlib.graph.many import copy_all
from geqlib.graph.padding import Sizes, cut, padded
from geqlib.graph.plan import Plan, accepted, joined_plan, split_plan
from geqlib.graph.recordings import CudaGraphs, Function, Outputs, Recorder, Rerun, Unchanged

RECORDINGS = 64  # at most; each has its tensors and a graph on the device
# between the padded structure and the plain one, in eV and angstrom, relative to the largest
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}


@dataclass
class Recording:
    """Tensors at fixed addresses, and a computation on them that can be run again."""

    tensors: dict[str, Tensor]
    replay: Function


class ReplayedForces:
    """`energy_forces` of single structures: on a GPU a CUDA graph for each size of structure.

    Atoms and edges are padded (`geqlib.graph.padding`), so that a structure whose neighbours change
    needs few sizes. Before a size is recorded, its results are compared with those of the structure
    without padding; where they differ, or where nothing can be recorded, a warning says so and
    structures are computed without recordings.

    At most `RECORDINGS` sizes stay recorded, those that were used last; another one that comes
    again is recorded anew.

    Args:
        potential: in evaluation mode, whose weights stay at their addresses.
        recorder: by default CUDA graphs on a CUDA device, and `Rerun` elsewhere.
    """

    def __init__(self, potential: Potential, recorder: Recorder | None = None) -> None:
        self.potential = potential
        self.device = next(potential.parameters()).device
        if recorder is None:
            cuda = self.device.type == "cuda"
            recorder = CudaGraphs() if cuda else Rerun()
            if not cuda:
                _say(f"{self.device.type} has no CUDA graphs, so that structures are padded only")
        self.recorder: Recorder = recorder
        self.recordings: dict[Any, Recording] = {}  # that used last stands last
        self.refused = False
        self._checked: tuple[Tensor, ...] = ()

    def __call__(self, *, stress: bool = False, **fields: Any) -> Outputs:
        """The results of `energy_forces` for one structure, with arguments of the same names."""
        self._check(fields)
        if self.refused:
            return energy_forces(self.potential, **fields, stress=stress, check=False)
        graph = fields["z"].new_zeros(len(fields["z"]))
        tensors = fields | {"batch": graph}
        real = Sizes(len(graph), fields["edge_index"].size(1), 1)
        sizes = real.rounded()
        tensors = padded(tensors, real, sizes)
        plan = self._plan(tensors, sizes)
        parts, numbers = split_plan(plan)
        tensors |= {f"plan.{name}": value for name, value in parts.items()}
        shapes = tuple((k, tuple(v.shape)) for k, v in tensors.items())
        key = stress, shapes, tuple(numbers.items())
        recording = self.recordings.pop(key, None)
        if recording is None:
            while len(self.recordings) >= RECORDINGS:
                del self.recordings[next(iter(self.recordings))]
            plain = energy_forces(self.potential, **fields, stress=stress, check=False)
            recording = self._record(tensors, plan, numbers, sizes, stress, (plain, real))
            if recording is None:
                return plain
        else:
            copy_all((recording.tensors[name] for name in tensors), tensors.values())
        self.recordings[key] = recording
        outputs = recording.replay()
        return {name: cut(value, real, sizes).clone() for name, value in outputs.items()}

    def _check(self, fields: dict[str, Any]) -> None:
        """`Potential.check`, for which the host waits, where atoms or charges have changed."""
        names = ("z", "charge", "multiplicity")
        seen = tuple(fields[name] for name in names if name in fields)
        same = len(seen) == len(self._checked) and all(map(torch.equal, seen, self._checked))
        if same and (self.potential.takes_shift or "cell_shift" not in fields):
            return
        self.potential.check(**accepted(self.potential.check, fields))
        self._checked = seen

    def _plan(self, tensors: dict[str, Tensor], sizes: Sizes) -> Plan | None:
        counts = {"num_nodes": sizes.nodes, "num_graphs": sizes.graphs}
        plan = self.potential.plan(**accepted(self.potential.plan, {**tensors, **counts}))
        try:
            return None if plan is None else plan.rounded()
        except NotImplementedError:
            return None  # the model computes its plan in the recording, which may fail there

    def _record(
        self,
        tensors: dict[str, Tensor],
        plan: Plan | None,
        numbers: dict[str, int],
        sizes: Sizes,
        stress: bool,
        plain: tuple[Outputs, Sizes],
    ) -> Recording | None:
        own = {name: value.clone() for name, value in tensors.items()}
        fields: dict[str, Any] = {
            name: value
            for name, value in own.items()
            if not name.startswith(("plan.", "real_")) and name != "ptr"
        }
        if plan is not None:
            inner = {k[5:]: v for k, v in own.items() if k.startswith("plan.")}
            fields["plan"] = joined_plan(type(plan), inner, numbers)

        def function() -> Outputs:
            with values_unread():
                return energy_forces(
                    self.potential, **fields, num_graphs=sizes.graphs, stress=stress, check=False
                )

        outputs, real = plain
        trial = {name: cut(x, real, sizes) for name, x in function().items()}
        for name, value in outputs.items():
            scale = float(value.abs().max()) if value.numel() else 0.0
            change = float((trial[name] - value).abs().max()) if value.numel() else 0.0
            if not change <= ROUNDING[fields["pos"].dtype] * max(scale, 1.0):
                self._refuse(f"padding changes its {name} by {change:.1e}")
                return None
        try:
            with Unchanged(self.potential, (), self.device):
                return Recording(own, self.recorder(function))
        except RuntimeError as error:
            self._refuse(f"the recording failed ({str(error).splitlines()[0]})")
            return None

    def _refuse(self, reason: str) -> None:
        self.refused = True
        network = type(self.potential.model).__name__
        _say(f"{network} is computed without replay, because {reason}")


def _say(sentence: str) -> None:
    warnings.warn(f"cuda_graphs: {sentence}.", stacklevel=3)
