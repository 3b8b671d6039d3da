"""Every way of a client to send a message, behind one face: what is sent, and the message that answers it."""

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.events import EventSource, open_events
from tests.gateway.running import RunningGateway

Json = dict[str, Any]

BOTH = "application/json, text/event-stream"
STATELESS = "2026-07-28"
_META = "io.modelcontextprotocol/"
_VERSIONS = {
    "session": "2025-11-25",
    "session-stream": "2025-06-18",
    "batch-session": "2025-03-26",
    "single": "2024-11-05",
}
ASKED: Json = {"elicitation": {"form": {}}}

WAYS = (
    "bare",
    "bare-stream",
    "one-stream",
    "batch",
    "session",
    "session-stream",
    "batch-session",
    "single",
    "stateless",
    "stateless-stream",
)


@dataclass
class Client:
    running: RunningGateway
    way: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    capabilities: Json = field(default_factory=dict[str, Any])
    address: str = "/tools/mcp"
    _events: EventSource | None = None
    _last_id: int = 0

    @property
    def is_stateless(self) -> bool:
        return self.way.startswith("stateless")

    async def begin(self, stack: AsyncExitStack) -> None:
        if self.way == "one-stream":
            self.address = "/tools/sse"
        if self.way == "single":
            options = {"headers": dict(self.headers)}
            self._events = await stack.enter_async_context(
                open_events(self.running.client, "GET", "/tools/sse", **options)
            )
            self.address = (await self._events.next()).data
        if self.way in _VERSIONS:
            params: Json = {"protocolVersion": _VERSIONS[self.way], "capabilities": self.capabilities}
            params["clientInfo"] = {"name": "t", "version": "1"}
            message: Json = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
            headers = {**self.headers, "accept": BOTH}
            response = await self.running.client.post(self.address, json=message, headers=headers)
            if self._events is None:
                self.headers["mcp-session-id"] = response.headers["mcp-session-id"]
            else:
                await self._events.message()

    async def ask(self, method: str, params: Json | None = None) -> Json:
        """The message that answers a request."""
        return await self.ask_raw(method, self.encode(params or {}), (params or {}).get("name"))

    def encode(self, params: Json) -> str:
        """The params as this way has them: in the stateless era they describe the client."""
        if self.is_stateless:
            meta = {f"{_META}protocolVersion": STATELESS, f"{_META}clientCapabilities": self.capabilities}
            params = {**params, "_meta": meta}
        return json.dumps(params)

    async def ask_raw(self, method: str, params: str | None, name: object = None) -> Json:
        """As `ask`, with the text of the params; `name` is what the header Mcp-Name says."""
        self._last_id += 1
        message = f'{{"jsonrpc":"2.0","id":{self._last_id},"method":{json.dumps(method)}'
        message += "}" if params is None else f',"params":{params}}}'
        text = await self.post(message, method, name)
        answers: Json | list[Json] = json.loads(text)
        answer = answers[0] if isinstance(answers, list) else answers
        assert answer["id"] == self._last_id
        return answer

    async def post(self, message: str, method: str, name: object = None) -> str:
        """The text of the answer to one message; empty where none comes."""
        headers = {**self.headers, "content-type": "application/json", "accept": "application/json"}
        if self.way in ("session", "batch-session", "stateless", "one-stream"):
            headers["accept"] = BOTH
        if self.way.endswith("-stream"):
            headers["accept"] = "text/event-stream"
        if self.is_stateless:
            headers |= {"mcp-protocol-version": STATELESS, "mcp-method": method}
            if isinstance(name, str):
                headers["mcp-name"] = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
        body = f"[{message}]" if self.way.startswith("batch") else message
        response = await self.running.client.post(self.address, content=body.encode(), headers=headers)
        if self._events is not None:
            assert response.status_code == 202
            return (await self._events.next()).data if '"id"' in message else ""
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            data = [line[6:] for line in response.text.splitlines() if line.startswith("data: ") and line[6:]]
            return data[-1]
        return response.text

    async def heard(self) -> str:
        """What the process of this client has read so far."""
        answer = await self.ask("test/heard")
        return "".join(answer["result"]["heard"])


@asynccontextmanager
async def client_of(
    running: RunningGateway, way: str, capabilities: Json | None = None, **headers: str
) -> AsyncGenerator[Client]:
    async with AsyncExitStack() as stack:
        client = Client(running, way, dict(headers), capabilities or {})
        await client.begin(stack)
        yield client
