"""What the documents say about settings, options and commands is what the code has."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import click
import pytest

from fluidmcp import __version__
from fluidmcp.cli.main import commands
from fluidmcp.config.auth_block import KEYS
from fluidmcp.config.environment import list_variables
from fluidmcp.config.oauth import OAUTH_VARIABLES
from fluidmcp.packages.resolve import INSTALLATION_VARIABLE
from tests.conftest import HEAVY_FOLDERS

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table_rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables, by the code in their first cell (`--port PORT` counts as `--port`)."""
    rows = (line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("| `"))
    return {re.split(r"[` ]", cells[0].strip())[1]: [cell.strip() for cell in cells] for cells in rows}


def known_variables() -> set[str]:
    return {variable.name for variable in list_variables().values()} | {INSTALLATION_VARIABLE, *OAUTH_VARIABLES}


def test_every_variable_stands_in_the_settings_page_with_its_default():
    rows = table_rows(read("docs/settings.md"))
    for variable in list_variables().values():
        name, default = variable.name, variable.default
        assert name in rows, f"{name} is missing in docs/settings.md"
        if isinstance(default, bool):
            assert rows[name][1] in (("1", "on") if default else ("0", "off")), f"the default of {name}"
        elif isinstance(default, int | float):
            assert rows[name][1] == f"{default:g}" or rows[name][1] == str(default), f"the default of {name}"
        elif isinstance(default, str):
            assert rows[name][1] == default, f"the default of {name}"


def test_the_settings_page_names_no_variable_that_does_not_exist():
    known = known_variables()
    shown = {name for name in table_rows(read("docs/settings.md")) if re.fullmatch(r"[A-Z][A-Z_]+", name)}
    assert shown == known


@pytest.mark.parametrize(
    "page", ["docs/processes.md", "docs/http.md", "docs/getting-started.md", "docs/login.md", "README.md"]
)
def test_other_pages_name_only_variables_that_exist(page: str):
    known = known_variables()
    assert set(re.findall(r"\b(?:FMCP|MCP)_[A-Z_]+[A-Z]\b", read(page))) <= known


def test_every_limit_of_the_processes_page_has_its_default():
    for line in read("docs/processes.md").splitlines():
        name = re.search(r"`(FMCP_[A-Z_]+)` \|$", line)
        if name is not None:
            (default,) = (each.default for each in list_variables().values() if each.name == name[1])
            assert line.split("|")[2].strip() == f"{default:g}"


def test_every_option_of_every_command_stands_in_the_settings_page():
    page = read("docs/settings.md")
    context = click.Context(commands)
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None
        assert f"`fluidmcp {name}" in page
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert re.search(rf"`{option}[` ]", page), f"{option} of {name} is missing in docs/settings.md"


def test_every_key_of_an_auth_block_stands_in_the_login_page():
    rows = table_rows(read("docs/package-login.md"))
    assert set(rows) == set(KEYS)


def test_ci_runs_the_test_command_of_the_readme():
    blocks = re.findall(r"```bash\n(.*?)\n```", read("README.md"), re.DOTALL)
    (command,) = [block for block in blocks if "pytest" in block]
    assert command in read(".ci/run").splitlines()
    assert command in read("CONTRIBUTING.md")


def test_ci_runs_every_heavy_folder():
    (folders,) = re.findall(r"^  ((?:tests/[\w/ ]+\\?\s+)+)FMCP_FRONT", read(".ci/run"), re.MULTILINE)
    named = {ROOT / word for word in folders.split() if word != "\\"}
    assert named == set(HEAVY_FOLDERS)


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert "version" not in project and project["dynamic"] == ["version"]
    assert importlib.metadata.version(project["name"]) == __version__
    assert f"\nappVersion: {__version__}\n" in read("deploy/helm/fluidmcp/Chart.yaml")
    assert "## [Unreleased]" in read("CHANGELOG.md")


def test_everything_that_can_be_installed_has_an_exact_version():
    tool = tomllib.loads(read("pyproject.toml"))["tool"]["uv"]
    for name in ("constraint-dependencies", "build-constraint-dependencies"):
        assert tool[name]
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in tool[name])
