"""A server out of a command line: what it is called, and what runs."""

from pathlib import Path

import pytest

from fluidmcp.packages.command_line import load_command


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("npx -y @modelcontextprotocol/server-memory@2025.1.1 --flag", "modelcontextprotocol-server-memory"),
        ("npx some-server", "some-server"),
        ("/usr/bin/uvx mcp-server-time==1.2", "mcp-server-time"),
        ("uv tool run mcp-server-time", "mcp-server-time"),
        ("uv run server.py", "server"),
        ("python3 -I /srv/my_server.py", "my_server"),
        ("python -m my.server", "my-server"),
        ("node dist/index.js", "index"),
        ("docker run -i --rm ghcr.io/org/thing:1.0", "thing"),
        ("/opt/Weather", "weather"),
        ("./weather.sh", "weather"),
        ("python3", "python3"),
        ("npx", "npx"),
    ],
)
def test_a_command_is_called_after_what_it_starts(line: str, name: str):
    (server,) = load_command(tuple(line.split()), working_directory=Path("/work")).servers
    assert (server.entry.name, server.entry.directory) == (name, Path("/work"))
    assert (server.entry.command, *server.entry.args) == tuple(line.split())


def test_a_name_of_ones_own_and_nothing_filled_in():
    (entry,) = load_command(("x", "${HOME}"), name="My Server", working_directory=Path("/work")).entries
    assert (entry.name, entry.args) == ("my-server", ("${HOME}",))
