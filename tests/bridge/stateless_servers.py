"""Handshake-era clients whose session is served by a real process of the stateless era."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from msgspec import UNSET, Raw

from fluidmcp.bridge.channel import Channel, Era
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.session import Session
from fluidmcp.bridge.start import ChannelStarter
from fluidmcp.bridge.stateless_link import StatelessLink
from fluidmcp.bridge.streams import EventReader
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.pool.starts import StartReport
from fluidmcp.processes.watchdog import Watchdog
from fluidmcp.protocol.jsonrpc import Envelope

SERVER = Path(__file__).parents[1] / "servers" / "stateless_server.py"
LIMIT_SECONDS = 30.0
META = "io.modelcontextprotocol/"
CAPABILITIES: dict[str, object] = {
    "elicitation": {},
    "sampling": {},
    "roots": {"listChanged": True},
    "tasks": {},
    "experimental": {"x": {}},
}
CLIENT_INFO = {"name": "ada's client", "version": "7"}
INITIALIZE: dict[str, object] = {
    "protocolVersion": "2025-06-18",
    "capabilities": CAPABILITIES,
    "clientInfo": CLIENT_INFO,
}

Message = dict[str, Any]


def encode(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def decode(value: object) -> Any:
    return json.loads(bytes(cast(Raw, value)))


def read_answer(event: Envelope) -> Message:
    assert event.is_answer
    return {"error": decode(event.error)} if event.error is not UNSET else {"result": decode(event.result)}


async def answer_of(exchange: Exchange) -> Message:
    async with asyncio.timeout(LIMIT_SECONDS):
        return read_answer(await exchange.answer())


async def event_of(exchange: Exchange) -> Envelope:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await exchange.next_event()


@dataclass
class Client:
    """A handshake-era client whose session is served by a process of the stateless era."""

    session: Session
    link: StatelessLink
    general: EventReader
    last_id: int = 0

    def send(
        self, method: str, params: object = None, *, takes_events: bool = True, progress: bool = False
    ) -> Exchange:
        text = params if isinstance(params, Raw) else UNSET if params is None else encode(params)
        exchange = self.link.send_request(method, text, mentions_progress=progress, wants_notifications=takes_events)
        self.last_id += 1
        self.session.in_flight[b"%d" % self.last_id] = exchange
        return exchange

    def send_tool(self, name: str, arguments: object = None, *, takes_events: bool = True) -> Exchange:
        return self.send("tools/call", {"name": name, "arguments": arguments or {}}, takes_events=takes_events)

    async def call(self, method: str, params: object = None) -> Message:
        return await answer_of(self.send(method, params, takes_events=False))

    async def tool(self, name: str, arguments: object = None) -> Message:
        return await answer_of(self.send_tool(name, arguments, takes_events=False))

    async def heard(self, method: str) -> list[Message]:
        """What the server got of one method so far."""
        messages = (await self.call("test/heard"))["result"]["heard"]
        return [message for message in messages if message.get("method") == method]

    async def subscriptions(self) -> list[Message]:
        """The filters of the subscriptions that the server was asked for."""
        return [message["params"]["notifications"] for message in await self.heard("subscriptions/listen")]

    async def told(self) -> Message:
        """The next message on the stream for what belongs to no request."""
        async with asyncio.timeout(LIMIT_SECONDS):
            _, text = await anext(self.general)
        return cast(Message, json.loads(text))

    async def asked(self, exchange: Exchange) -> Message:
        """The next question on a request's stream."""
        event = await event_of(exchange)
        assert event.is_request
        params = {} if event.params is UNSET else {"params": decode(event.params)}
        return {"id": decode(event.id), "method": event.method, **params}

    def reply(self, question: Message, result: object) -> None:
        self.session.receive_answer(Envelope(id=encode(question["id"]), result=encode(result)))

    def refuse(self, question: Message) -> None:
        error = encode({"code": -1, "message": "User rejected the request"})
        self.session.receive_answer(Envelope(id=encode(question["id"]), error=error))


def open_session(initialize: object = INITIALIZE) -> Session:
    return Session(
        session_id="s",
        package="stateless",
        owner=None,
        scopes=frozenset(),
        initialize_params=bytes(encode(initialize)),
        last_used_at=0.0,
    )


@dataclass
class Servers:
    """Starts `stateless_server.py` with arguments, as the gateway does."""

    launcher: ColdLauncher
    channels: list[Channel] = field(default_factory=list[Channel])

    async def start(self, *args: str, wanted: Era = "stateless") -> Channel:
        spec = LaunchSpec(
            package="stateless",
            command=sys.executable,
            args=("-I", str(SERVER), *args),
            environment={},
            directory=Path("/"),
            private_home=False,
            secrets=(),
        )
        starter = ChannelStarter(self.launcher, ProcessLimits(request_timeout_seconds=LIMIT_SECONDS))
        async with asyncio.timeout(LIMIT_SECONDS):
            channel = await starter.start(
                spec, wanted=wanted, initialize_params=bytes(encode(INITIALIZE)), report=StartReport()
            )
        self.channels.append(channel)
        return channel

    async def connect(self, *args: str, initialize: object = INITIALIZE, question_seconds: float = 600.0) -> Client:
        """A client whose session has a process of its own."""
        channel = await self.start(*args)
        session = open_session(initialize)
        session.link = link = StatelessLink(session, channel, question_seconds=question_seconds)
        return Client(session, link, session.streams.general.read())


@asynccontextmanager
async def run_servers(homes: Path) -> AsyncGenerator[Servers]:
    watchdog = Watchdog()
    await watchdog.start()
    servers = Servers(ColdLauncher(watchdog, homes=homes, stop_timeout_seconds=0.3))
    try:
        yield servers
    finally:
        await asyncio.gather(*(channel.stop() for channel in servers.channels))
        await watchdog.close()
