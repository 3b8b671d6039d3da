"""Clients that use one server at the same time, with the same ids and the same progress tokens.

Whose process is whose is decided in `fluidmcp/bridge/servers.py`. Whatever they share, what the server says about a
request reaches the client that sent it, and nobody else.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from tests.gateway.events import EventSource, open_events
from tests.gateway.running import RunningGateway, running_gateway

Json = dict[str, Any]

SERVER = Path(__file__).parents[1] / "servers" / "asking_server.py"
TOKEN = "the same token"
REQUEST_ID = 7
COUNT = 10
ERAS = pytest.mark.parametrize("era", ["handshake", "stateless"])
EVERYTHING: Json = {"elicitation": {"form": {}}, "sampling": {}, "roots": {}}


@asynccontextmanager
async def sharing(era: str, **limits: Any) -> AsyncGenerator[RunningGateway]:
    entry = ServerEntry(
        name="asking",
        command=sys.executable,
        args=("-I", str(SERVER), era),
        directory=SERVER.parent,
        source="a test",
    )
    async with running_gateway([entry], limits=ProcessLimits(start_timeout_seconds=120, **limits)) as running:
        yield running


@dataclass
class Client:
    """`kind` is bare, session or stateless; `number` is what this client alone says and must hear."""

    running: RunningGateway
    kind: str
    number: int
    capabilities: Json = field(default_factory=dict[str, Any])
    headers: dict[str, str] = field(default_factory=dict[str, str])

    async def begin(self) -> None:
        self.headers["accept"] = "text/event-stream"
        if self.kind == "session":
            params: Json = {
                "protocolVersion": "2025-11-25",
                "capabilities": self.capabilities,
                "clientInfo": {"name": "test", "version": "1"},
            }
            greeting = await self.running.rpc("asking", "initialize", params, **self.headers)
            assert greeting.status_code == 200, greeting.text
            self.headers["mcp-session-id"] = greeting.headers["mcp-session-id"]

    @asynccontextmanager
    async def call(self, tool: str, arguments: Json, **more: Any) -> AsyncGenerator[EventSource]:
        meta: Json = {"progressToken": TOKEN}
        headers = dict(self.headers)
        if self.kind == "stateless":
            meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28"
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities
            headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": tool}
        params: Json = {"name": tool, "arguments": arguments, "_meta": meta, **more}
        message: Json = {"jsonrpc": "2.0", "id": REQUEST_ID, "method": "tools/call", "params": params}
        async with open_events(self.running.client, "POST", "/asking/mcp", json=message, headers=headers) as events:
            yield events

    async def check_progress(self) -> None:
        """Where processes are shared, ten calls are in flight before the server says something about the last one."""
        count = 1 if self.kind == "session" or self.capabilities else COUNT
        async with self.call("gather", {"count": count, "progress": self.number}) as events:
            *progress, answer = await events.rest()
        heard = [(message["params"]["progressToken"], message["params"]["progress"]) for message in progress]
        assert heard == [(TOKEN, step + 1) for step in range(self.number)]
        assert (answer["id"], answer["result"]["content"][0]["text"]) == (REQUEST_ID, str(self.number))

    async def check_echo(self) -> None:
        async with self.call("echo", {"mine": self.number}) as events:
            (answer,) = await events.rest()
        assert answer["id"] == REQUEST_ID
        assert answer["result"]["arguments"] == {"mine": self.number}

    async def check_question(self) -> None:
        question: Json = {"id": "q", "method": "elicitation/create", "params": self.form}
        arguments: Json = {"rounds": [[question]]}
        own = {"action": "accept", "content": {"name": str(self.number)}}
        async with self.call("ask", arguments) as events:
            if self.kind == "session":
                asked = await events.message()
                self.check_asked(asked)
                reply = {"jsonrpc": "2.0", "id": asked["id"], "result": own}
                response = await self.running.client.post("/asking/mcp", json=reply, headers=self.headers)
                assert response.status_code == 202
            (answer,) = await events.rest()
        if self.kind == "stateless":
            result = answer["result"]
            assert list(result["inputRequests"]) == ["q"]
            self.check_asked(result["inputRequests"]["q"])
            retry = {"inputResponses": {"q": own}, "requestState": result["requestState"]}
            async with self.call("ask", arguments, **retry) as events:
                (answer,) = await events.rest()
        assert answer["id"] == REQUEST_ID
        heard = json.loads(answer["result"]["content"][0]["text"])
        assert heard.get("answers", heard)["q"] == own

    @property
    def form(self) -> Json:
        return {"message": f"number {self.number}", "requestedSchema": {"type": "object", "properties": {}}}

    def check_asked(self, question: Json) -> None:
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", self.form["message"])


async def begin(running: RunningGateway, kind: str, capabilities: Json | None = None) -> list[Client]:
    clients = [Client(running, kind, number, capabilities or {}) for number in range(1, COUNT + 1)]
    await asyncio.gather(*(client.begin() for client in clients))
    return clients


@ERAS
async def test_ten_of_each_kind_at_once_hear_their_own_and_nothing_else(era: str) -> None:
    async with sharing(era) as running:
        clients = [client for kind in ("bare", "session", "stateless") for client in await begin(running, kind)]
        await asyncio.gather(
            *(client.check_progress() for client in clients), *(client.check_echo() for client in clients)
        )


@ERAS
async def test_bare_and_plain_stateless_clients_share_and_each_session_has_its_own(era: str) -> None:
    async with sharing(era) as running:
        sharers = [*await begin(running, "bare"), *await begin(running, "stateless")]
        await sharers[0].check_echo()
        await sharers[-1].check_echo()
        await asyncio.gather(*(client.check_progress() for client in sharers))
        # The first stateless request, or the first bare one, may have found out in a process of its own what the
        # server speaks; that one goes when it is not used any more.
        assert running.gateway.process_count <= 2
        shared_count = running.gateway.process_count
        await begin(running, "session")
        assert running.gateway.process_count == shared_count + COUNT


@ERAS
@pytest.mark.parametrize("kind", ["session", "stateless"])
async def test_ten_who_are_asked_at_once_are_asked_for_their_own_call(era: str, kind: str) -> None:
    async with sharing(era) as running:
        clients = await begin(running, kind, EVERYTHING)
        await asyncio.gather(*(client.check_question() for client in clients))
        await asyncio.gather(*(client.check_progress() for client in clients))
        await asyncio.gather(*(client.check_question() for client in clients))


async def test_calls_that_may_be_asked_something_use_the_first_free_process_again() -> None:
    async with sharing("handshake") as running:
        client, other = (await begin(running, "stateless", EVERYTHING))[:2]
        for _ in range(3):
            await client.check_question()
            await other.check_question()
        async with asyncio.timeout(60):
            while running.gateway.process_count > 1:
                # The process that only told which era it speaks is on its way out.
                await client.check_echo()
        await asyncio.gather(client.check_question(), other.check_question())
        assert running.gateway.process_count == 2


async def test_where_no_further_process_may_start_calls_wait_for_one_another() -> None:
    async with sharing("handshake", max_processes_per_package=2) as running:
        clients = await begin(running, "stateless", EVERYTHING)
        await asyncio.gather(*(client.check_echo() for client in clients))
        assert running.gateway.process_count == 2
        await asyncio.gather(*(client.check_echo() for client in clients))
