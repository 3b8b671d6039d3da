"""Which shape a file has, by what it says and never by its name alone; then its servers in our own form. Pure.

The shapes are tried in order, and the first that knows the document reads it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from fluidmcp.config.reading import as_object, name_type, show_key
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.formats import editors, mcp_servers
from fluidmcp.packages.formats.manifest import read_manifest
from fluidmcp.packages.formats.registry import read_registry_file
from fluidmcp.packages.formats.shapes import ReadFile

_Reader = Callable[[Mapping[str, object]], ReadFile | None]

_READERS: Final[tuple[_Reader, ...]] = (
    read_manifest,
    read_registry_file,
    mcp_servers.read_mcp_servers,
    editors.read_zed,
    editors.read_codex,
    editors.read_amp,
    editors.read_augment,
    editors.read_goose,
    editors.read_opencode,
    editors.read_nested,
    editors.read_vscode,
    mcp_servers.read_bare,
)


def read_shape(document: Mapping[str, object], *, source: str, typed_in: str = "") -> ReadFile:
    """The servers of a document. `typed_in`: the folder whose own servers count too, where a file has such.

    Raises:
        ConfigurationError: it is of no shape that is known, or its servers are no object.
    """
    document = _add_project(document, typed_in)
    for reader in _READERS:
        found = reader(document)
        if found is not None:
            return found
    raise ConfigurationError(
        f"{source} has no servers.",
        why=_describe(document),
        hint='Write {"mcpServers": {"NAME": {"command": "...", "args": [...]}}}.',
    )


def _add_project(document: Mapping[str, object], folder: str) -> Mapping[str, object]:
    """`projects.FOLDER.mcpServers` of Claude Code's file, which go over those of the same name for everybody."""
    project = as_object((as_object(document.get("projects")) or {}).get(folder)) or {}
    servers = as_object(project.get("mcpServers"))
    if not servers:
        return document
    return {**document, "mcpServers": {**(as_object(document.get("mcpServers")) or {}), **servers}}


def _describe(document: Mapping[str, object]) -> str:
    for key in ("mcpServers", "servers", "context_servers", "mcp_servers"):
        if key in document:
            return f"{key} is {name_type(document[key])}, not an object."
    listed = ", ".join(_list_keys(document)) or "nothing"
    return f"mcpServers is missing, and the file is of no other shape that is known here; at its top stands {listed}."


def _list_keys(document: Mapping[str, object]) -> Iterator[str]:
    keys = list(document)
    yield from (show_key(key) for key in keys[:5])
    if len(keys) > 5:
        yield f"{len(keys) - 5} more"
