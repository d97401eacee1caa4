"""The fields of the technique head."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from etude.adapters.heads import HeadConfig
from etude.adapters.heads._parts.decoding import Decoder

MidiPitch = Annotated[int, Field(ge=0, le=127)]


class TechniqueConfig(HeadConfig):
    """Defaults are the published ones, but for ``judge`` and ``thresholds``."""

    judge: Literal["notes", "frames"] | None = None
    """``notes``: what is trained finds where notes begin and end, and small linear classifiers on the frozen states and the
    spectrum of each note tell its technique; ``frames``, as published: each frame says which techniques sound, and a decoder
    makes events of them. By default notes, where the method leaves the states frozen, there are onsets and no decoder is
    named; else frames."""
    pitch: bool | Literal["tracker"] = True
    """The pitch task, which needs notes with pitches, or ``tracker``: the pitch of each event as it is heard in the recording,
    for instruments that play one note at a time, whatever pitches training has seen."""
    onset: bool = True
    """The onset task, and the refinement by it."""
    decoder: Decoder | None = None
    """How frames become events; ``onset_confirmed`` with an onset branch, else ``rising_edges``."""
    thresholds: Literal["tuned"] | Annotated[float, Field(gt=0, lt=1)] = "tuned"
    """What a probability must exceed: chosen on validation data, or one number for all, as published .5. With ``frames`` one
    per technique and one for onsets, for the best event macro F1; with ``notes`` one for onsets and one for ends, each for the
    most that are right."""
    pitch_range: tuple[MidiPitch, MidiPitch] | None = None
    """Lowest and highest MIDI pitch of the pitch task; from the training data when omitted."""
    context: int = Field(0, ge=0)
    """Frames to either side (a multiple of 4, or rounded up to one) that each frame is read with; 0, as published, leaves time
    to the backbone and the refinement."""
    hidden: int = Field(512, ge=1)
    """Width of the hidden layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Behind the hidden layers."""
    pitch_weight: float = Field(0.5, ge=0)
    onset_weight: float = Field(0.5, ge=0)
    onset_positive_weight: float = Field(10.0, gt=0)
    """Factor of the frames that have an onset."""
    class_weight_power: float = Field(0.3, ge=0)
    """How much more rare techniques count; 0 is not at all."""

    @property
    def learns_pitch(self) -> bool:
        """Whether there is a pitch task."""
        return self.pitch is True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.onset and self.decoder in ("onset_confirmed", "fusion"):
            raise ValueError(f"decoder '{self.decoder}' needs 'onset: true'")
        if self.judge == "notes" and not self.onset:
            raise ValueError("judge: notes needs 'onset: true'")
        if self.judge == "notes" and self.decoder:
            raise ValueError("decoder is for 'judge: frames'; leave one of them out")
        if self.pitch_range and self.pitch_range[0] > self.pitch_range[1]:
            raise ValueError("pitch_range must be (lowest, highest)")
        return self
