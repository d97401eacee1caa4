"""A trained adapter in a session, but for what it does inside the backbone, which the bank holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from etude.adapters.annotations import Annotation, Layer, merged
from etude.adapters.artifact import Artifact
from etude.adapters.backbones import Backbone
from etude.adapters.heads import Activations, Context, Head
from etude.adapters.model.adapted import LayerMix, copy_tensors
from etude.adapters.model.build import build_heads, build_method, mixed_layers
from etude.adapters.recipe.schema import Recipe

OWN = ("mix.", "readout.", "heads.")
"""How the names of its own tensors begin, in an artifact and here."""


class LoadedAdapter(nn.Module):
    """Where an adapter branches off from the frozen trunk, and the layer mix and heads that read its states.

    ``name`` is its name in the session. Raises :class:`UserError` when the tensors of the artifact do not fit.
    """

    def __init__(self, name: str, artifact: Artifact, recipe: Recipe, backbone: Backbone) -> None:
        super().__init__()
        self.name, self.artifact, self.recipe = name, artifact, recipe
        manifest, method = artifact.manifest, build_method(recipe)
        self.updates = method.site_updates(backbone, artifact.tensors)
        self.wrapper = method.wrapper(backbone)
        self._backbone = (backbone,)  # in a tuple: no part of this module
        self.readout = backbone.trained_readout()
        self.mix = LayerMix(mixed_layers(recipe, backbone.num_blocks))
        heads = build_heads(recipe, backbone.hidden_size, manifest.labels, manifest.statistics)
        self.heads = nn.ModuleDict(heads)
        self._load(artifact.tensors)
        for head_name, head in heads.items():
            head.bind(backbone)
            head.thresholds = manifest.thresholds[head_name]
        self.last = max(self.mix.layers)
        self.start = min(method.first_block(backbone), self.last)
        """The state at which it leaves the trunk; blocks from here to :attr:`last` are its own."""
        self.reads = frozenset(self.wrapper.reads if self.wrapper else ())
        """The states that what is behind the backbone takes, beside those that are mixed."""
        self.trunk_layers = frozenset(layer for layer in self.mix.layers if layer <= self.start) | {self.start} | self.reads
        """The states it needs of the trunk."""
        self.eval()

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        around = {**dict(self.wrapper.named_parameters()), **dict(self.wrapper.named_buffers())} if self.wrapper else {}
        own = {name: value for name, value in self.named_parameters() if name.startswith(OWN)} | around
        stored = {name: tensor for name, tensor in tensors.items() if not name.startswith("blocks.")}
        copy_tensors(stored, own)
        for tensor in own.values():
            tensor.requires_grad_(False)

    @property
    def heads_by_name(self) -> dict[str, Head]:
        """The heads."""
        return cast(dict[str, Head], dict(self.heads.items()))

    def input(self, prepared: Tensor) -> Tensor:
        """Prepared windows -> what the adapter puts in their place, same shape."""
        return self.wrapper.input(prepared) if self.wrapper else prepared

    def logits(self, states: Mapping[int, Tensor]) -> dict[str, dict[str, Tensor]]:
        """States ``[batch, tokens, hidden]`` by layer -> logits ``[batch, frames, classes]`` by head, output."""
        if self.readout is None:
            mixed = self.mix({layer: self._backbone[0].readout(states[layer]) for layer in self.mix.layers})
        else:
            mixed = self.readout(self.mix(states))
        mixed = self.wrapper.output(mixed, states) if self.wrapper else mixed
        return {name: head(Context(mixed)) for name, head in self.heads.items()}

    def decode(self, activations: Mapping[str, Activations], rate: float) -> Annotation:
        """Activations of a whole recording by head, at ``rate`` Hz -> what all heads find."""
        found: dict[str, list[Layer]] = {}
        for name, head in self.heads_by_name.items():
            found.setdefault(head.kind, []).append(head.decode(head.pool(activations[name], rate), rate))
        return Annotation({kind: merged(layers) for kind, layers in found.items()})
