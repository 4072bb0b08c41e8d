"""Docstrings say `Example:` for what pytest runs; griffe knows it as `Examples:`."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object


class RunExamples(Extension):
    """Show examples as code, not as quotations."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
