"""What the documents say is true: commands and options exist, links lead somewhere, code names what there is."""

import ast
import re
import shlex

import pytest
import typer.main
import yaml
from pages import DOCS, PAGES, ROOT, blocks, by_page

import etude
from etude.cli.app import app

MADE = {f"{path.parent.name}.md" for path in ROOT.glob("adapters/backbones/*/README.md")}
MADE |= {"notebook.md", "recipe-reference.md"}
"""Pages that the build makes."""


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
        with pytest.raises(Exception, match=r"No such|Missing"):
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


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if "--8<--" in page.read_text()])
def test_included_files_exist(page):
    files = re.findall(r'^--8<-- "([^"]+)"', page.read_text(), re.M)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def scripts(page):
    """Benchmarks with their options."""
    return re.findall(r"(benchmarks/\w+\.py)((?:\s+[-\w]+)*)", page.read_text())


@pytest.mark.parametrize("script", by_page(scripts))
def test_benchmarks_and_their_options_exist(script):
    path, options = script
    source = (ROOT / path).read_text() + (ROOT / "benchmarks" / "report.py").read_text()
    assert [option for option in re.findall(r"--[\w-]+", options) if f'"{option}"' not in source] == []


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == etude.__version__
    assert {"message", "title", "authors", "license"} <= set(citation)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_included_examples_are_included(page):
    """A line that a formatter has taken apart would be shown as it stands."""
    for line in page.read_text().splitlines():
        if re.match(r"-+ *8", line):
            found = re.fullmatch(r'--8<-- "([^"]+)"', line)
            assert found, line
            assert (ROOT / found[1]).is_file(), line
