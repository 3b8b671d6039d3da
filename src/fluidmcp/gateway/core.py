"""From an HTTP request at an MCP endpoint to its reply, whatever carries the HTTP.

The order is the security story: the gateway's token, package, the package's token, then content type, session and
protocol. Somebody unknown learns that a token is needed, and nothing else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fluidmcp.auth.package import PackageAuth
from fluidmcp.auth.principal import Principal
from fluidmcp.errors import RequestError, UnauthorizedError
from fluidmcp.gateway.errors import answer_always, error_reply
from fluidmcp.gateway.guard import FrontDoor, check_content_type, read_bearer
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp import McpDoors
from fluidmcp.gateway.messages import SESSION_HEADER, Caller

MCP_PATH: Final = re.compile(r"/([^/]+)/(mcp|sse)", re.ASCII)


@dataclass(frozen=True, slots=True)
class MountedPackage:
    """A package with its doors, and with its login where it has one."""

    name: str
    doors: McpDoors
    auth: PackageAuth | None


class Core:
    """`handle` answers every request whose path `is_mcp_path` names; it never raises.

    `front_door` guards the whole gateway; None lets everybody come as far as the packages.
    """

    def __init__(self, packages: Mapping[str, MountedPackage], *, front_door: FrontDoor | None = None) -> None:
        self._packages = packages
        self._front_door = front_door
        has_logins = any(package.auth is not None for package in packages.values())
        self._is_anything_guarded = has_logins or front_door is not None

    def is_mcp_path(self, path: str) -> bool:
        return MCP_PATH.fullmatch(path) is not None

    async def handle(self, request: HttpRequest) -> HttpReply | HttpStream:
        return await answer_always(self._handle(request), request.path)

    async def _handle(self, request: HttpRequest) -> HttpReply | HttpStream:
        visitor = None
        if self._front_door is not None:
            visitor = await self._front_door.admit(request.method, request.path, request.headers)
        match = MCP_PATH.fullmatch(request.path)
        package = None if match is None else self._packages.get(match[1])
        if match is None or package is None:
            return self._unknown_package()
        try:
            caller = await _identify(request, package, visitor)
        except UnauthorizedError as error:
            return error_reply(error, login_url=package.auth.login_url if package.auth else "")
        return await self._answer(request, package, match[2], caller)

    async def _answer(
        self, request: HttpRequest, package: MountedPackage, door: str, caller: Caller
    ) -> HttpReply | HttpStream:
        match (door, request.method):
            case ("mcp", "POST"):
                check_content_type(request)
                return await package.doors.post_mcp(request, caller)
            case ("sse", "POST"):
                check_content_type(request)
                return await package.doors.post_sse(request, caller)
            case ("mcp", "DELETE"):
                return await package.doors.delete_mcp(request, caller)
            case ("mcp", "GET") if SESSION_HEADER in request.headers:
                return package.doors.get_mcp(request, caller)
            case ("sse", "GET"):
                return package.doors.get_sse(caller)
            case ("mcp", "GET"):
                # Clients of every era take 405 for "there is no such stream here".
                return _refuse_method("A stream needs a session.", allow=b"POST")
            case _:
                text = f"The method {request.method} is not served here."
                return _refuse_method(text, allow=b"GET, POST, DELETE" if door == "mcp" else b"GET, POST")

    def _unknown_package(self) -> HttpReply:
        """Packages are named only where nobody has to log in to anything (a stranger learns nothing)."""
        names = ", ".join(sorted(self._packages))
        hint = "" if self._is_anything_guarded else f"Packages served here: {names}."
        return error_reply(RequestError(404, "There is no such package.", hint=hint))


def _refuse_method(text: str, *, allow: bytes) -> HttpReply:
    reply = error_reply(RequestError(405, text))
    reply.headers = (*reply.headers, (b"allow", allow))
    return reply


async def _identify(request: HttpRequest, package: MountedPackage, visitor: Principal | None) -> Caller:
    """The caller: the person of the package's own login where it has one, else whom the gateway's guard knows.

    The gateway's token ends here: only the token of a package goes on to a process.
    """
    if package.auth is None:
        return Caller(visitor, None)
    token = read_bearer(request)
    return Caller(await package.auth.authenticate(token), token)
