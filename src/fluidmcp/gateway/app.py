"""The gateway: everything composed, and the ASGI callable that looks at the path first.

MCP endpoints go to the core; the rest of the documented HTTP surface is FastAPI's.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias, cast

from fastapi import FastAPI

from fluidmcp import __version__
from fluidmcp.auth.fetch import Fetcher
from fluidmcp.auth.gateway_auth import GatewayGuard
from fluidmcp.auth.package import PackageAuth
from fluidmcp.auth.principal import Principal
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.bridge.sessions import SessionTable
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import RequestError
from fluidmcp.gateway.core import Core, MountedPackage
from fluidmcp.gateway.errors import answer_always, error_reply
from fluidmcp.gateway.guard import FrontDoor, HostGuard, read_headers
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.login import build_login_router
from fluidmcp.gateway.mcp import McpDoors
from fluidmcp.gateway.operations import add_error_answers, add_operations
from fluidmcp.processes.pool import Pool
from fluidmcp.processes.process import ColdLauncher
from fluidmcp.processes.watchdog import Watchdog
from fluidmcp.store.memory import MemoryStore
from fluidmcp.web.docs import mount_docs

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_PENDING_LOGINS: Final = 1000
MAX_HANDED_OUT_TOKENS: Final = 100_000

WEBSOCKET_REFUSED: Final = 1008
"""RFC 6455 section 7.4.1; sent before the handshake is answered, it makes the answer a 403."""

START_CHECK: Final = Principal(issuer="fluidmcp", subject="start check", client_id="", token_digest="start check")
"""For whom a guarded gateway starts a server to see whether it can: nobody's token has this digest."""

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("fluidmcp.access")


class Gateway:
    """One gateway. Call `start()` before the first request and `close()` after the last.

    `guard` decides who may use the gateway at all; None: everybody whom the packages let in. `background` runs from
    `start()` to `close()`; it keeps fresh what the guard needs.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        entries: Sequence[ServerEntry],
        environ: Mapping[str, str],
        *,
        guard: GatewayGuard | None = None,
        background: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._settings = settings
        self._background = background
        self._background_task: asyncio.Task[None] | None = None
        self._fetcher = Fetcher(allow_private=settings.allow_private_providers)
        self._watchdog = Watchdog()
        self._pool: Pool[Channel] = Pool(settings.limits)
        self._host_guard = HostGuard(settings)
        self.pending_auth_states = MemoryStore(max_entries=MAX_PENDING_LOGINS)
        """Logins that wait for their callback; here, and nowhere else, is a code_verifier kept."""
        self._auths = self._build_auths(entries, environ)
        with_login = [name for name, auth in self._auths.items() if auth is not None]
        self._front_door = None if guard is None else FrontDoor(guard, packages_with_login=with_login)
        launcher = ColdLauncher(self._watchdog, stop_timeout_seconds=settings.limits.stop_timeout_seconds)
        self._servers = {
            entry.name: PackageServers(entry, environ, pool=self._pool, launcher=launcher, limits=settings.limits)
            for entry in entries
        }
        self.sessions = SessionTable(
            max_sessions=settings.max_sessions,
            max_sessions_per_principal=settings.max_sessions_per_principal,
            idle_seconds=settings.limits.idle_timeout_seconds,
        )
        self._core = Core(
            {
                name: MountedPackage(name, McpDoors(name, servers, self.sessions), self._auths[name])
                for name, servers in self._servers.items()
            },
            front_door=self._front_door,
        )
        self.web = self._build_web()
        """What FastAPI serves: everything but the MCP endpoints."""

    def _build_auths(self, entries: Sequence[ServerEntry], environ: Mapping[str, str]) -> dict[str, PackageAuth | None]:
        digest_key = secrets.token_bytes(32)
        handed_out = MemoryStore(max_entries=MAX_HANDED_OUT_TOKENS)
        return {
            entry.name: None
            if entry.auth is None
            else PackageAuth(
                entry,
                environ,
                public_url=self._settings.public_url,
                digest_key=digest_key,
                pending_auth_states=self.pending_auth_states,
                handed_out=handed_out,
                fetcher=self._fetcher,
            )
            for entry in entries
        }

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
        add_operations(web)
        mount_docs(web)
        web.include_router(
            build_login_router(
                self._auths,
                public_url=self._settings.public_url,
                is_anything_guarded=self._front_door is not None or any(self._auths.values()),
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

    async def start(self) -> None:
        await self._watchdog.start()
        if self._background is not None:
            self._background_task = asyncio.create_task(self._background())
            self._background_task.add_done_callback(_log_failure)

    async def check_server(self, name: str) -> None:
        """Start a process of a package as its callers will, so that its faults show at start.

        The process that everybody shares stays; one that a known person would have to himself is ended again.

        Raises:
            ServerStartError, ServerTimeoutError: it did not start, or did not complete the MCP handshake.
        """
        servers = self._servers[name]
        caller = None if self._front_door is None else START_CHECK
        lease = await servers.acquire(caller, None)
        lease.release()
        if not servers.is_shared(caller):
            await servers.discard(servers.build_key(caller))

    async def close(self) -> None:
        """End all server processes and outbound connections; calls in flight get an error."""
        if self._background_task is not None:
            self._background_task.cancel()
            await asyncio.wait((self._background_task,))
        await self._pool.close()
        await self._watchdog.close()
        await self._fetcher.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": WEBSOCKET_REFUSED})
        if scope["type"] != "http":
            return  # no lifespan and no WebSocket is served
        try:
            headers = read_headers(cast("list[tuple[bytes, bytes]]", scope["headers"]))
            self._host_guard.check(headers)
            _check_length(headers, self._settings.max_body_bytes)
        except RequestError as error:
            await _send_reply(error_reply(error), send)
            return
        method, path = cast(str, scope["method"]), cast(str, scope["path"])
        body = _Body(receive, self._settings.max_body_bytes)
        if not self._core.is_mcp_path(path):
            refusal = await self._find_refusal(method, path, headers)
            if refusal is None:
                await self.web(scope, body.receive, send)
            else:
                await _send_reply(refusal, send)
            return
        client = cast("tuple[str, int] | None", scope.get("client"))
        request = HttpRequest(method, path, headers, client[0] if client else "", body.read)
        reply = await self._core.handle(request)
        if isinstance(reply, HttpReply):
            await _send_reply(reply, send)
        else:
            await _send_stream(reply, send)
        access_logger.debug("%s %s %d", method, path, reply.status)

    async def _find_refusal(self, method: str, path: str, headers: Mapping[str, str]) -> HttpReply | None:
        """The reply to somebody who may not come in; None for everybody else."""
        if self._front_door is None:
            return None
        admitted = await answer_always(self._front_door.admit(method, path, headers), path)
        return admitted if isinstance(admitted, HttpReply) else None


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the gateway's background task failed", exc_info=task.exception())


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "The request body is too large.", why=f"The limit is {max_bytes} bytes.")


def _check_length(headers: Mapping[str, str], max_bytes: int) -> None:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise RequestError(400, "The Content-Length is not a number.")
    if int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


class _Body:
    """A request body that is read once, and never beyond the limit."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._size = 0

    async def receive(self) -> MutableMapping[str, Any]:
        """The ASGI message, its body counted; for frameworks that read by themselves."""
        message = await self._receive()
        self._size += len(cast(bytes, message.get("body", b"")))
        if self._size > self._max_bytes:
            raise _too_large(self._max_bytes)
        return message

    async def read(self) -> bytes:
        """The whole body. RequestError: 413 beyond the limit, 400 when the client went away in the middle."""
        chunks: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RequestError(400, "The request ended before its body did.")
            chunks.append(cast(bytes, message.get("body", b"")))
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _send_reply(reply: HttpReply, send: Send) -> None:
    headers = (*reply.headers, (b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_stream(stream: HttpStream, send: Send) -> None:
    try:
        await send({"type": "http.response.start", "status": stream.status, "headers": stream.headers})
        async for chunk in stream.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await stream.chunks.aclose()
