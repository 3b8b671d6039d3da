"""From an HTTP request at an MCP endpoint to its reply, whatever carries the HTTP.

The order is the security story: the gateway's token, package, the package's token, then content type, session and
protocol. Somebody unknown learns that a token is needed, and nothing else.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from fluidmcp.authentication.principal import Principal
from fluidmcp.authorization_server.authorization_server import AuthorizationServer
from fluidmcp.authorization_server.metadata import resource_metadata_url
from fluidmcp.authorization_server.sealed_tokens import SealedAccess
from fluidmcp.crypto.sealing import PREFIX as SEALED_PREFIX
from fluidmcp.errors import ForbiddenError, RequestError, UnauthorizedError
from fluidmcp.gateway.errors import answer_always, answer_now, error_reply, try_now
from fluidmcp.gateway.guard import RequestGuard, check_content_type, read_bearer
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.endpoint import McpEndpoint, read_mcp_head
from fluidmcp.gateway.mcp.messages import SESSION_HEADER, Caller, McpHead
from fluidmcp.gateway.mcp.pending import Outcome
from fluidmcp.gateway.page.me import describe_caller
from fluidmcp.gateway.remembered import Memory, Remembered
from fluidmcp.guards.package_guard import PackageGuard
from fluidmcp.protocol.headers import parse_bearer
from fluidmcp.store.deny_list import DenyList

AskedBy = Literal["gateway", "package"]
"""Whose login a refusal asks for."""

MCP_PATH: Final = re.compile(r"/([^/]+)/(mcp|sse|me)", re.ASCII)
"""`me` is no MCP: it tells a caller who they are here. The same guard decides."""

_METHODS: Final[Mapping[str, bytes]] = MappingProxyType(
    {"mcp": b"GET, POST, DELETE", "sse": b"GET, POST", "me": b"GET"}
)


@dataclass(frozen=True, slots=True)
class MountedPackage:
    """A package with its endpoints, its login where it has one, and the login that MCP clients find by themselves."""

    name: str
    endpoints: McpEndpoint
    auth: PackageGuard | None
    authorization_server: AuthorizationServer | None = None
    resource_metadata_of: str = ""
    """The public URL, where there is a document that says how to log in to this package; else ""."""
    scopes: tuple[str, ...] = ()


@dataclass(slots=True)
class Passage:
    """The way of a request that needs no task (`Core.find_passage`)."""

    request: HttpRequest
    package: MountedPackage
    head: McpHead
    begin_now: Callable[[HttpRequest, McpHead, bytes, Caller], Outcome | None]
    """That of its `McpEndpoint`."""
    everybody: Caller | None
    """The caller where nobody is asked who they are."""
    remembered: Remembered | None = None
    """Who sent the last request with this head."""


class Core:
    """`handle` answers every request whose path `is_mcp_path` names; it never raises.

    `request_guard` guards the whole gateway; None lets everybody come as far as the packages.
    """

    def __init__(
        self,
        packages: Mapping[str, MountedPackage],
        *,
        memory: Memory,
        deny_list: DenyList,
        request_guard: RequestGuard | None = None,
    ) -> None:
        self._packages = packages
        self._deny_list = deny_list
        self._memory = memory
        self._request_guard = request_guard
        has_logins = any(package.auth is not None for package in packages.values())
        self._is_anything_guarded = has_logins or request_guard is not None

    @property
    def packages(self) -> Mapping[str, MountedPackage]:
        """What is served, by its name."""
        return self._packages

    @property
    def names_packages(self) -> bool:
        """Whether strangers are told the names of packages: only where nobody has to log in to anything."""
        return not self._is_anything_guarded

    def is_mcp_path(self, path: str) -> bool:
        return MCP_PATH.fullmatch(path) is not None

    async def handle(self, request: HttpRequest) -> HttpReply | HttpStream:
        return await answer_always(self._handle(request), request.path)

    async def _handle(self, request: HttpRequest) -> HttpReply | HttpStream:
        match = MCP_PATH.fullmatch(request.path)
        package = None if match is None else self._packages.get(match[1])
        if match is None or package is None:
            await self._admit(request, None, None)
            return self._unknown_package()
        caller = await self._let_in(request, package, match[2])
        if isinstance(caller, HttpReply):
            return caller
        if caller.principal is not None:
            request.read_body = self._check_after(request.read_body, package, caller.principal)
        reply = await self._answer(request, package, match[2], caller)
        if isinstance(reply, HttpReply):
            return self.look_again(reply, package, caller)
        reply.principal, reply.package = caller.principal, package.name
        return reply

    def find_passage(self, request: HttpRequest) -> "Passage | None":
        """How a request could be answered without a task, as far as its head tells; None: `handle` answers it.

        What the head of a request tells holds for every request with the same head, except who its token stands for.
        """
        match = MCP_PATH.fullmatch(request.path) if request.method == "POST" else None
        package = None if match is None or match[2] != "mcp" else self._packages.get(match[1])
        if package is None:
            return None
        try:
            check_content_type(request)
        except RequestError:
            return None
        request.can_wait = False
        is_open = package.auth is None and self._request_guard is None
        return Passage(
            request,
            package,
            read_mcp_head(request.headers),
            package.endpoints.begin_now,
            Caller(None) if is_open else None,
        )

    def let_in_now(self, passage: "Passage") -> Caller | None:
        """Who sends a request, where nobody has to be asked for that; None: `handle` finds out, and says what is wrong.

        To be called before the body is read, and for each request anew: tokens end, and are revoked
        (gateway/remembered).
        """
        known = passage.everybody or self._memory.find(passage.remembered)
        if known is not None:
            return known
        passage.remembered = None
        caller = try_now(self._let_in(passage.request, passage.package, "mcp"))
        if not isinstance(caller, Caller):
            return None
        passage.remembered = self._memory.remember(caller)
        return caller

    def is_shut_out(self, package: MountedPackage, caller: Caller) -> bool:
        """Whether somebody who was let in has been shut out since."""
        if caller.principal is None or not self._deny_list.has_active:
            return False
        return self._deny_list.shuts_out(package.name, caller.principal.people)

    def look_again(self, reply: HttpReply, package: MountedPackage, caller: Caller) -> HttpReply:
        """A reply; in its place the refusal to somebody who has been shut out since they asked.

        Their own processes have ended with them; what one that others use has done meanwhile is not handed out either.
        """
        if not self.is_shut_out(package, caller) or caller.principal is None:
            return reply
        return answer_now(self._deny_list.check_known, package.name, caller.principal.people) or reply

    def _check_after(
        self, read: Callable[[], Awaitable[bytes]], package: MountedPackage, principal: Principal
    ) -> Callable[[], Awaitable[bytes]]:
        """Read a body, which may take its time, and look again whether its sender may still come in."""

        async def read_and_check() -> bytes:
            body = await read()
            self._deny_list.check_known(package.name, principal.people)
            return body

        return read_and_check

    async def _let_in(self, request: HttpRequest, package: MountedPackage, endpoint: str) -> Caller | HttpReply:
        """Who sends a request, or the reply to somebody who may not come in."""
        asked_by: AskedBy = "package"
        try:
            opened = await _open_sealed(request, package)
            asked_by = "gateway"
            visitor = await self._admit(request, package, opened)
            asked_by = "package"
            caller = await _identify(request, package, visitor, opened)
            if request.call is not None:
                request.call.principal = caller.principal
            if caller.principal is not None:
                begun_at = None if opened is None else opened.begun_at
                await self._deny_list.check(package.name, caller.principal.people, begun_at=begun_at)
            return caller
        except (UnauthorizedError, ForbiddenError) as error:
            return _refuse(error, package, endpoint, asked_by=asked_by)

    async def _admit(
        self, request: HttpRequest, package: MountedPackage | None, opened: SealedAccess | None
    ) -> Principal | None:
        """Whom the guard of the whole gateway lets in; None where nothing guards it."""
        if self._request_guard is None:
            return None
        if opened is not None and package is not None and package.authorization_server is not None:
            visitor = await package.authorization_server.admit_to_gateway(opened)
            if visitor is not None:
                return visitor
        return await self._request_guard.admit(request.method, request.path, request.headers)

    async def _answer(
        self, request: HttpRequest, package: MountedPackage, endpoint: str, caller: Caller
    ) -> HttpReply | HttpStream:
        match (endpoint, request.method):
            case ("mcp", "POST"):
                check_content_type(request)
                return await package.endpoints.post_mcp(request, caller)
            case ("sse", "POST"):
                check_content_type(request)
                return await package.endpoints.post_sse(request, caller)
            case ("mcp", "DELETE"):
                return await package.endpoints.delete_mcp(request, caller)
            case ("mcp", "GET") if SESSION_HEADER in request.headers:
                return package.endpoints.get_mcp(request, caller)
            case ("sse", "GET"):
                return package.endpoints.get_sse(caller)
            case ("me", "GET"):
                return describe_caller(caller)
            case ("mcp", "GET"):
                # Clients of every era take 405 for "there is no such stream here".
                return _refuse_method("A stream needs a session.", allow=b"POST")
            case _:
                text = f"The method {request.method} is not served here."
                return _refuse_method(text, allow=_METHODS[endpoint])

    def _unknown_package(self) -> HttpReply:
        """Packages are named only where nobody has to log in to anything (a stranger learns nothing)."""
        names = ", ".join(sorted(self._packages))
        hint = "" if self._is_anything_guarded else f"Packages served here: {names}."
        return error_reply(RequestError(404, "There is no such package.", hint=hint))


def _refuse_method(text: str, *, allow: bytes) -> HttpReply:
    reply = error_reply(RequestError(405, text))
    reply.headers = (*reply.headers, (b"allow", allow))
    return reply


async def _open_sealed(request: HttpRequest, package: MountedPackage) -> SealedAccess | None:
    """What the token holds, if it is one of those that MCP clients get from us.

    Raises:
        UnauthorizedError: it looks like one and is not good here; nobody else is shown it.
    """
    token = parse_bearer(request.headers.get("authorization"))
    if token is None or not token.startswith(SEALED_PREFIX):
        return None
    opened = None if package.authorization_server is None else await package.authorization_server.open(token)
    if opened is None:
        raise UnauthorizedError(
            "The access token is not good here",
            reason="invalid_token",
            why="It is over, was revoked, or was made for something else.",
            hint="Refresh it, or log in again.",
        )
    return opened


async def _identify(
    request: HttpRequest, package: MountedPackage, visitor: Principal | None, opened: SealedAccess | None
) -> Caller:
    """The caller: the person of the package's own login where it has one, else whom the gateway's guard knows.

    The gateway's token ends here: only what the package's logins gave goes on to a process. For a sealed token, that is
    what is inside it.
    """
    if package.auth is None:
        return Caller(visitor)
    if opened is not None and package.authorization_server is not None:
        principal = await package.authorization_server.admit(opened)
        if principal is not None:
            return Caller(add_visitor(principal, visitor), opened.package, good_until=opened.expires_at)
    found = await package.auth.read_headers(request.headers)
    principal, held = found or await package.auth.authenticate(read_bearer(request))
    return Caller(add_visitor(principal, visitor), held)


def add_visitor(principal: Principal, visitor: Principal | None) -> Principal:
    """The person of a package, who is also somebody at the gateway's own guard."""
    if visitor is None or (visitor.issuer, visitor.subject) in principal.people:
        return principal
    return replace(principal, also=(*principal.also, *visitor.people))


def _refuse(
    error: UnauthorizedError | ForbiddenError, package: MountedPackage, endpoint: str, *, asked_by: AskedBy
) -> HttpReply:
    """The refusal, with the places where a client (RFC 9728 section 5.1) and a person find the login that helps."""
    helps = (
        package.authorization_server is None
        or asked_by == "package"
        or package.authorization_server.upstreams.gateway is not None
    )
    if package.resource_metadata_of and helps:
        resource = "mcp" if endpoint == "me" else endpoint
        error.resource_metadata = resource_metadata_url(package.resource_metadata_of, package.name, resource)
        error.scope = error.scope or " ".join(package.scopes)
    if isinstance(error, ForbiddenError) or package.auth is None or asked_by == "gateway":
        return error_reply(error)
    return error_reply(error, login_url=package.auth.login_url)
