"""The controls of ``next_recording.py``: logistic regression on log-mel, and on each layer of the backbone.

Every fit of the grid over layers and regularisation is scored on validation data and on all that is judged, so that a table can
tell what a control gets by its own choice and what it would have got by the best one.

``recipes`` say where the data are, by source, the one to train on first. A fit is ``{"layer": its index, "C": float, "scores":
{part: scores}}``, where the parts are ``validation`` and ``test`` of that source, and the other sources.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from logistic_control import STRENGTHS, decoder, fits, log_mel_context
from note_control import audio_of, classes_of, classifier, log_mel_statistics, scored
from numpy.typing import NDArray

from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import SPLITS, Track
from etude.adapters.heads._parts.complete_notes import note_scores
from etude.adapters.heads._parts.scoring import event_scores
from etude.adapters.inference.embed import Embedder, Embedding
from etude.adapters.model.build import build_backbone, build_dataset
from etude.adapters.recipe.schema import Recipe

WEIGHTS = {"layers": "etude-nano", "random": "random:nano"}
LAYERS = tuple(range(5))
"""Those of etude-nano."""
Fit = dict[str, Any]


def note_fits(system: str, name: str, recipes: Mapping[str, Recipe], kept: Path) -> Iterator[Fit]:
    """Whole notes; all of those of the other sources are judged. ``name`` is that of the packaged recipe, whose backbone gives
    the features, which are kept in the folder ``kept``."""
    source, datasets = next(iter(recipes)), {other: build_dataset(recipe) for other, recipe in recipes.items()}
    labels = datasets[source].classes["tags"]
    tracks = {other: dataset.check()[0] for other, dataset in datasets.items()}
    described = {other: features(system, name, found, kept / f"{other}-{system}.npy") for other, found in tracks.items()}
    classes = {other: classes_of(found, labels) for other, found in tracks.items()}
    splits = np.array([track.split for track in tracks[source]])
    parts: dict[str, tuple[str, Any]] = {split: (source, splits == split) for split in SPLITS}
    parts |= {other: (other, slice(None)) for other in recipes if other != source}
    truth = {part: classes[own][rows] for part, (own, rows) in parts.items()}
    for layer in range(described[source].shape[1]):
        inputs = {part: described[own][rows, layer] for part, (own, rows) in parts.items()}
        for strength in STRENGTHS:
            model = classifier(inputs["train"], truth["train"], strength)
            judged = [part for part in parts if part != "train"]
            scores = {part: scored(model, inputs[part], truth[part], labels) for part in judged}
            yield {"layer": layer, "C": strength, "scores": scores}


def border_fits(system: str, name: str, recipes: Mapping[str, Recipe], kept: Path) -> Iterator[Fit]:
    """Notes within phrases, of which onset, end and pitch are given, so that only the technique is to be found."""
    (tracks, labels), first = phrases(recipes), next(iter(recipes))
    stems = {part: f"{first}-{part}" if part in SPLITS else f"{part}-test" for part in tracks}
    described = {part: features(system, name, found, kept / f"{stems[part]}-{system}.npy") for part, found in tracks.items()}
    layers = {part: [track.annotation.notes for track in found] for part, found in tracks.items()}
    truth = np.array([labels.index(note.technique) for layer in layers["train"] for note in layer])
    for index in range(described["train"].shape[1]):
        for strength in STRENGTHS:
            model, scores = classifier(described["train"][:, index], truth, strength), {}
            for part in [part for part in tracks if part != "train"]:
                found = iter(model.predict(described[part][:, index]))
                told = [Layer(tuple(replace(note, technique=labels[next(found)]) for note in layer)) for layer in layers[part]]
                scores[part] = event_scores(layers[part], told, labels) | note_scores(layers[part], told, labels, pitched=True)
            yield {"layer": index, "C": strength, "scores": scores}


def frame_fits(system: str, name: str, recipes: Mapping[str, Recipe], kept: Path) -> Iterator[Fit]:
    """Frames of phrases, decoded, tuned and scored by the technique head, as in ``logistic_control.py``: a class each, and
    onsets; log-mel frames with their neighbours, those of a layer alone, which has seen them."""
    own = next(iter(recipes.values()))
    (tracks, _), dataset, backbone = phrases(recipes), build_dataset(own), build_backbone(own.backbone)
    head, rate = decoder(own, dataset, tracks["train"], backbone), backbone.frame_rate
    references = {part: [track.annotation for track in found] for part, found in tracks.items()}
    if system == "log-mel":
        described = {part: [log_mel_context(track, backbone)[None] for track in found] for part, found in tracks.items()}
    else:
        embed = Embedder(name, LAYERS, weights=WEIGHTS[system])
        described = {part: [frames(embed(track.audio)) for track in found] for part, found in tracks.items()}
    for layer in range(len(described["train"][0])):
        inputs = {part: [states[layer] for states in found] for part, found in described.items()}
        for strength, found in fits(head, tracks["train"], inputs, backbone):
            head.tune(references["validation"], found["validation"], rate)
            scores = {part: head.score(references[part], own, rate) for part, own in found.items()}
            yield {"layer": layer, "C": strength, "scores": scores}


def phrases(recipes: Mapping[str, Recipe]) -> tuple[dict[str, list[Track]], tuple[str, ...]]:
    """The phrases by part, and the techniques in label order."""
    first, *others = recipes
    dataset = build_dataset(recipes[first])
    tracks = {split: dataset.tracks(split) for split in SPLITS}
    return tracks | {other: build_dataset(recipes[other]).tracks("test") for other in others}, dataset.classes["notes"]


def features(system: str, name: str, tracks: Sequence[Track], kept: Path) -> NDArray[np.float32]:
    """``[notes, layers, dim]`` of all notes of ``tracks``, one after the other."""
    if kept.exists():
        found: NDArray[np.float32] = np.load(kept)
        return found
    rows = []
    embed = None if system == "log-mel" else Embedder(name, LAYERS, weights=WEIGHTS[system])
    for track in tracks:
        if embed is None:
            audio = audio_of(track)
            rows += [log_mel_statistics(audio, note)[None] for note in track.annotation.notes]
        else:
            states = frames(embed(track.audio))
            rows += [state_statistics(states, note, embed.backbone.frame_rate) for note in track.annotation.notes]
    found = np.stack(rows).astype(np.float32)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}.npy")  # another run may be at the same
    np.save(partial, found)
    partial.rename(kept)
    return found


def frames(states: Embedding) -> NDArray[np.float16]:
    """``[layers, frames, dim]``."""
    return np.stack([states.layers[layer] for layer in LAYERS]).astype(np.float16)


def state_statistics(states: NDArray[np.float16], note: Note, rate: float) -> NDArray[np.float32]:
    """Mean, deviation and maximum of each dimension while a note sounds, ``[layers, 3 * dim]``."""
    begin = min(round(note.onset * rate), states.shape[1] - 2)
    cut = states[:, begin : max(round(note.offset * rate), begin + 2)].astype(np.float32)
    return np.concatenate([cut.mean(1), cut.std(1), cut.max(1)], axis=1)
