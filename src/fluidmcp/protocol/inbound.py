"""Which era an MCP request belongs to: body first, then headers, never the connection. Pure module: no I/O."""

from typing import Final, Literal

from msgspec import Raw, UnsetType

from fluidmcp.protocol.jsonrpc import Envelope, parse_object
from fluidmcp.protocol.versions import HANDSHAKE_VERSIONS, STATELESS_VERSIONS

InboundKind = Literal["stateless", "initialize", "session", "bare", "unsupported_version"]

META_PREFIX: Final = b"io.modelcontextprotocol"
_STATELESS_META: Final = ("io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities")


def classify_post(
    envelope: Envelope, *, may_be_stateless: bool, session_id: str | None, protocol_version: str | None
) -> InboundKind:
    """What a POST to the MCP endpoint is.

    `may_be_stateless`: its text holds the names of the stateless era's `_meta` somewhere, in whatever spelling.

    * `stateless`: revision 2026-07-28; known by its `_meta` keys, its version header or `server/discover`; also an
      unknown version outside a session
    * `initialize`: a handshake-era client that wants a session
    * `session`: a message within a session
    * `bare`: JSON-RPC without any handshake, as in the documents' curl lines
    * `unsupported_version`: within a session, a version header that no revision has (2025-11-25, "Protocol Version
      Header")
    """
    if may_be_stateless and has_stateless_meta(envelope.params):
        return "stateless"
    if protocol_version in STATELESS_VERSIONS or envelope.method == "server/discover":
        return "stateless"
    if protocol_version is not None and protocol_version not in HANDSHAKE_VERSIONS:
        # Without a session it may be a revision to come, whose clients read the errors of the stateless era.
        return "stateless" if session_id is None else "unsupported_version"
    if envelope.method == "initialize":
        return "initialize"
    return "bare" if session_id is None else "session"


def has_stateless_meta(params: Raw | UnsetType) -> bool:
    """Whether `params._meta` holds a key that only revision 2026-07-28 requires."""
    members = parse_object(params)
    meta = parse_object(members["_meta"]) if members and "_meta" in members else None
    return meta is not None and any(key in meta for key in _STATELESS_META)
