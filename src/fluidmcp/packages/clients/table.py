"""The clients with a file of their own: where it is, and what an entry looks like in it. Data and pure functions.

User scope, everywhere: the file of the person, not that of a project. Where a project has an entry of the same name,
the clients use that one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fluidmcp.packages.clients.endpoint import Endpoint, is_loopback

MCP_REMOTE: Final = "mcp-remote@0.15.1"
"""The version that the tests run: a proxy that gets an account's tokens is not to be whatever came out today."""

Base = Literal["home", "config", "applications"]
"""The home directory; `~/.config` (XDG_CONFIG_HOME), on a Mac too; where desktop programs keep what is theirs:
`~/.config`, `~/Library/Application Support`, `%APPDATA%`.
"""
Entry = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client keeps its servers."""

    base: Base
    path: str
    variable: str = ""
    """The environment variable that names another folder, if the client knows one."""
    below_variable: str = ""
    """Where the file is below that folder."""
    windows: str = ""
    """Where it is on Windows, if the base does not say it."""


@dataclass(frozen=True, slots=True)
class FileClient:
    """A client that reads its servers from a file."""

    key: str
    """What the command line calls it."""
    title: str
    places: tuple[Place, ...]
    """The first one that is there is used; the first one is made where none is."""
    member: str
    """Under which key at the top of the file the servers stand, by name."""
    describe: Callable[[Endpoint], Entry]
    """The entry without a token."""
    language: Literal["json", "toml"] = "json"
    then: str = ""
    """What the person does after that."""
    login: str = ""
    """How the client is made to log in, with `{name}` for the name of the server."""
    token_members: Callable[[str], Entry] | None = None
    """What an entry has in addition, so that the client sends the token in this environment variable. None where the
    client puts no variable into a header: the token itself would have to stand in the file.
    """

    def make_entry(self, endpoint: Endpoint) -> Entry:
        """The entry of a package; with its token's variable, where the client takes one."""
        entry = self.describe(endpoint)
        if not endpoint.token_variable or self.token_members is None:
            return entry
        return {**entry, **self.token_members(endpoint.token_variable)}


def _make_token_writer(reference: str) -> Callable[[str], Entry]:
    """For clients with `headers`; `reference` is how they write the value of the variable NAME."""

    def write(variable: str) -> Entry:
        return {"headers": {"Authorization": f"Bearer {reference.replace('NAME', variable)}"}}

    return write


_SHELL_STYLE: Final = _make_token_writer("${NAME}")
_EDITOR_STYLE: Final = _make_token_writer("${env:NAME}")


def _write_codex_token(variable: str) -> Entry:
    return {"bearer_token_env_var": variable}


def _make_typed_entry(endpoint: Endpoint) -> Entry:
    return {"type": "http", "url": endpoint.url}


def _make_plain_entry(endpoint: Endpoint) -> Entry:
    return {"url": endpoint.url}


def _make_gemini_entry(endpoint: Endpoint) -> Entry:
    # As its own command writes it; without the type, it would be the old transport (HTTP+SSE).
    return {"url": endpoint.url, "type": "http"}


def _make_windsurf_entry(endpoint: Endpoint) -> Entry:
    return {"serverUrl": endpoint.url}


def _make_opencode_entry(endpoint: Endpoint) -> Entry:
    return {"type": "remote", "url": endpoint.url}


def _make_stdio_entry(endpoint: Endpoint) -> Entry:
    """For a client whose file knows commands alone. The proxy wants to be told that http is meant."""
    is_plain = endpoint.url.startswith("http://") and not is_loopback(endpoint.url)
    return {"command": "npx", "args": ["-y", MCP_REMOTE, endpoint.url, *(["--allow-http"] if is_plain else [])]}


CLAUDE_CODE: Final = FileClient(
    "claude-code",
    "Claude Code",
    (Place("home", ".claude.json", "CLAUDE_CONFIG_DIR", ".claude.json"),),
    "mcpServers",
    _make_typed_entry,
    then="Start Claude Code again, or type /mcp in it.",
    login="Type /mcp in Claude Code, choose {name}, and authenticate.",
    token_members=_SHELL_STYLE,
)
CLAUDE_DESKTOP: Final = FileClient(
    "claude-desktop",
    "Claude Desktop",
    (Place("applications", "Claude/claude_desktop_config.json"),),
    "mcpServers",
    _make_stdio_entry,
    then="Quit Claude Desktop and start it again. It needs Node.js, because its file knows commands only.",
    login="The browser opens when Claude Desktop starts the server.",
)
CURSOR: Final = FileClient(
    "cursor",
    "Cursor",
    (Place("home", ".cursor/mcp.json"),),
    "mcpServers",
    _make_plain_entry,
    then="Cursor reads it at once.",
    login="In Cursor's settings, under MCP, choose Connect beside {name}.",
    token_members=_EDITOR_STYLE,
)
VSCODE: Final = FileClient(
    "vscode",
    "VS Code",
    (Place("applications", "Code/User/mcp.json"),),
    "servers",
    _make_typed_entry,
    then="In VS Code: MCP: List Servers, choose it, Start.",
    login="VS Code asks when it starts the server.",
    token_members=_EDITOR_STYLE,
)
CODEX: Final = FileClient(
    "codex",
    "Codex",
    (Place("home", ".codex/config.toml", "CODEX_HOME", "config.toml"),),
    "mcp_servers",
    _make_plain_entry,
    language="toml",
    then="Start Codex again.",
    login="codex mcp login {name}",
    token_members=_write_codex_token,
)
GEMINI: Final = FileClient(
    "gemini",
    "Gemini CLI",
    (Place("home", ".gemini/settings.json", "GEMINI_CLI_HOME", ".gemini/settings.json"),),
    "mcpServers",
    _make_gemini_entry,
    then="Start Gemini CLI again.",
    login="Type /mcp auth {name} in Gemini CLI.",
    token_members=_SHELL_STYLE,
)
WINDSURF: Final = FileClient(
    "windsurf",
    "Windsurf",
    (Place("home", ".codeium/windsurf/mcp_config.json"),),
    "mcpServers",
    _make_windsurf_entry,
    then="Press Refresh in the MCP panel of Windsurf.",
    login="Windsurf opens the browser when it connects.",
    token_members=_EDITOR_STYLE,
)
ZED: Final = FileClient(
    "zed",
    "Zed",
    (Place("config", "zed/settings.json", windows="%APPDATA%\\Zed\\settings.json"),),
    "context_servers",
    _make_plain_entry,
    then="Zed reads it at once.",
    login="Zed asks when it connects.",
)
OPENCODE: Final = FileClient(
    "opencode",
    "opencode",
    (Place("config", "opencode/opencode.json"), Place("config", "opencode/opencode.jsonc")),
    "mcp",
    _make_opencode_entry,
    then="Start opencode again.",
    login="opencode mcp auth {name}",
    token_members=_make_token_writer("{env:NAME}"),
)

FILE_CLIENTS: Final[Mapping[str, FileClient]] = {
    client.key: client
    for client in (CLAUDE_CODE, CLAUDE_DESKTOP, CURSOR, VSCODE, CODEX, GEMINI, WINDSURF, ZED, OPENCODE)
}


def show_places(client: FileClient) -> str:
    """Where the file is, in words for every system."""
    place = client.places[0]
    path = place.path
    if place.base == "applications":
        below = path.replace("/", "\\")
        return f"~/.config/{path} (macOS: ~/Library/Application Support/{path}, Windows: %APPDATA%\\{below})"
    start = "~/" if place.base == "home" else "~/.config/"
    below = (start + path)[2:].replace("/", "\\")
    return f"{start}{path} (Windows: {place.windows or '%USERPROFILE%' + chr(92) + below})"
