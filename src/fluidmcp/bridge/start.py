"""From a launch specification to a server process with which an era is agreed.

A server may speak the handshake era (`initialize`), the stateless era (2026-07-28), or both; official SDK servers that
speak both stay with the era of the first message for as long as their process lives. So the era that the client wants
is tried first, and what was learnt is remembered per package.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from fluidmcp import __version__
from fluidmcp.bridge.channel import Channel, Era
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.config.tools import ToolFilter
from fluidmcp.errors import ServerExitedError, ServerProcessError, ServerStartError
from fluidmcp.processes.launch.launcher import Launcher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.pool.starts import StartReport
from fluidmcp.protocol.jsonrpc import Envelope, Json, parse_object
from fluidmcp.protocol.translate import with_stateless_meta
from fluidmcp.protocol.versions import LATEST_HANDSHAKE_VERSION, STATELESS_VERSIONS

GATEWAY_INFO: Final[Json] = msgspec.json.encode(
    {"name": "fluidmcp", "title": "FluidMCP gateway", "version": __version__}
)

ENDING_SECONDS: Final = 1.0
"""How long it is waited for the end of a process whose input is closed; one that goes on is ended."""
PROBE_SECONDS: Final = 3.0
"""How long a server may take to answer `server/discover` before `initialize` is sent after it."""

NO_CAPABILITIES: Final[Json] = b"{}"


def build_initialize_params(capabilities: Json = NO_CAPABILITIES) -> Json:
    """What the gateway says of itself to a server whose clients do no handshake."""
    return b'{"protocolVersion":"%b","capabilities":%b,"clientInfo":%b}' % (
        LATEST_HANDSHAKE_VERSION.encode(),
        capabilities,
        GATEWAY_INFO,
    )


@dataclass(slots=True)
class KnownEras:
    """What is known of the eras that a package's server speaks; None: it has not been tried."""

    handshake: bool | None = None
    stateless: bool | None = None


class HandshakeRefusedError(ServerStartError):
    """The server runs, and does not speak the era it was greeted in."""

    has_run = True


class ServerExitedBeforeAnswerError(ServerStartError):
    """The process went away while it was greeted."""

    has_run = True


Greeting: TypeAlias = Callable[[Channel], Awaitable[None]]


class ChannelStarter:
    """Starts server processes of one package."""

    def __init__(
        self,
        launcher: Launcher,
        limits: ProcessLimits,
        *,
        tools: ToolFilter | None = None,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """`tools`: those that the package serves; None: all of them."""
        self._launcher = launcher
        self._limits = limits
        self._tools = tools
        self._probe_seconds = probe_seconds
        self.known = KnownEras()

    async def start(self, spec: LaunchSpec, *, wanted: Era, initialize_params: Json, report: StartReport) -> Channel:
        """A channel whose `era` is the wanted one if the server speaks it, and the other one if not.

        `initialize_params` goes to a server of the handshake era. `report` is told what is known before this returns.

        Raises:
            ServerStartError: the server could not be launched, ended before it answered, or speaks neither era.

        How long that may take is for the pool: it cancels this call, and the process is stopped.
        """
        if wanted == "stateless" and self.known.stateless is not False:
            return await self._start_stateless(spec, initialize_params, report)
        if self.known.handshake is not False:
            try:
                channel = await self._attempt(spec, lambda link: self._initialize(link, initialize_params), report)
            except HandshakeRefusedError as refusal:
                if self.known.handshake or self.known.stateless is False:
                    raise
                return await self._start_after_refusal(spec, refusal, report)
            self.known.handshake = True
            return channel
        return await self._start_stateless(spec, initialize_params, report)

    async def _start_after_refusal(
        self, spec: LaunchSpec, refusal: HandshakeRefusedError, report: StartReport
    ) -> Channel:
        """Try `server/discover`, in a new process: the first message may have settled the era of the old one."""
        try:
            channel = await self._attempt(spec, self._discover, report)
        except ServerProcessError:
            raise refusal from None
        self.known.handshake = False
        self.known.stateless = True
        return channel

    async def _start_stateless(self, spec: LaunchSpec, initialize_params: Json, report: StartReport) -> Channel:
        try:
            channel = await self._attempt(spec, lambda link: self._probe(link, initialize_params), report)
        except (HandshakeRefusedError, ServerExitedBeforeAnswerError):
            # The process ended, or refused `initialize`; many older servers take that only as the first message.
            if self.known.stateless or self.known.handshake is False:
                raise
            channel = await self._attempt(spec, lambda link: self._initialize(link, initialize_params), report)
        if channel.era == "handshake":
            self.known.handshake = True
        self.known.stateless = channel.era == "stateless"
        return channel

    async def _attempt(self, spec: LaunchSpec, greet: "Greeting", report: StartReport) -> Channel:
        """One process, greeted; stopped again when that fails."""
        process = await self._launcher.launch(spec, on_install=report.watch)
        report.watch(process)
        channel = Channel(process, self._limits, self._tools)
        try:
            await greet(channel)
        except ServerExitedError:
            # Its input may be known to be closed before its end is, and its last words may still be in the pipe.
            has_ended = await channel.exits_within(ENDING_SECONDS)
            ending = channel.exit_description if has_ended else "it closed its input and goes on"
            tail, exit_code = channel.stderr_tail, channel.exit_code
            await channel.stop()
            raise ServerExitedBeforeAnswerError(
                f"The server {spec.package} ended before it answered.",
                why=f"Its process went away during the MCP handshake: {ending}.",
                hint="Read its last lines; try the command by hand.",
                stderr_tail=tail,
                exit_code=exit_code,
            ) from None
        except BaseException:
            # Before the stop: what a server says because it is told to end is not why it did not start.
            report.stderr_tail = channel.stderr_tail or report.stderr_tail
            await channel.stop()
            raise
        return channel

    async def _initialize(self, channel: Channel, initialize_params: Json) -> None:
        exchange = channel.send_request("initialize", Raw(initialize_params), has_deadline=False)
        self._accept_initialize(channel, await exchange.answer())

    def _accept_initialize(self, channel: Channel, answer: Envelope) -> None:
        if answer.error is not UNSET:
            raise HandshakeRefusedError(
                f"The server {channel.package} refused the MCP handshake.",
                why="It answered `initialize` with an error.",
                hint="Check that the command starts an MCP server that speaks stdio.",
                stderr_tail=channel.stderr_tail,
            )
        channel.era = "handshake"
        channel.greeting = answer
        channel.send_notification("notifications/initialized")

    async def _discover(self, channel: Channel) -> None:
        answer = await _send_discover(channel).answer()
        if not _is_discovery(answer):
            raise HandshakeRefusedError(f"The server {channel.package} does not speak {STATELESS_VERSIONS[-1]}.")
        _accept_discovery(channel, answer)

    async def _probe(self, channel: Channel, initialize_params: Json) -> None:
        """Ask which revisions it speaks; after any other answer, or none in time, greet it as the older ones want."""
        discovery = _send_discover(channel)
        try:
            async with asyncio.timeout(self._probe_seconds):
                answer = await discovery.answer()
        except TimeoutError:
            await self._initialize_late(channel, discovery, initialize_params)
            return
        if _is_discovery(answer):
            _accept_discovery(channel, answer)
            return
        await self._initialize(channel, initialize_params)

    async def _initialize_late(self, channel: Channel, discovery: Exchange, initialize_params: Json) -> None:
        """Both questions are asked: the first good answer decides. A slow starter may still answer the first one."""
        handshake = channel.send_request("initialize", Raw(initialize_params), has_deadline=False)
        tasks = [asyncio.ensure_future(exchange.answer()) for exchange in (discovery, handshake)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done() and _is_discovery(tasks[0].result()):
                _accept_discovery(channel, tasks[0].result())
                return
            self._accept_initialize(channel, await tasks[1])
        finally:
            for task in tasks:
                task.cancel()


def _send_discover(channel: Channel) -> Exchange:
    params = with_stateless_meta(
        UNSET, version=STATELESS_VERSIONS[-1], capabilities=NO_CAPABILITIES, client_info=GATEWAY_INFO, log_level=None
    )
    return channel.send_request("server/discover", params, has_deadline=False)


def _accept_discovery(channel: Channel, answer: Envelope) -> None:
    channel.era = "stateless"
    channel.greeting = answer


def _is_discovery(answer: Envelope) -> bool:
    """Whether a server that answers so is of the stateless era, in a revision that is known here."""
    if answer.error is not UNSET:
        return False
    members = parse_object(answer.result)
    return members is not None and "supportedVersions" in members
