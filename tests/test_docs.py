"""What the documents say is true: commands parse, links lead somewhere, sections of recipes are accepted, the notebook runs."""

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

import etude
from etude.adapters import registry
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.recipe.schema import RecipeOf, parse_recipe
from etude.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "benchmarks" / "README.md"])
MADE = {f"{path.parent.name}.md" for path in ROOT.glob("adapters/backbones/*/README.md")} | {
    "notebook.md",
    "recipe-reference.md",
}
"""Pages that the build makes."""
EXAMPLES = {"backbones": "random_filters", "methods": "channel_gain", "regularizers": "smooth_mix", "formats": "lab"}
PLUGIN = {"annotations": ("points", "kind"), "datasets": ("clicks", "dataset"), "heads": ("point_finder", "head")}
WHOLE = """
name: whole
data: {name: manifest, root: DIR}
backbone: {name: mert, weights: etude-nano}
method: {name: heads_only}
heads: {technique: {}}
"""


def by_page(found):
    """One test per page and thing found on it."""
    return [pytest.param(item, id=f"{page.name}-{place}") for page in PAGES for place, item in enumerate(found(page))]


def blocks(*languages):
    """A function from a page to its code blocks in these languages."""
    return lambda page: [
        body for language, body in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.S | re.M) if language in languages
    ]


def whole_commands(page):
    """The lines of blocks that run ``adapt``, and what 'accelerate launch' runs."""
    lines = [line for block in blocks("bash", "text")(page) for line in block.splitlines()]
    lines = [re.sub(r"^(\$ |[A-Z_]+=\S+ )+", "", line) for line in lines]
    quoted = re.findall(r"`accelerate launch [^`]*\$\(which (adapt\) [^`]+)`", page.read_text())
    return [line for line in lines if line.startswith("adapt ")] + [line.replace(")", "", 1) for line in quoted]


def mentioned_commands(page):
    """What is quoted within sentences, which may leave arguments out."""
    return re.findall(r"`(adapt [^`]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M))


def parse(words):
    """The context of the innermost command, as click parses the words; nothing runs."""
    command, context, (name, *arguments) = typer.main.get_command(app), None, words
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not hasattr(command, "commands"):
            return context
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


def links(page):
    """Relative targets of links and images."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    return [(page, target) for target in re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", text)]


@pytest.fixture(scope="module")
def reference():
    """The module that makes the recipe reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        spec = importlib.util.spec_from_file_location("recipe_reference", DOCS / "_recipe_reference.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def plugged(monkeypatch):
    """The examples and the plug-in package of these tests, as if they were installed."""
    points = {folder: (name, name) for folder, name in EXAMPLES.items()}
    points |= {folder: (name, f"etude_points.{module}") for folder, (name, module) in PLUGIN.items()}
    for place in (DOCS / "examples", ROOT / "tests" / "plugin"):
        monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(
        registry, "_plugins", lambda folder: {points[folder][0]: [EntryPoint(*points[folder], f"etude.{folder}")]}
    )
    registry.find.cache_clear()
    yield
    registry.find.cache_clear()


def section(page, name):
    """What stands below the heading ``name`` of the third level."""
    return page.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]


@pytest.mark.parametrize("command", by_page(whole_commands))
def test_a_command_parses(command):
    parse(shlex.split(command, comments=True))


@pytest.mark.parametrize("command", by_page(mentioned_commands))
def test_a_command_that_is_mentioned_exists(command):
    command_line, (_, *words) = typer.main.get_command(app), shlex.split(command)
    while words and hasattr(command_line, "commands") and not words[0].startswith("-"):
        command_line = command_line.commands[words.pop(0)]
    known = {
        "--help",
        *(option for parameter in command_line.params for option in (*parameter.opts, *parameter.secondary_opts)),
    }
    assert {word for word in words if word.startswith("-")} <= known


def test_commands_are_found_and_a_wrong_one_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Say `adapt cache ls`.\n```bash\nX=1 adapt train demo --fresh  # so\n```\n```text\n$ adapt predict a b\n```\n"
    )
    assert whole_commands(page) == ["adapt train demo --fresh  # so", "adapt predict a b"]
    assert mentioned_commands(page) == ["adapt cache ls"]
    for wrong in ("adapt tarin demo", "adapt train demo --frehs", "adapt predict a"):
        with pytest.raises(Exception, match="No such|Missing"):
            parse(wrong.split())


def test_commands_are_on_the_pages():
    assert sum(len(whole_commands(page)) for page in PAGES) > 20
    assert {name for page in PAGES for line in whole_commands(page) for name in line.split()[1:2]} >= set(
        typer.main.get_command(app).commands
    ) - {"cache", "merge", "pretrain"}


@pytest.mark.parametrize("link", by_page(links))
def test_a_link_leads_somewhere(link):
    page, target = link
    assert (page.parent / target).exists() or (page.parent == DOCS and target in MADE)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("code", by_page(blocks("python")))
def test_python_parses_and_names_what_there_is(code):
    if not code.startswith("--8<--"):
        ast.parse(code)
    assert set(re.findall(r"\betude\.(\w+)", code)) <= {*etude.__all__, "adapters"}


@pytest.mark.parametrize("text", by_page(blocks("yaml")))
def test_a_section_of_a_recipe_is_accepted(text, plugged):
    parse_recipe(yaml.safe_dump({**yaml.safe_load(WHOLE), **yaml.safe_load(text)}))


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if "--8<--" in page.read_text()])
def test_included_files_exist(page):
    files = re.findall(r'^--8<-- "([^"]+)"', page.read_text(), re.M)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_every_example_is_on_a_page():
    assert {path.name for path in (DOCS / "examples").glob("*.py")} == set(
        re.findall(r'"docs/examples/(\w+\.py)"', (DOCS / "extend.md").read_text())
    )


def test_examples_train_and_predict(plugged, toy_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("examples.yaml").write_text(f"""
name: examples
data: {{name: manifest, root: {toy_root}}}
backbone: {{name: random_filters, weights: none, window: 2.0}}
method: {{name: channel_gain}}
heads: {{technique: {{hidden: 16}}}}
regularizers: [{{name: smooth_mix, weight: 0.1}}]
train: {{epochs: 2, batch_size: 4, overlap: 0.5, precision: fp32}}
""")
    trained = CliRunner().invoke(app, ["train", "examples.yaml"])
    assert trained.exit_code == 0, trained.output
    found = CliRunner().invoke(app, ["predict", "examples-adapter", str(toy_root / "test0.wav"), "--to", "lab"])
    assert found.exit_code == 0, found.output
    events = int(re.search(r": (\d+) event", found.output)[1])
    lines = [line.split() for line in Path("test0.lab").read_text().splitlines()]
    assert len(lines) == events
    assert all(0 <= float(start) < float(end) and label in ("tone", "buzz") for start, end, label in lines)

    from count import count

    counted = typer.Typer()
    counted.command()(count)
    assert f"notes: {events}\n" in CliRunner().invoke(counted, ["examples-adapter", str(toy_root / "test0.wav")]).output


def test_smooth_mix_is_computed_by_hand(plugged):
    import torch

    from etude.adapters.heads import Context

    kind = registry.find("regularizers", "smooth_mix")
    mixed = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]], [[2.0, 0.0], [2.0, 2.0], [2.0, 0.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    loss = kind(kind.Config(), 2, {}).loss(Context(mixed), {}, mask)
    assert loss.item() == pytest.approx((1.0 + 2.0 + 2.0) / 3)


def test_the_reference_names_every_field(reference, plugged):
    page = reference.reference()
    for folder in reference.SECTIONS:
        for name in registry.names(folder):
            own = section(page, name)
            fields = registry.find(folder, name).Config.model_fields
            assert [field for field in fields if f"| `{field}` |" not in own] == [], name
    fixed, pretraining = page.split("\n## data\n")[0], page.split("\n## Pretraining recipes\n")[1]
    for model, part in ((RecipeOf, fixed), (PretrainRecipe, pretraining)):
        assert [field for field in model.model_fields if f"| `{field}` |" not in part] == []
    assert "**`train.augment`**" in fixed
    assert "| `lowpass_hz` |" in fixed


def test_a_row_of_the_reference_says_type_default_and_meaning(reference):
    page = reference.reference()
    assert '| `blocks` | text or list of integer | `"all"` | `all`, `last N`, or a list of block indices from 0. |' in page
    assert "| `overlap` | number ≥ 0 | `1.0` | Seconds by which windows overlap in evaluation and prediction;" in page
    assert "| `root` | text | required |" in section(page, "gtzan")
    assert "1,000 clips of 30 s" in section(page, "gtzan")
    assert "| `weight` | number > 0 | `1.0` | Factor of the weights of its recordings" in section(page, "gtzan")  # inherited
    assert ":class:" not in page
    assert "``" not in page.replace("```", "")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 0, "exclusiveMaximum": 2**32}, "integer ≥ 0 and < 4,294,967,296"),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "`a` or `b` or null"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "integer"}]}, "[number, integer]"),
        ({"type": "array", "items": {"$ref": "#/$defs/Part"}}, "list of section"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "text: true or false"),
        ({}, "anything"),
    ],
)
def test_types_are_said_in_words(reference, schema, words):
    assert reference.words(schema, {"Part": {"type": "object", "properties": {}}}) == words


def test_the_notebook_runs(tmp_path):
    cells = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert float(re.search(r"event_macro_f1 (\S+)\n$", run.stdout)[1]) > 0.9
    assert re.search(r"7 notes found, 7 played", run.stdout)
    written = "".join(line for cell in cells for output in cell.get("outputs", ()) for line in output["text"])
    assert [line.split()[:1] for line in written.splitlines()] == [line.split()[:1] for line in run.stdout.splitlines()]
