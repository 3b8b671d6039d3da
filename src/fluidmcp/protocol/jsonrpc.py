"""JSON-RPC 2.0 envelopes, decoded one level deep. Pure module: no I/O, no clock.

`params`, `result` and `error` stay the bytes that the peer sent: numbers of any size, unknown fields and key order
survive. Only the envelope is taken apart and put together again, with an id of our own on one side and the client's
on the other.
"""

import json
import re
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.errors import FluidMCPError
from fluidmcp.protocol.surrogates import mark_lone_surrogates

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

MAX_BATCH: Final = 100
"""Messages in one array; every one of them may start work."""

Json: TypeAlias = bytes
"""The text of one JSON value, in UTF-8, without raw line breaks."""


class Envelope(msgspec.Struct, gc=False, frozen=True):
    """One JSON-RPC message. A request has `method` and `id`, a notification only `method`, an answer only `id`."""

    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET

    @property
    def is_request(self) -> bool:
        return self.method is not UNSET and self.id is not UNSET

    @property
    def is_answer(self) -> bool:
        return self.method is UNSET


class InvalidMessageError(FluidMCPError):
    """The text is no JSON-RPC message; `rpc_code` is -32700 or -32600, `request_id` the id where one could be read."""

    code = "invalid_message"

    def __init__(self, rpc_code: int, what: str, *, request_id: Json | None = None) -> None:
        super().__init__(what)
        self.rpc_code = rpc_code
        self.request_id = request_id


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode

_ESCAPED_ASCII: Final = re.compile(rb"\\u00[2-7]")


def parse_message(text: bytes) -> Envelope:
    """Read one message. Its parts hold no raw line breaks, which would end a message on stdio or in an event stream.

    Raises:
        InvalidMessageError: -32700 when the text is not JSON in UTF-8, -32600 when it is no JSON-RPC message, or a
            batch, which `parse_batch` reads.
    """
    try:
        envelope = _decode_envelope(text)
        # `find` looks for one byte at twice the speed of `in`.
        if text.find(b"\n") >= 0 or text.find(b"\r") >= 0:
            # Valid JSON has them as white space only, so they go without a loss; strings were checked just now.
            envelope = _decode_envelope(text.translate(None, b"\r\n"))
    except msgspec.ValidationError:
        raise _not_a_message(text) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        envelope = _parse_with_lone_surrogates(text)
    if not text.isascii():
        _check_utf8(text)
    raw_id = envelope.id
    if raw_id is not UNSET:
        request_id = bytes(raw_id)
        if not request_id.isdigit():
            _check_id(request_id, envelope)
    if envelope.method is UNSET and (raw_id is UNSET or (envelope.result is UNSET) == (envelope.error is UNSET)):
        raise InvalidMessageError(INVALID_REQUEST, "The message is neither a request nor a notification nor an answer.")
    return envelope


def parse_batch(text: bytes) -> list[bytes] | None:
    """The messages of an array, each as its own text; None when the text is not an array.

    Raises:
        InvalidMessageError: -32700 when it is not JSON, -32600 when the array is empty or holds more than 100.
    """
    if text.lstrip()[:1] != b"[":
        return None
    messages = parse_array(text)
    if messages is None:
        raise InvalidMessageError(PARSE_ERROR, "The batch is not JSON, or too deeply nested.")
    if not 0 < len(messages) <= MAX_BATCH:
        raise InvalidMessageError(INVALID_REQUEST, f"A batch holds between one and {MAX_BATCH} messages.")
    return [bytes(message) for message in messages]


def parse_array(text: bytes) -> list[Raw] | None:
    """The items of a JSON array as raw texts, or None when the text is something else."""
    try:
        return _decode_array(text)
    except (msgspec.DecodeError, RecursionError):
        marked = mark_lone_surrogates(text)
    try:
        return None if marked is None else [marked.restore(value) for value in _decode_array(marked.text)]
    except (msgspec.DecodeError, RecursionError):
        return None


def _check_utf8(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMessageError(PARSE_ERROR, "The message is not UTF-8.") from None


def _check_id(request_id: Json, envelope: Envelope) -> None:
    """An id is a string or a number, never null (MCP, "Requests"); an answer to an unreadable request may have null."""
    if request_id[:1] not in b'"-0123456789' and not (request_id == b"null" and envelope.error is not UNSET):
        raise InvalidMessageError(INVALID_REQUEST, "The id of a message must be a string or a number.")


def _not_a_message(text: bytes) -> InvalidMessageError:
    if text.lstrip()[:1] == b"[":
        return InvalidMessageError(INVALID_REQUEST, "A batch of messages has no place here; send one at a time.")
    return InvalidMessageError(INVALID_REQUEST, "The message is not a JSON-RPC 2.0 object with a string as method.")


def _parse_with_lone_surrogates(text: bytes) -> Envelope:
    marked = mark_lone_surrogates(text)
    if marked is None:
        raise InvalidMessageError(PARSE_ERROR, "The message is not JSON, or too deeply nested.")
    try:
        _decode_envelope(marked.text)
        envelope = _decode_envelope(marked.text.translate(None, b"\r\n"))
    except msgspec.ValidationError:
        raise _not_a_message(text) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidMessageError(PARSE_ERROR, "The message is not JSON, or too deeply nested.") from None
    method = envelope.method
    parts = {"id": envelope.id, "params": envelope.params, "result": envelope.result, "error": envelope.error}
    restored = {name: marked.restore(part) for name, part in parts.items() if part is not UNSET}
    return Envelope(method=method if method is UNSET else marked.restore_name(method), **restored)


def parse_object(text: Json | Raw | UnsetType) -> dict[str, Raw] | None:
    """The members of a JSON object as raw texts, or None when the text is missing or something else."""
    if text is UNSET:
        return None
    try:
        return _decode_object(cast("bytes", text))
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError):
        marked = mark_lone_surrogates(bytes(text))
    if marked is None:
        return None
    try:
        members = _decode_object(marked.text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return {marked.restore_name(name): marked.restore(value) for name, value in members.items()}


def encode_object(members: dict[str, Raw]) -> Json:
    """An object on one line, its members in their order and their values as they are."""
    try:
        return _encode(members)
    except UnicodeEncodeError:
        pieces = [b"".join((encode_text(name), b":", cast("bytes", value))) for name, value in members.items()]
        return b"{" + b",".join(pieces) + b"}"


def encode_text(text: str) -> Json:
    """A JSON string; lone surrogates become escapes."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def has_escaped_ascii(text: bytes) -> bool:
    r"""Whether names in a JSON text may be spelled so that a search for them misses, as in "\u005fmeta" or "a\/b"."""
    # One byte is found at many times the speed of two, and most texts have no backslash at all.
    return text.find(b"\\") >= 0 and (b"\\/" in text or (b"\\u00" in text and _ESCAPED_ASCII.search(text) is not None))


def encode_request(request_id: Json, method: str, params: Json | Raw | UnsetType) -> Json:
    """A request, or with an empty id a notification, on one line."""
    member = b',"id":' if request_id else b""
    if params is UNSET:
        return b"".join((b'{"jsonrpc":"2.0"', member, request_id, b',"method":', encode_text(method), b"}"))
    value: Any = params  # Raw offers its bytes as a buffer: joining is the one copy that a relayed message costs
    method_text = encode_text(method)
    return b"".join((b'{"jsonrpc":"2.0"', member, request_id, b',"method":', method_text, b',"params":', value, b"}"))


def encode_notification(method: str, params: Json | Raw | UnsetType) -> Json:
    return encode_request(b"", method, params)


def encode_answer(request_id: Json, answer: Envelope) -> Json:
    """The server's answer under the client's id, on one line."""
    part: Any = answer.result  # joined as in `encode_request`
    if part is UNSET:
        return encode_raw(request_id, b',"error":', cast(Raw, answer.error))
    return b"".join((b'{"jsonrpc":"2.0","id":', request_id, b',"result":', part, b"}"))


def encode_raw(request_id: Json, member: bytes, value: Json | Raw) -> Json:
    part: Any = value  # joined as in `encode_request`
    return b"".join((b'{"jsonrpc":"2.0","id":', request_id, member, part, b"}"))


def encode_error(request_id: Json | None, code: int, message: str, data: dict[str, object] | None = None) -> Json:
    """An error answer; without a request id the id is null, as JSON-RPC 2.0 section 5 wants it."""
    error: dict[str, object] = {"code": code, "message": message}
    if data:
        error["data"] = data
    return b"".join((b'{"jsonrpc":"2.0","id":', request_id or b"null", b',"error":', _encode(error), b"}"))
