"""`adapt recipes ls|cp|check` as a user calls them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from etude.adapters.errors import UserError
from etude.cli.recipes import app, summary
from etude.recipes import packaged


def adapt_recipes(*arguments: str) -> str:
    """Output of ``adapt recipes ARGUMENTS``; exceptions come through."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_ls_shows_every_recipe_with_the_start_of_its_header() -> None:
    lines = adapt_recipes("ls").splitlines()
    for name, path in packaged().items():
        first_word = path.read_text(encoding="utf-8").removeprefix("#").split()[0]
        assert any({name, first_word} <= set(line.split()) for line in lines), name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# LoRA on strings\n#\n#   adapt train r.yaml\nname: r\n", "LoRA on strings"),
        ("# LoRA (Hu et al., 2022) on\n# strings. More.\n", "LoRA (Hu et al., 2022) on strings."),
        ("name: r\n# not a header\n", ""),
        ("", ""),
    ],
)
def test_summary_is_the_first_sentence_of_the_header(text: str, expected: str) -> None:
    assert summary(text) == expected


@pytest.mark.parametrize(
    ("destination", "written"), [((), "demo.yaml"), (("mine.yaml",), "mine.yaml"), (("folder",), "folder/demo.yaml")]
)
def test_cp_copies_to_here_to_a_file_or_into_a_folder(
    destination: tuple[str, ...], written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    adapt_recipes("cp", "demo", *destination)
    assert Path(written).read_bytes() == packaged()["demo"].read_bytes()


@pytest.mark.parametrize("name", packaged())
def test_cp_says_how_to_run_the_copy(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    command = "pretrain" if name == "nano" else "train"
    assert adapt_recipes("cp", name, str(mine)) == f"{mine}: run it with 'adapt {command} {mine}'\n"


def test_cp_never_overwrites(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("my own work")
    with pytest.raises(UserError, match=r"mine\.yaml' exists"):
        adapt_recipes("cp", "demo", str(mine))
    assert mine.read_text() == "my own work"


def test_cp_explains_a_wrong_name_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no packaged recipe 'demmo' \(did you mean 'demo'\?\)"):
        adapt_recipes("cp", "demmo")
    with pytest.raises(UserError, match=r"no folder '.*nowhere'"):
        adapt_recipes("cp", "demo", str(tmp_path / "nowhere" / "mine.yaml"))


@pytest.mark.parametrize("name", packaged())
def test_check_prints_a_recipe_that_is_valid_and_resolved(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = packaged()[name].read_text(encoding="utf-8")
    for variable in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(variable, str(tmp_path))
    output = adapt_recipes("check", name)
    written = yaml.safe_load(text)
    resolved = yaml.safe_load(output)
    assert resolved["name"] == written["name"]
    assert set(written["train"]) < set(resolved["train"])
    again = tmp_path / "again.yaml"
    again.write_text(output)
    assert adapt_recipes("check", str(again)) == output


def test_check_applies_overrides() -> None:
    assert yaml.safe_load(adapt_recipes("check", "demo", "train.lr=0.125"))["train"]["lr"] == 0.125


def test_check_fills_in_the_defaults_of_a_pretraining_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDE_SHARED", str(tmp_path))
    written = yaml.safe_load(packaged()["nano"].read_text(encoding="utf-8"))
    resolved = yaml.safe_load(adapt_recipes("check", "nano", "mixup=null", "targets.pitch.layer=2"))
    assert resolved["soundfonts"] == written["soundfonts"]
    assert resolved["recordings"]["notes"] == "${ETUDE_SHARED}/data/notes.csv"
    assert resolved["shape"]["hidden_size"] == 256
    chosen = {name: target for name, target in resolved["targets"].items() if target is not None}
    assert chosen == written["targets"] | {"pitch": {"weight": 0.3, "layer": 2}}
    assert (resolved["mixup"], resolved["effects"]["reverb"], resolved["train"]["clip"]) == (None, 0.3, 1.0)


def test_check_reports_all_problems_of_a_pretraining_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDE_SHARED", str(tmp_path))
    with pytest.raises(UserError) as caught:
        adapt_recipes("check", "nano", "trian=1", "train.lr=-1", "targets.pitch=1")
    assert [str(problem).split(": ")[1] for problem in caught.value.problems] == ["targets.pitch", "train.lr", "trian"]


def test_check_reports_all_problems_of_a_recipe() -> None:
    with pytest.raises(UserError) as caught:
        adapt_recipes("check", "demo", "trian=1", "train.lr=-1")
    assert len(caught.value.problems) == 2
    assert "did you mean 'train'?" in str(caught.value)
