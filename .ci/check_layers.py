"""Imports run downwards only: a module may import what stands in its own layer's package or in a layer below.

``python .ci/check_layers.py [ROOT]`` prints every import that runs upwards, and leaves with 1 if there is one. Imports inside
functions and under ``if TYPE_CHECKING`` count as well: a name that is needed from above is in the wrong room.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LAYERS = (
    ("etude.cli",),
    ("etude.adapters.pretraining",),
    ("etude.adapters.training",),
    ("etude.adapters.inference",),
    ("etude.hub_cards",),
    ("etude.adapters.states",),
    ("etude.adapters.model",),
    ("etude.adapters.artifact",),
    ("etude.adapters.recipe", "etude.recipes"),
    ("etude.adapters.regularizers",),
    ("etude.adapters.heads",),
    ("etude.adapters.methods",),
    ("etude.adapters.backbones",),
    ("etude.adapters.datasets",),
    ("etude.adapters.formats",),
    ("etude.adapters.annotations",),
    ("etude.adapters.sound",),
    ("etude.adapters.storage",),
    ("etude.adapters.registry", "etude.adapters.config", "etude.adapters.device", "etude.adapters.progress"),
    ("etude.adapters.errors",),
)
"""From top to bottom; packages that stand in one row do not import each other upwards or sideways, but may downwards."""
FOLDERS = ("adapters", "cli", "hub_cards", "recipes")
FREE = ("etude", "etude.adapters")
"""Packages whose own names (version, nothing) any layer may import."""


def layer_of(module: str) -> int | None:
    """The row of ``module``, 0 on top; ``None`` for what is not layered. Raises :class:`ValueError` for a room not listed."""
    for row, packages in enumerate(LAYERS):
        if any(module == package or module.startswith(f"{package}.") for package in packages):
            return row
    if module.startswith("etude.") and module not in FREE and module.split(".")[1] in FOLDERS:
        raise ValueError(f"{module} is in no layer: add its room to LAYERS in .ci/check_layers.py")
    return None


def imports(tree: ast.AST, modules: set[str]) -> Iterator[tuple[int, str]]:
    """Line and module of every import of this project in ``tree``; ``from package import module`` counts as the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "etude")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "etude":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in modules else str(node.module)


def upward(root: Path) -> list[str]:
    """Every import below ``root`` that runs upwards, as ``file:line: what imports what``."""
    files = {module_name(root, path): path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))}
    found = []
    for module, path in files.items():
        own = layer_of(module)
        for line, target in imports(ast.parse(path.read_text(encoding="utf-8")), set(files)):
            other = layer_of(target)
            if own is not None and other is not None and other < own:
                found.append(f"{path.relative_to(root)}:{line}: {module} imports {target}, which stands above it")
    return found


def module_name(root: Path, path: Path) -> str:
    """The dotted name that ``path`` is installed under."""
    return ".".join(("etude", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def main() -> int:
    """Check the repository this file belongs to, or the one named."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    faults = upward(root)
    print("\n".join(dict.fromkeys(faults)) or "imports run downwards only")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
