"""What other distributions add is found by its name, and what is wrong with it spoils nothing else."""

import subprocess
import sys

import pytest

import etude
from etude.adapters import registry
from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.formats import export
from etude.adapters.heads._parts.labels import head_labels

FORMAT = """
from etude.adapters.formats import Format

class Listing(Format):
    suffix = ".lst"

    def write(self, path, annotation, origin):
        path.write_text(f"{origin.source.name}: {list(annotation)}")
"""


def forget():
    for known in (registry._plugins, registry.find, kind_of):
        known.cache_clear()


def install(folder, distribution, points):
    """A distribution in ``folder``, which is put on the path: ``points`` are (folder of etude, name, value)."""
    place = folder / f"{distribution}-0.1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1\n")
    (place / "entry_points.txt").write_text("".join(f"[etude.{group}]\n{name} = {value}\n" for group, name, value in points))


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install further ones for a single test."""

    def add(distribution, *points, **modules):
        folder = tmp_path / distribution
        install(folder, distribution, points)
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        forget()

    yield add
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("value", ["my_listing", "my_listing:Listing"])
def test_a_module_or_a_class_of_another_distribution_is_found(plugin, tmp_path, value):
    sys.modules.pop("my_listing", None)
    plugin("lists", ("formats", "listing", value), my_listing=FORMAT)
    assert "listing" in registry.names("formats")
    export(Annotation(tags=()), tmp_path / "a.lst", "listing", duration=1.0, source=tmp_path / "a.wav")
    assert (tmp_path / "a.lst").read_text() == "a.wav: ['tags']"
    with pytest.raises(etude.UserError, match=r"unknown format 'listin' \(did you mean 'listing'\?\)"):
        registry.find("formats", "listin")


def test_names_import_nothing(plugin):
    plugin("lurking", ("heads", "lurks", "never_imported"), never_imported="raise RuntimeError")
    assert "lurks" in registry.names("heads")
    assert "never_imported" not in sys.modules


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("x = 1", "TypeError: broken_module must define exactly one Head, found 0"),
    ],
)
def test_a_broken_one_breaks_its_own_name_only(plugin, source, what, tmp_path):
    from etude.adapters.datasets.irmas import Irmas

    sys.modules.pop("broken_module", None)
    plugin("faulty", ("heads", "broken", "broken_module"), broken_module=source)
    with pytest.raises(etude.UserError) as caught:
        registry.find("heads", "broken")
    assert str(caught.value) == f"the head 'broken' of faulty cannot be loaded: {what} (update or uninstall faulty)"
    assert registry.find("heads", "tags").kind == "tags"
    assert "broken" not in registry.usable("heads")
    with pytest.raises(etude.UserError, match=r"heads for this data set: mapped_tags, tags\)"):
        head_labels("technique", Irmas(Irmas.Config(name="irmas", root=str(tmp_path))))


def test_a_class_of_another_contract_is_told(plugin):
    plugin("confused", ("heads", "odd", "odd_module:Odd"), odd_module="class Odd: pass")
    with pytest.raises(etude.UserError, match="'odd' of confused cannot be loaded: TypeError: odd_module:Odd is no Head"):
        registry.find("heads", "odd")


def test_a_name_that_two_distributions_use_is_told(plugin):
    plugin("greedy", ("backbones", "mert", "mine"), ("heads", "twice", "mine"))
    plugin("also", ("heads", "twice", "mine"))
    with pytest.raises(etude.UserError, match=r"^the backbone 'mert' is in etude and in greedy \(uninstall greedy\)$"):
        registry.find("backbones", "mert")
    with pytest.raises(etude.UserError, match=r"the head 'twice' is in (also and in greedy|greedy and in also)"):
        registry.find("heads", "twice")
    assert registry.find("backbones", "whisper")


def test_the_command_line_starts_with_broken_ones(plugin, tmp_path):
    plugin("faulty", *((group, "broken", "nowhere") for group in registry.CONTRACTS))
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from etude.cli.app import main; main()"
    for arguments in (["--help"], ["recipes", "check", "demo"]):
        done = subprocess.run(
            [sys.executable, "-c", run, str(tmp_path / "faulty"), *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_is_not_there_has_nothing(monkeypatch):
    assert registry.own_names("no_such_folder") == ()
    with pytest.raises(etude.UserError, match=r"unknown no_such_folder 'x' \(none are known\)"):
        registry.find("no_such_folder", "x")
