"""Makes a page of the card of every backbone that comes with etude."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

BACKBONES = Path(__file__).parents[1] / "adapters" / "backbones"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs asks for further pages here."""
    for card in sorted(BACKBONES.glob("*/README.md")):
        files.append(File.generated(config, f"{card.parent.name}.md", content=card.read_text(encoding="utf-8")))
    return files
