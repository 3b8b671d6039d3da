"""`/health` with its details, the schema of configuration files, and what OpenAPI says of the MCP endpoints."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fluidmcp.config.schema import SCHEMA_PATH, build_schema
from fluidmcp.errors import FluidMCPError, RequestError
from fluidmcp.gateway.errors import error_reply
from fluidmcp.gateway.health import HEALTH_PATH, HEALTHY, READY_PATH, ServiceState, build_ready_reply

_SCHEMA_SECONDS: Final = 3600
"""How long an editor may keep the schema."""
_MESSAGE: Final[dict[str, object]] = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "number"]},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
    "example": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
}

_SECURITY_SCHEMES: Final[dict[str, object]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The access token of the package's login; where it has none, that of a guarded gateway.",
    },
    "gateway": {
        "type": "apiKey",
        "in": "header",
        "name": "X-FluidMCP-Authorization",
        "description": "`Bearer` and the token of a guarded gateway, where `bearer` is the package's.",
    },
}

_REFUSALS: Final[dict[str, object]] = {
    "400": {"description": "The body is no JSON-RPC message (-32700, -32600)."},
    "401": {"description": "A token is needed: the package's (the body names its `login_url`), or the gateway's."},
    "403": {"description": "A good token of somebody who is not allowed, or of too narrow a scope; a foreign Origin."},
    "404": {"description": "No such package, or no such session."},
    "429": {"description": "A limit on processes or sessions; see `Retry-After`."},
    "502": {"description": "The server could not be started."},
    "503": {"description": "The provider cannot be reached, or a failing server waits before its next start."},
}


_READY_DESCRIPTION: Final = (
    "With `detail=1`, `packages` holds for each name its `state`: `ready`, `needs_login`, `starting`, `installing` or "
    "`failing`, and for the operator the `reason` why it fails. The status does not depend on them."
)
_POST_DESCRIPTION: Final = (
    "Sessions of the revisions up to 2025-11-25 name themselves with `Mcp-Session-Id`. Requests of 2026-07-28 describe "
    "their client in `params._meta` and repeat it in `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name`; their errors "
    "have the status 400 or 404. Plain JSON-RPC without any of these is answered too."
)


def add_error_answers(app: FastAPI) -> None:
    """Give FastAPI's routes the same error answers as the MCP endpoints, from the same table."""

    async def answer(_request: Request, error: Exception) -> Response:
        reply = error_reply(cast(FluidMCPError, error))
        headers = {name.decode(): value.decode() for name, value in reply.headers}
        return Response(reply.body, reply.status, headers)

    async def answer_unrouted(request: Request, error: Exception) -> Response:
        status = cast(HTTPException, error).status_code
        what = "There is nothing here." if status == 404 else "The request is refused."
        base = request.scope.get("root_path", "")
        hint = f"A package is at {base}/PACKAGE/mcp. The endpoints are listed at {base}/docs."
        return await answer(request, RequestError(status, what, hint=hint))

    async def answer_invalid(request: Request, error: Exception) -> Response:
        names = sorted({str(fault["loc"][-1]) for fault in cast(RequestValidationError, error).errors()})
        what = f"The value of {', '.join(names)} is not understood."
        return await answer(request, RequestError(422, what, hint="In a query, write 1 or 0: ?detail=1."))

    app.add_exception_handler(FluidMCPError, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_unrouted)


Detail = Callable[[Mapping[str, str]], Awaitable[Mapping[str, object]]]
"""What the operator is told, by the headers of a request; raises for everybody else."""


def add_operations(app: FastAPI, describe: Detail, state: ServiceState, describe_packages: Detail) -> None:
    """Add `/health`, `/ready` and the schema of configuration files; complete the OpenAPI document by hand: the MCP
    endpoints do not run through FastAPI.

    `describe` gives what `/health?detail=1` adds, and `describe_packages` what `/ready?detail=1` does.
    """

    async def health(request: Request, detail: bool = False) -> JSONResponse:
        more: Mapping[str, object] = await describe(request.headers) if detail else {}
        return JSONResponse({**HEALTHY, **more}, headers={"cache-control": "no-store"})

    async def ready(request: Request, detail: bool = False) -> Response:
        more: Mapping[str, object] = await describe_packages(request.headers) if detail else {}
        reply = build_ready_reply(state, more)
        return Response(reply.body, reply.status, {name.decode(): value.decode() for name, value in reply.headers})

    app.add_api_route(
        HEALTH_PATH,
        health,
        methods=["GET"],
        summary="Whether the gateway runs; `detail=1`, for the operator: what isolates server processes",
        tags=["operations"],
        response_model=None,
    )
    app.add_api_route(
        READY_PATH,
        ready,
        methods=["GET"],
        summary="Whether the gateway wants requests: 200, or 503 once it is about to stop; `detail=1`: its packages",
        description=_READY_DESCRIPTION,
        tags=["operations"],
        response_model=None,
        responses={
            401: {"description": "With `detail=1`: the gateway's token is needed."},
            403: {"description": "With `detail=1`: strangers are not told which packages there are."},
            503: {"description": "The gateway is about to stop."},
        },
    )
    app.add_api_route(
        SCHEMA_PATH,
        send_schema,
        methods=["GET"],
        summary="The JSON schema of configuration files, for editors",
        tags=["operations"],
        response_model=None,
    )
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document.setdefault("paths", {}).update(_mcp_paths())
        document.setdefault("components", {}).setdefault("securitySchemes", {}).update(_SECURITY_SCHEMES)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # the documented way to extend it; FastAPI calls the attribute


def send_schema() -> Response:
    """The schema of our own file, which is the same for everybody."""
    content = json.dumps(build_schema(), indent=2)
    return Response(
        content, media_type="application/schema+json", headers={"cache-control": f"public, max-age={_SCHEMA_SECONDS}"}
    )


_BODY: Final[dict[str, object]] = {"required": True, "content": {"application/json": {"schema": _MESSAGE}}}
_SHARED: Final[dict[str, object]] = {
    "parameters": [{"name": "package", "in": "path", "required": True, "schema": {"type": "string"}}],
    "tags": ["mcp"],
    "security": [{}, {"bearer": []}, {"bearer": [], "gateway": []}],
}


def _stream(description: str) -> dict[str, object]:
    return {"description": description, "content": {"text/event-stream": {}}}


def _mcp_paths() -> dict[str, object]:
    return {"/{package}/mcp": _describe_mcp(), "/{package}/sse": _describe_sse(), "/{package}/me": _describe_me()}


def _describe_me() -> dict[str, object]:
    return {
        "get": {
            **_SHARED,
            "summary": "Who the caller is here, as their provider names them; `person` is null where nobody is known",
            "responses": {
                "200": {
                    "description": "`person`: `issuer`, `subject`; `name` and `email` where the provider told them.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
                "401": _REFUSALS["401"],
                "403": _REFUSALS["403"],
            },
        }
    }


def _describe_mcp() -> dict[str, object]:
    answer: dict[str, object] = {
        "description": "The JSON-RPC answer; as a stream of events once the server says something before it.",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    }
    return {
        "post": {
            **_SHARED,
            "summary": "One JSON-RPC message of any MCP revision, or of none; `initialize` opens a session",
            "description": _POST_DESCRIPTION,
            "requestBody": _BODY,
            "responses": {"200": answer, "202": {"description": "A notification was taken."}, **_REFUSALS},
        },
        "get": {
            **_SHARED,
            "summary": "The stream of a session for what belongs to no request",
            "description": "With `Last-Event-ID`: what a stream of the session had to say after that event.",
            "responses": {
                "200": _stream("Events `data: <JSON-RPC>` as they come."),
                "405": {"description": "Without `Mcp-Session-Id` there is no stream."},
                "406": {"description": "The client takes no event stream."},
                "409": {"description": "The session has such a stream already."},
                **_REFUSALS,
            },
        },
        "delete": {
            **_SHARED,
            "summary": "End the session named by `Mcp-Session-Id`",
            "responses": {"204": {"description": "Ended."}, **_REFUSALS},
        },
    }


def _describe_sse() -> dict[str, object]:
    return {
        "post": {
            **_SHARED,
            "summary": "One JSON-RPC request, answered as a stream of events",
            "description": "With `sessionId` in the query: a message of a client of revision 2024-11-05.",
            "requestBody": _BODY,
            "responses": {
                "200": _stream("Events `data: <JSON-RPC>`; the last is the answer."),
                "202": {"description": "Taken; the answer comes on the client's stream."},
                **_REFUSALS,
            },
        },
        "get": {
            **_SHARED,
            "summary": "The one stream of a client of revision 2024-11-05 (HTTP+SSE)",
            "responses": {
                "200": _stream("The event `endpoint` with the address for messages, then what the server says."),
                **_REFUSALS,
            },
        },
    }
