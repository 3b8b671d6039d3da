"""How to connect each client to packages of a gateway: the exact text, link or steps. Pure module.

The page at `/` and `fluidmcp connect` show the same. All of it is plain text: whoever puts it into HTML escapes it.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fluidmcp.packages.clients.endpoint import Endpoint, is_reachable_from_outside
from fluidmcp.packages.clients.links import make_cursor_link, make_vscode_link, write_vscode_server
from fluidmcp.packages.clients.table import (
    CLAUDE_CODE,
    CLAUDE_DESKTOP,
    CODEX,
    CURSOR,
    GEMINI,
    OPENCODE,
    VSCODE,
    WINDSURF,
    ZED,
    FileClient,
    show_places,
)

PartKind = Literal["command", "file", "link", "step", "code"]
"""To type in a shell; to put into a file; to click; to do by hand; a program."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to copy, click or do."""

    kind: PartKind
    caption: str
    """What it is, or the file that it belongs in; empty for steps."""
    text: str
    """Exactly what to paste; for a link, its address."""
    language: str = ""
    """`shell`, `json`, `toml`, `python`; empty for links and steps."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """How one client is connected."""

    key: str
    title: str
    parts: tuple[Part, ...]
    """The simplest way first. Steps belong together, in their order."""
    remarks: tuple[str, ...] = ()


def describe_clients(endpoints: Sequence[Endpoint]) -> tuple[Snippet, ...]:
    """All clients, for one package or several of one gateway."""
    return tuple(describe(endpoints) for describe in _DESCRIBE.values())


def describe_client(key: str, endpoints: Sequence[Endpoint]) -> Snippet:
    """One client. Raises KeyError for one that is not known; `CLIENT_KEYS` has them all."""
    return _DESCRIBE[key](endpoints)


def write_file_text(client: FileClient, endpoints: Sequence[Endpoint]) -> str:
    """What the file of a client holds with nothing but these servers in it."""
    if client.language == "toml":
        return "\n".join(_write_table(client, endpoint) for endpoint in endpoints)
    entries = {endpoint.name: client.make_entry(endpoint) for endpoint in endpoints}
    return json.dumps({client.member: entries}, indent=2) + "\n"


def _write_table(client: FileClient, endpoint: Endpoint) -> str:
    # A JSON string of ASCII is a basic string of TOML too, and so is an array of them.
    lines = [f"{key} = {json.dumps(value)}" for key, value in client.make_entry(endpoint).items()]
    return "\n".join([f"[{client.member}.{endpoint.name}]", *lines, ""])


def _file_part(client: FileClient, endpoints: Sequence[Endpoint]) -> Part:
    return Part("file", show_places(client), write_file_text(client, endpoints), client.language)


def _finish(client: FileClient, endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
    needing = [endpoint for endpoint in endpoints if endpoint.needs_login]
    login = (client.login.format(name=needing[0].name),) if needing and client.login else ()
    return tuple(text for text in (client.then, *login, *_explain_token(client, endpoints)) if text)


def _explain_token(client: FileClient, endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
    variables = list(dict.fromkeys(endpoint.token_variable for endpoint in endpoints if endpoint.token_variable))
    if variables and client.token_members is None:
        by_hand = '"--header", "Authorization: Bearer TOKEN" after the address'
        header = '"headers": {"Authorization": "Bearer TOKEN"} beside the address'
        return (
            f"{client.title} puts no variable into a header, so the token itself has to stand in its file: add "
            f"{by_hand if client.key == CLAUDE_DESKTOP.key else header}.",
        )
    return tuple(
        f"{client.title} sends the token that it finds in the environment variable {variable}, which must be set "
        f"where {client.title} is started. The token itself is not in the file."
        for variable in variables
    )


def _describe_claude_code(endpoints: Sequence[Endpoint]) -> Snippet:
    commands = [
        f"claude mcp add --transport http --scope user {e.name} {shlex.quote(e.url)}{_write_header_option(e)}"
        for e in endpoints
    ]
    parts = (_command(commands), _file_part(CLAUDE_CODE, endpoints))
    return Snippet(CLAUDE_CODE.key, CLAUDE_CODE.title, parts, _finish(CLAUDE_CODE, endpoints))


def _describe_claude(endpoints: Sequence[Endpoint]) -> Snippet:
    steps = [
        "Open Settings, then Connectors (in some versions: Customize, then Connectors), in Claude or Claude Desktop.",
        "Choose Add custom connector.",
        *(f"Name: {endpoint.name}, URL: {endpoint.url}" for endpoint in endpoints),
        "Choose Connect beside it, and log in if a page opens.",
    ]
    return Snippet("claude", "Claude", _steps(steps), _warn_of_service(endpoints, "Claude"))


def _describe_claude_desktop(endpoints: Sequence[Endpoint]) -> Snippet:
    remarks = (
        *_finish(CLAUDE_DESKTOP, endpoints),
        "A gateway with a public https address can be a connector instead, without Node.js: see Claude.",
    )
    return Snippet(CLAUDE_DESKTOP.key, CLAUDE_DESKTOP.title, (_file_part(CLAUDE_DESKTOP, endpoints),), remarks)


def _describe_cursor(endpoints: Sequence[Endpoint]) -> Snippet:
    links = [Part("link", f"Add {e.name} to Cursor", make_cursor_link(e)) for e in endpoints]
    parts = (*links, _file_part(CURSOR, endpoints))
    return Snippet(CURSOR.key, CURSOR.title, parts, _finish(CURSOR, endpoints))


def _describe_vscode(endpoints: Sequence[Endpoint]) -> Snippet:
    links = [Part("link", f"Add {e.name} to VS Code", make_vscode_link(e)) for e in endpoints]
    commands = [f"code --add-mcp {shlex.quote(write_vscode_server(e))}" for e in endpoints]
    parts = (*links, _command(commands), _file_part(VSCODE, endpoints))
    return Snippet(VSCODE.key, VSCODE.title, parts, _finish(VSCODE, endpoints))


def _describe_codex(endpoints: Sequence[Endpoint]) -> Snippet:
    commands = [
        f"codex mcp add {e.name} --url {shlex.quote(e.url)}"
        + (f" --bearer-token-env-var {e.token_variable}" if e.token_variable else "")
        for e in endpoints
    ]
    parts = (_command(commands), _file_part(CODEX, endpoints))
    return Snippet(CODEX.key, CODEX.title, parts, _finish(CODEX, endpoints))


def _describe_gemini(endpoints: Sequence[Endpoint]) -> Snippet:
    commands = [
        f"gemini mcp add --transport http --scope user {e.name} {shlex.quote(e.url)}{_write_header_option(e)}"
        for e in endpoints
    ]
    parts = (_command(commands), _file_part(GEMINI, endpoints))
    return Snippet(GEMINI.key, GEMINI.title, parts, _finish(GEMINI, endpoints))


def _write_header_option(endpoint: Endpoint) -> str:
    """For the commands of clients that put `${NAME}` into headers; last, because both take several values there."""
    header = f"Authorization: Bearer ${{{endpoint.token_variable}}}"
    return f" --header {shlex.quote(header)}" if endpoint.token_variable else ""


def _describe_file_alone(client: FileClient) -> Callable[[Sequence[Endpoint]], Snippet]:
    def describe(endpoints: Sequence[Endpoint]) -> Snippet:
        return Snippet(client.key, client.title, (_file_part(client, endpoints),), _finish(client, endpoints))

    return describe


def _describe_chatgpt(endpoints: Sequence[Endpoint]) -> Snippet:
    login = "OAuth" if any(endpoint.needs_login for endpoint in endpoints) else "No authentication"
    steps = [
        "Open Settings, then Apps (in some versions: Apps & Connectors), then Advanced settings.",
        "Turn Developer mode on. In a company's workspace, an administrator has to allow it.",
        "Back under Apps, choose Create.",
        *(f"Name: {endpoint.name}, MCP server URL: {endpoint.url}, Authentication: {login}" for endpoint in endpoints),
        "Confirm that you trust it, choose Create, and log in if a page opens.",
    ]
    return Snippet("chatgpt", "ChatGPT", _steps(steps), _warn_of_service(endpoints, "ChatGPT"))


def _describe_curl(endpoints: Sequence[Endpoint]) -> Snippet:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    commands = [
        f"curl -X POST {shlex.quote(endpoint.url)} -H 'Content-Type: application/json'"
        + (f' -H "Authorization: Bearer ${_name_variable(endpoint)}"' if _wants_token(endpoint) else "")
        + f" -d {shlex.quote(call)}"
        for endpoint in endpoints
    ]
    remarks = tuple(
        f"$TOKEN is the access token that {endpoint.url.removesuffix('/mcp')}/auth/login gives."
        for endpoint in endpoints
        if endpoint.needs_login and not endpoint.token_variable
    )
    return Snippet("curl", "curl", (_command(commands),), remarks)


_PYTHON: Final = """\
import asyncio

from mcp import Client


async def main():
    async with Client({url}) as client:
        for tool in (await client.list_tools()).tools:
            print(tool.name)


asyncio.run(main())
"""
_PYTHON_WITH_TOKEN: Final = """\
import asyncio
import os

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

HEADERS = {{"Authorization": f"Bearer {{os.environ['{variable}']}}"}}


async def main():
    async with httpx2.AsyncClient(headers=HEADERS) as http:
        async with Client(streamable_http_client({url}, http_client=http)) as client:
            for tool in (await client.list_tools()).tools:
                print(tool.name)


asyncio.run(main())
"""


def _describe_python(endpoints: Sequence[Endpoint]) -> Snippet:
    parts = [
        Part(
            "code",
            f"{endpoint.name}, with the MCP SDK (pip install 'mcp>=2')",
            (_PYTHON_WITH_TOKEN if _wants_token(endpoint) else _PYTHON).format(
                url=json.dumps(endpoint.url), variable=_name_variable(endpoint)
            ),
            "python",
        )
        for endpoint in endpoints
    ]
    remarks = (
        ("The SDK's OAuthClientProvider logs in by itself, and renews its token.",)
        if any(endpoint.needs_login and not endpoint.token_variable for endpoint in endpoints)
        else ()
    )
    return Snippet("python", "Python", tuple(parts), remarks)


def _wants_token(endpoint: Endpoint) -> bool:
    return endpoint.needs_login or bool(endpoint.token_variable)


def _name_variable(endpoint: Endpoint) -> str:
    return endpoint.token_variable or "TOKEN"


_DESCRIBE: Final[dict[str, Callable[[Sequence[Endpoint]], Snippet]]] = {
    "claude-code": _describe_claude_code,
    "claude": _describe_claude,
    "claude-desktop": _describe_claude_desktop,
    "cursor": _describe_cursor,
    "vscode": _describe_vscode,
    "codex": _describe_codex,
    "gemini": _describe_gemini,
    "windsurf": _describe_file_alone(WINDSURF),
    "zed": _describe_file_alone(ZED),
    "opencode": _describe_file_alone(OPENCODE),
    "chatgpt": _describe_chatgpt,
    "curl": _describe_curl,
    "python": _describe_python,
}
CLIENT_KEYS: Final = tuple(_DESCRIBE)
"""All clients, in the order in which they are shown; those of `FILE_CLIENTS` have a file too."""


def _command(lines: Sequence[str]) -> Part:
    return Part("command", "In a terminal", "\n".join(lines), "shell")


def _steps(lines: Sequence[str]) -> tuple[Part, ...]:
    return tuple(Part("step", "", line) for line in lines)


def _warn_of_service(endpoints: Sequence[Endpoint], who: str) -> tuple[str, ...]:
    warnings: list[str] = []
    if any(endpoint.token_variable for endpoint in endpoints):
        warnings.append(f"{who} logs in, and sends no token of yours: a gateway with --secure cannot let it in.")
    if not all(is_reachable_from_outside(endpoint.url) for endpoint in endpoints):
        warnings.append(
            f"{who} calls from servers of its own, so the gateway needs a public https address; this one is not, as "
            "far as can be told."
        )
    return tuple(warnings)
