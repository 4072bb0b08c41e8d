"""Reports in a browser: nothing sticks out of the page, on a desk or on a phone, and no errors."""

import json

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from geqlib.report import write_report
from tests.browser import CHROMIUM, DESKTOP, PHONE, REASON, browser
from tests.report import test_classes, test_structures
from tests.report.test_report import write_predictions, write_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=REASON)]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Of every kind of predictions, and of many runs with long names."""
    root = tmp_path_factory.mktemp("runs")
    pages = {}
    for name in ("positions", "energies", *test_classes.CASES):
        folder = write_run(root, name)
        if name == "positions":
            write_predictions(folder)
        elif name == "energies":
            save_file(test_structures.arrays(), folder / "predictions.safetensors")
            test_structures.write_xyz(folder, test_structures.structures())
        else:
            arrays, names, *_ = test_classes.CASES[name]
            header = {key: json.dumps(value) for key, value in names.items()}
            save_file(dict(arrays), folder / "predictions.safetensors", header)
        pages[name] = write_report([folder], root / "out" / name, Console(quiet=True))
    long = [write_run(root, f"{'a-name-without-any-blank' * 3}-{k}", layers=k) for k in range(9)]
    for folder in long:
        results = json.loads((folder / "results.json").read_text())
        results["metrics"] = {f"test/some_long_metric_{k}": 10.0**-k for k in range(12)}
        (folder / "results.json").write_text(json.dumps(results))
    pages["long names"] = write_report(long, root / "out" / "long", Console(quiet=True))
    return pages


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["positions", "energies", *test_classes.CASES, "long names"])
def test_a_page(reports, chromium, name, width):
    page = chromium.open(reports[name].with_suffix(".html").as_uri(), width)
    assert page.sticking_out() == []
    assert page.errors == []
    sizes = page.evaluate("Array.from(document.images).map(i => [i.naturalWidth, i.clientWidth])")
    assert sizes and np.min(sizes) > 100
    if width == DESKTOP:
        assert np.max(np.array(sizes)[:, 1]) <= 62 * 16


def test_the_test_sees_what_is_wrong(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<body><p style="width: 200vw">wide</p><script>nothing()</script>')
    page = chromium.open(path.as_uri(), PHONE)
    assert "wide" in page.sticking_out()[0] and "nothing is not defined" in page.errors[0]
