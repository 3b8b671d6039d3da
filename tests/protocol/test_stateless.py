import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request, encode_header_value
from msgspec import Raw

from fluidmcp.protocol.jsonrpc import parse_message
from fluidmcp.protocol.stateless import (
    StatelessError,
    StatelessRequest,
    check_stateless_notification,
    decode_header_value,
    read_stateless_request,
)

VERSION = "2026-07-28"
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
}


def read(method: str, params: object, headers: Mapping[str, str] | None = None) -> StatelessRequest:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return read_stateless_request(parse_message(body), describe(method, params) if headers is None else headers)


def describe(method: str, params: object) -> dict[str, str]:
    """The headers that a client sends with a request."""
    headers = {"mcp-protocol-version": VERSION, "mcp-method": method}
    fields = cast("dict[str, object]", params) if isinstance(params, dict) else {}
    name = fields.get("uri" if method == "resources/read" else "name")
    if isinstance(name, str):
        headers["mcp-name"] = encode_header_value(name)
    return headers


def refusal(method: str, params: object, headers: Mapping[str, str] | None = None) -> tuple[int, int]:
    with pytest.raises(StatelessError) as failure:
        read(method, params, headers)
    return failure.value.rpc_code, failure.value.status


def test_a_request_in_order_is_read() -> None:
    meta = {
        **META,
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1", "extra": [1]},
        "io.modelcontextprotocol/logLevel": "warning",
        "traceparent": "00-1",
    }
    request = read("tools/call", {"name": "echo", "arguments": {"n": 1}, "_meta": meta})
    assert (request.method, request.version, request.log_level) == ("tools/call", VERSION, "warning")
    assert bytes(request.capabilities) == b'{"roots": {}}'
    assert json.loads(bytes(cast(Raw, request.client_info)))["extra"] == [1]
    assert list(request.members) == ["name", "arguments", "_meta"]
    assert bytes(request.meta["traceparent"]) == b'"00-1"'


def test_client_info_and_log_level_may_be_missing() -> None:
    request = read("tools/list", {"_meta": META})
    assert (request.client_info, request.log_level) == (None, None)


@pytest.mark.parametrize(
    "params",
    [
        {},
        [],
        {"_meta": 1},
        {"_meta": {}},
        {"_meta": {"io.modelcontextprotocol/protocolVersion": VERSION}},
        {"_meta": {"io.modelcontextprotocol/clientCapabilities": {}}},
        {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": 20260728}},
        {"_meta": {**META, "io.modelcontextprotocol/clientCapabilities": []}},
        {"_meta": {**META, "io.modelcontextprotocol/clientCapabilities": None}},
    ],
)
def test_a_meta_that_lacks_something_is_refused_before_the_headers_are_looked_at(params: object) -> None:
    assert refusal("tools/list", params, {}) == (-32602, 400)


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-protocol-version", None),
        ("mcp-method", "tools/list"),
        ("mcp-method", "TOOLS/CALL"),
        ("mcp-method", None),
        ("mcp-name", "other"),
        ("mcp-name", "Echo"),
        ("mcp-name", None),
        ("mcp-name", "=?base64?ZWNobw?="),
    ],
)
def test_headers_that_are_missing_or_differ_are_refused(changed: str, value: str | None) -> None:
    params = {"name": "echo", "_meta": META}
    headers = describe("tools/call", params)
    del headers[changed]
    if value is not None:
        headers[changed] = value
    assert refusal("tools/call", params, headers) == (-32020, 400)


def test_the_name_of_a_resource_is_its_uri() -> None:
    params = {"uri": "test://é", "name": "ignored", "_meta": META}
    assert read("resources/read", params).method == "resources/read"
    headers = {**describe("resources/read", params), "mcp-name": "ignored"}
    assert refusal("resources/read", params, headers) == (-32020, 400)


def test_a_header_may_not_name_what_the_body_does_not() -> None:
    headers = {**describe("tools/call", {}), "mcp-name": "echo"}
    assert refusal("tools/call", {"_meta": META}, headers) == (-32020, 400)
    assert read("tools/call", {"_meta": META}).method == "tools/call"


def test_an_unknown_version_is_told_after_the_headers_and_before_the_method() -> None:
    params = {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}}
    headers = {**describe("initialize", params), "mcp-protocol-version": "2099-01-01"}
    with pytest.raises(StatelessError) as failure:
        read("initialize", params, headers)
    assert (failure.value.rpc_code, failure.value.status) == (-32022, 400)
    assert failure.value.data == {"supported": [VERSION], "requested": "2099-01-01"}


@pytest.mark.parametrize(
    "method",
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"],
)
def test_methods_of_the_handshake_era_do_not_exist(method: str) -> None:
    bad_level = {"_meta": {**META, "io.modelcontextprotocol/logLevel": "loud"}}
    assert refusal(method, {"_meta": META}) == refusal(method, bad_level) == (-32601, 404)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("logLevel", "loud"),
        ("logLevel", 3),
        ("clientInfo", "c"),
        ("clientInfo", {"name": "c"}),
        ("clientInfo", {"name": "c", "version": 1}),
    ],
)
def test_optional_keys_of_the_wrong_form_are_refused(key: str, value: object) -> None:
    meta = {**META, f"io.modelcontextprotocol/{key}": value}
    assert refusal("tools/list", {"_meta": meta}) == (-32602, 400)


def test_a_notification_is_refused_only_for_a_version_that_is_not_served() -> None:
    check_stateless_notification({})
    check_stateless_notification({"mcp-protocol-version": VERSION, "mcp-method": "something else"})
    with pytest.raises(StatelessError) as failure:
        check_stateless_notification({"mcp-protocol-version": "2099-01-01"})
    assert (failure.value.rpc_code, failure.value.status) == (-32022, 400)


@given(st.text(max_size=30))
def test_a_value_that_the_official_client_encodes_is_decoded(value: str) -> None:
    assert decode_header_value(encode_header_value(value), "Mcp-Name") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("a\tb", "a\tb"),
        ("=?BASE64?SGk=?=", "=?BASE64?SGk=?="),
        ("=?base64?SGk=", "=?base64?SGk="),
        ("=?base64?=", "=?base64?="),
        ("=?base64??=", ""),
        ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
    ],
)
def test_only_the_exact_marks_mean_base64(text: str, value: str) -> None:
    assert decode_header_value(text, "Mcp-Name") == value


@pytest.mark.parametrize(
    "text",
    [
        "é",
        "a\x00",
        "a\x7f",
        "a\nb",
        "=?base64?SGk?=",
        "=?base64?S Gk=?=",
        "=?base64?SGl=?=",
        "=?base64?/w==?=",
        "=?base64?@@@@?=",
        "=?base64?_-_-?=",
    ],
)
def test_what_no_header_may_hold_is_refused(text: str) -> None:
    with pytest.raises(StatelessError) as failure:
        decode_header_value(text, "Mcp-Name")
    assert (failure.value.rpc_code, failure.value.status) == (-32020, 400)


_PARTIAL_META: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "io.modelcontextprotocol/protocolVersion": st.sampled_from([VERSION, "2099-01-01"]),
        "io.modelcontextprotocol/clientCapabilities": st.just({}),
        "x": st.integers(),
    },
)
_META_VALUES: st.SearchStrategy[dict[str, Any] | None] = st.one_of(st.just(META), st.none(), _PARTIAL_META)
_NAMES: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["echo", "é"]), "uri": st.just("echo")}
)
_HEADER_VALUES = st.sampled_from([VERSION, "2099-01-01", "tools/call", "tools/list", "echo", "=?base64?ZWNobw==?="])


@given(
    method=st.sampled_from(["tools/call", "tools/list", "resources/read", "prompts/get"]),
    meta=_META_VALUES,
    names=_NAMES,
    headers=st.dictionaries(st.sampled_from(["mcp-protocol-version", "mcp-method", "mcp-name"]), _HEADER_VALUES),
    honest=st.booleans(),
)
def test_the_official_server_refuses_the_same_requests(
    method: str, meta: dict[str, Any] | None, names: dict[str, str], headers: dict[str, str], honest: bool
) -> None:
    params = {"_meta": meta, **names}
    headers = {**describe(method, params), **headers} if honest else headers
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    theirs = classify_inbound_request(body, headers=headers)
    member = "uri" if method == "resources/read" else "name"
    if "mcp-name" in headers and method != "tools/list" and member not in params:
        return  # Refused here: test_a_header_may_not_name_what_the_body_does_not.
    if isinstance(theirs, InboundLadderRejection):
        assert refusal(method, params, headers)[0] == theirs.code
    else:
        assert read(method, params, headers).version == theirs.protocol_version
