"""The gateway: everything composed, and the ASGI callable that looks at the path first.

MCP endpoints go to the core; the rest of the documented HTTP surface is FastAPI's.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias, cast

from fastapi import FastAPI

from fluidmcp import __version__
from fluidmcp.auth.facade import FacadeParts
from fluidmcp.auth.fetch import Fetcher
from fluidmcp.auth.gateway_auth import GatewayGuard
from fluidmcp.auth.gateway_login import ForeignIssuer, GatewayLogin, GatewayProvider
from fluidmcp.auth.package import PackageAuth
from fluidmcp.auth.principal import Principal
from fluidmcp.auth.sealing import Sealer
from fluidmcp.auth.server.cimd import ClientDocuments
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.bridge.sessions import SessionTable
from fluidmcp.bridge.stateless import StatelessBridge
from fluidmcp.bridge.subscriptions import Subscriptions
from fluidmcp.bridge.suspended import SuspendedCalls
from fluidmcp.bridge.tool_headers import ToolHeaders
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import GatewaySettings, is_exposed
from fluidmcp.errors import ForbiddenError, RequestError
from fluidmcp.gateway.client_logins import ClientLogins
from fluidmcp.gateway.core import Core, MountedPackage
from fluidmcp.gateway.errors import answer_always, error_reply
from fluidmcp.gateway.guard import FrontDoor, HostGuard, read_headers
from fluidmcp.gateway.http import (
    KEEP_ALIVE_SECONDS,
    HttpReply,
    HttpRequest,
    OpenStreams,
    Receive,
    RequestBody,
    Send,
    too_large,
)
from fluidmcp.gateway.login import build_login_router
from fluidmcp.gateway.mcp import McpDoors
from fluidmcp.gateway.operations import add_error_answers, add_operations
from fluidmcp.gateway.stateless import StatelessDoors
from fluidmcp.gateway.subscriptions import SubscriptionDoor
from fluidmcp.processes.confinement import Confinement
from fluidmcp.processes.isolation import Wall, refuse_none
from fluidmcp.processes.launch import ColdLauncher
from fluidmcp.processes.pool import Pool
from fluidmcp.processes.watchdog import Watchdog
from fluidmcp.store.memory import MemoryStore, Store
from fluidmcp.web.docs import mount_docs

Scope: TypeAlias = MutableMapping[str, Any]

MAX_PENDING_LOGINS: Final = 1000
MAX_HANDED_OUT_TOKENS: Final = 100_000
MAX_GRANTS: Final = 100_000
"""Logins of MCP clients of which it is remembered how often they were renewed, or that they were revoked."""
MAX_CODES: Final = 20_000
"""Authorization codes of the last minutes. Apart from the grants, so that many of those keep nobody from logging in."""

CLIENT_DOCUMENT_SECONDS: Final = 5.0
"""How long the document of an MCP client, which anybody can make us fetch, may take."""

WEBSOCKET_REFUSED: Final = 1008
"""RFC 6455 section 7.4.1; sent before the handshake is answered, it makes the answer a 403."""

START_CHECK: Final = Principal(issuer="fluidmcp", subject="start check", client_id="", token_digest="start check")
"""For whom a server is started that known persons use, to see whether it can: nobody's token has this digest."""

MAX_CHECKS: Final = 16
"""Servers that are tried at the same time, and not more than a quarter of the processes that may run."""

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("fluidmcp.access")


class Gateway:
    """One gateway. Call `start()` before the first request and `close()` after the last.

    `guard` decides who may use the gateway at all; None: everybody whom the packages let in. `background` runs from
    `start()` to `close()`; it keeps fresh what the guard needs. `gateway_provider` is where people log in to a guarded
    gateway, `foreign_issuer` where MCP clients do without us. `client_fetcher` fetches the documents by which MCP
    clients introduce themselves, which anybody can name. `grants` is the store of their logins, for several gateways
    with the same keys.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        entries: Sequence[ServerEntry],
        environ: Mapping[str, str],
        *,
        guard: GatewayGuard | None = None,
        background: Callable[[], Coroutine[Any, Any, None]] | None = None,
        gateway_provider: GatewayProvider | None = None,
        foreign_issuer: ForeignIssuer | None = None,
        client_fetcher: Fetcher | None = None,
        grants: Store | None = None,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._settings = settings
        self.entries = tuple(entries)
        """What is served, in the order of the file."""
        self._walls: dict[str, Wall] = {}
        self._background = background
        self._background_task: asyncio.Task[None] | None = None
        self._fetcher = Fetcher(allow_private=settings.allow_private_providers)
        self._watchdog = Watchdog()
        self._pool: Pool[Channel] = Pool(settings.limits)
        self._checks = asyncio.Semaphore(max(1, min(MAX_CHECKS, settings.limits.max_processes // 4)))
        self._host_guard = HostGuard(settings)
        self._keep_alive_seconds = keep_alive_seconds
        self.streams = OpenStreams(keep_alive_seconds=keep_alive_seconds)
        """The event streams that are being sent."""
        self.pending_auth_states = MemoryStore(max_entries=MAX_PENDING_LOGINS)
        """Logins that wait for their callback; here, and nowhere else, is a code_verifier kept."""
        self.grants = MemoryStore(max_entries=MAX_GRANTS) if grants is None else grants
        """What is remembered of the logins of MCP clients; no token can be read from it."""
        self.codes = MemoryStore(max_entries=MAX_CODES)
        """Authorization codes, each encrypted under itself."""
        self._digest_key = secrets.token_bytes(32)
        self._sealer = Sealer(settings.seal_keys)
        self._client_fetcher = client_fetcher or Fetcher(
            allow_loopback=False, total_timeout_seconds=CLIENT_DOCUMENT_SECONDS
        )
        self._auths = self._build_auths(entries, environ)
        self._gateway_login = None if gateway_provider is None else self._build_gateway_login(gateway_provider)
        self.client_logins = self._build_client_logins(foreign_issuer)
        self._front_door = None if guard is None else self._build_front_door(guard)
        self._confinement = Confinement(settings.isolation, operator_home=environ.get("HOME", ""))
        self._servers = self._build_servers(entries, environ)
        self.sessions = SessionTable(
            max_sessions=settings.max_sessions,
            max_sessions_per_principal=settings.max_sessions_per_principal,
            idle_seconds=settings.limits.idle_timeout_seconds,
        )
        self.suspended = SuspendedCalls(self._sealer)
        """Calls that wait for the answers of a person."""
        self.subscriptions = Subscriptions()
        self._core = Core(self._mount_packages(), front_door=self._front_door)
        self.web = self._build_web()
        """What FastAPI serves: everything but the MCP endpoints."""

    def _mount_packages(self) -> dict[str, MountedPackage]:
        mounted: dict[str, MountedPackage] = {}
        for name, servers in self._servers.items():
            bridge = StatelessBridge(servers, self.suspended, self.subscriptions.hub.publish)
            stateless = StatelessDoors(
                bridge,
                ToolHeaders(servers, self.subscriptions.hub, bridge.attach),
                SubscriptionDoor(servers, self.subscriptions, bridge.attach),
            )
            doors = McpDoors(name, servers, self.sessions, stateless)
            auth = self._auths[name]
            mounted[name] = MountedPackage(
                name,
                doors,
                auth,
                facade=self.client_logins.facades.get(name),
                resource_metadata_of=self._settings.public_url if self.client_logins.has_document(name) else "",
                scopes=self.client_logins.scopes_of(name),
            )
        return mounted

    def _build_servers(self, entries: Sequence[ServerEntry], environ: Mapping[str, str]) -> dict[str, PackageServers]:
        limits = self._settings.limits
        launcher = ColdLauncher(
            self._watchdog, confinement=self._confinement, stop_timeout_seconds=limits.stop_timeout_seconds
        )
        level = self._settings.isolation.level
        return {
            entry.name: PackageServers(
                entry, environ, pool=self._pool, launcher=launcher, limits=limits, isolation=level
            )
            for entry in entries
        }

    def _build_auths(self, entries: Sequence[ServerEntry], environ: Mapping[str, str]) -> dict[str, PackageAuth | None]:
        handed_out = MemoryStore(max_entries=MAX_HANDED_OUT_TOKENS)
        return {
            entry.name: None
            if entry.auth is None
            else PackageAuth(
                entry,
                environ,
                public_url=self._settings.public_url,
                digest_key=self._digest_key,
                pending_auth_states=self.pending_auth_states,
                handed_out=handed_out,
                fetcher=self._fetcher,
            )
            for entry in entries
        }

    def _build_gateway_login(self, provider: GatewayProvider) -> GatewayLogin:
        return GatewayLogin(
            provider,
            public_url=self._settings.public_url,
            digest_key=self._digest_key,
            pending_auth_states=self.pending_auth_states,
        )

    def _build_client_logins(self, foreign_issuer: ForeignIssuer | None) -> ClientLogins:
        parts = FacadeParts(
            public_url=self._settings.public_url,
            sealer=self._sealer,
            digest_key=self._digest_key,
            grants=self.grants,
            codes=self.codes,
            documents=ClientDocuments(self._client_fetcher, now=time.time),
            rules=self._settings.client_rules,
        )
        return ClientLogins(self._auths, gateway_login=self._gateway_login, foreign_issuer=foreign_issuer, parts=parts)

    def _build_front_door(self, guard: GatewayGuard) -> FrontDoor:
        with_login = [name for name, auth in self._auths.items() if auth is not None]
        doors = self.client_logins.list_open_doors(with_login)
        return FrontDoor(guard, packages_with_login=with_login, open_doors=doors)

    def _build_web(self) -> FastAPI:
        web = FastAPI(
            title="FluidMCP",
            version=__version__,
            summary="MCP servers behind one HTTP gateway, with a login per package.",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        add_error_answers(web)
        add_operations(web, self._describe_health)
        mount_docs(web)
        doors = self.client_logins.build_doors()
        # Before the packages' own routes: "/auth/callback" is no package.
        for router in self.client_logins.build_routers(doors):
            web.include_router(router)
        web.include_router(
            build_login_router(
                self._auths,
                public_url=self._settings.public_url,
                is_anything_guarded=self._front_door is not None or any(self._auths.values()),
                client_logins=doors,
            )
        )
        return web

    @property
    def process_count(self) -> int:
        """Server processes that run or start."""
        return len(self._pool)

    def missing_variables(self, name: str) -> tuple[str, ...]:
        """Environment variables that the login of this package needs and that are not set."""
        auth = self._auths[name]
        return () if auth is None else auth.missing_variables

    @property
    def walls(self) -> Mapping[str, Wall]:
        """What isolates the server processes of each package, by its name. Known once `start` has returned."""
        return self._walls

    async def _describe_health(self, headers: Mapping[str, str]) -> Mapping[str, object]:
        """What `/health` tells the operator: whoever is on this machine, where nothing guards the gateway."""
        if self._front_door is not None:
            await self._front_door.admit_operator(headers)
        elif _is_for_others(self._settings):
            raise ForbiddenError(
                "Only the operator of a guarded gateway may see that.", hint="Add --oauth or --secure."
            )
        packages = {name: {"isolation": wall.describe(), "lacks": wall.weakness} for name, wall in self._walls.items()}
        return {"processes": self.process_count, "packages": packages}

    async def start(self) -> None:
        """Start the helpers of server processes, and find out what isolates those.

        Raises:
            ConfigurationError: the isolation that was asked for cannot be had here, or there is none although others
                than the operator use the gateway.
            ServerStartError: a helper could not be started.
        """
        await self._watchdog.start()
        for entry in self.entries:
            level = entry.isolation or self._settings.isolation.level
            wall = await self._confinement.choose_wall(level)
            if wall.is_none and _is_for_others(self._settings) and not self._settings.isolation.allow_none:
                raise refuse_none(entry.name, wall, level)
            self._walls[entry.name] = wall
        if self._background is not None:
            self._background_task = asyncio.create_task(self._background())
            self._background_task.add_done_callback(_log_failure)

    async def check_server(self, name: str) -> None:
        """Start a process of a package as its callers will, so that its faults show at start.

        The process that everybody shares stays; one that a known person would have to himself is ended again. It gets
        no token, whoever needs one.

        Raises:
            ServerStartError, ServerTimeoutError: it did not start, or did not complete the MCP handshake.
        """
        caller = None if self._front_door is None and self._auths[name] is None else START_CHECK
        async with self._checks:
            await self._servers[name].check(caller)

    async def close(self) -> None:
        """End all streams, server processes and outbound connections; calls in flight get an error."""
        if self._background_task is not None:
            self._background_task.cancel()
            await asyncio.wait((self._background_task,))
        self.suspended.close()
        # The processes first: a call in flight then fails on its stream before that is closed.
        await self._pool.close()
        self.streams.leave()
        await self.streams.end()
        await self._confinement.close()
        await self._watchdog.close()
        await self._fetcher.aclose()
        await self._client_fetcher.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": WEBSOCKET_REFUSED})
        if scope["type"] != "http":
            return  # no lifespan and no WebSocket is served
        try:
            headers = read_headers(cast("list[tuple[bytes, bytes]]", scope["headers"]))
            self._host_guard.check(headers, cast(str, scope["path"]))
            _check_length(headers, self._settings.max_body_bytes)
        except RequestError as error:
            await _send_reply(error_reply(error), send)
            return
        method, path = cast(str, scope["method"]), cast(str, scope["path"])
        body = RequestBody(receive, self._settings.max_body_bytes)
        if not self._core.is_mcp_path(path):
            refusal = await self._find_refusal(method, path, headers)
            if refusal is None:
                await self.web(scope, body.receive, send)
            else:
                await _send_reply(refusal, send)
            return
        try:
            reply = await self._core.handle(_build_request(scope, headers, body, self._keep_alive_seconds))
        finally:
            body.end_watches()
        if isinstance(reply, HttpReply):
            await _send_reply(reply, send)
        else:
            await self.streams.send(reply, body, send)
        access_logger.debug("%s %s %d", method, path, reply.status)

    async def _find_refusal(self, method: str, path: str, headers: Mapping[str, str]) -> HttpReply | None:
        """The reply to somebody who may not come in; None for everybody else."""
        if self._front_door is None:
            return None
        admitted = await answer_always(self._front_door.admit(method, path, headers), path)
        return admitted if isinstance(admitted, HttpReply) else None


def _is_for_others(settings: GatewaySettings) -> bool:
    """Whether people other than the operator are expected."""
    return is_exposed(settings) or settings.guard == "oauth"


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the gateway's background task failed", exc_info=task.exception())


def _build_request(scope: Scope, headers: Mapping[str, str], body: RequestBody, patience_seconds: float) -> HttpRequest:
    client = cast("tuple[str, int] | None", scope.get("client"))
    return HttpRequest(
        method=cast(str, scope["method"]),
        path=cast(str, scope["path"]),
        query=cast(bytes, scope.get("query_string", b"")).decode("latin-1"),
        headers=headers,
        client=client[0] if client else "",
        read_body=body.read,
        patience_seconds=patience_seconds,
        watch_disconnect=body.watch_disconnect,
    )


def _check_length(headers: Mapping[str, str], max_bytes: int) -> None:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise RequestError(400, "The Content-Length is not a number.")
    if int(length[:20]) > max_bytes:
        raise too_large(max_bytes)


async def _send_reply(reply: HttpReply, send: Send) -> None:
    headers = (*reply.headers, (b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
