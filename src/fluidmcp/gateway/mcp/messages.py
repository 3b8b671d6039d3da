"""What the MCP endpoints share: the message with its caller, and the ways from an exchange to a reply."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final, cast

from msgspec import Raw

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.session import encode_event_message
from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.errors import encode_rpc_error
from fluidmcp.gateway.http import NO_STORE, HttpReply, HttpStream
from fluidmcp.protocol.headers import ReplyForm
from fluidmcp.protocol.jsonrpc import (
    INVALID_REQUEST,
    Envelope,
    InvalidMessageError,
    Json,
    encode_answer,
    parse_message,
)
from fluidmcp.protocol.meta import mentions_progress_token
from fluidmcp.protocol.sse import encode_event

SESSION_HEADER: Final = "mcp-session-id"
VERSION_HEADER: Final = "mcp-protocol-version"

ACCEPTED: Final = HttpReply(202, b"", (NO_STORE,))


@dataclass(slots=True)
class Caller:
    """Who sends the request, and the token that only a process of this caller may get."""

    principal: Principal | None
    token: str | None


@dataclass(slots=True)
class Message:
    """A parsed message with the text it came from."""

    envelope: Envelope
    text: bytes

    @property
    def request_id(self) -> Json:
        return bytes(cast(Raw, self.envelope.id))

    @property
    def method(self) -> str:
        return cast(str, self.envelope.method)

    @property
    def mentions_progress(self) -> bool:
        return mentions_progress_token(self.text)


async def reply_to(
    exchange: Exchange,
    request_id: Json,
    form: ReplyForm,
    finish: Callable[[], None],
    *,
    on_disconnect: Callable[[], None] | None = None,
) -> HttpReply | HttpStream:
    """JSON when the answer comes first, else an event stream where the client takes one.

    `finish` runs exactly once, whatever happens. Raises what the exchange raises before anything was said.
    """
    is_handed_on = False
    try:
        if form == "event-stream":
            is_handed_on = True
            return HttpStream(stream_exchange(exchange, request_id, None, finish), on_disconnect=on_disconnect)
        event = await exchange.next_event()
        if event.is_answer:
            return HttpReply(200, encode_answer(request_id, event))
        is_handed_on = True
        return HttpStream(stream_exchange(exchange, request_id, event, finish), on_disconnect=on_disconnect)
    finally:
        if not is_handed_on:
            finish()


async def stream_exchange(
    exchange: Exchange, request_id: Json, first: Envelope | None, finish: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Events until the answer; a failure becomes a JSON-RPC error, so that the stream always ends with one."""
    try:
        event = first
        while event is None or not event.is_answer:
            if event is not None:
                yield encode_event(encode_event_message(event))
            event = await exchange.next_event()
        yield encode_event(encode_answer(request_id, event))
    except FluidMCPError as error:
        yield encode_event(encode_rpc_error(error, request_id))
    finally:
        finish()


async def answer_batch(texts: list[bytes], send: Callable[[Message], Exchange | None]) -> HttpReply:
    """The answers to several messages as one array (2025-03-26, "Batching"); `send` returns None where none comes."""
    answers: list[Json] = []
    waiting: list[tuple[Json, Exchange]] = []
    for text in texts:
        request_id: Json | None = None
        try:
            message = Message(parse_message(text), text)
            request_id = message.request_id if message.envelope.is_request else None
            if message.envelope.method == "initialize":
                raise InvalidMessageError(INVALID_REQUEST, "The method initialize must not be part of a batch.")
            exchange = send(message)
        except FluidMCPError as error:
            answers.append(encode_rpc_error(error, request_id or getattr(error, "request_id", None)))
            continue
        if exchange is not None and request_id is not None:
            waiting.append((request_id, exchange))
    for request_id, exchange in waiting:
        try:
            answers.append(encode_answer(request_id, await exchange.answer()))
        except FluidMCPError as error:
            answers.append(encode_rpc_error(error, request_id))
    return HttpReply(200, b"[%b]" % b",".join(answers)) if answers else ACCEPTED
