"""Tags of whole clips from the classes that the backbone was trained for: nothing in this head is trained.

Which of AudioSet's classes of an AST stand for which genre, say, is fixed (Hung et al., arXiv 2211.01317), given by hand, or
found by likeness; what is learned lies in front of the backbone or behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from etude.adapters.backbones import Backbone
from etude.adapters.heads import Context, Example, HeadConfig
from etude.adapters.heads._parts import label_mapping
from etude.adapters.heads._parts.clip_head import ClipConfig, ClipHead, real_frames


class MappedTagsConfig(ClipConfig):
    """Which source classes stand for a class."""

    example: ClassVar[Mapping[str, Any]] = {"mapping": "fixed"}

    mapping: Literal["fixed", "names", "data"] | dict[str, tuple[str, ...]]
    """``fixed``: the first ones in the order of their index, summed; ``names``: those called most like it; ``data``: those
    whose logits go best with it on the training recordings, before anything is trained; or their names, by class. All but the
    first are averaged."""
    group: int = Field(5, ge=1)
    """Source classes per class, with ``names`` and ``data`` at most."""


class MappedTags(ClipHead):
    """Its output is sums or means of the backbone's own logits."""

    Config: ClassVar[type[HeadConfig]] = MappedTagsConfig
    config: MappedTagsConfig
    weights: Tensor

    def bind(self, backbone: Backbone) -> None:
        """See :class:`Head`. Raises :class:`UserError` for a backbone without classes, and for names that it does not know."""
        if not backbone.source_labels:
            backbone.classify(torch.empty(0))
        self._classify, self._sources = backbone.classify, backbone.source_labels
        self.register_buffer("weights", torch.zeros(len(self.labels), len(self._sources)), persistent=False)
        chosen, group = self.statistics.get("mapping", self.config.mapping), self.config.group
        if chosen == "fixed":
            self._map(label_mapping.fixed_map(self.labels, self._sources, group))
        elif chosen == "names":
            self._map(label_mapping.name_map(self.labels, self._sources, group))
        elif chosen != "data":
            self._map(label_mapping.check_map(chosen, self.labels, self._sources))

    def calibrate(self, examples: Iterable[Example]) -> None:
        """See :class:`Head`: with ``data`` the map is found."""
        if self.config.mapping != "data":
            return
        logits, truth, labelled = [], [], []
        for example in examples:
            mask = example.targets["tags_mask"]
            logits.append(self.clip_logits(self._classify(example.context.mixed), real_frames(mask)).cpu().numpy())
            truth.append(example.targets["tags"][:, 0].cpu().numpy() > 0.5)
            labelled.append(mask.amax(dim=1).cpu().numpy() > 0)
        found = map(np.concatenate, (logits, truth, labelled))
        self._map(label_mapping.data_map(self.labels, self._sources, self.config.group, *found))

    def _map(self, mapped: Mapping[str, Sequence[str]]) -> None:
        self.statistics["mapping"] = {target: list(names) for target, names in mapped.items()}
        mean = self.config.mapping != "fixed"
        self.weights.copy_(torch.from_numpy(label_mapping.matrix(mapped, self.labels, self._sources, mean=mean)))

    def forward(self, context: Context) -> dict[str, Tensor]:
        """See :class:`Head`."""
        return {"tags": self._classify(context.mixed) @ self.weights.T}
