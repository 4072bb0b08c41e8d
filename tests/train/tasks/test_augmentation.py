"""Training batches under any group: every graph under its own element, labels with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from geqlib.models import PONITA
from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.groups import parse_group
from geqlib.train import DisplacementTask
from tests.train.every_task import TASKS, parts
from tests.train.tasks.test_task import Fixed, batch

GROUPS = ["SO(3)", "O(3)", "T(3)", "E(3)", "R+(3)", "GL+(3)", "SL(3)", "Aff+(3)", "S_n x Aff+(3)"]


def drawn(group: str, seed: int = 0) -> tuple[DisplacementTask, Any, Any, Any]:
    torch.manual_seed(seed)
    task, b = DisplacementTask(Fixed(), rotate=group).double(), batch()
    for name, x in b.to_dict().items():
        b[name] = x.double() if torch.is_tensor(x) and x.is_floating_point() else x
    elements = task.random_elements(b, parse_group(group))
    return task, b, elements, task.transformed(b, elements)


@pytest.mark.parametrize("group", GROUPS)
def test_points_vectors_and_labels_follow_the_element_of_their_graph(group: str) -> None:
    _, b, elements, moved = drawn(group)
    order = torch.arange(len(b.pos)) if elements.nodes is None else elements.nodes
    assert torch.equal(b.batch[order], b.batch)
    for k in range(6):
        mine = b.batch == k
        matrix = torch.eye(3).double() if elements.matrix is None else elements.matrix[k]
        shift = torch.zeros(3).double() if elements.shift is None else elements.shift[k]
        for name, t in (("pos", shift), ("y", shift), ("vec", 0 * shift)):
            expected = b[name][order][mine] @ matrix.mT + t
            assert (moved[name][mine] - expected).abs().max() < 1e-12
    if elements.matrix is not None:
        det = torch.linalg.det(elements.matrix)
        assert bool((det > 0).all()) or parse_group(group).linear == "O"
        assert not torch.allclose(elements.matrix[0], elements.matrix[1])
    source, target = b.edge_index
    new_source, new_target = moved.edge_index
    assert torch.equal(order[new_source], source) and torch.equal(order[new_target], target)
    assert torch.equal(moved.x, b.x[order])


@pytest.mark.parametrize("group", ["S_n", "S_n x E(3)"])
def test_the_loss_of_a_symmetric_model_stays(group: str) -> None:
    torch.manual_seed(0)
    net = PONITA(1, 1, 0, 1, channels=4, layers=1, orientations=4, edge_dim=1)
    task, b = DisplacementTask(net).double(), drawn("SO(3)")[1]
    b.plan = task.model.plan(b.edge_index, len(b.pos))
    group_of_grid = parse_group("S_n x T(3)" if "E" in group else group)
    moved = task.transformed(b, task.random_elements(b, group_of_grid))
    assert "plan" not in moved
    assert float((task.loss(moved) - task.loss(b)).detach().abs()) < 1e-12
    assert float((task.graph_losses(b).mean() - task.loss(b)).detach().abs()) < 1e-12


RAGGED = ("multitask", "masked_regression", "masked_classification")
TOGETHER = ("subsets", "group_ordering")  # whose losses are of whole batches


# the shifts of levels are fitted when training begins, and the loss is that of energies
@pytest.mark.parametrize("name", [name for name in TASKS if name != "levels"])
def test_losses_of_graphs_have_the_loss_as_their_mean(name: str, tmp_path: Path) -> None:
    task, data, _ = parts(name, tmp_path)
    data.prepare_data()
    data.setup("fit")
    # a mean over nodes or labels of the batch is that of its graphs if all have the same number
    b = data.splits["train"].__getitems__([0, 0, 0] if name in RAGGED else [0, 1, 2])
    losses = task.graph_losses(b)
    assert (losses is None) == (name in TOGETHER or "diffusion" in name)
    if losses is not None:
        assert losses.shape == (3,)
        mean, loss = losses.mean().item(), task.loss(b).item()
        assert mean == pytest.approx(loss, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("group", "message"),
    [("SO(3)", "acts on 3 dimensions, but pos of the batch has 2"), ("SO(4)", "is unknown")],
)
def test_bad_groups(group: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DisplacementTask(Fixed(), rotate=group).augmented(batch(dim=2))


@pytest.mark.parametrize(
    ("rotate", "message"),
    [
        (True, "none of its `inputs` in the batch is a point or a vector"),
        ("SO(3)", r"SO\(3\) acts on no input of Scalars, whose inputs are: x \(scalar\)"),
        ("S_n x SO(3)", r"SO\(3\), a factor of 'S_n x SO\(3\)', acts on no input of Scalars"),
    ],
)
def test_labels_alone_are_not_moved(rotate: bool | str, message: str) -> None:
    class Scalars(DisplacementTask):
        inputs: ClassVar = {"x": "scalar", "batch": "batch"}

    with pytest.raises(ValueError, match=message):
        Scalars(Fixed(), rotate=rotate).augmented(batch())


def test_groups_of_the_plane_act_about_the_z_axis_of_space() -> None:
    _, b, elements, moved = drawn("Aff+(2)")
    assert torch.equal(moved.pos[:, 2], b.pos[:, 2])
    assert (moved.pos[:, :2] - b.pos[:, :2]).abs().max() > 0.1
    assert elements.matrix.shape == (6, 3, 3)


def test_matrices_of_a_finite_group_are_drawn() -> None:
    """Each of 24 is drawn with the same probability: all of them among 600 but for 2e-10."""
    octahedral = rotation_group("octahedral")
    torch.manual_seed(0)
    task, many = DisplacementTask(Fixed()).double(), batch(graphs=600)
    elements = task.random_elements(many, parse_group(octahedral))
    apart = (elements.matrix[:, None].double() - octahedral).abs().amax((2, 3))
    assert apart.amin(1).max() < 1e-6
    assert len(apart.argmin(1).unique()) == 24


def test_energies_follow_rotations_with_their_cells_and_stresses(tmp_path: Path) -> None:
    task, data, _ = parts("energy", tmp_path)
    data.prepare_data()
    data.setup("fit")
    b = data.splits["train"].__getitems__([0, 1])
    elements = task.random_elements(b, parse_group("SO(3)"))
    moved, turn = task.transformed(b, elements), elements.matrix
    assert torch.allclose(moved.stress, turn @ b.stress @ turn.mT, atol=1e-6)
    assert torch.allclose(moved.cell, b.cell @ turn.mT, atol=1e-5)
    assert torch.allclose(
        moved.forces, torch.einsum("nij,nj->ni", turn[b.batch], b.forces), atol=1e-5
    )
    with pytest.raises(ValueError, match="does not act on the labels of EnergyForces"):
        task.random_elements(b, parse_group("SL(3)"))
