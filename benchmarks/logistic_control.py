"""The control of the technique table: logistic regression on log-mel frames in context, one per class and one for onsets.

It sees the same phrases, makes the same kind of activations as the technique head, and is decoded, tuned and scored by the very
same code, so that the two differ in their features and classifier only.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from etude.adapters.heads import Excerpt, FrameGrid
from etude.adapters.model.build import build_backbone, build_dataset
from etude.adapters.registry import find
from etude.adapters.sound.audio import read_window
from etude.adapters.states.framing import audio_batch

OFFSETS = (-6, -3, -2, -1, 0, 1, 2, 3, 6, 10, 15)
"""Frames (20 ms) whose log-mel a frame's features hold: .12 s back to .3 s ahead."""
STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse regularisation; chosen on validation phrases."""


def control_activations(recipe):  # type: ignore[no-untyped-def]
    """The technique head as decoder, references and activations by split, and the frame rate."""
    dataset, backbone = build_dataset(recipe), build_backbone(recipe.backbone)
    tracks = {split: dataset.tracks(split) for split in ("train", "validation", "test")}
    head, rate = decoder(recipe, dataset, tracks["train"], backbone), backbone.frame_rate
    features = {split: [log_mel_context(track, backbone) for track in found] for split, found in tracks.items()}
    references = {split: [track.annotation for track in found] for split, found in tracks.items()}
    best = None
    for _, found in fits(head, tracks["train"], features, backbone):
        head.tune(references["validation"], found["validation"], rate)
        score = head.score(references["validation"], found["validation"], rate)["event_macro_f1"]
        if best is None or score > best[0]:
            best = (score, {split: (references[split], found[split]) for split in found})
    assert best is not None
    return head, best[1], rate


def decoder(recipe, dataset, tracks, backbone):  # type: ignore[no-untyped-def]
    """The technique head of ``recipe`` as it judges frames, without pitches, untrained: its rolls are learned, and its decoder,
    tuning and scores used."""
    kind, labels = find("heads", "technique"), dataset.classes["notes"]
    config = recipe.heads.technique.model_copy(update={"pitch": False, "judge": "frames", "decoder": "fusion"})
    statistics = kind.measure(config, labels, [track.annotation for track in tracks], backbone.frame_rate)
    return kind(config, labels, backbone.hidden_size, statistics)


def fits(head, tracks, features, backbone):  # type: ignore[no-untyped-def]
    """Fit frames ``[frames, dim]`` of the phrases ``train``, whose ``tracks`` are given: each strength with the activations of
    all other phrases, by name."""
    scaler, rate = StandardScaler().fit(np.concatenate(features["train"])), backbone.frame_rate
    scaled = {name: [scaler.transform(x).astype(np.float32) for x in found] for name, found in features.items()}
    rolls = [
        head.targets(Excerpt(track, FrameGrid(0, len(x), rate, len(x)), track.annotation, backbone.sample_rate))
        for track, x in zip(tracks, scaled["train"], strict=True)
    ]
    truth = np.concatenate([np.hstack([roll["technique"], roll["onset"]]) for roll in rolls])
    inputs = np.concatenate(scaled.pop("train"))
    for strength in STRENGTHS:
        models = [LogisticRegression(C=strength, max_iter=60).fit(inputs, column) for column in truth.T]
        yield strength, {name: [activations(models, x) for x in found] for name, found in scaled.items()}


def activations(models, inputs):  # type: ignore[no-untyped-def]
    """Probabilities ``[frames, classes]`` as the head gives them."""
    values = np.stack([model.predict_proba(inputs)[:, 1] for model in models], axis=1).astype(np.float16)
    return {"technique": values[:, :-1], "onset": values[:, -1:]}


def log_mel_context(track, backbone):  # type: ignore[no-untyped-def]
    """Log-mel frames of a phrase at the encoder's frame rate with their neighbours, ``[frames, bands * offsets]``."""
    samples = track.info.samples_at(backbone.sample_rate)
    audio, lengths = audio_batch(backbone, [read_window(track.audio, 0, samples, backbone.sample_rate, track.info)])
    with torch.no_grad():
        mel = backbone.prepare(audio, lengths)[0]  # [bands, 2 * frames]
    frames = mel.unflatten(-1, (-1, 2)).mean(dim=-1).T.numpy()
    index = np.arange(len(frames))[:, None] + np.array(OFFSETS)
    return frames[np.clip(index, 0, len(frames) - 1)].reshape(len(frames), -1)
