"""What may happen to calls on the way: headers that are lost, bodies that are too large, streams that are kept back."""

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from fluidmcp.cli.doctor.walk.address import Address
from fluidmcp.cli.doctor.walk.calls import CALL_SECONDS, Caller
from fluidmcp.cli.doctor.walk.clients import VS_CODE
from fluidmcp.cli.doctor.walk.judgements.connection import judge_failure
from fluidmcp.cli.doctor.walk.judgements.traffic import (
    judge_bad_token,
    judge_call,
    judge_large_body,
    judge_session,
    judge_stream,
)
from fluidmcp.cli.doctor.walk.report import Diagnosis
from fluidmcp.cli.doctor.walk.seen import Answer, Failure
from fluidmcp.cli.doctor.walk.way import call_headers, encode_initialize
from fluidmcp.config.secret import Secret

LARGE_BYTES: Final = 1_500_000
"""More than nginx lets through by itself, less than the gateway does."""
HOLD_SECONDS: Final = 3.0
BAD_TOKEN: Final = "fluidmcp-doctor-no-token"


async def check_headers(refusal: Answer, address: Address, caller: Caller) -> Diagnosis | None:
    """Whether Authorization comes through: a token that is none is refused in other words than no token."""
    headers = {**call_headers(VS_CODE), "authorization": f"Bearer {BAD_TOKEN}"}
    seen = await caller.call("POST", address.url, headers, encode_initialize(VS_CODE))
    return judge_bad_token(seen, refusal) if isinstance(seen, Answer) else None


async def check_size(address: Address, caller: Caller) -> Diagnosis | None:
    """Whether a call with a picture in it comes through. Nothing is called: it names no method that there is."""
    message = {"jsonrpc": "2.0", "method": "notifications/doctor", "params": {"padding": " " * LARGE_BYTES}}
    seen = await caller.call("POST", address.url, call_headers(VS_CODE), json.dumps(message).encode())
    return judge_large_body(seen, sent_bytes=LARGE_BYTES)


async def check_calls(address: Address, caller: Caller, token: Secret | None) -> list[Diagnosis]:
    """Open a session, list the tools, end it."""
    headers = {**call_headers(VS_CODE), **_authorization(token)}
    opened = await caller.call("POST", address.url, headers, encode_initialize(VS_CODE), seconds=CALL_SECONDS)
    if isinstance(opened, Failure):
        return [judge_failure(opened, "call")]
    wrong = judge_call(opened, with_token=token is not None)
    if wrong is not None:
        return [wrong]
    session = opened.header("mcp-session-id")
    headers |= {"mcp-protocol-version": VS_CODE.protocol_version, **({"mcp-session-id": session} if session else {})}
    await caller.call("POST", address.url, headers, _encode("notifications/initialized"))
    listed = await caller.call("POST", address.url, headers, _encode("tools/list", 2), seconds=CALL_SECONDS)
    ended = await caller.call("DELETE", address.url, headers) if session else None
    if isinstance(listed, Failure):
        return [judge_failure(listed, "call")]
    wrong = judge_session(listed, ended if isinstance(ended, Answer) else None) or judge_call(
        listed, with_token=token is not None
    )
    return [wrong] if wrong is not None else []


async def check_streams(
    address: Address, caller: Caller, token: Secret | None, *, hold_seconds: float
) -> tuple[list[Diagnosis], bool]:
    """The stream of HTTP+SSE, in which the gateway sends an event at once; whether there was one to look at."""
    base, _, last = address.url.rstrip("/").rpartition("/")
    url = f"{base}/sse" if last in ("mcp", "sse") else address.url
    headers = {
        "accept": "text/event-stream",
        "accept-encoding": "gzip, deflate, br",
        "user-agent": VS_CODE.user_agent,
        **_authorization(token),
    }
    seen = await caller.watch(url, headers, hold_seconds=hold_seconds)
    wrong = judge_stream(seen)
    return ([wrong] if wrong is not None else []), not isinstance(seen, Answer)


async def check_both(
    address: Address, caller: Caller, token: Secret | None, *, hold_seconds: float
) -> tuple[list[Diagnosis], bool]:
    """Calls and streams at once; whether there was a stream to look at."""
    found, (more, has_stream) = await asyncio.gather(
        check_calls(address, caller, token), check_streams(address, caller, token, hold_seconds=hold_seconds)
    )
    return [*found, *more], has_stream


def _authorization(token: Secret | None) -> Mapping[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token.reveal()}"}


def _encode(method: str, number: int | None = None) -> bytes:
    message = {"jsonrpc": "2.0", "method": method, **({} if number is None else {"id": number})}
    return json.dumps(message).encode()
