"""Names of configurations of the first edition."""

from pathlib import Path

import pytest

from geqlib.cli.renamed import with_todays_configuration

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("form", ["--config={}", "--config {}", "-c {}"])
def test_a_renamed_file_is_replaced(form, capsys):
    """With one sentence; all other words stay."""
    words = [*form.format(CONFIGS / "mutag_spen.yaml").split(), "--trainer.max_epochs=1"]
    expected = [*form.format(CONFIGS / "tu_spen.yaml").split(), "--trainer.max_epochs=1"]
    assert with_todays_configuration(words) == expected
    assert "mutag_spen.yaml is now" in capsys.readouterr().err


def test_options_that_are_needed_are_named():
    with pytest.raises(ValueError, match=r"ptc_spen.yaml is now: .*tu_spen.yaml --data.name=PTC"):
        with_todays_configuration(["--config", str(CONFIGS / "ptc_spen.yaml")])


@pytest.mark.parametrize("words", [["--config"], ["--config", "own.yaml"], ["--model.lr=1"], []])
def test_other_words_stay(words):
    assert with_todays_configuration(words) == words


def test_files_without_a_table_stay(tmp_path):
    words = ["--config", str(tmp_path / "mutag_spen.yaml")]
    assert with_todays_configuration(words) == words
