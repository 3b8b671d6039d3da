"""What the catalogue says of a published server. Pure module: values only.

Every entry is run by the tests, for two people at once; what could not be seen is not said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownServer:
    """A published server and its entry, as `fluidmcp add` writes it."""

    name: str
    """The name of the entry, and of `fluidmcp add NAME`."""
    title: str
    entry: Mapping[str, Any]
    """The whole entry, in our own form: "package" with an exact version, "env", "auth" and what else it needs."""
    base_url: str | None = None
    """The variable that holds the address of its API, where it has one: for a company's own installation."""
    asks: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Variables that the operator has to export, and in words what they hold."""
    register: str = ""
    """What to register where, for what the page of the preset does not say."""
    wrong_variables: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Variables of this server in which a token of OAuth is wrong, and what the server does with it."""
    notes: tuple[str, ...] = ()
    """What surprises."""
