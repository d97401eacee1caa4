"""Judging whole notes: what they are learned from, how they are cut, and the pitch that they are heard with."""

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from made_technique_head import STATISTICS, make_head

from etude.adapters.annotations import EVERYWHERE, Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.heads import Context, Example, FrameGrid
from etude.adapters.heads._parts.note_judge import judge_notes
from etude.adapters.heads._parts.note_pitches import with_heard_pitches
from etude.adapters.heads._parts.note_rolls import activity_rolls
from etude.adapters.heads._parts.panel import SPECTRUM, Panel
from etude.adapters.heads._parts.segment_fit import JITTER, fit_notes
from etude.adapters.sound.descriptors import BANDS
from etude.adapters.sound.pitch_salience import BINS, LOWEST, PER_SEMITONE

LABELS = ("bend", "slide", "trill")

# Rolls, 10 frames per second.


def rolls(*notes, known=EVERYWHERE, start=0, frames=10, real=None, soft=False):
    grid = FrameGrid(start, frames, 10.0, frames if real is None else real)
    found = activity_rolls(Layer(notes, known), grid, LABELS, soft=soft)
    assert {values.shape for values in found.values()} == {(frames, 1)}
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    return {name: values[:, 0].tolist() for name, values in found.items()}


def test_rolls_by_hand():
    made = rolls(Note(0.6, 0.8, 60, "bend"), Note(0.1, 0.4, 61, "trill"), Note(0.85, 0.86))
    assert made["activity"] == [0, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert made["note"] == [0, 1, 1, 1, 0, 0, 2, 2, 3, 0]
    assert made["note_class"] == [0, 3, 3, 3, 0, 0, 1, 1, 0, 0], "of the last one no technique is known"
    assert made["activity_mask"] == [1] * 10


def test_the_latest_of_overlapping_notes_counts():
    made = rolls(Note(0.1, 0.9, 60, "bend"), Note(0.3, 0.5, 64, "slide"))
    assert made["activity"] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert made["note"] == [0, 1, 1, 2, 2, 1, 1, 1, 1, 0]
    assert made["note_class"] == [0, 1, 1, 2, 2, 1, 1, 1, 1, 0]


def test_notes_that_began_before_sound_but_are_not_judged():
    made = rolls(Note(0.8, 1.3, 60, "bend"), Note(1.5, 2.4, 60, "slide"), start=10)
    assert made["activity"] == [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]
    assert made["note"] == [0, 0, 0, 0, 0, 2, 2, 2, 2, 2]
    assert made["note_class"] == [0, 0, 0, 0, 0, 2, 2, 2, 2, 2]


def test_activity_of_a_soft_track_is_confidence_and_doubtful_notes_are_not_judged():
    notes = (
        Note(0.0, 0.3, 60, "bend", confidence=0.75),
        Note(0.2, 0.6, 60, "slide", confidence=0.25),
        Note(0.7, 0.8, 60, "trill"),
    )
    made = rolls(*notes, soft=True)
    assert made["activity"] == [0.75, 0.75, 0.75, 0.25, 0.25, 0.25, 0, 1, 0, 0]
    assert made["note_class"] == [1, 1, 0, 0, 0, 0, 0, 3, 0, 0]
    assert rolls(*notes)["note_class"] == [1, 1, 2, 2, 2, 2, 0, 3, 0, 0]


def test_unknown_spans_and_padding_are_masked():
    made = rolls(Note(0.1, 0.3, 60, "bend"), known=((0.0, 0.25), (0.5, 0.75)), real=7)
    assert made["activity_mask"] == [1, 1, 0, 0, 0, 1, 1, 0, 0, 0]
    later = rolls(known=((0.0, 1.25), (1.5, 9.0)), start=10)
    assert later["activity_mask"] == [1, 1, 0, 0, 0, 1, 1, 1, 1, 1]


def test_the_head_is_told_of_activity_in_place_of_techniques():
    head = make_head(statistics={**STATISTICS, "panel": {}})
    head.panel = Panel({}, 3, 6, 4)
    grid, annotation = FrameGrid(0, 10, 10.0, 10), Annotation(notes=(Note(0.1, 0.4, 61, "trill"),))
    made = head.targets(excerpt_of(annotation, grid))
    assert sorted(made) == ["activity", "activity_mask", "note", "note_class", "onset", "onset_mask", "pitch", "pitch_mask"]
    logits = head.train()(Context(torch.zeros(1, 10, 6)))
    assert {name: tuple(values.shape[1:]) for name, values in logits.items()} == {
        **{"activity": (10, 1), "onset": (10, 1), "pitch": (10, 4)}
    }
    terms = head.loss(logits, {name: torch.from_numpy(values)[None] for name, values in made.items()})
    assert sorted(terms) == ["activity", "onset", "pitch"]


# Cutting and judging, 50 frames per second.


class Noted(Panel):
    """Keeps what it is told, and judges a segment by its length."""

    def __init__(self):
        super().__init__({"kinds": ["beginning"], "temperature": 1.0}, 3, 2, 4)
        self.cut, self.fitted = [], None

    def features(self, context):
        return context.mixed

    def segment(self, features, rate, kinds=()):
        self.cut.append((float(features[0, 0]), float(features[-1, 0])) if len(features) else None)
        return super().segment(features, rate, ("beginning",))

    def fit(self, segments, classes, recordings, groups):
        self.fitted = list(zip(classes.tolist(), recordings, groups, strict=True))


def window(first, *notes, frames=60, view=0, loud=True):
    """A window whose frames are numbered from ``first`` on, in one batch entry."""
    features = torch.full((1, frames, 4 + BANDS), -3.0 if loud else np.log(1e-9))
    features[0, :, 0] = first + torch.arange(frames)
    made = activity_rolls(Layer(notes), FrameGrid(0, frames, 50.0, frames), LABELS)
    targets = {name: torch.from_numpy(values)[None] for name, values in made.items()}
    return Example(Context(features), targets, [f"take {first}"], ["session"], view)


def test_every_note_with_a_technique_is_learned_as_annotated_and_with_its_borders_moved():
    notes = (Note(0.2, 0.6, None, "slide"), Note(0.6, 0.8, None, "bend"), Note(0.9, 1.0))
    panel = Noted()
    fit_notes(panel, [window(0, *notes), window(100, *notes, view=1)], 50.0)
    for first in (0, 100):
        own = [cut for cut in panel.cut if first <= cut[0] < first + 100]
        exact = [(first + 10.0, first + 29.0), (first + 30.0, first + 39.0)]
        assert own[::2] == exact
        for moved, annotated in zip(own[1::2], exact, strict=True):
            assert max(abs(a - b) for a, b in zip(moved, annotated, strict=True)) <= JITTER
    assert any(moved != annotated for moved, annotated in zip(panel.cut[1::2], panel.cut[::2], strict=True))
    labels = [1, 1, 0, 0]
    assert panel.fitted == [(label, f"take {first}", "session") for first in (0, 100) for label in labels]
    again = Noted()
    fit_notes(again, [window(0, *notes), window(100, *notes, view=1)], 50.0)
    assert again.cut == panel.cut


def test_what_is_left_behind_an_interruption_is_no_note():
    panel = Noted()
    fit_notes(panel, [window(0, Note(0.2, 1.0, None, "slide"), Note(0.4, 0.6, None, "bend"))], 50.0)
    assert panel.cut[::2] == [(10.0, 19.0), (20.0, 29.0)]


def test_silent_notes_are_not_learned_and_nothing_is_learned_of_nothing():
    panel, note = Noted(), Note(0.2, 0.6, None, "slide")
    fit_notes(panel, [window(0, note, loud=False)], 50.0)
    assert panel.fitted is None
    fit_notes(panel, [], 50.0)
    assert panel.fitted is None
    fit_notes(panel, [window(0, note, loud=False), window(100, note)], 50.0)
    assert {take for _, take, _ in panel.fitted} == {"take 100"}


def test_only_notes_that_sound_are_judged():
    features = window(0).context.mixed[0].numpy().copy()
    features[20:30, -BANDS:] = np.log(1e-9)
    spans = np.array([0, 20, 40]), np.array([10, 30, 50])
    kept, probabilities = judge_notes(Noted(), features, spans, 50.0)
    assert kept.tolist() == [0, 2]
    np.testing.assert_allclose(probabilities, np.full((2, 3), 1 / 3), rtol=1e-6)
    untrained = Panel({}, 3, 2, 4)
    for panel, own in ((untrained, spans), (Noted(), (spans[0][:0], spans[1][:0])), (Noted(), (spans[0][1:2], spans[1][1:2]))):
        kept, probabilities = judge_notes(panel, features, own, 50.0)
        assert (len(kept), probabilities.shape) == (0, (0, 3))


# Pitches, 50 frames per second.


def heard(*pitches):
    """Notes of a fifth of a second, and a salience that has the pitches."""
    salience = np.zeros((12 * len(pitches), BINS))
    for place, pitch in enumerate(pitches):
        if pitch is not None:
            bins = LOWEST + np.arange(BINS) / PER_SEMITONE
            salience[12 * place : 12 * place + 10] = 0.1 * np.exp(-0.5 * ((bins - pitch) / 0.3) ** 2)
    notes = [Note(0.24 * place, 0.24 * place + 0.2, None, "bend") for place in range(len(pitches))]
    found = with_heard_pitches(notes, salience, 50.0)
    assert [(note.onset, note.offset, note.technique) for note in found] == [(n.onset, n.offset, n.technique) for n in notes]
    return [note.pitch for note in found]


@pytest.mark.parametrize(
    ("pitches", "numbers"),
    [
        ([60.1, 61.9, 64.0], [60, 62, 64]),
        ([60.55, 62.35, 64.4, 67.45], [60, 62, 64, 67]),  # 40 cents sharp, one of them beyond the middle
        ([59.45, 61.65, 63.6, 66.55], [60, 62, 64, 67]),  # as much flat
        ([60.55, 62.35, 64.4], [61, 62, 64]),  # too few to tell
        ([60.55, 62.35], [61, 62]),
        ([60.45, 62.45, 64.0, 66.75], [60, 62, 64, 67]),  # they do not agree
        ([60.55, None, 62.35, 64.4, None, 67.45], [60, None, 62, 64, None, 67]),
        ([60.55, None, 62.35, 64.4], [61, None, 62, 64]),  # those without a pitch say nothing of the tuning
        ([None], [None]),
        ([], []),
    ],
)
def test_pitches_are_numbered_from_the_tuning_that_the_notes_agree_on(pitches, numbers):
    assert heard(*pitches) == numbers


def test_a_note_between_frames_has_no_pitch():
    note = Note(0.101, 0.102, 60.0, "bend")
    assert [found.pitch for found in with_heard_pitches([note], np.ones((20, BINS)), 50.0)] == [None]


def test_the_spectrum_is_what_the_panel_hears():
    head = make_head(statistics={**STATISTICS, "panel": {}}, pitch="tracker")
    assert head.hears == ("salience",)
    head.panel = Panel({}, 3, 6, 4)
    assert head.hears == (SPECTRUM, "salience")
