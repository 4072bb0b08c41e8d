"""Sets, their answers and their batches equal what plain Python says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from geqlib.data import SetData

SMALL: dict[str, Any] = {"train": 300, "val": 5, "test": 4, "test_sizes": (1, 3, 40)}


def built(task: Any = "second_minimum", **options: Any) -> SetData:
    data = SetData(16, task=task, **(SMALL | options))
    data.setup()
    return data


def sets(batch: Any) -> list[list[int]]:
    return [batch.x[batch.batch == k].tolist() for k in range(batch.num_graphs)]


def number(bits: list[float]) -> int:
    return sum(int(bit) << place for place, bit in enumerate(bits))


def second_minimum(elements: list[int]) -> list[float]:
    answer = sorted([*elements, 255])[1]
    return [float(answer >> place & 1) for place in range(8)]


def size_parity(elements: list[int]) -> list[float]:
    return [float(len(elements) % 2)]


def bit_parity(elements: list[int]) -> list[float]:
    return [float(sum(x >> place & 1 for x in elements) % 2) for place in range(8)]


ANSWERS = {
    "second_minimum": second_minimum,
    "size_parity": size_parity,
    "bit_parity": bit_parity,
}


@pytest.mark.parametrize("task", ANSWERS)
def test_answers(task: str) -> None:
    data = built(task)
    for split in data.splits.values():
        batch: Any = split.__getitems__(range(len(split)))
        assert batch.y.tolist() == [ANSWERS[task](elements) for elements in sets(batch)]


def test_answers_by_hand() -> None:
    data = built(train=2000)
    batch: Any = data.splits["train"].__getitems__(range(2000))
    actual = dict(zip(map(tuple, sets(batch)), batch.y.tolist(), strict=True))
    alone = [number(bits) for elements, bits in actual.items() if len(elements) == 1]
    assert alone and set(alone) == {255}
    twins = [e for e in actual if len(e) > 2 and sorted(e)[0] == sorted(e)[1]]
    assert twins and all(number(actual[e]) == min(e) for e in twins)


def test_sizes_and_numbers_are_uniform() -> None:
    part = built(train=20_000).splits["train"]
    batch: Any = part.__getitems__(range(20_000))
    sizes = torch.bincount(batch.batch)
    assert (int(sizes.min()), int(sizes.max())) == (1, 16)
    # 1250 of each are expected, with a standard deviation of 34; 664 and 26 for numbers
    assert (torch.bincount(sizes)[1:] - 1250).abs().max() < 6 * 34
    counts = torch.bincount(batch.x, minlength=256)
    assert (counts - counts.sum() / 256).abs().max() < 6 * 26


def test_batches_are_the_chosen_sets_in_order() -> None:
    part = built().splits["train"]
    some: Any = part.__getitems__([7, 2, 7])
    single: list[Any] = [part[k] for k in (7, 2, 7)]
    assert sets(some) == [s.x.tolist() for s in single]
    assert torch.equal(some.y, torch.cat([s.y for s in single]))
    assert some.ptr.tolist() == [0, *torch.bincount(some.batch).cumsum(0).tolist()]
    assert some.num_graphs == 3 and some.x.dtype == torch.long


def test_each_test_size_has_its_loader_and_its_own_stream() -> None:
    data, other = built(), built(test_sizes=(40,))
    loaders = data.test_dataloader()
    seen = [[len(s) for batch in loader for s in sets(batch)] for loader in loaders]
    assert seen == [[1] * 4, [3] * 4, [40] * 4]
    (first, second) = (d.splits["test 40"].x for d in (data, other))
    assert torch.equal(first, second)
    assert not torch.equal(built(data_seed=1).splits["test 40"].x, first)
    assert not torch.equal(
        data.splits["val"].x.view(5, -1)[:4, :3], data.splits["test 3"].x.view(4, 3)
    )


def test_parity_is_validated_on_odd_and_even_sizes() -> None:
    sizes = built("size_parity", val=100).splits["val"].counts["node"]
    assert 20 < int((sizes == 31).sum()) < 80  # six standard deviations
    assert set(sizes.tolist()) == {31, 32}
    assert set(built("bit_parity").splits["val"].counts["node"].tolist()) == {32}


def test_evaluation_takes_few_large_sets_at_once() -> None:
    data = built(val=40, val_size=10_000)
    assert max(batch.num_graphs for batch in data.val_dataloader()) == 3
    assert sum(batch.num_graphs for batch in data.val_dataloader()) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "third"}, "task 'third' is unknown: choose second_minimum, size_parity"),
        ({"train": 0}, "must be positive, got 16, 0, 5 and 4"),
        ({"min_size": 0}, "at least one element, got sizes 0 to 16"),
        ({"min_size": 20}, "got sizes 20 to 16"),
        ({"test_sizes": (3, 0)}, r"32 and \[3, 0\]"),
    ],
)
def test_errors_say_what_and_how_to_fix(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SetData(16, **(SMALL | options))
