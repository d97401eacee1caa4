"""The card of a pretrained backbone: what the Hub shows, filled from its recipe and the losses of its run.

Paths of the machine that trained it do not appear in it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

from etude.adapters.recipe.pretraining import EffectsConfig, PretrainRecipe, TargetsConfig

SWITCHES = ("mixup", "concatenation", "effects")
EFFECTS = ("noise", "gain", "highpass", "lowpass", "delay", "pitch_shift", "reverb")


def render_backbone_card(
    recipe: PretrainRecipe,
    instruments: int,
    techniques: Sequence[str],
    recorded: Collection[tuple[str, str]],
    parameters: int,
    history: Sequence[Mapping[str, Any]],
) -> str:
    """``README.md`` of a backbone that tells ``instruments`` and ``techniques`` apart and has so many ``parameters``.

    ``recorded``: source and licence of recorded notes; ``history``: the rows that the run wrote.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["cell"] = _cell
    template = environment.from_string(files("etude.hub_cards").joinpath("backbone.md.jinja").read_text(encoding="utf-8"))
    shape = recipe.shape
    sources = [(font.title, font.licence, "SoundFont") for font in recipe.soundfonts]
    sources += [(source, licence, "recorded notes") for source, licence in sorted(set(recorded))]
    first, last = (history[0], history[-1]) if history else ({}, {})
    losses = [(target, value, last["held_out"][target]) for target, value in first.get("held_out", {}).items()]
    front = ModelCardData(
        license=recipe.licence,
        library_name="etude",
        tags=["music-information-retrieval", "hubert", "backbone"],
        model_name=recipe.name,
    )
    return template.render(
        front_matter=front.to_yaml(),
        recipe=recipe,
        frame_rate=shape.sample_rate / math.prod(shape.conv_stride),
        millions=parameters / 1e6,
        sources=sources,
        instruments=instruments,
        at_once=max(number for number, chance in enumerate(recipe.clips.parts, 1) if chance),
        techniques=[_words(name) for name in techniques if name != "plain"],
        augmentations=[_augmentation(recipe, name) for name in SWITCHES],
        targets=_targets(recipe),
        hours=recipe.train.steps * recipe.train.batch_size * recipe.clips.seconds / 3600,
        losses=losses,
        first_step=first.get("step", 0),
        last_step=last.get("step", 0),
    )


def _augmentation(recipe: PretrainRecipe, name: str) -> str:
    config = getattr(recipe, name)
    if config is None or not config.probability:
        return f"no {name}"
    text = f"{name} (probability {config.probability:g}"
    if isinstance(config, EffectsConfig):
        text += "".join(f", no {_words(effect)}" for effect in EFFECTS if not getattr(config, effect))
    return f"{text})"


def _targets(recipe: PretrainRecipe) -> list[str]:
    """What is predicted, the state it is predicted from and the weight of its loss."""
    targets = {name: getattr(recipe.targets, name) for name in TargetsConfig.model_fields}
    depth = recipe.shape.num_hidden_layers
    return [
        f"{name} (state {depth if target.layer is None else target.layer}, weight {target.weight:g})"
        for name, target in targets.items()
        if target
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
