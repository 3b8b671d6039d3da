"""Requests of the stateless era (2026-07-28): what each one says of itself, checked. Pure module: no I/O, no clock.

Sources: 2026-07-28, "Overview" (per-request protocol fields, error codes) and "Streamable HTTP" (request metadata,
server validation).
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw

from fluidmcp.errors import FluidMCPError
from fluidmcp.protocol.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Envelope
from fluidmcp.protocol.objects import is_null, is_object, read_object, read_text
from fluidmcp.protocol.versions import STATELESS_VERSIONS

HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"

REQUEST_META: Final = (PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL)
"""The keys of `params._meta` by which a request of the stateless era describes its client."""

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""From the least to the most severe, as in RFC 5424."""

REMOVED_METHODS: Final = frozenset(
    (
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "notifications/roots/list_changed",
    )
)
"""What the handshake era had and the stateless era does not know any more."""

NAME_MEMBERS: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The member of `params` that the header `Mcp-Name` repeats, by method."""

_BASE64_PREFIX: Final = "=?base64?"
_BASE64_SUFFIX: Final = "?="


class StatelessError(FluidMCPError):
    """A request of the stateless era is refused: a JSON-RPC error with `rpc_code` and `data`, and an HTTP `status`."""

    code = "stateless_request"

    def __init__(self, rpc_code: int, status: int, what: str, *, data: dict[str, object] | None = None) -> None:
        super().__init__(what)
        self.rpc_code = rpc_code
        self.status = status
        self.data = data


@dataclass(slots=True)
class StatelessRequest:
    """A request whose `_meta` and headers are in order.

    `capabilities` is a JSON object. `client_info` is a JSON object with a name and a version, or None. `members` and
    `meta` are the members of `params` and of `params._meta`; nobody changes them.
    """

    method: str
    params: Raw
    version: str
    capabilities: Raw
    client_info: Raw | None
    log_level: str | None
    members: dict[str, Raw]
    meta: dict[str, Raw]


class _Implementation(msgspec.Struct):
    name: str
    version: str


_decode_implementation = msgspec.json.Decoder(_Implementation).decode


def read_stateless_request(envelope: Envelope, headers: Mapping[str, str]) -> StatelessRequest:
    """Check what a request says of itself; the first fault counts (2026-07-28, "Server Validation").

    The order is: `_meta` has what it must have, the headers repeat the body, the version is served, the method
    exists, the optional keys of `_meta` have the right form.

    Args:
        envelope: a message with an id and a method.
        headers: by lower-case name, the values without space around them.

    Raises:
        StatelessError: -32602 with 400, -32020 with 400, -32022 with 400, -32601 with 404.
    """
    method = cast(str, envelope.method)
    members = read_object(envelope.params)
    meta = read_object(members.get("_meta")) if members is not None else None
    if members is None or meta is None:
        raise _invalid("The request has no object params._meta, which has to tell the protocol version.")
    version = read_text(meta.get(PROTOCOL_VERSION))
    capabilities = meta.get(CLIENT_CAPABILITIES)
    if version is None:
        raise _invalid(f"The key {PROTOCOL_VERSION} of params._meta must be there, as a string.")
    if capabilities is None or not is_object(capabilities):
        raise _invalid(f"The key {CLIENT_CAPABILITIES} of params._meta must be there, as an object.")
    _check_headers(method, version, members, headers)
    _check_version(version)
    if method in REMOVED_METHODS:
        raise StatelessError(METHOD_NOT_FOUND, 404, f"The method {method} does not exist in revision {version}.")
    return StatelessRequest(
        method=method,
        params=cast(Raw, envelope.params),
        version=version,
        capabilities=capabilities,
        client_info=_read_client_info(meta),
        log_level=_read_log_level(meta),
        members=members,
        meta=meta,
    )


def check_stateless_notification(headers: Mapping[str, str]) -> None:
    """Accept a notification whatever it says, unless its version header names a version that is not served.

    Raises:
        StatelessError: -32022 with 400.
    """
    version = headers.get("mcp-protocol-version")
    if version is not None:
        _check_version(version)


def decode_header_value(text: str, header: str) -> str:
    """The value that a client put into the named header (2026-07-28, "Value Encoding").

    `=?base64?...?=` holds UTF-8; anything else stands for itself.

    Raises:
        StatelessError: -32020 with 400, for a character that no header may hold, or for base64 that is none.
    """
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        raise header_mismatch(f"The header {header} holds a character that no header may hold.")
    if not (text.startswith(_BASE64_PREFIX) and text[len(_BASE64_PREFIX) :].endswith(_BASE64_SUFFIX)):
        return text
    encoded = text[len(_BASE64_PREFIX) : -len(_BASE64_SUFFIX)].encode("ascii")
    try:
        value = base64.b64decode(encoded, validate=True)
        # Two texts for one value would let two readers of a header disagree.
        if base64.b64encode(value) == encoded:
            return value.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise header_mismatch(f"The header {header} is not UTF-8 in base64, though it says so.")


def header_mismatch(what: str) -> StatelessError:
    """HTTP headers and the body disagree: -32020 with 400."""
    return StatelessError(HEADER_MISMATCH, 400, what)


def _invalid(what: str) -> StatelessError:
    return StatelessError(INVALID_PARAMS, 400, what)


def _check_headers(method: str, version: str, members: dict[str, Raw], headers: Mapping[str, str]) -> None:
    if headers.get("mcp-protocol-version") != version:
        raise header_mismatch("The header MCP-Protocol-Version is not the protocol version that params._meta tells.")
    if headers.get("mcp-method") != method:
        raise header_mismatch("The header Mcp-Method is not the method of the message.")
    member = NAME_MEMBERS.get(method)
    if member is None:
        return
    named = headers.get("mcp-name")
    if named is None:
        # A request without a name is invalid, but the server is the one to say so.
        if member in members:
            raise header_mismatch("The header Mcp-Name is missing.")
    elif read_text(members.get(member, UNSET)) != decode_header_value(named, "Mcp-Name"):
        raise header_mismatch(f"The header Mcp-Name is not the {member} that params tells.")


def _check_version(version: str) -> None:
    if version not in STATELESS_VERSIONS:
        raise StatelessError(
            UNSUPPORTED_VERSION,
            400,
            "The protocol version is not supported.",
            data={"supported": list(STATELESS_VERSIONS), "requested": version},
        )


def _read_client_info(meta: dict[str, Raw]) -> Raw | None:
    client_info = meta.get(CLIENT_INFO)
    if client_info is None or is_null(client_info):
        return None
    try:
        _decode_implementation(client_info)
    except (msgspec.DecodeError, RecursionError):
        raise _invalid(f"The key {CLIENT_INFO} of params._meta must be an object with a name and a version.") from None
    return client_info


def _read_log_level(meta: dict[str, Raw]) -> str | None:
    if LOG_LEVEL not in meta or is_null(meta[LOG_LEVEL]):
        return None
    level = read_text(meta[LOG_LEVEL])
    if level not in LOG_LEVELS:
        raise _invalid(f"The key {LOG_LEVEL} of params._meta must be one of {', '.join(LOG_LEVELS)}.")
    return level
