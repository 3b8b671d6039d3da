"""What the MCP endpoints share: the message, its caller, and batches of messages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET

from fluidmcp.authentication.person import Held
from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.calls.observer import Batch
from fluidmcp.gateway.errors import encode_rpc_error
from fluidmcp.gateway.http import EMPTY_HEADERS, HttpReply
from fluidmcp.protocol.headers import ReplyForm
from fluidmcp.protocol.inbound import META_PREFIX
from fluidmcp.protocol.jsonrpc import (
    INVALID_REQUEST,
    InvalidMessageError,
    Json,
    encode_answer,
    has_escaped_ascii,
    parse_message,
)
from fluidmcp.protocol.meta import mentions_meta, mentions_progress_token

SESSION_HEADER: Final = "mcp-session-id"
VERSION_HEADER: Final = "mcp-protocol-version"

ACCEPTED: Final = HttpReply(202, b"", EMPTY_HEADERS)


@dataclass(slots=True)
class Caller:
    """Who sends the request, and what their logins gave, which only a process of this caller may get."""

    principal: Principal | None
    held: Held = ()
    good_until: float | None = None
    """When the token that the client holds ends, in seconds since the epoch, where that is known."""


@dataclass(frozen=True, slots=True)
class McpHead:
    """What the headers of a POST say of its message."""

    session_id: str | None
    version: str | None
    """The revision, as the client names it."""
    form: ReplyForm


class Message:
    """A parsed message, and what its text may hold in `_meta`."""

    __slots__ = ("envelope", "is_request", "may_be_stateless", "mentions_progress", "method", "request_id")

    def __init__(self, text: bytes) -> None:
        """Raises InvalidMessageError like `parse_message`."""
        self.envelope = envelope = parse_message(text)
        self.may_be_stateless = self.mentions_progress = False
        escapes = has_escaped_ascii(text)
        if mentions_meta(text, has_escapes=escapes):
            self.may_be_stateless = escapes or META_PREFIX in text
            self.mentions_progress = mentions_progress_token(text, has_escapes=escapes)
        request_id, method = envelope.id, envelope.method
        self.is_request = request_id is not UNSET and method is not UNSET
        self.request_id: Json = b"" if request_id is UNSET else bytes(request_id)
        self.method = "" if method is UNSET else method


async def answer_batch(
    texts: list[bytes], send: Callable[[Message], Exchange | None], noted: Batch | None
) -> HttpReply:
    """The answers to several messages as one array (2025-03-26, "Batching"); `send` returns None where none comes.

    `noted` gets the methods, where somebody looks on.
    """
    answers: list[Json] = []
    waiting: list[tuple[Json, Exchange]] = []
    for text in texts:
        request_id: Json | None = None
        try:
            message = Message(text)
            if noted is not None:
                noted.note(message.method)
            request_id = message.request_id if message.is_request else None
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
