"""The documents, for tests of what they say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "benchmarks" / "README.md"])


def by_page(found):
    """One test per page and thing found on it."""
    return [pytest.param(item, id=f"{page.name}-{place}") for page in PAGES for place, item in enumerate(found(page))]


def blocks(*languages):
    """A function from a page to its code blocks in these languages."""
    return lambda page: [
        body for language, body in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.S | re.M) if language in languages
    ]
