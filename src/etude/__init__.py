"""etude: small trainable adapters for frozen music foundation models.

The public names are imported on first use, so that ``import etude`` and ``adapt --help`` stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "Annotation": "etude.adapters.annotations",
    "Layer": "etude.adapters.annotations",
    "Note": "etude.adapters.annotations.notes",
    "Recipe": "etude.adapters.recipe.schema",
    "Session": "etude.adapters.inference.session",
    "Tag": "etude.adapters.annotations.tags",
    "UserError": "etude.adapters.errors",
    "load_recipe": "etude.adapters.recipe.schema",
    "train": "etude.adapters.training.engine",
}
__all__ = ["Annotation", "Layer", "Note", "Recipe", "Session", "Tag", "UserError", "__version__", "load_recipe", "train"]

if TYPE_CHECKING:
    from etude.adapters.annotations import Annotation, Layer
    from etude.adapters.annotations.notes import Note
    from etude.adapters.annotations.tags import Tag
    from etude.adapters.errors import UserError
    from etude.adapters.inference.session import Session
    from etude.adapters.recipe.schema import Recipe, load_recipe
    from etude.adapters.training.engine import train


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'etude' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
