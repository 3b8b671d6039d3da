"""Which known server is meant, by its name and by what an entry starts."""

from typing import Any

import pytest

from fluidmcp.packages.catalogue.find import find_server, nearest_names, recognise, show_package
from tests.entries import read_entry
from tests.packages.catalogue.known import KEYS, KNOWN, LINES, OPEN, PAGES


def test_a_server_is_found_by_its_name_and_others_by_what_looks_like_it():
    assert find_server("lines", KNOWN) is LINES
    assert find_server("Lines", KNOWN) is None
    assert nearest_names("Lines", KNOWN) == ("lines",)
    assert nearest_names("linse", KNOWN) == ("lines",)
    assert nearest_names("mcp-pages", KNOWN) == ("pages",)
    assert nearest_names("somebody", KNOWN) == ("lines",)
    assert nearest_names("qqqq", KNOWN) == ()


def test_its_package_is_shown_with_the_version_or_else_its_command_line():
    assert [show_package(server) for server in (LINES, PAGES, OPEN)] == [
        "npm:@somebody/mcp-lines@1.4.3",
        "pypi:mcp-pages[all]==0.3.1",
        "open-server --stdio",
    ]


@pytest.mark.parametrize(
    ("server", "entry"),
    [
        (LINES, {"package": "npm:@somebody/mcp-lines"}),
        (LINES, {"package": "npm:@somebody/mcp-lines@9.9.9"}),
        (PAGES, {"package": "pypi:MCP_Pages==1.0"}),
        (LINES, {"command": "npx", "args": ["-y", "@somebody/mcp-lines"]}),
        (LINES, {"command": "npx", "args": ["-y", "@somebody/mcp-lines@latest", "--stdio"]}),
        (LINES, {"command": "npx", "args": ["--package=@somebody/mcp-lines@1", "other"]}),
        (LINES, {"command": "npm", "args": ["exec", "--", "@somebody/mcp-lines"]}),
        (LINES, {"command": "bunx", "args": ["@somebody/mcp-lines"]}),
        (LINES, {"command": "sh", "args": ["-c", "exec npx -y @somebody/mcp-lines@1.2 --stdio"]}),
        (LINES, {"command": "node", "args": ["/opt/node_modules/@somebody/mcp-lines/dist/index.js"]}),
        (LINES, {"command": "mcp-lines"}),
        (LINES, {"command": "/usr/local/bin/mcp-lines"}),
        (KEYS, {"command": "npx", "args": ["mcp-keys"]}),
        (PAGES, {"command": "uvx", "args": ["mcp-pages"]}),
        (PAGES, {"command": "uvx", "args": ["mcp_pages[all]==0.2"]}),
        (PAGES, {"command": "uvx", "args": ["--from", "mcp-pages>=0.2", "pages"]}),
        (PAGES, {"command": "uvx", "args": ["--from=mcp-pages", "pages"]}),
        (PAGES, {"command": "python3", "args": ["-m", "mcp_pages"]}),
        (PAGES, {"command": "python3", "args": ["/venv/lib/python3.12/site-packages/mcp_pages/main.py"]}),
    ],
    ids=str,
)
def test_an_entry_is_recognised_by_what_it_starts(server: Any, entry: dict[str, Any]):
    assert recognise(read_entry("mine", entry), KNOWN) == (server,)


@pytest.mark.parametrize(
    "entry",
    [
        {"package": "npm:mcp-lines"},
        {"package": "pypi:mcp-keys"},
        {"package": "npm:/etc/passwd"},
        {"command": "npx", "args": ["-y", "@somebody/mcp-lines-extra"]},
        {"command": "npx", "args": ["-y", "@somebody-else/mcp-lines"]},
        {"command": "node", "args": ["mcp-lines"]},
        {"command": "lines"},
    ],
    ids=str,
)
def test_other_packages_and_programs_are_not(entry: dict[str, Any]):
    assert recognise(read_entry("mine", entry), KNOWN) == ()
