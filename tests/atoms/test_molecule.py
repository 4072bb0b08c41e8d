"""Networks on atoms as models of whole molecules."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from geqlib.models import PONITA, MoleculeModel
from geqlib.sphere.grids import rotation_group
from tests.contract import Case, Contract, Typed

ICOSAHEDRAL = rotation_group("icosahedral")


def model(**options: Any) -> MoleculeModel:
    sizes = {"channels": 4, "layers": 1, "basis": 4, "smooth": True, "cutoff": 3.0}
    return MoleculeModel(PONITA(3, 0, 2, 0, **(sizes | options)))


class TestContract(Contract):
    @staticmethod
    def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
        z = torch.randint(1, 9, (len(pos),), generator=generator)
        return {
            "pos": (pos, "point"),
            "z": (z, "scalar"),
            "edge_index": (edge_index, "edge_index"),
            "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
        }

    @staticmethod
    def extra(molecule: MoleculeModel, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
        network: Any = molecule.model
        plan = network.plan(tensors["edge_index"], len(tensors["pos"]))
        return {"num_graphs": graphs, "plan": plan}

    cases: ClassVar = (
        Case(
            "PONITA",
            model,
            inputs.__func__,
            "graph:scalar",
            groups=("T(3)", ICOSAHEDRAL, -ICOSAHEDRAL[:1]),
            extra=extra.__func__,
            backend="eager",
        ),
    )


@pytest.mark.parametrize("level", ["node", "graph"])
def test_sums_over_the_atoms(level: str) -> None:
    torch.manual_seed(0)
    molecule = model(level=level).double()
    pos, z = torch.randn(5, 3).double(), torch.tensor([1, 6, 7, 8, 9])
    edge_index = torch.tensor([[0, 1, 2, 3, 4], [1, 0, 3, 2, 3]])
    batch = torch.tensor([0, 0, 1, 1, 1])
    actual = molecule(pos, z, edge_index, batch=batch, num_graphs=3)
    network: Any = molecule.model
    network.level = "node"
    atoms = network(pos, edge_index, x=molecule.embedding(z))[0]  # type: ignore[misc]
    expected = torch.stack([atoms[:2].sum(0), atoms[2:].sum(0), torch.zeros(2).double()])
    torch.testing.assert_close(actual, expected)


def test_a_network_may_embed_the_elements_itself() -> None:
    class Counts(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, None].float()

    molecule = MoleculeModel(Counts())
    assert molecule.embedding is None
    actual = molecule(torch.zeros(2, 3), torch.tensor([6, 8]), torch.zeros(2, 0, dtype=torch.long))
    assert actual.tolist() == [[14.0]]
