"""All known servers by name. Pure module: no I/O."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fluidmcp.packages.catalogue.code_hosts import CODE_HOSTS
from fluidmcp.packages.catalogue.keys import KEYS
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.messages import MESSAGES
from fluidmcp.packages.catalogue.work import WORK

KNOWN_SERVERS: Final[Mapping[str, KnownServer]] = MappingProxyType(
    {server.name: server for server in sorted((*CODE_HOSTS, *KEYS, *MESSAGES, *WORK), key=lambda server: server.name)}
)
