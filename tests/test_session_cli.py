"""Predicting with several adapters, and merging one into its backbone."""

import json

import numpy as np
import pytest
import torch
from agreement import same, same_events
from made_adapters import make_adapter
from transformers import HubertModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from typer.testing import CliRunner

from etude.adapters import artifact
from etude.adapters.errors import UserError
from etude.adapters.inference import merge as merging
from etude.adapters.inference.session import Session
from etude.adapters.states.framing import audio_batch
from etude.cli.app import app


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
