"""Where an entry puts a token of OAuth into a variable in which its server takes something else. Pure module: no I/O.

A server often reads several variables, and sends what is in each of them differently. An operator may know better than
the catalogue, so this is said and not refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.filling.templates import short_form
from fluidmcp.config.logins.read import list_logins, token_variables
from fluidmcp.config.reading import show_key
from fluidmcp.packages.catalogue.describe import list_right_variables
from fluidmcp.packages.catalogue.find import recognise
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongVariable:
    """A variable of an entry that is the wrong one for the token of a login."""

    field: str
    """Where the entry says so: `mcpServers.linear.auth.env_var_name`."""
    variable: str
    effect: str
    """What the server does with a token there."""
    server: KnownServer

    @property
    def text(self) -> str:
        """What is wrong and what would be right, in one line."""
        right = " or ".join(list_right_variables(self.server)) or "another"
        what = f"a person's token in {self.variable} {self.effect}; the variable for it is {right}"
        return f"{self.field}: {what} (fluidmcp catalogue {self.server.name})"


def find_wrong_variables(
    entry: ServerEntry, servers: Mapping[str, KnownServer] = KNOWN_SERVERS
) -> tuple[WrongVariable, ...]:
    """The variables of an entry that get the plain token and that its server is known to take for something else.

    A token with something around it (`Bearer ${auth.access_token}`, JSON) is left alone: somebody knew what they want.
    """
    found = {field: variable for field, variable in _list_token_fields(entry)}
    if not found:
        return ()
    return tuple(
        WrongVariable(field=field, variable=variable, effect=server.wrong_variables[variable], server=server)
        for server in recognise(entry, servers)
        for field, variable in found.items()
        if variable in server.wrong_variables
    )


def _list_token_fields(entry: ServerEntry) -> Iterator[tuple[str, str]]:
    """Where the plain token goes: the field, and the variable."""
    path = entry.path or entry.name
    for name, login in token_variables(entry.auth).items():
        yield f"{path}.auth.{login}{login and '.'}env_var_name", name
    tokens = [short_form(login) for login, _ in list_logins(entry.auth)]
    for name, variable in entry.env:
        if variable.personal in tokens:
            yield f"{path}.env.{show_key(name)}", name
