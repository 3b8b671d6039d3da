"""Clients of every kind at one server at once, all with the same ids, progress tokens and subscription ids.

A gate holds every call in its server process until all of them are in flight, and tells which process has whose call.
Answers, progress, log lines, questions and changed resources reach exactly the client that they belong to.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.entries import AuthBlock, ServerEntry
from fluidmcp.config.settings import ProcessLimits
from tests.gateway.events import EventSource, open_events
from tests.gateway.running import RunningGateway, running_gateway
from tests.gateway.test_persons import CLIENT_ID, bearer, introspect, token
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.serving import serve

Json = dict[str, Any]

SERVER = Path(__file__).parents[1] / "servers" / "mirror_server.py"
OPTIONS = {"handshake": ("--handshake",), "stateless": ("--stateless",), "dual": ()}
SERVERS = pytest.mark.parametrize("server", OPTIONS)

COUNT = 10
SAME_ID = 7
SAME_TOKEN = "the same"
PREFIX = "io.modelcontextprotocol/"
LIMIT_SECONDS = 110.0
LIMITS = ProcessLimits(start_timeout_seconds=100, max_processes_per_package=100, max_processes_per_principal=20)


def make_entry(server: str, auth: AuthBlock | None = None) -> ServerEntry:
    return ServerEntry(
        name="mirror",
        command=sys.executable,
        args=("-I", str(SERVER), *OPTIONS[server]),
        env=(),
        auth=auth,
        directory=SERVER.parent,
        source="a test",
    )


@dataclass
class Gate:
    """Calls wait here until `count` of them have come."""

    count: int
    port: int = 0
    processes: dict[str, int] = field(default_factory=dict[str, int])
    """The process id of the server that has the call, by the name of its client."""
    _is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _comes: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, process_id = (await reader.readline()).decode().split()
        self.processes[name] = int(process_id)
        async with self._comes:
            self._comes.notify_all()
        if len(self.processes) == self.count:
            self.let_pass()
        await self._is_open.wait()
        writer.close()
        await writer.wait_closed()

    def let_pass(self) -> None:
        self._is_open.set()

    async def wait_for(self, name: str) -> None:
        async with self._comes:
            await self._comes.wait_for(lambda: name in self.processes)

    def list_processes(self, *kinds: str) -> set[int]:
        return {number for name, number in self.processes.items() if name.partition("-")[0] in kinds}


@asynccontextmanager
async def standing_gate(count: int) -> AsyncGenerator[Gate]:
    gate = Gate(count)
    listener = await asyncio.start_server(gate.receive, "127.0.0.1", 0)
    gate.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield gate


@dataclass
class Client:
    """`kind` is bare, plain (stateless), interactive (stateless, with questions and log lines) or session."""

    running: RunningGateway
    kind: str
    number: int
    level: str | None = "debug"
    """The log lines that an interactive client wants."""
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def is_asked(self) -> bool:
        return self.kind in ("interactive", "session")

    async def begin(self) -> None:
        if self.kind != "session":
            return
        params: Json = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "t", "version": "1"}}
        params["capabilities"] = {"elicitation": {}}
        accept = {"accept": "application/json, text/event-stream"}
        response = await self.running.rpc("mirror", "initialize", params, **self.headers, **accept)
        assert response.status_code == 200, response.text
        self.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        level = await self.running.rpc("mirror", "logging/setLevel", {"level": "debug"}, **self.headers)
        assert level.status_code == 200, level.text

    @asynccontextmanager
    async def open(self, method: str, params: Json) -> AsyncGenerator[EventSource]:
        headers, meta = {**self.headers, "accept": "text/event-stream"}, {"progressToken": SAME_TOKEN}
        if self.kind in ("plain", "interactive"):
            headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
            headers |= {"mcp-name": params["name"]} if "name" in params else {}
            capabilities: Json = {"elicitation": {}} if self.is_asked else {}
            meta |= {f"{PREFIX}protocolVersion": "2026-07-28", f"{PREFIX}clientCapabilities": capabilities}
            meta |= {f"{PREFIX}logLevel": self.level} if self.is_asked and self.level else {}
        message = {"jsonrpc": "2.0", "id": SAME_ID, "method": method, "params": {**params, "_meta": meta}}
        async with open_events(self.running.client, "POST", "/mirror/mcp", json=message, headers=headers) as events:
            yield events

    async def talk(self, gate: Gate) -> None:
        """One call with all that a server can say about it; every message of it is this client's own."""
        asks = {"ask": True} if self.is_asked else {}
        params: Json = {"name": "talk", "arguments": {"name": self.name, "port": gate.port, **asks}}
        async with self.open("tools/call", params) as events:
            answer = await self.check_events(events)
        if answer["result"].get("resultType") == "input_required":
            ((key, question),) = answer["result"]["inputRequests"].items()
            assert question["params"]["message"] == self.name
            params |= {"inputResponses": {key: self.response}, "requestState": answer["result"]["requestState"]}
            async with self.open("tools/call", params) as events:
                answer = (await events.rest())[-1]
        assert answer["id"] == SAME_ID
        assert answer["result"]["name"] == self.name
        assert answer["result"]["answered"] == (self.response if self.is_asked else None)

    @property
    def response(self) -> Json:
        return {"action": "accept", "content": {"reply": self.name}}

    async def check_events(self, events: EventSource) -> Json:
        """Progress, the log line for whoever wants it, the question for a session; then the answer."""
        heard: list[str] = []
        while "method" in (message := await events.message()):
            method, params = message["method"], message["params"]
            heard.append(method)
            if method == "notifications/progress":
                assert (params["progressToken"], params["message"]) == (SAME_TOKEN, self.name)
            elif method == "notifications/message":
                assert params["data"] == self.name
            else:
                assert (method, params["message"]) == ("elicitation/create", self.name)
                reply = {"jsonrpc": "2.0", "id": message["id"], "result": self.response}
                accepted = await self.running.client.post("/mirror/mcp", json=reply, headers=self.headers)
                assert accepted.status_code == 202, accepted.text
        expected = ["notifications/progress", *(["notifications/message"] if self.is_asked else [])]
        assert heard == [*expected, *(["elicitation/create"] if self.kind == "session" else [])]
        return message


async def begin(running: RunningGateway, *kinds: str) -> list[Client]:
    clients = [Client(running, kind, number) for kind in kinds for number in range(COUNT)]
    await asyncio.gather(*(client.begin() for client in clients))
    return clients


@asynccontextmanager
async def sharing(server: str) -> AsyncGenerator[RunningGateway]:
    async with asyncio.timeout(LIMIT_SECONDS), running_gateway([make_entry(server)], limits=LIMITS) as running:
        yield running


@SERVERS
async def test_everything_about_a_call_reaches_its_own_client(server: str) -> None:
    async with sharing(server) as running, standing_gate(4 * COUNT) as gate:
        clients = await begin(running, "bare", "plain", "interactive", "session")
        await asyncio.gather(*(client.talk(gate) for client in clients))
        shared = gate.list_processes("bare", "plain")
        # One process, or where a server speaks both eras, or which was not known yet, one of each.
        assert len(shared) == 1 or (len(shared) == 2 and server != "handshake")
        sessions, alone = gate.list_processes("session"), gate.list_processes("interactive")
        assert (len(sessions), len(alone)) == (COUNT, COUNT)
        assert not sessions & (shared | alone)
        if server == "handshake":
            assert not alone & shared


@SERVERS
async def test_a_changed_resource_is_told_to_those_who_subscribed_to_it(server: str) -> None:
    async with sharing(server) as running, AsyncExitStack() as stack:
        clients = await begin(running, "plain")
        streams: list[EventSource] = []
        for client in clients:
            wanted = {"resourceSubscriptions": [f"mirror:{client.number}", "mirror:last"]}
            events = await stack.enter_async_context(client.open("subscriptions/listen", {"notifications": wanted}))
            confirmed = await events.message()
            assert confirmed["method"] == "notifications/subscriptions/acknowledged"
            assert confirmed["params"]["_meta"][f"{PREFIX}subscriptionId"] == SAME_ID
            streams.append(events)
        for uri in (*(f"mirror:{client.number}" for client in reversed(clients)), "mirror:last"):
            async with clients[0].open("mirror/touch", {"uri": uri}) as events:
                assert (await events.rest())[-1]["id"] == SAME_ID
        for client, events in zip(clients, streams, strict=True):
            for uri in (f"mirror:{client.number}", "mirror:last"):
                changed = await events.message()
                assert (changed["method"], changed["params"]["uri"]) == ("notifications/resources/updated", uri)
                assert changed["params"]["_meta"][f"{PREFIX}subscriptionId"] == SAME_ID


@SERVERS
async def test_known_persons_share_with_no_other_token(server: str) -> None:
    """Five persons, each with two tokens and with one client of every kind per token."""
    provider = FaultMakingProvider()
    provider.answer_introspection = introspect
    async with serve(provider.app) as address, standing_gate(4 * COUNT) as gate:
        block = AuthBlock(
            authorization_url=f"{address}/authorize",
            token_url=f"{address}/token",
            introspection_url=f"{address}/introspect",
            env_var_name="GMAIL_ACCESS_TOKEN",
            scopes=("mail",),
            client_id_env="MAIL_CLIENT_ID",
            client_secret_env="MAIL_CLIENT_SECRET",
        )
        environ = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": "client-secret"}
        async with (
            asyncio.timeout(LIMIT_SECONDS),
            running_gateway([make_entry(server, block)], environ, limits=LIMITS) as running,
        ):
            tokens = [token(f"person-{number // 2}", number) for number in range(COUNT)]
            clients = [
                Client(running, kind, number, headers=bearer(tokens[number]))
                for kind in ("bare", "plain", "interactive", "session")
                for number in range(COUNT)
            ]
            await asyncio.gather(*(client.begin() for client in clients))
            await asyncio.gather(*(client.talk(gate) for client in clients))
            users: dict[int, set[int]] = {}
            for name, process_id in gate.processes.items():
                users.setdefault(process_id, set()).add(int(name.partition("-")[2]))
            assert all(len(numbers) == 1 for numbers in users.values())
