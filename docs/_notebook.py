"""Makes the page ``notebook.md`` of ``notebook.ipynb``: text, code, and what the code printed when it was last run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")
LINK = "[Download the notebook](notebook.ipynb)\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs asks for further pages here."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    title, *rest = map(_markdown, cells)
    files.append(File.generated(config, "notebook.md", content="\n\n".join([title, LINK, *rest])))
    return files


def _markdown(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    printed = "".join(line for output in cell["outputs"] for line in output.get("text", ()))
    return f"```python\n{source}\n```" + (f"\n\n```text\n{printed.rstrip()}\n```" if printed else "")
