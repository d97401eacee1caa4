"""Adapters in a session: each says what the model as trained says, together or alone."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from agreement import same, same_events
from made_adapters import BOTH, LABELS, methods_of

from etude.adapters import artifact
from etude.adapters.annotations import Annotation
from etude.adapters.errors import UserError
from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_trained
from etude.adapters.sound.audio import probe, read_window
from etude.adapters.sound.windows import plan, stitch
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames


def different(one, other):
    return np.abs(one["technique"]["technique"].astype(float) - other["technique"]["technique"]).max() > 0.01


# --- one adapter


@pytest.mark.parametrize(
    ("backbone", "method", "layers"),
    [
        *((backbone, method, "all") for backbone in BOTH for method in (None, *methods_of(backbone))),
        *((backbone, *rest) for backbone in BOTH for rest in ((None, [1]), ("lora-first", [2]), ("lora-first", [0, 2]))),
        ("whisper", "film", [0]),
        *(("ast", method, "all") for method in (None, "lora-last", "unet", "film")),
        ("ast attention", None, [1, 2]),
    ],
)
def test_a_session_says_what_the_model_as_trained_says(folders, take, backbone, method, layers):
    backbone, *attention = backbone.split()
    more = {"output": "frames", "frequency": "attention"} if attention else {}
    folder = folders("one", method=method, backbone=backbone, layers=layers, **more)
    session, model = Session(folder), build_trained(artifact.load(folder))
    audio = 0.1 * torch.randn(3, model.backbone.window_samples, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([model.backbone.window_samples] * 2 + [4000])
    with torch.no_grad():
        expected = model(model.frozen_states(audio, lengths)).logits["technique"]
    (part,) = session._branches(audio, lengths, [(row, session._adapters["one"]) for row in range(3)])
    assert part.windows == [0, 1, 2]
    for output, values in expected.items():
        found = session._adapters["one"].window_logits(part.context)["technique"][output]
        torch.testing.assert_close(found, values, rtol=0, atol=1e-5 * float(values.abs().max()))
    path = take(3.3)
    size, rate = model.backbone.window_samples, model.backbone.sample_rate
    frames = frames_of(model.backbone, probe(path))
    windows = plan(frames, model.backbone.frames_per_window, overlap_frames(model.backbone, 0.3))

    starts = [window.start * hop_samples(model.backbone) for window in windows]
    waveforms = [read_window(path, start, size, rate) for start in starts]
    head = model.heads["technique"]
    with torch.no_grad():
        logits = model(model.frozen_states(*audio_batch(model.backbone, waveforms))).logits["technique"]
        said = {name: values.half().numpy() for name, values in head.activations(logits).items()}
    expected = {name: stitch(zip(windows, values, strict=True), frames) for name, values in said.items()}
    found = session.activations(path)
    same(found, {"technique": expected})
    notes = model.heads["technique"].decode(found["technique"], model.backbone.frame_rate)
    assert session(path) == Annotation(notes=notes)


def test_a_lora_adapter_is_used_without_importing_peft(folders, take):
    code = (
        "import sys; from etude import Session\n"
        "session = Session(sys.argv[1]); session(sys.argv[2])\n"
        "print('peft' in sys.modules, session.artifacts['one'].manifest.method)"
    )
    command = [sys.executable, "-c", code, str(folders("one", method="dora")), str(take(0.5))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False lora\n"


# --- several adapters


@pytest.fixture(scope="module", params=["mert", "whisper"])
def crowd(request, folders):
    """All methods, a low mix and another overlap in one session."""
    paths = [folders(name, method=name, backbone=request.param) for name in methods_of(request.param)]
    probe = folders("probe", backbone=request.param, layers=[1])
    wide = folders("wide", method="lora", backbone=request.param, overlap=0.5)
    return Session(*paths, probe, wide), [*paths, probe, wide]


def test_together_they_say_what_each_says_alone(crowd, take):
    session, paths = crowd
    assert session.adapters == (*methods_of(session.backbone.config.name), "probe", "wide")
    alone = {path.name: Session(path) for path in paths}
    path, short = take(3.3), take(0.4)
    together = session.all(path)
    assert tuple(together) == session.adapters
    pairs = [(short, "wide"), (path, "dora"), (short, "lora-last"), (path, "probe"), (short, "ia3"), (short, "wide")]
    annotations = session.batch(pairs)
    for (recording, name), annotation in zip(pairs, annotations, strict=True):
        same_events(annotation, alone[name](recording))
    for name, annotation in together.items():
        same(session.activations(path, name), alone[name].activations(path))
        same_events(annotation, alone[name](path))
    assert any(annotation.notes for annotation in together.values())
    assert different(session.activations(path, "lora"), session.activations(path, "dora"))


def test_switching_there_and_back_gives_the_very_same(crowd, take):
    session, _ = crowd
    path = take(3.3)
    before = session.activations(path)
    session.switch("ia3")
    between = session.activations(path)
    session.switch("lora")
    after = session.activations(path)
    assert all(np.array_equal(before["technique"][output], values) for output, values in after["technique"].items())
    assert different(before, between)
    assert session.current == "lora"
    assert np.array_equal(session.activations(path, "ia3")["technique"]["onset"], between["technique"]["onset"])
    assert session.current == "lora"


def test_loading_and_unloading_leave_the_backbone_and_the_others_alone(folders, take):
    session = Session(folders("lora", method="lora"))
    fingerprint, before = session.backbone.fingerprint(), session.activations(take(1.5))
    assert fingerprint == session.artifacts["lora"].manifest.backbone.fingerprint
    assert session.load(folders("dora", method="dora")) == "dora"
    assert session.load(folders("lora", method="lora"), "again") == "again"
    assert session.load(folders("probe", layers=[1])) == "probe"
    assert session.backbone.fingerprint() == fingerprint
    assert session.adapters == ("lora", "dora", "again", "probe")
    same(session.activations(take(1.5), "again"), before, 0)
    same(session.activations(take(1.5)), before, 0)
    session.unload("dora")
    same(session.activations(take(1.5)), before)
    session.unload("lora")
    with pytest.raises(UserError, match=r"^no adapter is chosen \(switch to one; known: again, probe\)$"):
        session(take(1.5))
    session.switch("again")
    same(session.activations(take(1.5)), before)
    assert not any(module.training for module in session.heads()["technique"].modules())
    assert session.heads("probe")["technique"].labels == LABELS["technique"]
    assert session.recipe("probe").mix.layers == (1,)
    session.unload("again")
    session.unload("probe")
    assert session.adapters == ()
    assert session.batch([]) == []


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"backbone": "whisper"}, "random:tiny and random:tiny are other weights"),
        ({"window": 0.8}, r"their windows \(backbone.window\) differ"),
        ({"normalize": False}, "they prepare audio differently"),
    ],
)
def test_adapters_of_other_backbones_are_refused(folders, more, reason):
    session = Session(folders("lora", method="lora"))
    with pytest.raises(UserError, match=f"'other' cannot share a backbone with 'lora': {reason}"):
        session.load(folders("other", **more))
    assert session.adapters == ("lora",)


def test_mistakes_in_naming_adapters(folders, take):
    session = Session(folders("lora", method="lora"), folders("probe", layers=[1]))
    for wrong in (session.switch, session.unload, session.heads, lambda name: session(take(0.4), name)):
        with pytest.raises(UserError, match=r"^no adapter 'prob' is loaded \(did you mean 'probe'\?\)$"):
            wrong("prob")
    with pytest.raises(UserError, match=r"an adapter called 'lora' is loaded already \(give it another name"):
        session.load(folders("lora", method="lora"))
    with pytest.raises(UserError, match="no such audio file"):
        session.batch([(take(0.4), "lora"), ("missing.wav", "probe")])
    with pytest.raises(UserError, match="there is no device 'abacus'"):
        Session(folders("probe", layers=[1]), device="abacus")
