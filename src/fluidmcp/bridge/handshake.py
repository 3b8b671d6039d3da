"""From a launch specification to a server process that has answered `initialize`."""

from typing import Final

import msgspec
from msgspec import Raw

from fluidmcp import __version__
from fluidmcp.bridge.channel import Channel
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import ServerExitedError, ServerStartError
from fluidmcp.processes.process import Launcher, LaunchSpec
from fluidmcp.protocol.jsonrpc import Json, encode_notification
from fluidmcp.protocol.versions import LATEST_HANDSHAKE_VERSION

GATEWAY_INITIALIZE_PARAMS: Final[Json] = msgspec.json.encode(
    {
        "protocolVersion": LATEST_HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "fluidmcp", "title": "FluidMCP gateway", "version": __version__},
    }
)
"""What the gateway says of itself to a server whose clients do no handshake: nothing can be asked of it."""

INITIALIZED: Final = encode_notification("notifications/initialized", msgspec.UNSET)


async def start_channel(
    launcher: Launcher, spec: LaunchSpec, limits: ProcessLimits, *, initialize_params: Json, is_exclusive: bool
) -> Channel:
    """Launch a server process and complete the handshake of the revisions up to 2025-11-25.

    Raises:
        ServerStartError: it could not be launched, ended before it answered, or refused the handshake.
        ServerTimeoutError: it did not answer within the request time-out. The pool's start time-out usually comes
            first and cancels this call; the process is stopped in either case.
    """
    process = await launcher.launch(spec)
    channel = Channel(process, is_exclusive=is_exclusive, request_timeout_seconds=limits.request_timeout_seconds)
    try:
        exchange = channel.send_request("initialize", Raw(initialize_params))
        answer = await exchange.answer()
        if answer.error is not msgspec.UNSET:
            raise ServerStartError(
                f"The server {spec.package} refused the MCP handshake.",
                why="It answered `initialize` with an error.",
                hint="Check that the command starts an MCP server that speaks stdio.",
                stderr_tail=channel.stderr_tail,
            )
        channel.initialize_answer = answer
        process.write(INITIALIZED)
    except ServerExitedError:
        tail, ending = channel.stderr_tail, channel.exit_description
        await channel.stop()
        raise ServerStartError(
            f"The server {spec.package} ended before it answered.",
            why=f"Its process went away during the MCP handshake: {ending}.",
            hint="Read its last lines; try the command by hand.",
            stderr_tail=tail,
        ) from None
    except BaseException:
        await channel.stop()
        raise
    return channel
