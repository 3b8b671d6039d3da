"""Where programs keep their servers, on Linux and macOS. Pure module: no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CODE: Final = ("Code", "Code - Insiders", "VSCodium")
"""VS Code and its relatives, as their folders are called."""
_EXTENSIONS: Final = {
    "cline": "saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    "roo": "rooveterinaryinc.roo-cline/settings/mcp_settings.json",
    "kilo": "kilocode.kilo-code/settings/mcp_settings.json",
}
_HOME: Final = (
    ("claude-code", ".claude.json"),
    ("cursor", ".cursor/mcp.json"),
    ("windsurf", ".codeium/windsurf/mcp_config.json"),
    ("windsurf", ".codeium/mcp_config.json"),
    ("cline", ".cline/data/settings/cline_mcp_settings.json"),
    ("codex", ".codex/config.toml"),
    ("gemini", ".gemini/settings.json"),
    ("qwen", ".qwen/settings.json"),
    ("lm-studio", ".lmstudio/mcp.json"),
    ("lm-studio", ".cache/lm-studio/mcp.json"),
    ("amazon-q", ".aws/amazonq/mcp.json"),
    ("amazon-q", ".aws/amazonq/default.json"),
    ("kiro", ".kiro/settings/mcp.json"),
    ("continue", ".continue/config.yaml"),
    ("copilot", ".copilot/mcp-config.json"),
    ("junie", ".junie/mcp/mcp.json"),
    ("visual-studio", ".mcp.json"),
)
_CONFIG: Final = (
    ("zed", "zed/settings.json"),
    ("opencode", "opencode/opencode.json"),
    ("opencode", "opencode/opencode.jsonc"),
    ("crush", "crush/crush.json"),
    ("goose", "goose/config.yaml"),
    ("amp", "amp/settings.json"),
)
_PROJECT: Final = (
    ("claude-code", ".mcp.json"),
    ("cursor", ".cursor/mcp.json"),
    ("vs-code", ".vscode/mcp.json"),
    ("vs-code", ".vscode/settings.json"),
    ("roo", ".roo/mcp.json"),
    ("kilo", ".kilocode/mcp.json"),
    ("zed", ".zed/settings.json"),
    ("codex", ".codex/config.toml"),
    ("gemini", ".gemini/settings.json"),
    ("amazon-q", ".amazonq/mcp.json"),
    ("kiro", ".kiro/settings/mcp.json"),
    ("junie", ".junie/mcp/mcp.json"),
    ("trae", ".trae/mcp.json"),
    ("opencode", "opencode.json"),
    ("opencode", "opencode.jsonc"),
    ("crush", "crush.json"),
    ("crush", ".crush.json"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program may keep its servers."""

    tool: str
    path: Path


def list_places(*, home: Path | None, working_directory: Path, config: Path | None, is_mac: bool) -> Iterator[Place]:
    """The usual places, those of the project in the working directory first.

    `config` is where programs keep their settings on Linux (XDG_CONFIG_HOME); None: `.config` below `home`. The same
    place is named once.
    """
    seen: set[Path] = set()
    for tool, path in _list_all(home, working_directory, config, is_mac=is_mac):
        if path not in seen:
            seen.add(path)
            yield Place(tool, path)


def _list_all(
    home: Path | None, working_directory: Path, config: Path | None, *, is_mac: bool
) -> Iterator[tuple[str, Path]]:
    for tool, name in _PROJECT:
        yield tool, working_directory / name
    if home is None:
        return
    for tool, name in _HOME:
        yield tool, home / name
    settings = config or home / ".config"
    for tool, name in _CONFIG:
        yield tool, settings / name
    applications = home / "Library" / "Application Support" if is_mac else settings
    yield "claude-desktop", applications / "Claude" / "claude_desktop_config.json"
    for program in _CODE:
        user = applications / program / "User"
        yield "vs-code", user / "mcp.json"
        yield "vs-code", user / "settings.json"
        for tool, name in _EXTENSIONS.items():
            yield tool, user / "globalStorage" / name
