"""Params, results and errors carried from one era of the protocol into the other. Pure module: no I/O, no clock.

The handshake era has `initialize` and sessions (revisions up to 2025-11-25); in the stateless era (2026-07-28) each
request describes its client in `params._meta`, and each result says what kind it is. Only the named keys change.
Nothing that a server said is overwritten, and what is not an object passes as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Json,
)
from fluidmcp.protocol.objects import Text, add_members, is_null, read_object, read_text, without_members, write_object
from fluidmcp.protocol.stateless import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    HEADER_MISMATCH,
    LOG_LEVEL,
    MISSING_CAPABILITY,
    NAME_MEMBERS,
    PROTOCOL_VERSION,
    REQUEST_META,
    UNSUPPORTED_VERSION,
    StatelessRequest,
)
from fluidmcp.protocol.versions import STATELESS_VERSIONS

SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"

RESOURCE_NOT_FOUND: Final = -32002
"""What handshake-era servers answer for a resource that is not there; the stateless era says -32602."""

URL_ELICITATION_REQUIRED: Final = -32042
"""Of revision 2025-11-25 alone."""

HANDSHAKE_METHODS: Final = frozenset(
    (
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tools/call",
        "tools/list",
    )
)
"""The requests of the revisions up to 2025-11-25 that a client sends."""

_SDK1_UNKNOWN_METHOD: Final = "Invalid request parameters"

CACHEABLE_METHODS: Final = frozenset(
    ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
)
"""The methods whose complete results must say for how long, and for whom, they hold."""

INPUT_METHODS: Final = frozenset(NAME_MEMBERS)
"""The methods that may answer with questions, and whose retries carry answers (2026-07-28, "Supported Requests")."""

INPUT_MEMBERS: Final = ("inputResponses", "requestState")
"""What a retry has in `params` besides the members of the first request."""

_COMPLETE: Final[Json] = b'"complete"'
_STATELESS_RESULT: Final = ("resultType", "ttlMs", "cacheScope")
_UNKNOWN_SERVER: Final[Json] = b'{"name":"unknown","version":"unknown"}'

_STATUS: Final[dict[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
_HANDSHAKE_CODES: Final = {
    HEADER_MISMATCH: INTERNAL_ERROR,
    MISSING_CAPABILITY: INVALID_PARAMS,
    UNSUPPORTED_VERSION: INTERNAL_ERROR,
}


class _Code(msgspec.Struct):
    code: int | None = None


_decode_code = msgspec.json.Decoder(_Code).decode


# Params.


def with_stateless_meta(
    params: Text | UnsetType,
    *,
    version: str,
    capabilities: Text,
    client_info: Text | None = None,
    log_level: str | None = None,
) -> Json:
    """Params that describe the client in `_meta` (2026-07-28, "Per-request protocol fields").

    The keys that describe the client are replaced if present; missing params become an object. Params that are no
    object pass as they are.
    """
    described: dict[str, Raw] = {
        PROTOCOL_VERSION: Raw(msgspec.json.encode(version)),
        CLIENT_CAPABILITIES: Raw(capabilities),
    }
    if client_info is not None:
        described[CLIENT_INFO] = Raw(client_info)
    if log_level is not None:
        described[LOG_LEVEL] = Raw(msgspec.json.encode(log_level))
    return _with_meta(params, described, drop=REQUEST_META)


def without_stateless_meta(params: Text | UnsetType) -> Text | UnsetType:
    """Params without the keys of `_meta` that describe a client, and without a `_meta` that holds nothing else.

    Progress token, trace context and unknown keys stay. Params without such a key come back as the same object.
    """
    return _without_meta(params, REQUEST_META)


def encode_stateless_params(request: StatelessRequest, progress_token: Json | None) -> Text:
    """The params of a request for a stateless-era server, with our progress token where the client sent one.

    Without one they are the bytes that the client sent.
    """
    if "progressToken" not in request.meta or progress_token is None:
        return request.params
    meta = {**request.meta, "progressToken": Raw(progress_token)}
    return write_object({**request.members, "_meta": Raw(write_object(meta))})


def encode_handshake_params(request: StatelessRequest, progress_token: Json | None) -> Json:
    """The params of a request for a handshake-era server, with our progress token where the client sent one.

    What describes the client goes, as do the answers and the state of a retry.
    """
    meta = {name: value for name, value in request.meta.items() if name not in REQUEST_META}
    if progress_token is not None and "progressToken" in meta:
        meta["progressToken"] = Raw(progress_token)
    members = {**request.members, "_meta": Raw(write_object(meta))}
    if not meta:
        del members["_meta"]
    if request.method in INPUT_METHODS:
        for name in INPUT_MEMBERS:
            members.pop(name, None)
    return write_object(members)


def with_subscription_id(params: Text | UnsetType, subscription_id: Json) -> Json:
    """The params of a notification that belongs to a subscription (2026-07-28, "Subscriptions")."""
    return _with_meta(params, {SUBSCRIPTION_ID: Raw(subscription_id)}, drop=(SUBSCRIPTION_ID,))


def without_subscription_id(params: Text | UnsetType) -> Text | UnsetType:
    """The params without the subscription, as handshake-era clients know none; the same object where there is none."""
    return _without_meta(params, (SUBSCRIPTION_ID,))


def _with_meta(params: Text | UnsetType, additions: Mapping[str, Raw], *, drop: Sequence[str]) -> Json:
    if params is UNSET or is_null(params):
        return b'{"_meta":' + write_object(additions) + b"}"
    members = read_object(params)
    if members is None:
        return bytes(params)
    meta = read_object(members.get("_meta")) or {}
    kept = {name: value for name, value in meta.items() if name not in drop}
    members["_meta"] = Raw(write_object({**kept, **additions}))
    return write_object(members)


def _without_meta(text: Text | UnsetType, names: Sequence[str]) -> Text | UnsetType:
    members = read_object(text)
    meta = read_object(members.get("_meta")) if members is not None else None
    if members is None or meta is None or not any(name in meta for name in names):
        return text
    return write_object(_replace_meta(members, meta, names))


def _replace_meta(members: dict[str, Raw], meta: dict[str, Raw], names: Sequence[str]) -> dict[str, Raw]:
    kept = {name: value for name, value in meta.items() if name not in names}
    if kept:
        return {**members, "_meta": Raw(write_object(kept))}
    return {name: value for name, value in members.items() if name != "_meta"}


# Results.


def to_stateless_result(method: str, result: Text, server_info: Text | None) -> Text:
    """A handshake-era server's result as a stateless-era client reads it.

    The result says that it is complete and, if the method's results can be cached, that this one must not be; `_meta`
    names the server (2026-07-28, "Responses"). With nothing to add the same object comes back.
    """
    members = read_object(result)
    if members is None:
        return result
    additions: dict[str, Text] = {"resultType": _COMPLETE}
    if method in CACHEABLE_METHODS and ("resultType" not in members or bytes(members["resultType"]) == _COMPLETE):
        additions.update(ttlMs=b"0", cacheScope=b'"private"')
    if server_info is None:
        return add_members(result, members, additions)
    meta = read_object(members["_meta"]) if "_meta" in members else {}
    if meta is None or SERVER_INFO in meta:
        return add_members(result, members, additions)
    named = Raw(write_object({**meta, SERVER_INFO: Raw(server_info)}))
    if "_meta" not in members:
        return add_members(result, members, {**additions, "_meta": named})
    missing = {name: Raw(value) for name, value in additions.items() if name not in members}
    return write_object({**members, "_meta": named, **missing})


def to_handshake_result(result: Text) -> Text:
    """A stateless-era server's complete result as a handshake-era client reads it.

    What only the stateless era knows goes: `resultType`, `ttlMs`, `cacheScope`, and the server's name in `_meta`.
    """
    members = read_object(result)
    if members is None:
        return result
    meta = read_object(members.get("_meta"))
    if meta is None or SERVER_INFO not in meta:
        return without_members(result, members, _STATELESS_RESULT)
    kept = _replace_meta(members, meta, (SERVER_INFO,))
    return write_object({name: value for name, value in kept.items() if name not in _STATELESS_RESULT})


def to_discover_result(initialize_result: Text) -> Json:
    """What `server/discover` answers for a handshake-era server, from its answer to `initialize`.

    The capability `tasks` goes: the extension of that name in the stateless era is another one. Unknown members stay.
    An answer that is no object counts as an empty one.
    """
    said = read_object(initialize_result) or {}
    meta = read_object(said.get("_meta")) or {}
    if "serverInfo" in said:
        meta.setdefault(SERVER_INFO, said["serverInfo"])
    members: dict[str, Raw] = {
        "resultType": Raw(_COMPLETE),
        "supportedVersions": Raw(msgspec.json.encode(STATELESS_VERSIONS)),
        "capabilities": Raw(_without_tasks(said.get("capabilities"))),
    }
    dropped = (*members, "protocolVersion", "serverInfo", "ttlMs", "cacheScope", "_meta")
    members.update((name, value) for name, value in said.items() if name not in dropped)
    members.update(ttlMs=Raw(b"0"), cacheScope=Raw(b'"private"'))
    if meta:
        members["_meta"] = Raw(write_object(meta))
    return write_object(members)


def _without_tasks(capabilities: Raw | None) -> Text:
    members = read_object(capabilities)
    if capabilities is None or members is None:
        return b"{}"
    return without_members(capabilities, members, ("tasks",))


def to_initialize_result(discover_result: Text, version: str) -> Json:
    """What `initialize` answers for a stateless-era server, from its answer to `server/discover`.

    `version` is the revision that the session speaks. Unknown members stay. An answer that is no object counts as an
    empty one; a server that does not say its name gets one, as the handshake era requires it.
    """
    said = read_object(discover_result) or {}
    meta = read_object(said.get("_meta")) or {}
    server_info = meta.pop(SERVER_INFO, Raw(_UNKNOWN_SERVER))
    members: dict[str, Raw] = {
        "protocolVersion": Raw(msgspec.json.encode(version)),
        "capabilities": said.get("capabilities", Raw(b"{}")),
        "serverInfo": server_info,
    }
    dropped = (*members, "supportedVersions", *_STATELESS_RESULT, "_meta")
    members.update((name, value) for name, value in said.items() if name not in dropped)
    if meta:
        members["_meta"] = Raw(write_object(meta))
    return write_object(members)


# Errors.


def read_error_code(error: Text) -> int | None:
    """The code of a JSON-RPC error object, None where it is no object or its code no integer."""
    try:
        return _decode_code(cast("bytes", error)).code
    except (msgspec.DecodeError, RecursionError):
        members = read_object(error)
        try:
            return int(bytes(members["code"])) if members is not None and "code" in members else None
        except ValueError:
            return None


def to_stateless_error(error: Text, method: str = "") -> Text:
    """A handshake-era server's error without a code that means something else, or nothing, in the stateless era.

    A method that the server does not know becomes -32601 also where official Python SDKs up to 1.x say that its params
    are invalid: they do so for every method outside the specification. -32002 becomes -32602. What else lies between
    -32020 and -32099 belongs to the specification (2026-07-28, "Error Codes"), and becomes -32603; -32042 does so too
    when nobody turned it into a question. Message and data stay.
    """
    code = read_error_code(error)
    if code == INVALID_PARAMS and method and method not in HANDSHAKE_METHODS:
        said = read_text((read_object(error) or {}).get("message"))
        return _with_code(error, METHOD_NOT_FOUND) if said == _SDK1_UNKNOWN_METHOD else error
    if code == RESOURCE_NOT_FOUND:
        return _with_code(error, INVALID_PARAMS)
    return _with_code(error, INTERNAL_ERROR) if code is not None and -32099 <= code <= -32020 else error


def to_handshake_error(error: Text) -> Text:
    """A stateless-era server's error without the codes to which no handshake-era client gives a meaning.

    A capability that is missing becomes -32602, the others -32603; message and data stay.
    """
    code = read_error_code(error)
    return _with_code(error, _HANDSHAKE_CODES[code]) if code in _HANDSHAKE_CODES else error


def _with_code(error: Text, code: int) -> Json:
    members = read_object(error) or {}
    return write_object({**members, "code": Raw(str(code).encode())})


def status_of_error(error: Text) -> int:
    """The HTTP status under which a stateless-era client gets a JSON-RPC error (2026-07-28, "Streamable HTTP")."""
    code = read_error_code(error)
    return 200 if code is None else _STATUS.get(code, 200)
