"""Heads that are shown more than one window: what they see is what a plain NumPy joining of the windows gives, everywhere."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from etude.adapters import registry
from etude.adapters.annotations import Annotation
from etude.adapters.backbones import INPUT
from etude.adapters.datasets import Track
from etude.adapters.heads import Context, Head, HeadConfig
from etude.adapters.model import adapted
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.pieces import Pieces, window_activations
from etude.adapters.model.spans import Joiner, Run, grids, windows_per_span
from etude.adapters.sound.audio import AudioInfo
from etude.adapters.sound.windows import plan
from etude.adapters.states.window_set import WindowSet, training_runs

RATE, WINDOW = 10.0, 40
"""Frames per second and per window of a backbone that does not exist."""
BACKBONE = SimpleNamespace(frame_rate=RATE, frames_per_window=WINDOW)


class Shown(Head):
    """Says what it is shown."""

    Config, kind, vocabulary = HeadConfig, "notes", "techniques"

    def __init__(self, span, rate=None, reads=(), hidden=1):
        super().__init__(HeadConfig(), ("a",), hidden, {})
        self._span, self._rate, self._reads, self.seen = span, rate, reads, []
        self.scale = torch.nn.Parameter(torch.ones(hidden))

    span = property(lambda self: self._span)
    rate = property(lambda self: self._rate)
    reads = property(lambda self: self._reads)

    @classmethod
    def measure(cls, config, labels, annotations, rate):
        return {}

    def targets(self, excerpt):
        return {"start": np.array([[excerpt.grid.start]], np.float32), "real": np.array([[excerpt.grid.real]], np.float32)}

    def forward(self, context):
        self.seen.append(context)
        return {"shown": context.mixed * self.scale, **{f"state{layer}": state for layer, state in context.states.items()}}

    def loss(self, logits, targets):
        return {"sum": logits["shown"].square().mean()}

    def activations(self, logits):
        return {name: values.float() for name, values in logits.items()}

    def tune(self, references, activations, rate):
        self.thresholds = {}

    def decode(self, activations, rate):
        raise AssertionError

    def score(self, references, activations, rate):
        return {}


def reader_of(**heads):
    def logits(context):
        return {name: head(context) for name, head in heads.items() if head.span == "window"}

    return SimpleNamespace(heads_by_name=heads, window_logits=logits)


def shown_windows(windows, frames, seed=0):
    """A window's frames say which frame of the recording they are, but for those it does not keep, which say nonsense."""
    truth = np.random.default_rng(seed).normal(size=(frames, 1)).astype(np.float32)
    values = np.full((len(windows), WINDOW, 1), 1e6, np.float32)
    for row, window in zip(values, windows, strict=True):
        kept = slice(window.keep_from, window.keep_to)
        row[kept] = truth[window.start + window.keep_from : window.start + window.keep_to]
    return truth, torch.from_numpy(values)


def averaged(truth, factor):
    return np.stack([truth[first : first + factor].mean(axis=0) for first in range(0, len(truth), factor)])


@pytest.mark.parametrize("frames", [1, 7, 40, 41, 95, 333])
@pytest.mark.parametrize("rate", [None, 2.0, 3.0])
@pytest.mark.parametrize("span", ["recording", 2.0, 9.0, 1000.0])
@pytest.mark.parametrize("overlap", [0, 10, 20])
def test_in_prediction_a_head_is_shown_every_frame_once_joined_and_averaged(frames, rate, span, overlap):
    windows, head = plan(frames, WINDOW, overlap), Shown(span, rate)
    truth, values = shown_windows(windows, frames)
    collected = Pieces(reader_of(head=head), BACKBONE, windows, frames, overlap)
    for first in range(0, len(windows), 3):
        batch = values[first : first + 3]
        collected.add(Context(batch), {}, range(len(batch)))
    factor = head.averaged_frames(RATE)
    expected = averaged(truth, factor)
    np.testing.assert_allclose(collected.result()["head"]["shown"], expected.astype(np.float16), atol=2e-3)
    lengths = {context.mixed.shape[1] for context in head.seen}
    count = windows_per_span(head, BACKBONE, overlap)
    if count is None:
        assert lengths == {len(expected)}
    else:  # as long as so many windows, wherever the recording is
        assert lengths == {min(len(expected), -(-(count * (WINDOW - overlap) + overlap) // factor))}
        assert (count * (WINDOW - overlap) + overlap) / RATE >= span


def test_other_states_are_joined_like_the_mix():
    windows, head = plan(95, WINDOW, 10), Shown("recording", 5.0, reads=(2,))
    truth, values = shown_windows(windows, 95)
    collected = Pieces(reader_of(head=head), BACKBONE, windows, 95, 10)
    for row in range(len(windows)):
        collected.add(Context(values[row : row + 1], {2: -values[row : row + 1]}), {}, [0])
    np.testing.assert_allclose(collected.result()["head"]["state2"], -averaged(truth, 2).astype(np.float16), atol=2e-3)


def test_hours_of_audio_are_held_a_span_at_a_time():
    """Three hours: 108,000 frames; of them the head's span and a window are the most that is ever kept."""
    frames, overlap, most = 108_000, 10, 0
    windows, head = plan(frames, WINDOW, overlap), Shown(30.0)
    collected = Pieces(reader_of(head=head), BACKBONE, windows, frames, overlap)
    for _ in windows:
        collected.add(Context(torch.zeros(1, WINDOW, 1)), {}, [0])
        held = [frames for parts in collected._spans["head"]._held.values() for frames in parts]
        most = max(most, sum(len(frames) for frames in held))
    assert len(collected.result()["head"]["shown"]) == frames
    assert most <= windows_per_span(head, BACKBONE, overlap) * WINDOW + WINDOW


def tracks_of(*frames):
    info = [AudioInfo(round(count / RATE * 1000), 1000, 1) for count in frames]
    return [Track(str(i), Path("x.wav"), own, "train", Annotation()) for i, own in enumerate(info)]


def toy_backbone():
    return SimpleNamespace(frame_rate=RATE, frames_per_window=WINDOW, sample_rate=1000, window_samples=4000)


@pytest.mark.parametrize("rate", [None, 2.0, 3.0])
@pytest.mark.parametrize("span", ["recording", 9.0, 2.0])
def test_training_shows_runs_whose_targets_are_of_the_very_frames(rate, span):
    """Targets name their first frame; what the model joins for it must begin there, and be as long."""
    head, tracks = Shown(span, rate), tracks_of(333, 25, 95)
    windows = WindowSet(tracks, toy_backbone(), 1.0)
    runs = training_runs(windows, [head])
    assert {position for run in runs for position in run} == set(range(len(windows))), "every window is trained on"
    assert all(len({windows.windows[position][0] for position in run}) == 1 for run in runs)
    longest = windows_per_span(head, windows.backbone, windows.overlap)
    assert all(len(run) == min(longest or 99, len(windows.of_track[windows.windows[run.start][0]])) for run in runs)
    targets = windows.targets(runs, {"head": head})["head"]
    shapes = grids(head, [windows.run(run) for run in runs], RATE)
    factor = head.averaged_frames(RATE)
    for run, start, real, grid in zip(runs, targets["start"].flatten(), targets["real"].flatten(), shapes, strict=True):
        index = windows.windows[run.start][0]
        truth, values = shown_windows([windows.windows[p][1] for p in windows.of_track[index]], [333, 25, 95][index])
        own = windows.run(run)
        joiner = Joiner(head, RATE, own.start)
        first = run.start - windows.of_track[index].start
        parts = []
        for row, window in enumerate(own.windows, first):
            final = own.stop == own.frames and window is own.windows[-1]
            parts.append(joiner(Context(values[row : row + 1]), [window], final=final)[None])
        joined = torch.cat(parts)
        expected = averaged(truth, factor)[int(start) : int(start + real)]
        np.testing.assert_allclose(joined.numpy(), expected, atol=1e-5)
        assert (grid.start, grid.real) == (start, real)
        assert len({shape.frames for shape in shapes}) == 1


def whole_model(method="heads_only", **heads):
    kind = registry.find("backbones", "mert")
    backbone = kind(kind.Config(name="mert", weights="random:tiny", window=1.0))
    methods = registry.find("methods", method)
    fields = {"name": method, **({"rank": 2, "blocks": "last 1"} if method == "lora" else {})}
    made = {name: head(backbone) for name, head in heads.items()}
    torch.manual_seed(0)
    model = AdaptedModel(backbone, methods(methods.Config(**fields)), made, None)
    with torch.no_grad():
        for parameter in model.method.parameters().values():
            parameter.add_(0.1)
    return model


def stored_of(model, count):
    audio = 0.1 * torch.randn(count, model.backbone.window_samples, generator=torch.Generator().manual_seed(1))
    return model.frozen_states(audio, torch.full((count,), model.backbone.window_samples))


@pytest.mark.parametrize("method", ["heads_only", "lora"])
def test_long_runs_are_computed_in_parts_with_the_same_values_and_gradients(method, monkeypatch):
    model = whole_model(
        method,
        long=lambda backbone: Shown("recording", 15.0, reads=(1,), hidden=backbone.hidden_size),
        short=lambda backbone: Shown("window", hidden=backbone.hidden_size),
    ).train()
    window = model.backbone.frames_per_window
    runs = [Run(tuple(plan(5 * window, window, 0)), 5 * window), Run(tuple(plan(2 * window, window, 0)), 2 * window)]
    stored, results, parts = stored_of(model, 7), [], []
    model.double()  # the mix has gradients that are small differences of large sums

    def read(part):
        parts.append(len(part))
        return [state[part.start : part.stop] for state in stored]

    for at_once in (100, 2):
        monkeypatch.setattr(adapted, "WINDOWS_AT_ONCE", at_once)
        model.zero_grad()
        output = model(read, runs)
        assert output.logits["short"]["shown"].shape[0] == 7
        assert output.logits["long"]["shown"].shape[:2] == (2, -(-5 * window // 5))
        assert (output.context is None) == (at_once == 2)
        sum(values.square().sum() for outputs in output.logits.values() for values in outputs.values()).backward()
        gradients = {name: p.grad.clone() for name, p in model.named_trainable()}
        results.append((output.logits, gradients))
    assert parts == [7, 2, 2, 2, 1, 1, 2, 2, 2], "in parts, and once more for the backward pass"
    (logits, gradients), (again, others) = results
    for head, outputs in logits.items():
        for name, values in outputs.items():
            torch.testing.assert_close(again[head][name], values, atol=1e-8, rtol=1e-8)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-8, rtol=1e-8)


def test_a_head_with_the_default_span_sees_what_it_saw_before():
    """Window by window and bit by bit, whether or not another head is shown runs."""
    alone = whole_model(short=lambda backbone: Shown("window", hidden=backbone.hidden_size))
    beside = whole_model(
        short=lambda backbone: Shown("window", hidden=backbone.hidden_size),
        long=lambda backbone: Shown("recording", hidden=backbone.hidden_size),
    )
    stored, window = stored_of(alone, 3), alone.backbone.frames_per_window
    run = Run(tuple(plan(3 * window, window, 0)), 3 * window)
    expected = alone(stored).logits["short"]["shown"]
    assert torch.equal(beside(stored, [run]).logits["short"]["shown"], expected)


def test_heads_may_read_other_states_and_the_prepared_input():
    model = whole_model(head=lambda backbone: Shown("window", reads=(INPUT, 0, 2), hidden=backbone.hidden_size))
    backbone = model.backbone
    stored = stored_of(model, 2)
    assert [state.shape[1:] for state in stored] == [backbone.prepared_shape, *[(75, backbone.hidden_size)] * 4]
    model(stored)
    (context,) = model.heads["head"].seen
    audio = 0.1 * torch.randn(2, backbone.window_samples, generator=torch.Generator().manual_seed(1))
    prepared = backbone.prepare(audio, torch.full((2,), backbone.window_samples))
    torch.testing.assert_close(context.prepared, prepared[:, None])
    states = backbone(prepared)
    for layer in (0, 2):
        torch.testing.assert_close(context.states[layer], states[layer], atol=1e-5, rtol=1e-5)
    assert set(context.states) == {0, 2}


def test_a_state_above_the_first_trainable_block_is_the_adapted_one():
    model = whole_model("lora", head=lambda backbone: Shown("window", reads=(3,), hidden=backbone.hidden_size))
    stored = stored_of(model, 1)
    model(stored)
    (context,) = model.heads["head"].seen
    adapted_state = model.backbone(model.backbone.prepare(*one(model)))[3]
    torch.testing.assert_close(context.states[3], adapted_state, atol=1e-5, rtol=1e-5)


def one(model):
    audio = 0.1 * torch.randn(1, model.backbone.window_samples, generator=torch.Generator().manual_seed(1))
    return audio, torch.tensor([model.backbone.window_samples])


def test_prepared_input_is_for_heads_that_are_shown_a_window():
    with pytest.raises(ValueError, match="'head' reads prepared input"):
        whole_model(head=lambda backbone: Shown(9.0, reads=(INPUT,), hidden=backbone.hidden_size))
    with pytest.raises(ValueError, match="reads state 7 of 3"):
        whole_model(head=lambda backbone: Shown("window", reads=(7,), hidden=backbone.hidden_size))


def test_activations_of_single_windows_are_in_half_precision():
    head = Shown("window")
    assert window_activations(reader_of(head=head), Context(torch.randn(2, 5, 1)))["head"]["shown"].dtype == np.float16


def test_outputs_may_have_more_than_one_axis_of_classes():
    """Instruments by pitches, say: windows are joined along time alone."""
    windows, head = plan(95, WINDOW, 10), Shown("window")
    truth, values = shown_windows(windows, 95)
    planes = values[..., None] * torch.arange(1.0, 7.0).view(2, 3)
    collected = Pieces(reader_of(head=head), BACKBONE, windows, 95, 10)
    said = {"head": {"plane": planes.half().numpy()}}
    collected.add(None, said, range(len(windows)))
    expected = (truth[..., None] * np.arange(1.0, 7.0).reshape(2, 3)).astype(np.float16)
    np.testing.assert_allclose(collected.result()["head"]["plane"], expected, atol=1e-2)
