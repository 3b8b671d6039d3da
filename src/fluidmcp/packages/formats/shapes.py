"""What is read out of a file of any shape: entries in our own form, and the inputs that they ask for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fluidmcp.config.filling.expand import BareNames as BareNames


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A value that a file asks the operator for (VS Code `inputs`, `user_config` of a bundle)."""

    id: str
    description: str = ""
    is_secret: bool = False
    is_required: bool = True
    default: str | None = None
    choices: tuple[str, ...] = ()
    """The values that are accepted; empty: any."""
    is_multiple: bool = False
    """Whether it may be several values, of which each becomes an argument of its own."""
    is_number: bool = False
    minimum: float | None = None
    maximum: float | None = None
    """The bounds of a number, both among what is accepted."""
    refusal: str = ""
    """Why it cannot be answered here, if so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEntry:
    """One server of a file."""

    name: str
    """As in the file."""
    path: str
    """Where it stands in the file, for messages: `mcpServers.github`."""
    value: object
    """The entry in our own form; something else than an object where the file has that."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What keys of `value` are called in the file, where that is another name."""
    faults: tuple[str, ...] = ()
    """What cannot be honoured, each with its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile:
    """All servers of a file, in its order."""

    shape: str
    """What kind of file it is, in words for a message: `a file of Codex`."""
    entries: tuple[ReadEntry, ...] = ()
    inputs: tuple[Input, ...] = ()
    bare_names: BareNames = "none"
    braces_name_variables: bool = False
    """Whether `{env:NAME}` stands for a variable, as in opencode."""
