"""An entry read as from a file of ours, for tests that need one."""

from collections.abc import Mapping
from pathlib import Path

from fluidmcp.config.entries import EntryContext, ServerEntry, parse_entry
from fluidmcp.config.filling.expand import Expander


def read_entry(
    name: str,
    value: object,
    *,
    directory: str = "/srv",
    source: str = "config.json",
    home: str = "",
    number: int = 1,
    allowed_env_names: frozenset[str] = frozenset(),
    environ: Mapping[str, str] | None = None,
) -> ServerEntry:
    """Raises ConfigurationError like `parse_entry`."""
    context = EntryContext(
        source=source,
        directory=Path(directory),
        workspace=Path(directory),
        expander=Expander(environ=environ or {}, workspace=directory, home=home),
        home=home,
        allowed_env_names=allowed_env_names,
    )
    return parse_entry(name, value, context, number=number)
