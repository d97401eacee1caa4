"""The control for single notes: means and deviations of log-mel bands over a note, and logistic regression.

Its class probabilities are scored by the head ``tags`` like everybody else's.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from etude.adapters.heads._parts.tag_scoring import tag_scores
from etude.adapters.model.build import build_dataset
from etude.adapters.sound.audio import read_window
from etude.adapters.training.share import share_of

RATE, FFT, HOP, BANDS = 16_000, 512, 160, 80
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation; chosen on validation notes."""


def note_scores(recipe):  # type: ignore[no-untyped-def]
    """Test scores of the data of ``recipe``."""
    dataset = build_dataset(recipe)
    tracks = {split: dataset.tracks(split) for split in ("train", "validation", "test")}
    tracks["train"] = share_of(tracks["train"], recipe.train.share, recipe.seed)
    labels = dataset.classes["tags"]
    features = {split: log_mel_features(found) for split, found in tracks.items()}
    truth = {split: classes_of(found, labels) for split, found in tracks.items()}
    best = None
    for strength in STRENGTHS:
        model = classifier(features["train"], truth["train"], strength)
        scores = {split: scored(model, features[split], truth[split], labels) for split in ("validation", "test")}
        if best is None or scores["validation"]["f1_macro"] > best[0]:
            best = (scores["validation"]["f1_macro"], scores["test"])
    assert best is not None
    return best[1]


def classifier(inputs, truth, strength):  # type: ignore[no-untyped-def]
    """Fitted to features ``[notes, dim]`` and classes ``[notes]``."""
    regression = LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
    return make_pipeline(StandardScaler(), regression).fit(inputs, truth)


def classes_of(tracks, labels):  # type: ignore[no-untyped-def]
    """Indices of the tags, ``[notes]``."""
    return np.array([labels.index(track.annotation.tags[0].name) for track in tracks])


def log_mel_features(tracks):  # type: ignore[no-untyped-def]
    """:func:`log_mel_statistics` of the first note of each track, ``[notes, dim]``."""
    return np.stack([log_mel_statistics(audio_of(track), track.annotation.notes[0]) for track in tracks])


def audio_of(track):  # type: ignore[no-untyped-def]
    """All samples at :data:`RATE`."""
    return read_window(track.audio, 0, track.info.samples_at(RATE), RATE, track.info)


def scored(model, inputs, truth, labels):  # type: ignore[no-untyped-def]
    """Scores of the most probable class."""
    probabilities = np.zeros((len(truth), len(labels)))
    probabilities[:, model.classes_] = model.predict_proba(inputs)
    cells, found = np.eye(len(labels), dtype=bool)[truth], probabilities.argmax(axis=1)
    scores = tag_scores(cells, probabilities, np.eye(len(labels), dtype=bool)[found], labels)
    return {**scores, "accuracy": float((found == truth).mean())}


def log_mel_statistics(audio, note):  # type: ignore[no-untyped-def]
    """Mean, deviation, maximum and mean step of each band while a note sounds, and at its onset, ``[5 * bands]``."""
    cut = audio[round(note.onset * RATE) : max(round(note.offset * RATE), round(note.onset * RATE) + 2 * FFT)]
    cut = np.pad(cut, (0, max(0, 2 * FFT - len(cut)))) / max(float(np.abs(cut).max()), 1e-9)
    bank = mel_filter_bank(FFT // 2 + 1, BANDS, 20.0, RATE / 2, RATE, "slaney", "slaney")
    window = window_function(FFT, "hann")
    mel = np.log(spectrogram(cut, window, FFT, HOP, power=2.0, mel_filters=bank, mel_floor=1e-8))
    onset = mel[:, :5].mean(axis=1)
    return np.concatenate([mel.mean(1), mel.std(1), mel.max(1), np.abs(np.diff(mel, axis=1)).mean(1), onset])
