"""The one table from failures to HTTP answers, and the one place that catches what nobody expected."""

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar, TypeVarTuple, cast

from fluidmcp.authentication.challenge import build_challenge
from fluidmcp.bridge.exchange import SlowReaderError
from fluidmcp.bridge.session import CancelledByClientError, SessionClosedError
from fluidmcp.errors import (
    CapacityError,
    FluidMCPError,
    ForbiddenError,
    LoginError,
    OAuthError,
    ProviderAnswerError,
    ProviderUnavailableError,
    RequestError,
    ServerBackingOffError,
    ServerExitedError,
    ServerProcessError,
    ServerStartError,
    ServerTimeoutError,
    StoreUnavailableError,
    UnauthorizedError,
    WouldWaitError,
)
from fluidmcp.gateway.http import Headers, HttpReply, json_reply
from fluidmcp.protocol.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, InvalidMessageError, Json, encode_error

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_STATUS: Final[tuple[tuple[type[FluidMCPError], int], ...]] = (
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (ProviderAnswerError, 502),
    (ProviderUnavailableError, 503),
    (InvalidMessageError, 400),
    (StoreUnavailableError, 503),
    (CapacityError, 429),
    (ServerBackingOffError, 503),
    (ServerStartError, 502),
    # The request did reach a server: JSON-RPC clients look for the reason in the body of a 200.
    (ServerExitedError, 200),
    (ServerTimeoutError, 200),
    (SlowReaderError, 200),
    (CancelledByClientError, 200),
    (SessionClosedError, 200),
)


_REQUEST_CODES: Final = {
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    421: "unknown_host",
}


_INTERNAL_ERROR: Final = json_reply(
    500, {"error": "internal_error", "message": "Something went wrong inside the gateway."}
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An HTTP status and the headers that go with it."""

    status: int
    headers: Headers = ()


def describe_problem(error: FluidMCPError) -> Problem:
    """The HTTP side of a failure; 500 for one that has no row in the table."""
    if isinstance(error, RequestError | LoginError | OAuthError):
        retry = getattr(error, "retry_after_seconds", None)
        return Problem(error.status, () if retry is None else (_retry_after(retry),))
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    match error:
        case UnauthorizedError():
            challenge = build_challenge(
                error.reason,
                error.what if error.reason else "",
                scope=error.scope,
                resource_metadata=error.resource_metadata,
            )
            return Problem(status, ((b"www-authenticate", challenge.encode()),))
        case ForbiddenError(reason=str() as reason, scope=scope):
            challenge = build_challenge(reason, error.what, scope=scope, resource_metadata=error.resource_metadata)
            return Problem(status, ((b"www-authenticate", challenge.encode()),))
        case CapacityError() | ServerBackingOffError() | StoreUnavailableError():
            return Problem(status, (_retry_after(error.retry_after_seconds),))
        case _:
            return Problem(status)


def error_reply(error: FluidMCPError, **extra: str) -> HttpReply:
    """A plain JSON answer: `error` (stable code), `message`, and what else helps."""
    problem = describe_problem(error)
    code = _REQUEST_CODES.get(problem.status, error.code) if isinstance(error, RequestError) else error.code
    body = {"error": code, "message": error.what, "why": error.why, "hint": error.hint, **extra}
    return json_reply(problem.status, {name: text for name, text in body.items() if text}, problem.headers)


def rpc_error_reply(error: FluidMCPError, request_id: Json | None, *, show_stderr: bool = False) -> HttpReply:
    """A JSON-RPC error under the request's id, in an HTTP answer of the matching status.

    `show_stderr`: the caller owns the process, so its last lines on stderr are the caller's to see.
    """
    problem = describe_problem(error)
    reply = HttpReply(problem.status, encode_rpc_error(error, request_id, show_stderr=show_stderr))
    reply.headers = (*reply.headers, *problem.headers)
    return reply


def encode_rpc_error(error: FluidMCPError, request_id: Json | None, *, show_stderr: bool = False) -> Json:
    if isinstance(error, InvalidMessageError):
        code = error.rpc_code
    else:
        code = INVALID_REQUEST if isinstance(error, RequestError) else INTERNAL_ERROR
    data: dict[str, object] = {"error": error.code}
    if show_stderr and isinstance(error, ServerProcessError) and error.stderr_tail:
        data["stderr"] = list(error.stderr_tail)
    message = " ".join(part for part in (error.what, error.why, error.hint) if part)
    return encode_error(request_id, code, message, data)


async def answer_always(outcome: Awaitable[T], path: str) -> T | HttpReply:
    """The outcome, or the reply that says why there is none; what nobody expected is logged, its text stays here."""
    try:
        return await outcome
    except FluidMCPError as error:
        return error_reply(error)
    except Exception:
        logger.exception("unexpected error on %s", path)
        return _INTERNAL_ERROR


def answer_now(make: Callable[[*Ts], T], *arguments: *Ts) -> T | HttpReply:
    """As `answer_always`, for what is made in one go, where nothing may be raised: while input is read."""
    try:
        return make(*arguments)
    except FluidMCPError as error:
        return error_reply(error)
    except Exception:
        logger.exception("unexpected error while a reply was made")
        return _INTERNAL_ERROR


def run_now(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """What a coroutine that never waits returns, without a task; None where it raises WouldWaitError.

    Raises:
        RuntimeError: it waits after all, which is a fault of it.
    """
    try:
        return _run_without_task(coroutine)
    except WouldWaitError:
        return None


def try_now(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """What a coroutine returns, if it need not wait for anything; else None, and it goes no further.

    None also where it fails: whoever asks does it again in a way that can wait, and tells what comes of that.
    """
    try:
        return _run_without_task(coroutine)
    except Exception:
        return None


def _run_without_task(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    coroutine.close()
    raise RuntimeError(f"it had to wait: {coroutine}")


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return (b"retry-after", str(max(1, math.ceil(seconds))).encode())
