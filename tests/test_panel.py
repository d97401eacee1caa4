"""The panel: what it learns, how sure it is, and what it chooses by folds over groups."""

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from etude.adapters.heads import Context
from etude.adapters.heads._parts.discriminant import Scatter, log_probabilities
from etude.adapters.heads._parts.panel import KINDS, SHRINKAGE, SHRINKAGES, SPECTRUM, Panel
from etude.adapters.sound.descriptors import BANDS

HIDDEN, BLOCKS, RATE = 6, 4, 50.0
WIDTHS = {"beginning": HIDDEN, "course": 4 * HIDDEN, "spectrum": 5 * BANDS}
EXPERTS = (("2", "beginning"), ("3", "beginning"), ("2", "course"), ("3", "course"), (SPECTRUM, "spectrum"))


def make_panel(classes=3, statistics=()):
    return Panel(dict(statistics), classes, HIDDEN, BLOCKS)


def toy(classes, seed=0, **signals):
    """A segment for each class, whose experts read noise, and ``signals`` (by kind, ``[n, features]``) in its place."""
    rng = np.random.default_rng(seed)
    rows = {kind: rng.normal(size=(2, len(classes), width)) for kind, width in WIDTHS.items()}
    rows["spectrum"][:] = 0
    for kind, values in signals.items():
        rows[kind][:, :, : values.shape[1]] = values
    place = {"2": 0, "3": 1, SPECTRUM: 0}
    return [
        {(source, kind): rows[kind][place[source], i].astype(np.float32) for source, kind in EXPERTS}
        for i in range(len(classes))
    ]


def clear(classes, seed=0, distance=6.0):
    """What tells ``classes`` apart, ``[n, 3]``."""
    return distance * np.eye(3)[classes] + np.random.default_rng(seed + 100).normal(size=(len(classes), 3))


def fitted(segments, classes, groups=None, recordings=None):
    panel = make_panel()
    names = recordings or [f"take {i % 5}" for i in range(len(classes))]
    panel.fit(segments, classes, names, groups or [""] * len(classes))
    return panel


CLASSES = np.arange(60) % 3


@pytest.fixture(scope="module")
def panel():
    return fitted(toy(CLASSES, beginning=clear(CLASSES)), CLASSES)


def test_it_tells_separable_classes_apart_that_it_has_not_seen(panel):
    fresh = np.random.default_rng(5).integers(0, 3, 90)
    found = panel.log_probabilities(toy(fresh, 1, beginning=clear(fresh, 1)))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    assert (found.argmax(axis=1) == fresh).mean() > 0.95
    assert panel.statistics["cross_validated"] > 0.95
    guessed = fitted(toy(CLASSES), CLASSES).statistics["cross_validated"]
    assert guessed < 0.6, "what is learned by heart must not be in the score"


def test_from_its_statistics_and_tensors_it_says_the_same(panel):
    segments = toy(CLASSES, 1, beginning=clear(CLASSES, 1))
    again = make_panel(statistics=json.loads(json.dumps(panel.statistics)))
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in panel.state_dict().items()
    }
    again.load_state_dict(panel.state_dict())
    assert np.array_equal(again.log_probabilities(segments), panel.log_probabilities(segments))
    half = {name: value.half().float() for name, value in panel.state_dict().items()}
    again.load_state_dict(half)
    np.testing.assert_allclose(again.log_probabilities(segments), panel.log_probabilities(segments), atol=0.05)


def test_no_gradient_reaches_it_and_its_state_is_the_same_before_and_after(panel):
    assert not any(parameter.requires_grad for parameter in panel.parameters())
    before = make_panel()
    assert (before.experts, before.kinds) == ((), ())
    shapes = {name: value.shape for name, value in before.state_dict().items()}
    assert shapes == {name: value.shape for name, value in panel.state_dict().items()}


def test_course_is_read_only_where_it_helps(panel):
    assert panel.kinds == ("beginning",)
    assert panel.experts == EXPERTS[:2] + EXPERTS[4:]
    late = fitted(toy(CLASSES, course=clear(CLASSES)), CLASSES)
    assert late.kinds == KINDS
    assert late.experts == EXPERTS
    both = fitted(toy(CLASSES, beginning=clear(CLASSES), course=clear(CLASSES)), CLASSES)
    assert both.kinds == ("beginning",), "as good is no reason"


def test_another_fit_leaves_nothing_of_the_one_before(panel):
    """It may read less, or other things."""
    again = fitted(toy(CLASSES, course=clear(CLASSES)), CLASSES)
    segments = toy(CLASSES, beginning=clear(CLASSES))
    again.fit(segments, CLASSES, [f"take {i % 5}" for i in range(60)], [""] * 60)
    assert again.statistics == panel.statistics
    for name, value in panel.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def ece(log_probabilities, classes):
    """Expected calibration error in ten bins (Guo et al., 2017)."""
    confidence, right = np.exp(log_probabilities).max(axis=1), log_probabilities.argmax(axis=1) == classes
    bins = np.minimum((confidence * 10).astype(int), 9)
    return sum(abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins))


@pytest.mark.parametrize(("alike", "distance", "temperatures"), [(True, 1.5, (1.5, 4.0)), (False, 4.0, (0.1, 0.8))])
def test_the_temperature_calibrates_votes(alike, distance, temperatures):
    """Where all experts read the same, their sum is too sure; where half of them know nothing, it is not sure enough."""
    classes = np.arange(300) % 3
    train, fresh = (
        toy(classes, seed, beginning=own, spectrum=own if alike else 0 * own)
        for seed, own in ((seed, clear(classes, seed, distance)) for seed in (0, 1))
    )
    panel = fitted(train, classes)
    assert temperatures[0] <= panel.statistics["temperature"] <= temperatures[1]
    calibrated = panel.log_probabilities(fresh)
    panel.statistics["temperature"] = 1.0
    raw = panel.log_probabilities(fresh)
    assert (raw.argmax(axis=1) == calibrated.argmax(axis=1)).all()
    assert ece(calibrated, classes) < 0.6 * ece(raw, classes)


def nuisance(classes, sessions, seed=0):
    """A feature that is the class and what differs between sessions and takes, and one that is the latter alone."""
    rng = np.random.default_rng(seed)
    disturbance = 4 * rng.normal(size=len(classes)) + 8 * rng.normal(size=sessions.max() + 1)[sessions]
    own = np.zeros((len(classes), 3))
    own[:, 0] = classes + disturbance + 0.1 * rng.normal(size=len(classes))
    own[:, 1] = disturbance
    return own


def test_groups_choose_the_shrinkage():
    """Little is best where a feature has to be subtracted from another; the strongest where all are as good."""
    sessions = np.arange(120) // 20
    classes = np.arange(120) % 3
    groups = [f"session {number}" for number in sessions]
    segments = toy(classes, beginning=nuisance(classes, sessions), course=nuisance(classes, sessions))
    assert fitted(segments, classes, groups).statistics["shrinkage"] == min(SHRINKAGES)
    assert fitted(segments, classes).statistics["shrinkage"] == SHRINKAGE
    half_known = [*groups[:60], *[""] * 60]
    assert fitted(segments, classes, half_known).statistics["shrinkage"] == SHRINKAGE
    assert fitted(segments, classes, ["one"] * 120).statistics["shrinkage"] == SHRINKAGE
    easy = toy(classes, beginning=clear(classes), course=clear(classes))
    assert fitted(easy, classes, groups).statistics["shrinkage"] == max(SHRINKAGES)


def test_scores_are_of_groups_that_were_left_out():
    """The session is heard, the technique is not; where each session has one technique of its own, recordings mislead."""
    sessions = np.arange(90) // 10
    classes = sessions % 3
    heard = 6 * np.random.default_rng(3).normal(size=(9, 3))[sessions] + np.random.default_rng(4).normal(size=(90, 3))
    segments, takes = toy(classes, beginning=heard), [f"{n}/{i % 2}" for i, n in enumerate(sessions)]
    by_take = fitted(segments, classes, recordings=takes).statistics["cross_validated"]
    by_session = fitted(segments, classes, [str(n) for n in sessions], takes).statistics["cross_validated"]
    assert by_session < by_take - 0.2


# From frames.


def frames_of(label, seed, frames=30):
    """Features of a note of class ``label``: states, then bands that decay."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(frames, 2 * HIDDEN)) + np.tile(3 * np.eye(HIDDEN)[label], 2)
    bands = rng.normal(-3, 1, (frames, BANDS)) - np.linspace(0, 4, frames)[:, None]
    bands[:, 10 * label : 10 * label + 10] += 2
    return np.concatenate([states, bands], axis=1).astype(np.float32)


def test_features_are_normalised_states_and_the_bands_as_they_are():
    panel, generator = make_panel(), torch.Generator().manual_seed(0)
    states = {layer: 5 + 2 * torch.randn(2, 7, HIDDEN, generator=generator) for layer in (2, 3)}
    heard = torch.randn(2, 7, BANDS, generator=generator)
    found = panel.features(Context(torch.zeros(0), states, heard={SPECTRUM: heard}))
    assert panel.layers == (2, 3)
    for place, layer in enumerate((2, 3)):
        own, state = found[..., place * HIDDEN : (place + 1) * HIDDEN], states[layer]
        expected = (state - state.mean(-1, keepdim=True)) / (state.std(-1, correction=0, keepdim=True))
        torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(found[..., -BANDS:], heard)


def test_silence_around_a_note_changes_neither_vectors_nor_label():
    train = [make_panel().segment(frames_of(label, seed), RATE) for seed, label in enumerate(CLASSES)]
    panel = fitted(train, CLASSES)
    for label in range(3):
        note = frames_of(label, 200 + label)
        silence = np.random.default_rng(0).normal(size=(40, note.shape[1]))
        silence[:, -BANDS:] = np.log(1e-9)
        plain, *wide = (
            panel.segment(frames.astype(np.float32), RATE, KINDS)
            for frames in (note, np.concatenate([silence, note]), np.concatenate([note, silence]))
        )
        for segment in wide:
            assert all(np.array_equal(segment[expert], plain[expert]) for expert in EXPERTS)
        judged = panel.log_probabilities([plain, *wide])
        assert judged.argmax(axis=1).tolist() == [label] * 3
        assert panel.segment(silence, RATE) is None


def test_a_segment_holds_what_is_asked_for():
    note = frames_of(0, 0)
    every, few = make_panel().segment(note, RATE), make_panel().segment(note, RATE, ("beginning",))
    assert tuple(every) == EXPERTS
    assert {expert: len(vector) for expert, vector in every.items()} == {expert: WIDTHS[expert[1]] for expert in EXPERTS}
    assert tuple(few) == EXPERTS[:2] + EXPERTS[4:]
    assert not np.array_equal(every["2", "beginning"], every["3", "beginning"])


def test_states_and_spectrum_count_alike_however_many_states_there_are():
    """The vote by hand: each expert with the fixed shrinkage, the mean over the states, and the spectrum."""
    informed = clear(CLASSES, distance=2.0)
    segments = toy(CLASSES, beginning=informed, course=3 * informed, spectrum=clear(CLASSES, 3, 2.0))
    panel = fitted(segments, CLASSES)
    said = {}
    for expert in panel.experts:
        inputs = np.stack([segment[expert] for segment in segments])
        said[expert] = log_probabilities(Scatter(inputs, CLASSES, 3).discriminant(SHRINKAGE).logits(inputs))
    votes = np.mean([own for (source, _), own in said.items() if source != SPECTRUM], axis=0) + said[SPECTRUM, "spectrum"]
    expected = log_softmax(votes / panel.statistics["temperature"], axis=1)
    np.testing.assert_allclose(panel.log_probabilities(segments), expected, atol=1e-4)
