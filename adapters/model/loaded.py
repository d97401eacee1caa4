"""A trained adapter in a session, but for what it does inside the backbone, which the bank holds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from etude.adapters.annotations import Annotation, Layer, merged
from etude.adapters.artifact import Artifact
from etude.adapters.backbones import Backbone
from etude.adapters.errors import Problem, UserError
from etude.adapters.heads import Activations
from etude.adapters.model.build import build_heads, build_method, mixed_layers
from etude.adapters.model.reader import Reader, copy_tensors
from etude.adapters.recipe.trained import TrainedRecipe

_COUNTER = count()


class LoadedAdapter(Reader):
    """Where an adapter branches off from the frozen trunk, and what reads its states.

    ``name`` is its name in the session. Raises :class:`UserError` when the tensors of the artifact do not fit.
    """

    def __init__(self, name: str, artifact: Artifact, recipe: TrainedRecipe, backbone: Backbone) -> None:
        manifest, method = artifact.manifest, build_method(recipe)
        heads = build_heads(recipe, backbone.hidden_size, manifest.labels, manifest.statistics)
        super().__init__(backbone, method.wrapper(backbone), mixed_layers(recipe, backbone.num_blocks), heads)
        self.name, self.artifact, self.recipe = name, artifact, recipe
        self.key = f"{name}:{next(_COUNTER)}"
        """Its name in the bank: another adapter that is loaded under the same name later is not taken for it."""
        self.updates = method.site_updates(backbone, artifact.tensors)
        copy_tensors(
            {name: tensor for name, tensor in artifact.tensors.items() if not name.startswith("blocks.")},
            dict(self.named_state()),
        )
        self.requires_grad_(False)
        for head_name, head in heads.items():
            head.thresholds = manifest.thresholds[head_name]
        self.start = min(method.first_block(backbone), self.last)
        """The state at which it leaves the trunk; blocks from here to :attr:`last` are its own."""
        self.read = frozenset(self.mix.layers) | self.extra
        """The states that are mixed, and those that heads read."""
        self.trunk_layers = frozenset(layer for layer in self.read if layer <= self.start) | {self.start} | self.behind
        """The states it needs of the trunk."""
        self.eval()

    def name_unknown(self) -> None:
        """See :meth:`Head.name_unknown`; raises :class:`UserError` for the heads that cannot."""
        problems = []
        for name, head in self.heads_by_name.items():
            try:
                head.name_unknown()
            except UserError as error:
                where = str(self.artifact.folder)
                problems += [Problem(f"the head '{name}' {one.what}", where, one.fix) for one in error.problems]
        if problems:
            raise UserError(problems)

    def decode(self, activations: Mapping[str, Activations], rate: float) -> Annotation:
        """Activations of a whole recording by head, the backbone's frames at ``rate`` Hz -> what all heads find."""
        found: dict[str, list[Layer]] = {}
        for name, head in self.heads_by_name.items():
            own = head.frame_rate(rate)
            found.setdefault(head.kind, []).append(head.decode(head.pool(activations[name], own), own))
        return Annotation({kind: merged(layers) for kind, layers in found.items()})
