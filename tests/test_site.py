"""The documentation site builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, DESKTOP, PHONE, REASON, browser

TOP = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the site needs the dependency group docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=TOP,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def names(folder, ending):
    """Of all files with that ending, without it, from the folder on."""
    paths = (path.relative_to(folder) for path in folder.rglob(f"*{ending}"))
    return {path.with_suffix("").as_posix() for path in paths}


def test_every_document_is_a_page(site):
    pages = names(site, ".html")
    assert pages == names(TOP / "docs", ".md") | {"404"}
    menu = (TOP / "mkdocs.yml").read_text()
    for page in pages - {"404"}:
        assert f"- {page}.md\n" in menu, f"add {page}.md to nav in mkdocs.yml"


def test_nothing_is_fetched(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="?(?:https?:)?//', text), page.name
        sheets = re.findall(r"<link[^>]+stylesheet[^>]*>", text)
        assert sheets and not any("//" in sheet for sheet in sheets), page.name


def test_examples_are_code(site):
    assert "FrameAveraging" in (site / "reference/frames.html").read_text()
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    assert "<blockquote>\n<blockquote>\n<blockquote>" not in text  # >>> as Markdown
    assert text.count('class="gp"') > 50  # prompts, highlighted


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip(REASON)
    with browser() as running:
        yield running


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["index", "gaunt", "new_model", "reference/gaunt"])
def test_a_page_from_the_disk(site, chromium, name, width):
    page = chromium.open((site / f"{name}.html").as_uri(), width)
    assert page.sticking_out() == []
    assert page.errors == []
    cut = "Array.from(document.querySelectorAll('pre code')).filter(e => e.scrollWidth > "
    assert page.evaluate(f"{cut}e.clientWidth + 1).map(e => e.innerText)") == []
    loaded = "Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)"
    assert page.until(loaded)


def test_search_from_the_disk(site, chromium):
    page = chromium.open((site / "index.html").as_uri())
    page.until("document.querySelector('.md-search__input') !== null")
    page.evaluate(
        "document.querySelector('#__search').click();"
        "const field = document.querySelector('.md-search__input'); field.focus();"
        "field.value = 'frame averaging'; field.dispatchEvent(new Event('input'));"
        "field.dispatchEvent(new KeyboardEvent('keyup'))"
    )
    actual = page.until(
        "Array.from(document.querySelectorAll('.md-search-result__link')).map(a => a.href).join()"
    )
    assert "frames.html" in actual and page.errors == []
