"""Where the weights of backbones come from: folders, the package, the Hub; and their licences."""

import os

import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import save_file
from small_backbones import build, mock_mert
from torch import nn
from transformers import HubertModel

from etude.adapters.backbones import mert
from etude.adapters.backbones._parts import weights as checkpoints
from etude.adapters.errors import UserError


def test_folders_without_usable_weights(tmp_path):
    with pytest.raises(UserError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        checkpoints.load_tensors(str(tmp_path))
    for missing in (str(tmp_path / "nowhere"), "./a/b", "nowhere", "a/b/c", "~/weights"):
        with pytest.raises(UserError, match="no such folder of weights"):
            checkpoints.load_tensors(missing)
    file = tmp_path / "weights.pt"
    file.write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        checkpoints.load_tensors(str(file))


@pytest.mark.parametrize("name", checkpoints.FILES)
@pytest.mark.parametrize("content", [b"", b"garbage" * 50, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_corrupted_weights(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as weights") as caught:
        checkpoints.load_tensors(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def test_pickles_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read as weights"):
        checkpoints.load_tensors(str(tmp_path))
    assert not (tmp_path / "owned").exists()


def test_bin_before_torch_1_6_and_preference_for_safetensors(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoints.load_tensors(str(tmp_path))[0]["a"], torch.ones(2))
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert torch.equal(checkpoints.load_tensors(str(tmp_path))[0]["a"], torch.zeros(2))


def test_config_json(tmp_path):
    assert checkpoints.load_config(str(tmp_path)) is None
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(UserError, match="not valid JSON"):
        checkpoints.load_config(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: cc-by-4.0\ntags: [a]\n---\n# Card\n", "cc-by-4.0"),
        ("---\ntags: [a]\n---\n", "unknown: see the source of the weights"),
        ("---\nlicense: [\n---\n", "unknown: see the source of the weights"),
        ("# license: mit\n", "unknown: see the source of the weights"),
    ],
)
def test_licence_of_a_folder(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert checkpoints.find_licence(str(tmp_path), None, {"m-a-p": "CC-BY-NC-4.0"}) == licence


CARD = "---\nlicense: {}\nlibrary_name: etude\n---\n# A card\n"


@pytest.fixture
def packaged_folder(tmp_path, monkeypatch):
    """Where the weights that come with the package are looked for: ``toy-nano``, and folders that hold none."""
    folder = tmp_path / "packaged"
    for name in ("toy-nano", "__pycache__"):
        (folder / name).mkdir(parents=True)
    (folder / "mert.py").write_text("")
    mock_mert(folder / "toy-nano", build("mert").model, old=False)
    (folder / "toy-nano" / "README.md").write_text(CARD.format("apache-2.0"))
    monkeypatch.setattr(checkpoints, "PACKAGED", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_packaged_weights_are_loaded_by_name_with_their_licence(packaged_folder):
    assert checkpoints.packaged_weights() == ("toy-nano",)
    backbone = build("mert", "toy-nano", window=1.0)
    assert backbone.fingerprint() == build("mert").fingerprint()
    assert (backbone.id, backbone.revision, backbone.licence) == ("toy-nano", None, "apache-2.0")
    by_path = build("mert", packaged_folder / "toy-nano", window=1.0)
    assert (by_path.fingerprint(), by_path.licence) == (backbone.fingerprint(), "apache-2.0")


def test_packaged_weights_come_before_a_local_folder_of_their_name(packaged_folder, tmp_path):
    local = tmp_path / "toy-nano"
    local.mkdir()
    with torch.device("meta"):
        other = HubertModel(mert.hubert_config(mert.SIZES["tiny"])).to_empty(device="cpu")
    for parameter in other.parameters():
        nn.init.constant_(parameter, 0.5)
    mock_mert(local, other, old=False)
    (local / "README.md").write_text(CARD.format("mit"))
    named, by_path = build("mert", "toy-nano"), build("mert", "./toy-nano")
    assert (named.fingerprint(), named.licence) == (build("mert").fingerprint(), "apache-2.0")
    assert by_path.fingerprint() != named.fingerprint()
    assert by_path.licence == "mit"


def test_an_unknown_name_lists_the_packaged_weights(packaged_folder):
    (packaged_folder / "also").mkdir()
    (packaged_folder / "also" / "config.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        build("mert", "toy-nanno")
    assert str(caught.value) == (
        "toy-nanno: no such folder of weights (check the path, or give a Hub name such as owner/name, "
        "or what comes with etude (also, toy-nano))"
    )


def hub(monkeypatch, files, missing=errors.EntryNotFoundError):
    """A Hub with ``files`` by name; asking for another one raises ``missing``."""
    asked = []

    def download(repository, name, *, revision=None):
        asked.append((repository, name, revision))
        if name in files:
            return str(files[name])
        raise missing("no") if not issubclass(missing, errors.HfHubHTTPError) else missing.__new__(missing)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def test_hub_checkpoint(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--m-a-p--MERT-v1-95M" / "snapshots" / commit
    folder.mkdir(parents=True)
    mock_mert(folder, build("mert").model, old=True)
    asked = hub(monkeypatch, {path.name: path for path in folder.iterdir()})
    backbone = build("mert", "m-a-p/MERT-v1-95M", revision="main")
    assert backbone.revision == commit
    assert backbone.licence == "CC-BY-NC-4.0"
    assert backbone.fingerprint() == build("mert").fingerprint()
    assert {revision for _, _, revision in asked} == {"main"}
    assert not any(name.endswith(".py") for _, name, _ in asked)


def test_offline_with_only_the_pickle_cached(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    files = {"pytorch_model.bin": tmp_path / "pytorch_model.bin"}
    hub(monkeypatch, files, errors.LocalEntryNotFoundError)
    tensors, commit = checkpoints.load_tensors("owner/name")
    assert list(tensors) == ["a"]
    assert commit is None
    assert checkpoints.find_licence("owner/name", None, {}) == "unknown: see the source of the weights"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError, "the Hub cannot be reached"),
        (errors.EntryNotFoundError, "has no model.safetensors or pytorch_model.bin"),
        (errors.RepositoryNotFoundError, "neither a local folder nor a Hub repository"),
        (errors.HFValidationError, "neither a local folder nor a Hub repository"),
        (errors.GatedRepoError, "access to these weights must be requested"),
        (errors.RevisionNotFoundError, "has no revision 'v9'"),
        (ConnectionError, "download of model.safetensors failed: no"),
    ],
)
def test_hub_failures(monkeypatch, error, message):
    hub(monkeypatch, {}, error)
    with pytest.raises(UserError, match=message) as caught:
        checkpoints.load_tensors("owner/name", "v9")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].fix
    assert "\n" not in str(caught.value)
