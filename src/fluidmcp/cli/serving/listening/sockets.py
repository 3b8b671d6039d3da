"""The sockets of a gateway, whichever kind its settings ask for."""

import contextlib
import socket
from collections.abc import Generator

from fluidmcp.cli.serving.listening.ports import open_sockets
from fluidmcp.cli.serving.listening.unix import open_unix_socket
from fluidmcp.config.settings import GatewaySettings


@contextlib.contextmanager
def open_all(settings: GatewaySettings, given: socket.socket | None) -> Generator[list[socket.socket]]:
    """All of them, listening; closed after the block. `given` is the one that is open already.

    Raises:
        PortInUseError, ConfigurationError: one cannot be opened.
    """
    with contextlib.ExitStack() as opened:
        if given is not None:
            sockets = [given]
        elif settings.uds is not None:
            sockets = [opened.enter_context(open_unix_socket(settings.uds))]
        else:
            sockets = open_sockets(settings)
        for each in sockets:
            opened.callback(each.close)
        yield sockets
