"""Subscriptions of stateless-era clients with real server processes of `tests/servers/listening_server.py`."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.client_subscriptions import Subscription, Subscriptions
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.bridge.stateless_calls import StatelessBridge
from fluidmcp.bridge.suspended import SuspendedCalls
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.watchdog import Watchdog
from tests.bridge.stateless_calls import LIMIT_SECONDS, decode, make_request, read

SERVER = Path(__file__).parents[1] / "servers" / "listening_server.py"

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
TOOLS_CHANGED = "notifications/tools/list_changed"
PROMPTS_CHANGED = "notifications/prompts/list_changed"
UPDATED = "notifications/resources/updated"
GONE = "notifications/cancelled"

TOOLS: dict[str, Any] = {"toolsListChanged": True}
ENDED = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: 7}}

Message = dict[str, Any]


def resources(*uris: str) -> dict[str, Any]:
    return {"resourceSubscriptions": list(uris)}


def changed(method: str, **params: Any) -> Message:
    return {"method": method, "params": params}


def updated(uri: str) -> Message:
    return changed(UPDATED, uri=uri)


class Stream:
    """What one subscriber gets."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    async def message(self) -> Message:
        """The next notification, or the answer that ends the subscription; without its mark, which is compared."""
        async with asyncio.timeout(LIMIT_SECONDS):
            event = await self.subscription.exchange.next_event()
        if event.is_answer:
            return {"result": decode(event.result)} if decode(event.result) else {"error": decode(event.error)}
        params = decode(event.params)
        assert params.pop("_meta") == {SUBSCRIPTION_ID: 7}
        return {"method": event.method, "params": params}

    async def acknowledged(self) -> Message:
        """The filter of the acknowledgement, which comes next."""
        message = await self.message()
        assert message["method"] == ACKNOWLEDGED
        return dict(message["params"]["notifications"])


@dataclass(slots=True)
class Running:
    era: str
    servers: PackageServers
    subscriptions: Subscriptions
    bridge: StatelessBridge
    pool: Pool[Channel]

    def make(
        self,
        wanted: Any,
        *,
        principal: Principal | None = None,
        capabilities: Any = None,
        request_id: bytes = b"7",
        **meta: Any,
    ) -> Subscription:
        return Subscription(
            make_request("subscriptions/listen", {"notifications": wanted}, capabilities or {}, **meta),
            request_id,
            principal,
            (),
            servers=self.servers,
            subscriptions=self.subscriptions,
            attach=self.bridge.attach,
        )

    async def open(self, wanted: Any, **options: Any) -> Stream:
        subscription = self.make(wanted, **options)
        async with asyncio.timeout(LIMIT_SECONDS):
            await subscription.open()
        return Stream(subscription)

    async def test(self, name: str, /, *, principal: Principal | None = None, **params: Any) -> Message:
        """One of the server's methods for tests, in the process of callers without capabilities."""
        request = make_request(f"test/{name}", params, {})
        async with asyncio.timeout(LIMIT_SECONDS):
            call = await self.bridge.open_call(request, principal, (), wants_notifications=False)
            return (await read(call)).result

    async def tell(self, *messages: Message, principal: Principal | None = None) -> None:
        await self.test("tell", principal=principal, messages=list(messages))

    async def heard(self, *methods: str) -> list[Message]:
        """The messages of these methods that the process has read."""
        messages = (await self.test("heard"))["messages"]
        return [message for message in messages if message.get("method") in methods]

    async def subscribed(self) -> list[str]:
        """What a handshake-era process was asked to watch, and with a minus, not to watch any more."""
        signs = {"resources/subscribe": "", "resources/unsubscribe": "-"}
        return [signs[message["method"]] + message["params"]["uri"] for message in await self.heard(*signs)]

    @property
    def asks_with(self) -> str:
        """The method that subscribes to resources."""
        return "subscriptions/listen" if self.era == "stateless" else "resources/subscribe"

    async def begin(self, wanted: Any, **options: Any) -> tuple[Subscription, "asyncio.Task[None]"]:
        """A subscription with one new resource; its server has been asked, and may have answered."""
        before = len(await self.heard(self.asks_with))
        subscription = self.make(wanted, **options)
        opening = asyncio.create_task(subscription.open())
        await self.test("wait", method=self.asks_with, count=before + 1)
        return subscription, opening

    async def acquire(self) -> ChannelLease:
        """The process of callers without capabilities."""
        return await self.servers.acquire_stateless(None, (), capabilities=b"{}", wants_logs=False, is_alone=False)

    async def die(self) -> None:
        """End the process that serves callers without capabilities, and wait until that is known here."""
        lease = await self.acquire()
        has_gone = asyncio.Event()
        lease.worker.add_exit_callback(has_gone.set)
        lease.worker.send_request("test/die", b"{}")
        async with asyncio.timeout(LIMIT_SECONDS):
            await has_gone.wait()
        lease.release()


def assert_nothing_is_held(it: Running) -> None:
    """No place among the subscriptions, and no process."""
    assert len(it.subscriptions) == 0
    assert it.pool.busy_count == 0


@asynccontextmanager
async def running(
    era: str, *args: str, limits: ProcessLimits | None = None, shared: bool = False, **bounds: Any
) -> AsyncGenerator[Running]:
    """`bounds` holds what the constructor of Subscriptions takes."""
    limits = limits or ProcessLimits(stop_timeout_seconds=0.3)
    watchdog = Watchdog()
    await watchdog.start()
    pool: Pool[Channel] = Pool(limits)
    entry = ServerEntry(
        name="listening",
        command=sys.executable,
        args=("-I", str(SERVER), era, *args),
        env=(),
        auth=None,
        directory=SERVER.parent,
        source="a test",
        shared=shared,
    )
    launcher = ColdLauncher(watchdog, stop_timeout_seconds=limits.stop_timeout_seconds)
    servers = PackageServers(entry, {"PATH": "/usr/bin:/bin"}, pool=pool, launcher=launcher, limits=limits)
    subscriptions = Subscriptions(**bounds)
    calls = SuspendedCalls(Sealer())
    try:
        yield Running(era, servers, subscriptions, StatelessBridge(servers, calls, subscriptions.hub.publish), pool)
    finally:
        calls.close()
        await pool.close()
        await watchdog.close()
