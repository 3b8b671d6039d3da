"""A bridge for stateless-era requests with real server processes of `tests/servers/asking_server.py`."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET, Raw, UnsetType

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.changes import GroupKey
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.bridge.stateless_calls import StatelessBridge, StatelessCall
from fluidmcp.bridge.suspended import SuspendedCalls
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.watchdog import Watchdog
from fluidmcp.protocol.jsonrpc import Envelope
from fluidmcp.protocol.stateless import StatelessRequest, read_stateless_request

SERVER = Path(__file__).parents[1] / "servers" / "asking_server.py"
LIMIT_SECONDS = 30.0

EVERYTHING: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def person(subject: str, *scopes: str, digest: str = "d") -> Principal:
    return Principal(
        issuer="https://as.example", subject=subject, client_id="c", token_digest=digest, scopes=frozenset(scopes)
    )


def make_request(method: str, params: dict[str, Any], capabilities: Any, **meta: Any) -> StatelessRequest:
    """A request as the endpoints would have read it; `meta` holds what else `_meta` says."""
    described = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        **{name.replace("__", "/"): value for name, value in meta.items()},
    }
    text = json.dumps({**params, "_meta": described}).encode()
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    if method in NAMES:
        headers["mcp-name"] = params[NAMES[method]]
    return read_stateless_request(Envelope(id=Raw(b"1"), method=method, params=Raw(text)), headers)


def question(question_id: object, method: str = "elicitation/create", **params: Any) -> dict[str, Any]:
    return {"id": question_id, "method": method, "params": params}


def asking(*rounds: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The params of a `tools/call` that asks these rounds of questions."""
    return {"name": "ask", "arguments": {"rounds": list(rounds)}, **more}


@dataclass(slots=True)
class Answer:
    """What a client gets: notifications, then a result or an error."""

    notifications: list[dict[str, Any]]
    result: dict[str, Any]
    error: dict[str, Any]

    @property
    def text(self) -> Any:
        return json.loads(self.result["content"][0]["text"])

    @property
    def state(self) -> str:
        return str(self.result["requestState"])

    @property
    def keys(self) -> list[str]:
        return list(self.result["inputRequests"])


@dataclass(slots=True)
class RunningBridge:
    bridge: StatelessBridge
    suspended: SuspendedCalls
    pool: Pool[Channel]
    published: list[tuple[GroupKey, Envelope]]

    async def open(
        self,
        method: str,
        params: dict[str, Any],
        *,
        capabilities: Any = EVERYTHING,
        principal: Principal | None = None,
        wants_notifications: bool = True,
        **meta: Any,
    ) -> StatelessCall:
        request = make_request(method, params, capabilities, **meta)
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.bridge.open_call(request, principal, (), wants_notifications=wants_notifications)

    async def send(self, method: str, params: dict[str, Any], **options: Any) -> Answer:
        """A request and all that comes of it, as the endpoints would read it."""
        return await read(await self.open(method, params, **options))

    async def tell_server(self, method: str, /, **params: Any) -> Answer:
        """A request for tests, to the process that callers with all capabilities share."""
        return await self.send(f"test/{method}", params)

    async def heard(self, method: str, **options: Any) -> list[dict[str, Any]]:
        """The messages of a method that this process has read; "answer" for answers."""
        answer = await self.send("test/heard", {}, **options)
        messages = [json.loads(line) for line in answer.result["lines"]]
        return [message for message in messages if message.get("method", "answer") == method]


async def read(call: StatelessCall) -> Answer:
    notifications: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                event = await call.exchange.next_event()
                if event.is_answer:
                    return Answer(notifications, decode(event.result), decode(event.error))
                notifications.append({"method": event.method, "params": decode(event.params)})
    finally:
        call.finish()


def decode(text: Raw | UnsetType) -> dict[str, Any]:
    decoded: dict[str, Any] = {} if text is UNSET else json.loads(bytes(text))
    return decoded


@asynccontextmanager
async def running_bridge(
    era: str = "handshake", *, limits: ProcessLimits | None = None, **suspended: Any
) -> AsyncGenerator[RunningBridge]:
    """`suspended` holds what the constructor of SuspendedCalls takes."""
    limits = limits or ProcessLimits(stop_timeout_seconds=0.3)
    watchdog = Watchdog()
    await watchdog.start()
    pool: Pool[Channel] = Pool(limits)
    entry = ServerEntry(
        name="asking",
        command=sys.executable,
        args=("-I", str(SERVER), era),
        env=(),
        auth=None,
        directory=SERVER.parent,
        source="a test",
    )
    launcher = ColdLauncher(watchdog, stop_timeout_seconds=limits.stop_timeout_seconds)
    servers = PackageServers(entry, {"PATH": "/usr/bin:/bin"}, pool=pool, launcher=launcher, limits=limits)
    calls = SuspendedCalls(Sealer(), **suspended)
    published: list[tuple[GroupKey, Envelope]] = []
    bridge = StatelessBridge(servers, calls, lambda group, notification: published.append((group, notification)))
    try:
        yield RunningBridge(bridge, calls, pool, published)
    finally:
        calls.close()
        await pool.close()
        await watchdog.close()
