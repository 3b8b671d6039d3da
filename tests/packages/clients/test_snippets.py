"""What clients are told: each text is what its client documents, for one package and for several."""

import base64
import json
import re
import shlex
import tomllib
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from fluidmcp.packages.clients.endpoint import (
    Endpoint,
    is_reachable_from_outside,
    make_client_name,
    make_endpoint,
    tell_apart,
)
from fluidmcp.packages.clients.links import make_cursor_link, make_vscode_link
from fluidmcp.packages.clients.snippets import CLIENT_KEYS, describe_client, describe_clients, write_file_text
from fluidmcp.packages.clients.table import FILE_CLIENTS, MCP_REMOTE, show_places
from tests.parts import ROOT

HERE = "http://localhost:8099"
MAIL = make_endpoint(HERE, "mail", needs_login=True)
CLOCK = make_endpoint("https://gate.example.com/base/", "my.clock")


def test_an_endpoint_keeps_the_path_of_the_gateway_and_has_a_name_that_every_client_takes():
    assert CLOCK == Endpoint("my-clock", "https://gate.example.com/base/my.clock/mcp")
    assert make_client_name("a" * 60) == "a" * 40
    assert make_client_name("..") == "server"


def test_two_packages_of_a_gateway_have_two_names_and_each_keeps_its_own():
    names = ("my.server", "my-server", "my_server", "my-server-2", "a" * 50 + ".1", "a" * 50 + ".2", "_.", "server")
    told = tell_apart([make_endpoint(HERE, name) for name in names])

    assert [one.name for one in told] == [
        "my-server-3",
        "my-server",
        "my_server",
        "my-server-2",
        "a" * 40,
        "a" * 36 + "-2",
        "_",
        "server",
    ]
    assert [one.url for one in told] == [f"{HERE}/{name}/mcp" for name in names]
    assert tell_apart(told) == told


DOCUMENTED = {
    "claude-code": {"mcpServers": {"mail": {"type": "http", "url": MAIL.url}}},
    "claude-desktop": {"mcpServers": {"mail": {"command": "npx", "args": ["-y", MCP_REMOTE, MAIL.url]}}},
    "cursor": {"mcpServers": {"mail": {"url": MAIL.url}}},
    "vscode": {"servers": {"mail": {"type": "http", "url": MAIL.url}}},
    "codex": {"mcp_servers": {"mail": {"url": MAIL.url}}},
    "gemini": {"mcpServers": {"mail": {"url": MAIL.url, "type": "http"}}},
    "windsurf": {"mcpServers": {"mail": {"serverUrl": MAIL.url}}},
    "zed": {"context_servers": {"mail": {"url": MAIL.url}}},
    "opencode": {"mcp": {"mail": {"type": "remote", "url": MAIL.url}}},
}


def test_every_client_with_a_file_has_a_documented_form():
    assert DOCUMENTED.keys() == FILE_CLIENTS.keys()


@pytest.mark.parametrize("key", DOCUMENTED)
def test_the_file_of_a_client_is_what_it_documents(key: str):
    client = FILE_CLIENTS[key]
    read = tomllib.loads if client.language == "toml" else json.loads

    assert read(write_file_text(client, [MAIL])) == DOCUMENTED[key]
    assert read(write_file_text(client, [MAIL, CLOCK]))[client.member].keys() == {"mail", "my-clock"}
    assert show_places(client) == describe_client(key, [MAIL]).parts[-1].caption


def test_the_proxy_is_told_where_http_is_meant_and_is_the_version_that_the_tests_run():
    entry = FILE_CLIENTS["claude-desktop"].make_entry(make_endpoint("http://gate.lan:8099", "mail"))
    parts = json.loads((ROOT / "tests" / "parts" / "package.json").read_text())

    assert entry["args"] == ["-y", MCP_REMOTE, "http://gate.lan:8099/mail/mcp", "--allow-http"]
    assert f"mcp-remote@{parts['dependencies']['mcp-remote']}" == MCP_REMOTE


def test_the_links_hold_the_entry_whatever_its_address():
    # Base64 with "+" and "/" in it, and an address with what a query would take for its own.
    odd = Endpoint("odd", "https://gate.example.com/~~~???>>>&a=1/odd/mcp")

    cursor = urlsplit(make_cursor_link(odd))
    query = parse_qs(cursor.query, strict_parsing=True)
    assert (cursor.scheme, cursor.netloc, cursor.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    assert query["name"] == ["odd"]
    assert json.loads(base64.b64decode(query["config"][0], validate=True)) == {"url": odd.url}
    scheme, _, config = make_vscode_link(odd).partition(":mcp/install?")
    assert scheme == "vscode"
    assert json.loads(unquote(config)) == {"name": "odd", "type": "http", "url": odd.url}
    assert make_vscode_link(odd, insiders=True).startswith("vscode-insiders:mcp/install?")
    assert re.fullmatch(r"[!-~]+", make_cursor_link(odd) + make_vscode_link(odd))


@pytest.mark.parametrize("key", CLIENT_KEYS)
def test_every_client_is_told_name_and_address_of_every_package(key: str):
    snippet = describe_client(key, [MAIL, CLOCK])

    text = unquote(" ".join(part.text for part in snippet.parts))
    for endpoint in (MAIL, CLOCK):
        assert endpoint.url in text
    assert snippet.key == key
    assert snippet.title
    assert not any(word in text for word in ("Bearer ey", "secret"))


def test_commands_are_read_by_a_shell_as_they_are_meant():
    odd = Endpoint("odd", "https://gate.example.com/it's; rm -rf ~/odd/mcp", needs_login=True)

    for snippet in describe_clients([odd]):
        for part in snippet.parts:
            if part.kind == "command" and snippet.key != "vscode":
                assert odd.url in shlex.split(part.text), snippet.key


def test_services_of_others_are_said_to_need_a_public_address():
    assert describe_client("claude", [CLOCK]).remarks == ()
    for key in ("claude", "chatgpt"):
        assert "public https address" in describe_client(key, [MAIL]).remarks[0]
    for private in (HERE, "https://localhost/x", "https://10.1.2.3/x", "https://gate/x", "https://gate.local/x"):
        assert not is_reachable_from_outside(private)


def test_a_login_is_told_where_there_is_one():
    assert "codex mcp login mail" in describe_client("codex", [CLOCK, MAIL]).remarks
    assert not any("login" in remark for remark in describe_client("codex", [CLOCK]).remarks)
    assert "$TOKEN" in describe_client("curl", [MAIL]).parts[0].text
    assert "$TOKEN" not in describe_client("curl", [CLOCK]).parts[0].text


@pytest.mark.parametrize("endpoint", [MAIL, CLOCK])
def test_the_python_program_is_one(endpoint: Endpoint):
    (part,) = describe_client("python", [endpoint]).parts
    compile(part.text, "snippet", "exec")
