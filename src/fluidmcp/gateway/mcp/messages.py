"""What the MCP endpoints share: the message, its caller, and batches of messages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from msgspec import Raw

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.errors import encode_rpc_error
from fluidmcp.gateway.http import NO_STORE, HttpReply
from fluidmcp.protocol.jsonrpc import (
    INVALID_REQUEST,
    Envelope,
    InvalidMessageError,
    Json,
    encode_answer,
    has_escaped_ascii,
    parse_message,
)
from fluidmcp.protocol.meta import mentions_progress_token

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
    has_escapes: bool = field(init=False)
    """Whether names in the text may be spelled in other ways."""

    def __post_init__(self) -> None:
        self.has_escapes = has_escaped_ascii(self.text)

    @property
    def request_id(self) -> Json:
        return bytes(cast(Raw, self.envelope.id))

    @property
    def method(self) -> str:
        return cast(str, self.envelope.method)

    @property
    def mentions_progress(self) -> bool:
        return mentions_progress_token(self.text, has_escapes=self.has_escapes)


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
