"""etude: small trainable adapters for frozen music foundation models.

The public names are imported on first use, so that ``import etude`` and ``adapt --help`` stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "Annotation": "etude.adapters.annotations",
    "Embedder": "etude.adapters.inference.embed",
    "Embedding": "etude.adapters.inference.embed",
    "Layer": "etude.adapters.annotations",
    "Note": "etude.adapters.annotations.notes",
    "Prediction": "etude.adapters.inference.bulk",
    "Recipe": "etude.adapters.recipe.schema",
    "Samples": "etude.adapters.sound.audio",
    "Session": "etude.adapters.inference.session",
    "Tag": "etude.adapters.annotations.tags",
    "UserError": "etude.adapters.errors",
    "evaluate": "etude.adapters.training.evaluation",
    "load_recipe": "etude.adapters.recipe.schema",
    "predict_files": "etude.adapters.inference.bulk",
    "train": "etude.adapters.training.engine",
}
__all__ = [
    "Annotation",
    "Embedder",
    "Embedding",
    "Layer",
    "Note",
    "Prediction",
    "Recipe",
    "Samples",
    "Session",
    "Tag",
    "UserError",
    "__version__",
    "evaluate",
    "load_recipe",
    "predict_files",
    "train",
]

if TYPE_CHECKING:
    from etude.adapters.annotations import Annotation, Layer
    from etude.adapters.annotations.notes import Note
    from etude.adapters.annotations.tags import Tag
    from etude.adapters.errors import UserError
    from etude.adapters.inference.bulk import Prediction, predict_files
    from etude.adapters.inference.embed import Embedder, Embedding
    from etude.adapters.inference.session import Session
    from etude.adapters.recipe.schema import Recipe, load_recipe
    from etude.adapters.sound.audio import Samples
    from etude.adapters.training.engine import train
    from etude.adapters.training.evaluation import evaluate


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'etude' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
