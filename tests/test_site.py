"""The documentation site builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_every_document_is_a_page(site):
    pages = {path.stem for path in site.glob("*.html")}
    assert pages == {path.stem for path in (TOP / "docs").glob("*.md")} | {"404"}
    menu = (TOP / "mkdocs.yml").read_text()
    for page in pages - {"404"}:
        assert f"- {page}.md\n" in menu, f"add {page}.md to nav in mkdocs.yml"


def test_nothing_is_fetched(site):
    for page in site.glob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="?(?:https?:)?//', text), page.name
        sheets = re.findall(r"<link[^>]+stylesheet[^>]*>", text)
        assert sheets and not any("//" in sheet for sheet in sheets), page.name


def test_examples_are_code(site):
    text = (site / "api.html").read_text()
    assert "FrameAveraging" in text
    assert "<blockquote>\n<blockquote>\n<blockquote>" not in text  # >>> as Markdown
    assert text.count('class="gp"') > 50  # prompts, highlighted
