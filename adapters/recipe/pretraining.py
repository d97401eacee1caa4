"""A pretraining recipe: one YAML file that says which notes a backbone learns from, how they are varied, and what it predicts.

The augmentations are of the kinds of Zhong, Cooper, Yamagishi and Minematsu (APSIPA 2023, arXiv 2306.08850), mixup and
concatenation with their probabilities. Effects are milder than theirs: see :class:`EffectsConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from etude.adapters.config import AS_WRITTEN, BESIDE, Location, StrictModel
from etude.adapters.errors import UserError
from etude.adapters.recipe.problems import explain
from etude.adapters.recipe.reading import read_fields, read_recipe
from etude.adapters.recipe.schema import plain_name

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("should hold the smaller number first")
    return pair


def _not_all_zero(chances: tuple[float, ...]) -> tuple[float, ...]:
    if not any(chances):
        raise ValueError("should hold a number above 0")
    return chances


class ShapeConfig(StrictModel):
    """The HuBERT that is trained: fields of transformers' ``HubertConfig``, as MERT has them, in small."""

    conv_dim: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 48, 64, 96, 128, 192, 256)
    """Channels of the convolutions; the early ones run at a high rate and cost the most."""
    conv_kernel: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 3, 3, 3, 3, 4, 4)
    conv_stride: Annotated[tuple[Positive, ...], Field(min_length=1)] = (5, 2, 2, 2, 2, 2, 2)
    hidden_size: int = Field(256, ge=8)
    num_hidden_layers: int = Field(4, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(1024, ge=8)
    num_conv_pos_embeddings: int = Field(32, ge=2)
    num_conv_pos_embedding_groups: int = Field(16, ge=1)
    sample_rate: int = Field(24_000, ge=8_000, le=96_000)
    """Hz."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError("conv_dim, conv_kernel and conv_stride must be equally long")
        for divisor, name in (
            (self.num_attention_heads, "num_attention_heads"),
            (self.num_conv_pos_embedding_groups, "num_conv_pos_embedding_groups"),
        ):
            if self.hidden_size % divisor:
                raise ValueError(f"hidden_size must be a multiple of {name}")
        if math.prod(self.conv_stride) * 10 > self.sample_rate:
            raise ValueError("conv_stride must leave at least 10 frames per second")
        return self


class SoundFontConfig(StrictModel):
    """A SoundFont, all of whose instruments are rendered."""

    path: Location
    title: str
    """What the card of the backbone calls it."""
    licence: str


class RecordingsConfig(StrictModel):
    """Recorded notes to learn from: the rows of a CSV as the data set ``notes`` reads it. Technique labels are never read."""

    notes: Location
    sources: tuple[str, ...] | None = None
    split: Literal["train"] = "train"
    """Only the training split, so that what is held out stays unheard."""
    share: Share = 0.1
    """Of the parts of all clips that these notes play."""


class MixupConfig(StrictModel):
    """Zhang et al., "mixup", ICLR 2018: waveforms and labels of two clips are mixed; the partner is the rolled batch."""

    probability: Share = 0.5
    """Of a batch to be mixed."""
    alpha: float = Field(0.4, gt=0)
    """Parameter of the Beta distribution of the mixing weight."""


class ConcatenationConfig(StrictModel):
    """Silence-trimmed notes of one instrument one after the other, instead of one note."""

    probability: Share = 0.5
    notes: Annotated[tuple[Positive, Positive], AfterValidator(_ascending)] = (2, 2)
    """Fewest and most notes in a row."""


class EffectsConfig(StrictModel):
    """Effects on a whole clip: each is applied with its own probability, to the clips that get effects at all.

    They are milder than those of Zhong et al., whose released defaults always filter, shift by up to 7 semitones, change the
    gain by -20 to -1 dB and echo after 200 to 450 ms.
    """

    probability: Share = 0.3
    """Of a clip to get effects."""
    noise: Share = 0.3
    noise_db: Annotated[tuple[float, float], AfterValidator(_ascending)] = (46.0, 60.0)
    """Signal-to-noise ratio in dB; Zhong et al. add noise of .001-.005 of the amplitude."""
    gain: Share = 0.2
    """By -12 to 6 dB."""
    highpass: Share = 0.2
    """Cut off at 30 to 400 Hz."""
    lowpass: Share = 0.2
    """Cut off at 2 kHz to .45 of the sample rate."""
    delay: Share = 0.5
    """One to three echoes, 40 to 250 ms apart."""
    pitch_shift: Share = 0.4
    """By up to a semitone, which moves the pitch labels as well."""
    reverb: Share = 0.3
    """Of .1 to 1 s."""


class ClipConfig(StrictModel):
    """How notes become clips."""

    seconds: float = Field(1.0, gt=0.2, le=30)
    parts: Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_not_all_zero)] = (1.0,)
    """Probabilities of one, two, three, ... instruments at once."""
    plain: Share = 0.5
    """Of a rendered note to be played without a technique."""


class TargetConfig(StrictModel):
    """One thing to predict."""

    weight: float = Field(1.0, gt=0)
    """Factor of its loss."""
    layer: int | None = Field(None, ge=0)
    """State that predicts it (0 = embedding, N = output of the N-th block); the last one when omitted."""


class TargetsConfig(StrictModel):
    """What is predicted, of every frame; ``null`` leaves a target out."""

    instrument: TargetConfig | None = TargetConfig()
    pitch: TargetConfig | None = TargetConfig()
    onset: TargetConfig | None = TargetConfig()
    technique: TargetConfig | None = TargetConfig()
    spectrum: TargetConfig | None = TargetConfig()
    """Log-mel bands of the clip itself: what a name does not tell is kept too (as MERT predicts a constant-Q transform)."""
    context: TargetConfig | None = None
    """Log-mel bands of the frames around, from .12 s before to .2 s after: how a note began is known while it sounds."""
    timbre: TargetConfig | None = None
    """Attack, decay, brightness and noisiness of the note that sounds alone, whatever its pitch."""
    motion: TargetConfig | None = None
    """Semitones by which a note that sounds alone has left its pitch, and moves within the next .04 s."""

    @model_validator(mode="after")
    def _predicts_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("at least one target must be left in")
        return self


class PretrainConfig(StrictModel):
    """The optimisation."""

    steps: int = Field(10_000, ge=1)
    batch_size: int = Field(8, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """Of the instrument targets."""
    save_every: int = Field(500, ge=1)
    """Steps between checkpoints and validations."""


class PretrainRecipe(StrictModel):
    """Everything about a pretraining run; it is stored in its folder."""

    task: Literal["pretraining"]
    name: Annotated[str, AfterValidator(plain_name)]
    seed: int = Field(0, ge=0, lt=2**32)
    shape: ShapeConfig = ShapeConfig()
    soundfonts: Annotated[tuple[SoundFontConfig, ...], Field(min_length=1)]
    recordings: RecordingsConfig | None = None
    clips: ClipConfig = ClipConfig()
    mixup: MixupConfig | None = MixupConfig()
    """``null`` switches it off, as for the two below."""
    concatenation: ConcatenationConfig | None = ConcatenationConfig()
    effects: EffectsConfig | None = EffectsConfig()
    targets: TargetsConfig = TargetsConfig()
    train: PretrainConfig = PretrainConfig()
    licence: str = "apache-2.0"
    """Of the weights, for their card."""

    @model_validator(mode="after")
    def _layers_exist(self) -> Self:
        for name in TargetsConfig.model_fields:
            target = getattr(self.targets, name)
            if target and target.layer is not None and target.layer > self.shape.num_hidden_layers:
                raise ValueError(f"targets.{name}.layer must be at most {self.shape.num_hidden_layers}, the number of blocks")
        return self

    def dump(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json", context=AS_WRITTEN), sort_keys=False)


def load_pretrain_recipe(path: str | Path, overrides: Sequence[str] = ()) -> PretrainRecipe:
    """Read a pretraining recipe, a file or a packaged one by name. Raises :class:`UserError` listing every problem."""
    text, where, folder = read_recipe(path)
    raw = read_fields(text, overrides, "pretraining", where)
    try:
        return PretrainRecipe.model_validate(raw, context={BESIDE: folder})
    except ValidationError as error:
        raise UserError(explain(error, PretrainRecipe, raw, where)) from None
