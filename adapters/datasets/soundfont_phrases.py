"""Short phrases of playing techniques on a sampled koto, rendered on first use: real timbre, exact labels, no download.

Unless another one is named, the SoundFont is TimGM6mb, read from where ``pretty_midi`` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from numpy.random import default_rng
from pydantic import Field, model_validator

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.koto import TECHNIQUES, Instrument, Technique, compose, render
from etude.adapters.datasets._parts.phrases import Phrase, write_phrases
from etude.adapters.datasets.manifest import ManifestConfig, ManifestDataset
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.synthesis import MidiRenderer
from etude.adapters.storage.cache import cached_folder

LICENCE = "GPL-2.0-only"
"""That of TimGM6mb."""
VERSION = 1
"""Part of the cache key; raise it when composition or rendering changes."""


def shipped() -> Path:
    """TimGM6mb. Raises :class:`UserError` when this ``pretty_midi`` lacks it."""
    import pretty_midi

    path = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    if not path.is_file():
        raise UserError("the SoundFont TimGM6mb.sf2 is not in the installed pretty_midi", fix="pip install 'etude[demo]'")
    return path


class SoundfontPhrasesConfig(DatasetConfig):
    """What to render."""

    example: ClassVar[Mapping[str, Any]] = {"phrases": {"train": 1}}

    soundfont: Location | None = None
    """An .sf2 file; TimGM6mb, which comes with ``etude[demo]``, when omitted. A program that it lacks may sound as another."""
    program: int = Field(107, ge=0, le=127)
    """General MIDI instrument, counted from 0; 107 is the koto."""
    techniques: Annotated[tuple[Technique, ...], Field(min_length=1)] = TECHNIQUES
    """Class names in label order."""
    phrase_seconds: float = Field(8.0, ge=2.0, le=600.0)
    phrases: dict[Split, Annotated[int, Field(ge=1)]] = Field({"train": 60, "validation": 15, "test": 15})
    """Number of phrases by split."""
    seed: int = Field(0, ge=0)
    """Of all phrases."""
    sample_rate: int = Field(24_000, ge=8_000, le=96_000)
    """Hz."""

    def content(self) -> dict[str, Any]:
        """See :class:`DatasetConfig`; the SoundFont counts by what it holds, not by where it is."""
        return {name: value for name, value in super().content().items() if name != "soundfont"}

    @model_validator(mode="after")
    def _techniques_differ(self) -> SoundfontPhrasesConfig:
        if len(set(self.techniques)) < len(self.techniques):
            raise ValueError("a technique is named twice; name each once")
        return self


class SoundfontPhrases(Dataset):
    """Renders once into the cache, then reads the folder as the data set ``manifest``."""

    Config: ClassVar[type[DatasetConfig]] = SoundfontPhrasesConfig
    config: SoundfontPhrasesConfig

    def __init__(self, config: SoundfontPhrasesConfig) -> None:
        super().__init__(config)
        self.licence = "unknown" if config.soundfont else LICENCE

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The techniques in label order."""
        return {"notes": self.config.techniques}

    def folder(self) -> Path:
        """Where the phrases are, rendered on first use. Raises :class:`UserError` as :func:`render` does."""
        made = {**MidiRenderer(self._instrument().soundfont, self.config.sample_rate).versions(), "version": VERSION}
        key = {**self.config.content(), **made}
        return cached_folder(
            "soundfont_phrases", key, lambda folder: write_phrases(folder, self._phrases(), self.config.sample_rate)
        )

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every phrase as a track."""
        try:
            root = str(self.folder())
        except UserError as error:
            return [], list(error.problems)
        config = ManifestConfig(name="manifest", root=root, techniques=self.config.techniques, licence=self.licence)
        return ManifestDataset(config).check()

    def _instrument(self) -> Instrument:
        named = self.config.soundfont
        return Instrument(self.config.program, Path(named) if named else shipped())

    def _phrases(self) -> Iterator[Phrase]:
        config, instrument = self.config, self._instrument()
        for split in SPLITS:
            for number in range(config.phrases.get(split, 0)):
                # Seeded one by one: more phrases in one split leave all others as they were.
                rng = default_rng((config.seed, SPLITS.index(split), number))
                events = compose(config.techniques, config.phrase_seconds, rng)
                samples = render(events, instrument, config.phrase_seconds, config.sample_rate)
                yield Phrase(split, samples, tuple(event.note(instrument) for event in events), self.licence)
