"""`/deny-list`: the operator of a guarded gateway looks at the deny list and changes it, from wherever they are."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from fluidmcp.errors import ConfigurationError, RequestError, UserError
from fluidmcp.protocol.headers import is_json_content_type
from fluidmcp.store.deny_list import DenyList

MAX_BODY_BYTES: Final = 16 * 1024
AdmitOperator = Callable[[Mapping[str, str]], Awaitable[None]]
"""Raises for whoever is not the operator, by the headers of a request."""

_WHO: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["subject"],
    "properties": {
        "subject": {"type": "string", "description": "`SUB`, or `ISSUER|SUB`: as the provider knows the person."},
        "package": {"type": ["string", "null"], "description": "Only this package; without it, all."},
    },
}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The body is something else."},
    401: {"description": "The gateway's token is needed."},
    403: {"description": "The token is not the operator's, or nothing guards the gateway."},
    503: {"description": "What several gateways share cannot be written now."},
}


class _Who(msgspec.Struct, frozen=True):
    subject: str
    package: str | None = None


def build_deny_router(deny_list: DenyList, admit_operator: AdmitOperator) -> APIRouter:
    """The routes. `deny_list` has been read."""
    router = APIRouter(prefix="/deny-list", tags=["operations"])
    endpoints = _DenyEndpoints(deny_list, admit_operator)
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": _WHO}}}}

    def add(path: str, endpoint: Any, method: str, summary: str, extra: dict[str, Any] | None = None) -> None:
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            summary=summary,
            response_model=None,
            responses=_REFUSALS,
            openapi_extra=extra,
        )

    add("", endpoints.show, "GET", "For the operator: who is shut out")
    add("/revoke", endpoints.revoke, "POST", "For the operator: shut a person out, and end what they have open", body)
    add("/allow", endpoints.allow, "POST", "For the operator: let a person in again", body)
    return router


class _DenyEndpoints:
    def __init__(self, deny_list: DenyList, admit_operator: AdmitOperator) -> None:
        self._deny_list = deny_list
        self._admit_operator = admit_operator

    async def show(self, request: Request) -> JSONResponse:
        await self._admit_operator(request.headers)
        people = [
            {"subject": denial.who, "package": denial.package, "since": int(denial.since)}
            for denial in self._deny_list.people
        ]
        return _answer({"people": people})

    async def revoke(self, request: Request) -> JSONResponse:
        who = await self._read(request)
        return _answer({"changed": await _told(self._deny_list.revoke(who.subject, who.package))})

    async def allow(self, request: Request) -> JSONResponse:
        who = await self._read(request)
        return _answer({"changed": await _told(self._deny_list.allow(who.subject, who.package))})

    async def _read(self, request: Request) -> _Who:
        await self._admit_operator(request.headers)
        if not is_json_content_type(request.headers.get("content-type")):
            raise RequestError(415, "The body must be JSON.", hint="Send Content-Type: application/json.")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise RequestError(413, "The body is too large.")
        try:
            return msgspec.json.decode(bytes(body), type=_Who)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(400, "The body names no person.", hint='Send {"subject": "..."}.') from error


async def _told(change: Awaitable[bool]) -> bool:
    try:
        return await change
    except UserError as error:
        # The file of the list is the gateway's business, everything else that of whoever asks.
        status = 503 if isinstance(error, ConfigurationError) else 400
        raise RequestError(status, error.what, why=error.why, hint=error.hint) from error


def _answer(document: Mapping[str, object]) -> JSONResponse:
    return JSONResponse(document, headers={"cache-control": "no-store"})
