"""Adapters in a session: each says what the model as trained says, together or alone; what they share is computed once."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from made_adapters import BOTH, LABELS, make_adapter, methods_of
from torch import nn
from transformers import HubertModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from typer.testing import CliRunner

from etude.adapters import artifact
from etude.adapters.annotations import Annotation
from etude.adapters.errors import UserError
from etude.adapters.inference import merge as merging
from etude.adapters.inference import recordings
from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_trained
from etude.adapters.sound.audio import probe, read_window
from etude.adapters.sound.windows import plan, stitch
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames
from etude.cli.app import app


def same(one, other, tolerance=1e-3):
    """Activations by head and output agree; they are kept in half precision."""
    assert one.keys() == other.keys()
    for head in one:
        assert one[head].keys() == other[head].keys()
        for output in one[head]:
            np.testing.assert_allclose(one[head][output].astype(float), other[head][output].astype(float), atol=tolerance)


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


def same_events(one, other):
    """Activations differ in their last bit, and a threshold may fall between: then a frame more or less."""
    assert abs(len(one.notes) - len(other.notes)) <= 1
    if len(one.notes) == len(other.notes):
        for a, b in zip(one.notes, other.notes, strict=True):
            assert (a.technique, a.onset) == (b.technique, pytest.approx(b.onset, abs=0.05))


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


def count_rows(session, monkeypatch):
    """Blocks that run from now on: (index, rows, whether under an adapter)."""
    calls, real = [], session.backbone.block

    def block(index, state):
        calls.append((index, len(state), session._bank._selection.index is not None))
        return real(index, state)

    monkeypatch.setattr(session.backbone, "block", block)
    return calls


def test_the_frozen_prefix_is_computed_once_and_no_block_for_nothing(folders, take, monkeypatch):
    """Three blocks; two windows, in one batch."""
    session = Session(
        folders("last-1", method="lora-last"),
        folders("last-2", method="dora-last"),
        folders("first", method="lora-first", layers=[0, 2]),
    )
    session.load(folders("probe", layers=[1]))
    calls = count_rows(session, monkeypatch)
    session.all(take(1.5))
    trunk, branches = [(0, 2, False), (1, 2, False)], [(0, 2, True), (1, 2, True)]
    assert sorted(calls) == sorted([*trunk, *branches, (2, 4, True)])
    calls.clear()
    session.batch([(take(1.5), "first"), (take(0.5), "last-2"), (take(0.4), "last-1"), (take(0.3), "probe")])
    assert sorted(calls) == sorted([*branches, (0, 1, False), (0, 2, False), (1, 2, False), (2, 2, True)])
    calls.clear()
    session(take(0.5), "probe")
    assert calls == [(0, 1, False)]


def test_audio_is_decoded_while_the_batch_before_is_computed(folders, take, monkeypatch):
    session = Session(folders("lora", method="lora"))
    reads, seen, real, computing = [], [], recordings.read_window, session._branches.__call__

    def read(path, start, *rest):
        reads.append(threading.current_thread())
        if len(reads) > 4:  # the second batch
            ahead.set()
        return real(path, start, *rest)

    def compute(self, *arguments):
        seen.append(ahead.wait(10))
        return computing(*arguments)

    ahead = threading.Event()
    monkeypatch.setattr(recordings, "read_window", read)
    monkeypatch.setattr(type(session._branches), "__call__", compute)
    session(take(5.0))
    assert seen == [True, True]
    assert threading.main_thread() not in reads


def test_compiled_sessions_say_the_same_and_switch_without_compiling(folders, take, monkeypatch):
    graphs, original = [], nn.Module.compile

    def counting(graph, inputs):
        graphs.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor) and value.ndim == 3])
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: original(self, backend=counting, **options))
    torch._dynamo.reset()
    paths = [folders("lora", method="lora"), folders("wide", method="lora", overlap=0.5), folders("probe", layers=[1])]
    session, eager = Session(*paths, compile=True), Session(*paths)
    session.batch([(take(0.4), "lora"), (take(0.4), "wide"), (take(0.4), "probe")])
    count = len(graphs)
    assert count == 2  # without an adapter, and with one; for all blocks
    for path in (take(3.3), take(0.4)):
        for name in (*session.adapters, *session.adapters):
            same(session.activations(path, name), eager.activations(path, name))
    assert len(graphs) == count
    session.batch([(take(0.4), "lora"), (take(0.3), "wide")])  # with one for each row, when a batch first mixes them
    assert len(graphs) <= count + 1
    torch._dynamo.reset()


def test_a_backbone_that_cannot_be_compiled_is_one_line(folders, take, monkeypatch):
    original = nn.Module.compile

    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: original(self, backend=broken, **options))
    torch._dynamo.reset()
    with pytest.raises(UserError, match=r"^cannot compile the backbone here: .*no compiler here.* \(do without compile\)$"):
        Session(folders("lora", method="lora"), compile=True)(take(0.4))
    torch._dynamo.reset()


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


# --- the command line, and merging


def adapt(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_predicting_with_several_adapters(folders, take, tmp_path):
    lora, probe = folders("lora", method="lora"), folders("probe", layers=[1])
    out = tmp_path / "out"
    command = ["predict", lora, take(3.3), take(0.5), "--with", probe, "--out", out, "--to", "json"]
    code, printed, err = adapt(*command, "--plot")
    assert (code, err) == (0, "")
    names = ("0.5.json", "0.5.png", "3.3.json", "3.3.png")
    assert files_below(out) == [f"{adapter}/{name}" for adapter in ("lora", "probe") for name in names]
    assert len(printed.splitlines()) == 4
    for adapter in (lora, probe):
        adapt("predict", adapter, take(3.3), "--out", tmp_path / "alone" / adapter.name, "--to", "json")
        alone, together = (json.loads((root / adapter.name / "3.3.json").read_text()) for root in (tmp_path / "alone", out))
        assert together == alone
    code, printed, err = adapt(*command)
    assert (code, printed) == (2, "")
    assert err.startswith(f"error: {out / 'lora' / '3.3.json'}: exists already, and so do 3 more")
    code, _, err = adapt("predict", lora, take(0.5), "--with", folders("LORA", method="dora"), "--out", tmp_path / "new")
    assert code == 2
    assert "is called 'LORA', as another of these adapters is" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("backbone", ["mert", "whisper"])
@pytest.mark.parametrize("method", ["lora", "dora-last", "ia3"])
def test_merged_weights_say_what_backbone_and_adapter_say(folders, take, tmp_path, backbone, method):
    folder, path, out = folders("one", method=method, backbone=backbone), take(3.3), tmp_path / "merged"
    code, printed, err = adapt("merge", folder, out)
    assert (code, err) == (0, "")
    assert printed == f"weights: {out / 'backbone'}   adapter: {out / 'adapter'}\n"
    before, after = Session(folder), Session(out / "adapter")
    same(after.activations(path), before.activations(path))
    same_events(after(path), before(path))
    manifest = after.artifacts["one"].manifest
    assert (manifest.method, manifest.trainable["backbone"]) == ("heads_only", 0)
    assert manifest.backbone.fingerprint == after.backbone.fingerprint() != before.backbone.fingerprint()
    assert not any(name.startswith("blocks.") for name in after.artifacts["one"].tensors)
    kind = HubertModel if backbone == "mert" else WhisperEncoder
    loaded, report = kind.from_pretrained(out / "backbone", output_loading_info=True)
    assert not any(report[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    mine = after.backbone.model.state_dict()
    assert all(torch.equal(tensor, mine[name]) for name, tensor in loaded.eval().state_dict().items())
    prepared = after.backbone.prepare(*audio_batch(after.backbone, [np.ones(9000, np.float32)]))
    with torch.no_grad():
        last = after.backbone(prepared)[-1]
        if backbone == "mert":  # transformers' Whisper encoder takes 30 s only
            torch.testing.assert_close(loaded(prepared).last_hidden_state, last, rtol=0, atol=1e-4)


def test_merging_keeps_licence_origin_and_sample_rate(folders, tmp_path):
    from safetensors.torch import save_file

    base = Session(folders("lora", method="lora")).backbone
    weights = tmp_path / "weights"
    weights.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in base.model.state_dict().items()}, weights / "model.safetensors")
    config = {**base.model.config.to_dict(), "sample_rate": 16000}
    (weights / "config.json").write_text(json.dumps(config))
    (weights / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    folder = make_adapter(tmp_path / "flute", method="lora", weights=str(weights))
    merging.merge(folder, tmp_path / "new" / "merged")
    session = Session(tmp_path / "new" / "merged" / "adapter")
    assert session.backbone.licence == "cc-by-nc-4.0" == session.artifacts["flute"].manifest.backbone.licence
    assert session.backbone.sample_rate == 16000
    card = (tmp_path / "new/merged/adapter/README.md").read_text()
    assert "cc-by-nc-4.0" in card
    assert "fingerprint `" + artifact.load(folder).manifest.backbone.fingerprint[:16] in card
    assert str(tmp_path) not in card


def test_merging_replaces_nothing_unasked_and_leaves_nothing_behind(folders, tmp_path, monkeypatch):
    folder, out = folders("lora", method="lora"), tmp_path / "merged"
    code, _, err = adapt("merge", folders("probe", layers=[1]), out)
    assert (code, "nothing to merge" in err) == (2, True)

    def full(*arguments, **options):
        raise UserError("cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "save", full)
        assert adapt("merge", folder, out)[0] == 2
    assert not list(tmp_path.iterdir())
    assert adapt("merge", folder, out)[0] == 0
    before = (out / "backbone" / "model.safetensors").read_bytes()
    code, _, err = adapt("merge", folders("dora", method="dora"), out)
    assert code == 2
    assert err == f"error: {out / 'backbone'}: exists already (pass --force to replace it, or name another folder)\n"
    assert (out / "backbone" / "model.safetensors").read_bytes() == before
    assert adapt("merge", folders("dora", method="dora"), out, "--force")[0] == 0
    assert Session(out / "adapter").adapters == ("dora",)
    (tmp_path / "file").write_text("mine")
    assert "is a file, not a folder" in adapt("merge", folder, tmp_path / "file")[2]
