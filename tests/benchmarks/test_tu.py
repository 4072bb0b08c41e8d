"""Choosing recipes on validation graphs, the same search and size for peers."""

from __future__ import annotations

import pytest

from benchmarks.accuracy import tu
from benchmarks.accuracy.tu import Recipe, by_both_protocols, recipes, width_like
from benchmarks.rows import Row, Table, Value
from geqlib.models import SPEN, MessagePassingNet

A, B = Recipe(16, 2, 1e-3), Recipe(32, 2, 1e-3)


def summary(losses: list[list[float]], accuracies: list[list[float]], **more: object) -> dict:
    published = {"mean": 0.9, "std": 0.1, "fold_means": [0.9] * len(losses)}
    return {"losses": losses, "accuracies": accuracies, "published": published} | more


def test_no_test_graph_chooses_a_recipe():
    """The recipe of least validation loss counts, though the other is better on test graphs."""
    tried = {
        A: summary([[0.1], [0.5]], [[0.6], [0.9]], parameters=1),
        B: summary([[0.2], [0.2]], [[1.0], [0.7]], parameters=2),
    }
    outcome = by_both_protocols(tried)
    assert outcome["selected"]["fold_means"] == [0.6, 0.7]
    assert outcome["recipe"] == B.name and outcome["parameters"] == 2


def test_each_seed_of_a_fold_chooses_for_itself():
    tried = {
        A: summary([[0.1, 0.9]], [[0.6, 0.0]], parameters=1),
        B: summary([[0.2, 0.2]], [[0.0, 0.8]], parameters=2),
    }
    assert by_both_protocols(tried)["selected"]["fold_means"] == [pytest.approx(0.7)]


def test_the_same_search_for_all_models():
    assert len(set(recipes(tu.ALL_RECIPES))) == tu.ALL_RECIPES
    assert recipes(3) == recipes(tu.ALL_RECIPES)[:3]
    ours, theirs = (tu.settings("PTC", model, A) for model in ("SPEN", "GIN"))
    shared = {key: value for key, value in ours[1].items() if key != "model.model.channels"}
    assert shared.items() <= theirs[1].items() and shared["data.name"] == "PTC"


@pytest.mark.parametrize("recipe", [A, Recipe(32, 4, 1e-3)], ids=lambda recipe: recipe.name)
def test_peers_have_as_many_parameters(recipe):
    size = {"channels": recipe.channels, "layers": recipe.layers}
    ours = SPEN(7, 2, symmetric=True, act="relu", **size)
    theirs = MessagePassingNet(7, 2, channels=width_like(recipe, 7), layers=recipe.layers)
    counts = [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)]
    assert counts[1] == pytest.approx(counts[0], rel=0.1)


def test_the_best_published_row_names_its_source():
    assert tu.best_published("MUTAG").startswith("92.7, CIN (Bodnar et al. 2021")
    assert tu.best_published("PROTEINS") == "78.1, DiffPool (Ying et al. 2018)"


def test_published_rows_of_sets_measured_before_stay():
    score = {"published": Value(0.8, 0.1), "selected": Value(0.7, 0.1)}
    new = Row(("PTC", "SPEN"), score, "geqlib", stamp="today")
    old = Row(("NCI1", "SPEN"), score, "geqlib", stamp="today, first edition")
    table = tu.of_all_sets(Table(("", "model"), tu.COLUMNS, (old, new), "selected"))
    labels = [row.labels for row in table.rows]
    assert labels[0] == ("PTC", "SPEN") and ("NCI1", "CCN") in labels
    ccn = table.rows[labels.index(("NCI1", "CCN"))]
    assert ccn.number("published, difference") == pytest.approx(0.8 - 0.763)
    assert table.note == tu.CHOSEN_ON_TEST_FOLDS
    assert not tu.of_all_sets(Table(("", "model"), tu.COLUMNS, (new,), "selected")).note
