"""Losses of pretraining against torch's own, the spectrum against librosa, its surroundings against a loop."""

import librosa
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy_pretraining import TARGETS

from etude.adapters.pretraining.objectives import OFFSETS, Objectives, around, soft_cross_entropy
from etude.adapters.recipe.pretraining import PretrainRecipe

BATCH, FRAMES, HIDDEN, HOP, RATE = 2, 7, 8, 320, 24_000
CLASSES = {"instrument": 5, "technique": 3, "pitch": 6}
STATES = 3


def objectives(**targets):
    """Of every target unless told otherwise."""
    shape = {
        "hidden_size": HIDDEN,
        "num_attention_heads": 1,
        "num_conv_pos_embedding_groups": 1,
        "num_hidden_layers": STATES - 1,
    }
    recipe = PretrainRecipe(
        task="pretraining",
        name="toy",
        soundfonts=({"path": "x.sf2", "title": "x", "licence": "mit"},),
        shape=shape,
        targets={"context": {}, "timbre": {}, "motion": {}} | targets,
        train={"label_smoothing": 0.1},
    )
    torch.manual_seed(0)
    return Objectives(recipe, *CLASSES.values())


def standardised(state):
    """Each vector of ``state`` with mean 0 and variance 1."""
    centred = state - state.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


@pytest.fixture
def example():
    """All states, clips, and targets."""
    generator = torch.Generator().manual_seed(1)
    targets = {
        name: F.one_hot(torch.randint(size, (BATCH, FRAMES), generator=generator), size).float()
        for name, size in CLASSES.items()
    }
    targets["pitch_mask"] = torch.ones(BATCH, FRAMES, 1)
    targets["onset"] = (torch.rand(BATCH, FRAMES, 1, generator=generator) < 0.3).float()
    for name, size in (("timbre", 8), ("motion", 2)):
        targets[name] = 2 * torch.randn(BATCH, FRAMES, size, generator=generator)
        targets[f"{name}_mask"] = (torch.rand(BATCH, FRAMES, 1, generator=generator) < 0.5).float()
    states = tuple(3 + 2 * torch.randn(BATCH, FRAMES, HIDDEN, generator=generator) for _ in range(STATES))
    return states, torch.randn(BATCH, FRAMES * HOP, generator=generator), targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_for_hard_and_soft_labels(smoothing):
    logits, labels = torch.randn(3, 4, 5), torch.randint(5, (3, 4))
    ours = soft_cross_entropy(logits, F.one_hot(labels, 5).float(), smoothing)
    assert ours.item() == pytest.approx(
        F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing).item()
    )
    soft = torch.rand(3, 4, 5).softmax(-1)
    theirs = F.cross_entropy(logits.flatten(0, 1), soft.flatten(0, 1), label_smoothing=smoothing)
    assert soft_cross_entropy(logits, soft, smoothing).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_frames_without_a_target_count_for_nothing():
    logits, targets = torch.randn(2, 4, 5), F.one_hot(torch.randint(5, (2, 4)), 5).float()
    targets[:, 2:] = 0
    known = soft_cross_entropy(logits[:, :2], targets[:, :2], 0.1)
    assert soft_cross_entropy(logits, targets, 0.1).item() == pytest.approx(known.item(), rel=1e-6)
    assert soft_cross_entropy(logits, torch.zeros_like(targets), 0.1).item() == 0


def test_losses_are_those_of_torch_times_their_weights(example):
    states, audio, targets = example
    module = objectives(instrument={"weight": 2.0}, pitch={"weight": 0.5}, onset={"weight": 3.0}, context={"weight": 0.1})
    losses = module(states, audio, targets)
    assert set(losses) == set(TARGETS)
    outputs = {name: layer(standardised(states[-1])) for name, layer in module.layers.items()}

    def entropy(name, smoothing):
        return F.cross_entropy(outputs[name].flatten(0, 1), targets[name].flatten(0, 1), label_smoothing=smoothing).item()

    assert losses["instrument"].item() == pytest.approx(2 * entropy("instrument", 0.1), rel=1e-5)
    assert losses["technique"].item() == pytest.approx(entropy("technique", 0.0), rel=1e-5)
    pitch = F.binary_cross_entropy_with_logits(outputs["pitch"], targets["pitch"]).item() * CLASSES["pitch"]
    assert losses["pitch"].item() == pytest.approx(0.5 * pitch, rel=1e-5)
    onset = F.binary_cross_entropy_with_logits(outputs["onset"], targets["onset"]).item()
    assert losses["onset"].item() == pytest.approx(3 * onset, rel=1e-5)
    bands = module.spectrum(audio)
    assert losses["spectrum"].item() == pytest.approx(F.mse_loss(outputs["spectrum"], bands).item(), rel=1e-5)
    assert losses["context"].item() == pytest.approx(0.1 * F.mse_loss(outputs["context"], around(bands)).item(), rel=1e-5)


def test_only_the_linear_layers_are_trained_and_neither_scale_nor_mean_of_a_state_counts(example):
    states, audio, targets = example
    module = objectives()
    assert {name for name, _ in module.named_parameters()} == {
        f"layers.{name}.{p}" for name in TARGETS for p in ("weight", "bias")
    }
    assert module.state_dict().keys() == dict(module.named_parameters()).keys()
    before, after = module(states, audio, targets), module([1000 * state - 5 for state in states], audio, targets)
    for name in TARGETS:
        assert after[name].item() == pytest.approx(before[name].item(), rel=1e-4), name


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_a_target_is_predicted_from_its_state_and_no_other(example, name, layer):
    states, audio, targets = example
    states = [state.clone().requires_grad_() for state in states]
    objectives(**{name: {"layer": layer}})(states, audio, targets)[name].backward()
    assert [index for index, state in enumerate(states) if state.grad is not None] == [STATES - 1 if layer is None else layer]


@pytest.mark.parametrize("name", TARGETS)
def test_a_state_that_the_backbone_does_not_have_is_refused(name):
    objectives(**{name: {"layer": STATES - 1}})
    with pytest.raises(ValueError, match=rf"targets\.{name}\.layer must be at most 2, the number of blocks"):
        objectives(**{name: {"layer": STATES}})


def test_surroundings_are_the_bands_of_the_frames_around_and_the_edges_repeat():
    frames, bands = 40, torch.randn(2, 40, 64, generator=torch.Generator().manual_seed(0))
    found = around(bands)
    assert found.shape == (2, frames, 64 * len(OFFSETS))
    for frame in range(frames):
        for place, offset in enumerate(OFFSETS):
            expected = bands[:, min(max(frame + offset, 0), frames - 1)]
            assert torch.equal(found[:, frame, 64 * place : 64 * (place + 1)], expected), (frame, offset)
    assert [round(offset * HOP / RATE, 2) for offset in (OFFSETS[0], OFFSETS[-1])] == [-0.12, 0.2], "as the recipe says"


def test_frames_of_unknown_pitch_have_no_influence_on_the_pitch_loss(example):
    states, audio, targets = example
    module = objectives()
    targets["pitch_mask"][0, 3:] = 0
    before = module(states, audio, targets)
    targets["pitch"][0, 3:] = 1 - targets["pitch"][0, 3:]
    states = [state.clone() for state in states]
    states[-1][0, 3:] *= torch.arange(HIDDEN)
    after = module(states, audio, targets)
    assert after["pitch"].item() == before["pitch"].item()
    assert after["onset"].item() != before["onset"].item()
    targets["pitch"][0, 0] = 1 - targets["pitch"][0, 0]
    assert module(states, audio, targets)["pitch"].item() != before["pitch"].item()
    targets["pitch_mask"][:] = 0
    assert module(states, audio, targets)["pitch"].item() == 0


@pytest.mark.parametrize("name", ["timbre", "motion"])
def test_timbre_and_motion_are_mean_squared_errors_of_the_frames_that_know_them(example, name):
    states, audio, targets = example
    module = objectives(**{name: {"weight": 0.7, "layer": 1}})
    output = module.layers[name](standardised(states[1])).tolist()
    truth, mask = targets[name].tolist(), targets[f"{name}_mask"].tolist()
    errors = []
    for clip in range(BATCH):
        for frame in range(FRAMES):
            if mask[clip][frame] == [1.0]:
                errors += [(a - b) ** 2 for a, b in zip(output[clip][frame], truth[clip][frame], strict=True)]
    assert 0 < len(errors) < targets[name].numel(), "some are known, others not"
    assert module(states, audio, targets)[name].item() == pytest.approx(0.7 * sum(errors) / len(errors), rel=1e-5)
    targets[name] = targets[name] + 1e3 * (1 - targets[f"{name}_mask"])
    assert module(states, audio, targets)[name].item() == pytest.approx(0.7 * sum(errors) / len(errors), rel=1e-5)
    targets[f"{name}_mask"] = torch.zeros(BATCH, FRAMES, 1)
    assert module(states, audio, targets)[name].item() == 0


@pytest.mark.parametrize("name", TARGETS)
def test_null_leaves_a_target_out(example, name):
    module = objectives(**{name: None})
    assert set(module(*example)) == set(TARGETS) - {name}
    assert not [parameter for parameter, _ in module.named_parameters() if name in parameter]


def test_the_spectrum_is_librosas():
    generator = np.random.default_rng(0)
    audio = generator.standard_normal(20 * HOP).astype(np.float32)
    audio[8 * HOP : 14 * HOP] = 0
    ours = objectives().spectrum(torch.from_numpy(audio)[None])[0].numpy()
    assert ours.shape == (20, 64)
    filters = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64, fmin=20, fmax=RATE / 2, htk=True, norm="slaney")
    padded = np.pad(audio, (0, 1024 - HOP))
    spectra = librosa.stft(padded, n_fft=1024, win_length=720, hop_length=HOP, window="hann", center=False)
    bands = (np.log(filters @ np.abs(spectra) ** 2 / 1024 + 1e-6) + 8) / 4
    for frame in (0, 3, 8, 10, 19):
        assert ours[frame] == pytest.approx(bands[:, frame], abs=1e-4), frame
    assert np.ptp(ours[10]) < 1e-6 < np.ptp(ours[3]), "silence is flat"
