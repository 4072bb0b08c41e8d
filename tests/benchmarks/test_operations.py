"""Operations of steps: one command counts every workload."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from benchmarks.operations import Operations, Workload, counted, with_kernels, workloads
from geqlib.graph import directed_plan
from geqlib.kernels.edge_product import edge_product

LEVEL = "monoid GRU, a level of the tree"


def test_views_and_allocations_do_not_count() -> None:
    with Operations() as operations:
        x = torch.empty(2, 3)
        (torch.ones(2, 3).T + 1).sum()
        x[0].view(3)
    assert operations.counts == {"ones": 1, "add": 1, "sum": 1}


def test_a_part_is_what_the_rest_lacks() -> None:
    x = torch.ones(3, requires_grad=True)
    less = Workload(lambda: x.exp().sum(), leaves=(x,))
    whole = Workload(lambda: x.exp().sin().sum(), 3, less, leaves=(x,))
    ahead, back = counted(whole)
    assert +ahead == {"sin": 1} and +back == {"cos": 1, "mul": 1}


def test_a_step_without_derivatives() -> None:
    ahead, back = counted(Workload(lambda: torch.ones(2).exp(), None))
    assert ahead.total() == 2 and back.total() == 0


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_a_launch_of_a_fused_kernel_is_one_operation() -> None:
    def step() -> Workload:
        plan = directed_plan(torch.tensor([[0, 1], [1, 0]]), 2)
        x, kernel = torch.ones(2, 4, 3, requires_grad=True), torch.ones(2, 4, 3)
        return Workload(lambda: edge_product(x, kernel, plan).sum(), leaves=(x,))

    plain, _ = counted(step())
    with with_kernels():
        ahead, back = counted(step())
    assert plain["index_add_"] == 1 and not plain["_node_sum"]
    assert ahead == {"_node_sum": 1, "sum": 1} and back["_node_sum"] == 1
    assert counted(step())[0] == plain


@pytest.mark.slow
def test_every_workload_can_be_counted() -> None:
    every = workloads()
    counts = {name: counted(workload) for name, workload in every.items()}
    for name, (ahead, back) in counts.items():
        assert ahead.total() > 0, name
        forward_only = ("energies and forces", "eigenvectors of 3 x 3 matrices")
        assert back.total() > 0 or name.endswith(forward_only), name
    bars = {name: workload.bar for name, workload in every.items() if workload.bar}
    assert len(bars) == 4
    totals = {name: sum(part.total() for part in counts[name]) for name in bars}
    del totals[LEVEL]
    assert all(totals[name] <= bars[name] for name in totals), totals


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_a_level_of_a_tree_as_a_gpu_launches_it() -> None:
    """Its plain form takes two more than the bar, for less memory on a CPU."""
    with with_kernels():
        workload = workloads()[LEVEL]
        total = sum(part.total() for part in counted(workload))
    assert workload.bar is not None and total <= workload.bar
