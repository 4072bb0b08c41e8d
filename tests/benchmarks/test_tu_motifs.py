"""Rows of TU sets with counts of motifs: networks that fit their data, peers of equal size."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import tu_motifs
from benchmarks.accuracy.tu_motifs import (
    MODELS,
    RECIPE,
    own_row,
    settings,
    width_like,
    with_published,
)
from benchmarks.rows import Row
from geqlib.models import SPEN, MessagePassingNet
from geqlib.motifs.features import check_taken
from geqlib.train.runs.configuration import read_run

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("model", MODELS)
def test_networks_take_the_counts(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    run: Any = read_run(*settings("PTC", model, RECIPE))
    net, features = run.task.model, run.data.features
    assert (features is not None) == MODELS[model][1]
    if features is None:
        return
    check_taken(net, features.settings)
    widths = {"x": net.in_channels - 21, "motifs": net.graph_dim}
    if MODELS[model][0] != "GIN":
        widths["pair_attr"] = net.pair_dim
    assert features.channels == widths


@pytest.mark.parametrize("counted", [False, True])
def test_peers_have_as_many_parameters(counted: bool) -> None:
    more: dict[str, Any] = {"graph_dim": 4, "layers": RECIPE.layers} if counted else {"layers": 3}
    of_pairs: dict[str, Any] = {"pair_dim": 28} if counted else {}
    inputs = 7 + 4 * counted
    ours = SPEN(inputs, 2, channels=RECIPE.channels, symmetric=True, **more, **of_pairs)
    width = width_like(RECIPE, 7, counted=counted)
    theirs = MessagePassingNet(inputs, 2, channels=width, **more)
    counts = [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)]
    assert counts[1] == pytest.approx(counts[0], rel=0.1)


def summary(means: list[float], selected: list[float] | None) -> dict[str, Any]:
    def score(values: list[float]) -> dict[str, Any]:
        return {"mean": sum(values) / len(values), "std": 0.1, "fold_means": values}

    more = {"parameters": 9, "minutes": 1.0, "folds": [0, 1, 2], "seeds": [0]}
    provenance = {"provenance": {"stamp": "s", "hashes": {}}}
    chosen = None if selected is None else score(selected)
    return {"published": score(means), "selected": chosen, **more, **provenance}


def test_rows_show_each_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tu_motifs, "oldest", lambda runs, name: {"stamp": "s", "hashes": {}})
    outcomes = {
        model: {
            "papers": summary([0.8 + shift, 0.9, 0.7], None),
            "fold-wise": summary([1.0, 1.0, 1.0], [0.6, 0.7 + shift, 0.8]),
        }
        for model, shift in (("SPEN, counts", 0.0), ("GIN", -0.3))
    }
    ours, theirs = (own_row("MUTAG", model, outcomes) for model in outcomes)
    assert ours.number("papers") == pytest.approx(0.8)
    assert ours.number("fold-wise") == pytest.approx(0.7)
    assert theirs.number("fold-wise, difference") == pytest.approx(0.1)
    assert "papers, difference" not in ours.cells and theirs.origin == "peer"
    whole = with_published([ours, theirs])
    assert {row.labels[0] for row in whole} == {"MUTAG"} and len(whole) > 4


def command(**changes: Any) -> Namespace:
    whole = {"models": list(MODELS), "protocols": list(tu_motifs.VALIDATION), "choose": False}
    more = {"sets": [], "seeds": None, "folds": None, "epochs": tu_motifs.EPOCHS}
    return Namespace(**(whole | more | changes))


def test_recipes_are_chosen_on_validation_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """That with the smallest loss of the model itself, whatever its accuracies are."""
    asked, best = [], {"SPEN": 2, "GIN": 1}

    def cross_validated(name: str, model: str, recipe: Any, protocol: str, command: Any) -> Any:
        asked.append(protocol)
        loss = 0.5 - 0.1 * (recipe == tu_motifs.RECIPES[best[model]])
        return {"losses": [loss], "provenance": {"stamp": "s", "hashes": {}}}

    monkeypatch.setattr(tu_motifs, "cross_validated", cross_validated)
    monkeypatch.setattr(tu_motifs, "oldest", lambda runs, name: {"stamp": "s", "hashes": {}})
    for model, place in best.items():
        row = tu_motifs.choice(model, command(sets=["PTC"]))
        assert row.cells["best"] == tu_motifs.RECIPES[place].name
        assert row.number(tu_motifs.RECIPES[0].name) == pytest.approx(0.5)
        assert row.setup == "PTC, 350 epochs"
    assert set(asked) == {"fold-wise"}


@pytest.mark.parametrize(
    "changes",
    [{"models": ["GIN"]}, {"folds": [0]}, {"epochs": 2}, {"protocols": ["papers"]}, {"seeds": [0]}],
    ids=lambda changes: next(iter(changes)),
)
def test_runs_in_part_are_not_published(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would replace rows of whole runs."""
    results = []
    monkeypatch.setattr(tu_motifs, "publish", results.append)
    row = Row(("MUTAG", "GIN"), {"papers": 0.9}, stamp="s")
    tu_motifs.show(command(**changes), (row,), ())
    assert not results and "90.0" in capsys.readouterr().out
    tu_motifs.show(command(sets=["MUTAG"]), (row,), ())
    tu_motifs.show(command(choose=True, epochs=100), (), (Row(("GIN",), {"best": "a"}),))
    assert [[len(table.rows) > 0 for table in result.tables] for result in results] == [
        [True, False],
        [False, True],
    ]
