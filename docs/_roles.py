"""Docstrings name code as Sphinx does, :class:`Session` say; the pages show the name alone, set as code."""

import re
from typing import Any

import griffe


def plain(text: str) -> str:
    """Sphinx roles and double backticks -> Markdown's code."""
    return re.sub(r"(?<!`)``([^`]+)``(?!`)", r"`\1`", re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", text))


class Roles(griffe.Extension):
    """Makes every docstring plain when it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """See griffe."""
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
