"""The files of clients, as people have them: entries come and go, and everything else stays letter by letter."""

import json
import tomllib
from typing import Any, Final

import pytest

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.clients.editing import edit_client_file, read_client_file
from fluidmcp.packages.clients.endpoint import Endpoint, make_endpoint
from fluidmcp.packages.clients.planning import plan_adding, plan_removing
from fluidmcp.packages.clients.table import FILE_CLIENTS, MCP_REMOTE
from fluidmcp.packages.formats.jsonc import blank_comments

GATEWAY: Final = "http://localhost:8099"
MAIL: Final = make_endpoint(GATEWAY, "mail")
CLOCK: Final = make_endpoint(GATEWAY, "clock")

# Written after what each client documents, with what people add: comments, other servers, other settings.
FILES: Final[dict[str, tuple[str, str]]] = {
    "claude-code": (
        '{\n  "numStartups": 3,\n  "projects": {\n    "/home/a": {\n      "mcpServers": {}\n    }\n  },\n'
        '  "mcpServers": {\n    "files": {\n      "type": "stdio",\n      "command": "npx",\n      "args": []\n    }'
        "%s\n  }\n}",
        ',\n    "mail": {\n      "type": "http",\n      "url": "http://localhost:8099/mail/mcp"\n    }',
    ),
    "claude-desktop": (
        '{\n  "globalShortcut": "",\n  "mcpServers": {\n    "old": {"command": "uvx", "args": ["x"]}%s\n  }\n}\n',
        f',\n    "mail": {{\n      "command": "npx",\n      "args": [\n        "-y",\n        "{MCP_REMOTE}",\n'
        '        "http://localhost:8099/mail/mcp"\n      ]\n    }',
    ),
    "cursor": (
        '{\n\t"mcpServers": {\n\t\t// the team\'s\n\t\t"a": { "url": "https://a.example/mcp" },%s\n\t}\n}\n',
        '\n\t\t"mail": {\n\t\t\t"url": "http://localhost:8099/mail/mcp"\n\t\t},',
    ),
    "vscode": (
        '{\n\t"inputs": [\n\t\t{"id": "k", "type": "promptString", "password": true},\n\t],\n\t"servers": {\n'
        '\t\t"gh": {"type": "http", "url": "https://a.example/mcp/"} // keep%s\n\t},\n}\n',
        "",
    ),
    "codex": (
        '# mine\nmodel = "o3"  # the big one\n\n[mcp_servers.a]\ncommand = "npx"\nargs = ["-y", "a"]\n\n'
        '[mcp_servers.a.env]\nK = "v"\n\n%s[tui]\ntheme = "x"\n',
        '[mcp_servers.mail]\nurl = "http://localhost:8099/mail/mcp"\n\n',
    ),
    "gemini": (
        '{\n  "ui": { "theme": "GitHub" }, // dark\n  "mcpServers": {%s}\n}\n',
        '\n    "mail": {\n      "url": "http://localhost:8099/mail/mcp",\n      "type": "http"\n    }\n  ',
    ),
    "windsurf": ('{"mcpServers": {%s}}', '"mail": {"serverUrl": "http://localhost:8099/mail/mcp"}'),
    "zed": (
        '// Zed settings\n//\n// For information, see the documentation\n{\n  "ui_font_size": 16,\n'
        '  "theme": {\n    "mode": "system", /* or "light" */\n    "light": "One Light",\n  }%s\n}\n',
        ',\n  "context_servers": {\n    "mail": {\n      "url": "http://localhost:8099/mail/mcp"\n    }\n  }',
    ),
    "opencode": (
        '{\n  "$schema": "https://opencode.ai/config.json",\n  "mcp": {\n    "x": {"type": "local", "command": ["x"]},'
        "%s\n  },\n}\n",
        '\n    "mail": {\n      "type": "remote",\n      "url": "http://localhost:8099/mail/mcp"\n    },',
    ),
}


def add(key: str, text: str, *endpoints: Endpoint) -> str:
    client = FILE_CLIENTS[key]
    document = read_client_file(text.encode(), client, shown="the file")
    plan = plan_adding(document, client, endpoints or (MAIL,), shown="the file")
    return edit_client_file(text.encode(), client, plan, shown="the file").decode()


def remove(key: str, text: str, url: str | None = MAIL.url) -> str:
    client = FILE_CLIENTS[key]
    document = read_client_file(text.encode(), client, shown="the file")
    plan = plan_removing(document, client, gateway_url=GATEWAY, url=url, shown="the file")
    return edit_client_file(text.encode(), client, plan, shown="the file").decode()


def read(key: str, text: str) -> dict[str, Any]:
    return tomllib.loads(text) if FILE_CLIENTS[key].language == "toml" else json.loads(blank_comments(text))


def servers_of(key: str, text: str) -> dict[str, Any]:
    return read(key, text)[FILE_CLIENTS[key].member]


@pytest.mark.parametrize("key", FILE_CLIENTS)
def test_an_entry_comes_in_the_style_of_the_file_and_nothing_else_changes(key: str):
    text, addition = FILES[key]

    added = add(key, text % "")

    assert servers_of(key, added)["mail"] == dict(FILE_CLIENTS[key].make_entry(MAIL))
    if addition:
        assert added == text % addition


@pytest.mark.parametrize("key", FILE_CLIENTS)
def test_twice_is_once_and_removing_brings_the_old_file_back(key: str):
    before = FILES[key][0] % ""
    added = add(key, before, MAIL, CLOCK)

    assert add(key, added, MAIL, CLOCK) == added
    assert remove(key, remove(key, added), CLOCK.url) == remove(key, added, None)
    left = read(key, remove(key, added, None))
    left_servers = left.pop(FILE_CLIENTS[key].member)
    said = read(key, before)
    assert left_servers == said.pop(FILE_CLIENTS[key].member, {})
    assert left == said
    # Zed's file had no servers at all, and keeps an empty place; in the others nothing is left but line breaks.
    assert key == "zed" or "".join(remove(key, added, None).split()) == "".join(before.split())


@pytest.mark.parametrize("key", FILE_CLIENTS)
@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_an_empty_file_becomes_one(key: str, text: str):
    assert servers_of(key, add(key, text).removeprefix("\ufeff")).keys() == {"mail"}


@pytest.mark.parametrize("key", FILE_CLIENTS)
def test_a_gateway_that_moved_changes_the_address_alone(key: str):
    text = add(key, FILES[key][0] % "")
    if key != "codex":
        text = text.replace('"mail": {', '"mail": {"mine": [1.50], ')
    moved = make_endpoint("https://gate.example.com/base", "mail")

    changed = add(key, text, moved)

    if key == "claude-desktop":
        # The list of arguments is written anew, on one line.
        mail = servers_of(key, changed)["mail"]
        assert mail == {**servers_of(key, text)["mail"], "args": ["-y", MCP_REMOTE, moved.url]}
    else:
        assert changed == text.replace(MAIL.url, moved.url)


@pytest.mark.parametrize(
    "more",
    [{"headers": {"Authorization": "Bearer x"}}, {"requestInit": {"headers": {}}}, {"args": ["--header", "X: y"]}],
    ids=range(3),
)
def test_what_is_shown_to_one_address_is_not_shown_to_another_by_us(more: dict[str, object]):
    text = json.dumps({"mcpServers": {"mail": {"url": "https://company.example/mail/mcp", **more}}})

    with pytest.raises(ConfigurationError, match="at another address, with headers") as caught:
        add("cursor", text)

    assert "--as mail-2" in caught.value.hint


@pytest.mark.parametrize("text", ["// none yet", "\ufeff// none\r\n/* yet */\r\n"])
def test_a_file_of_comments_keeps_them(text: str):
    added = add("zed", text)

    assert added.startswith(text.rstrip())
    assert servers_of("zed", added.removeprefix("\ufeff")) == {"mail": {"url": MAIL.url}}


def test_what_a_client_remembers_beside_its_servers_may_be_large():
    text = json.dumps({"history": "x" * 5_000_000})

    assert servers_of("claude-code", add("claude-code", text)).keys() == {"mail"}


@pytest.mark.parametrize(
    "entry", [{"command": "x"}, {"url": "https://elsewhere.example/mcp"}, {"url": "http://localhost:8099/clock/mcp"}, 3]
)
def test_another_server_of_that_name_is_never_touched(entry: object):
    text = json.dumps({"mcpServers": {"mail": entry}})

    with pytest.raises(ConfigurationError, match="another server that is called") as caught:
        add("cursor", text)

    assert "--as mail-2" in caught.value.hint
    assert remove("cursor", text) == text


def test_an_entry_under_another_name_counts_as_there():
    text = json.dumps({"mcpServers": {"my mail": {"url": MAIL.url, "headers": {"x": "y"}}}})

    assert add("cursor", text) == text
    assert json.loads(remove("cursor", text)) == {"mcpServers": {}}


def test_only_packages_of_the_gateway_are_removed():
    kept = {
        "other": {"url": "http://localhost:80990/mail/mcp"},
        "deep": {"url": "http://localhost:8099/base/mail/mcp"},
        "root": {"url": "http://localhost:8099/mcp"},
        "local": {"command": "x", "args": ["--url=http://localhost:8099/mail/mcp"]},
    }
    text = json.dumps({"mcpServers": {"mail": {"url": MAIL.url}, **kept, "clock": {"url": CLOCK.url}}})

    assert json.loads(remove("cursor", text, None)) == {"mcpServers": kept}


def test_opencode_2_keeps_its_servers_a_level_deeper():
    old = {"legacy": {"type": "remote", "url": "https://a.example/mcp"}}
    text = json.dumps({"mcp": {**old, "timeout": 5, "servers": {"a": {"type": "local", "command": ["x"]}}}})
    named = json.dumps({"mcp": {"servers": {"type": "remote", "url": "https://a.example/mcp"}}})

    added = add("opencode", text)

    assert json.loads(added)["mcp"]["servers"]["mail"] == {"type": "remote", "url": MAIL.url}
    assert json.loads(remove("opencode", added)) == json.loads(text)
    assert servers_of("opencode", add("opencode", named)).keys() == {"servers", "mail"}


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("cursor", '{"mcpServers": {', "Line 1, column"),
        ("cursor", '{"a": 1, "a": 2}', "Which of the two"),
        ("cursor", '{"mcpServers": []}', "mcpServers is a list, not an object"),
        ("cursor", "3", "not an object"),
        ("cursor", 'mcpServers = "x"', "reads as TOML"),
        ("codex", "a = 1\n[mcp_servers.a\n", "line 2"),
        ("codex", '{"mcp_servers": {}}', "reads as JSON"),
        ("codex", 'mcp_servers = {a = {url = "https://a.example"}}\n', "by hand"),
    ],
)
def test_a_file_that_cannot_be_read_or_changed_is_an_error_that_says_so(key: str, text: str, why: str):
    with pytest.raises(ConfigurationError) as caught:
        add(key, text)

    error = caught.value
    assert why in f"{error.what} {error.why} {error.hint}"
    assert error.why
    assert error.hint


@pytest.mark.parametrize(
    "text",
    [
        '[mcp_servers.a]\nurl="x"\n[tui]\na=1\n[mcp_servers.b]\nurl="y"\n',
        '[mcp_servers]\na = {url="u"}\n',
        'mcp_servers.a.url = "x"\n[tui]\na=1\n',
        "a = 1979-05-27\r\n[tui]\r\nb=2\r\n",
        'x = """\n[mcp_servers.mail]\n"""\n',
    ],
)
def test_toml_is_changed_however_it_is_written(text: str):
    added = add("codex", text)

    assert servers_of("codex", added)["mail"] == {"url": MAIL.url}
    assert read("codex", remove("codex", added)).get("mcp_servers", {}) == tomllib.loads(text).get("mcp_servers", {})
    assert "\r\n" not in text or "\n" not in added.replace("\r\n", "")
