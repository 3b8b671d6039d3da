import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import DiscoverResult, InitializeResult
from msgspec import UNSET, Raw

from fluidmcp.protocol.jsonrpc import parse_message
from fluidmcp.protocol.stateless import StatelessRequest, read_stateless_request
from fluidmcp.protocol.translate import (
    encode_handshake_params,
    encode_stateless_params,
    status_of_error,
    to_discover_result,
    to_handshake_error,
    to_handshake_result,
    to_initialize_result,
    to_stateless_error,
    to_stateless_result,
    with_stateless_meta,
    with_subscription_id,
    without_stateless_meta,
    without_subscription_id,
)
from tests.protocol.odd_json import MEMBERS, write

VERSION = b'"io.modelcontextprotocol/protocolVersion":"2026-07-28"'
CAPABILITIES = b'"io.modelcontextprotocol/clientCapabilities":{"roots":{}}'
INFO = b'"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}'
SERVER = b'{"name":"s","version":"2","x":1.00}'
SERVER_META = b'"io.modelcontextprotocol/serverInfo":' + SERVER


def describe(params: bytes) -> bytes:
    return with_stateless_meta(
        params,
        version="2026-07-28",
        capabilities=b'{"roots":{}}',
        client_info=b'{"name":"c","version":"1"}',
        log_level="info",
    )


def read(method: str, params: bytes) -> StatelessRequest:
    name = json.loads(params).get("name", "")
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": name}
    body = b'{"jsonrpc":"2.0","id":1,"method":"' + method.encode() + b'","params":' + params + b"}"
    return read_stateless_request(parse_message(body), headers)


# Params.


@given(MEMBERS, MEMBERS, st.booleans())
def test_the_description_of_a_client_goes_in_and_out_without_a_trace(
    members: dict[str, bytes], meta: dict[str, bytes], has_meta: bool
) -> None:
    params = write({**members, "_meta": write(meta)} if has_meta else members)
    described = describe(params)
    assert describe(described) == described
    if has_meta and not meta:
        params = write(members)
    assert without_stateless_meta(described) == params


def test_a_client_is_described_in_meta() -> None:
    level = b'"io.modelcontextprotocol/logLevel":"info"'
    described = b'{"_meta":{' + b",".join((VERSION, CAPABILITIES, INFO, level)) + b"}}"
    assert describe(b"{}") == described
    assert describe(b"null") == described
    assert with_stateless_meta(UNSET, version="2026-07-28", capabilities=b'{"roots":{}}') == (
        b'{"_meta":{' + VERSION + b"," + CAPABILITIES + b"}}"
    )


def test_what_somebody_else_said_of_the_client_does_not_stay() -> None:
    forged = b'{"_meta":{"io.modelcontextprotocol/logLevel":"debug","a":1,' + VERSION.replace(b"2026", b"2027") + b"}}"
    described = with_stateless_meta(forged, version="2026-07-28", capabilities=b"{}")
    assert json.loads(described)["_meta"] == {
        "a": 1,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }


@pytest.mark.parametrize("params", [UNSET, b"[]", b"1", b'{"_meta":1}', b'{ "_meta" : {"a": 1} }', b"{}"])
def test_params_without_a_description_come_back_as_the_same_object(params: bytes) -> None:
    assert without_stateless_meta(params) is params
    assert without_subscription_id(params) is params


@given(MEMBERS, MEMBERS)
def test_a_stateless_request_reaches_either_server_with_its_members_as_they_are(
    members: dict[str, bytes], meta: dict[str, bytes]
) -> None:
    sent = describe(write({"name": b'"t"', **members, "_meta": write({"progressToken": b'"mine"', **meta})}))
    request = read("tools/call", sent)
    assert bytes(encode_stateless_params(request, None)) == sent
    assert encode_stateless_params(request, b"7") == sent.replace(b'"progressToken":"mine"', b'"progressToken":7', 1)
    assert encode_handshake_params(request, b"7") == write(
        {"name": b'"t"', **members, "_meta": write({"progressToken": b"7", **meta})}
    )
    assert bytes(request.meta["progressToken"]) == b'"mine"'


def test_a_handshake_era_server_sees_nothing_of_a_retry() -> None:
    params = describe(b'{"name":"t","inputResponses":{"a":{}},"requestState":"s"}')
    assert encode_handshake_params(read("tools/call", params), b"7") == b'{"name":"t"}'
    own = describe(b'{"requestState":"s"}')
    assert encode_handshake_params(read("own/method", own), None) == b'{"requestState":"s"}'


def test_params_with_a_character_cut_in_two_are_described_too() -> None:
    described = describe(rb'{"arguments":{"text":"\ud83d"}}')
    assert json.loads(described)["arguments"] == {"text": "\ud83d"}
    assert without_stateless_meta(described) == rb'{"arguments":{"text":"\ud83d"}}'


@given(MEMBERS)
def test_a_notification_is_given_to_a_subscription_and_taken_out(members: dict[str, bytes]) -> None:
    params = write(members)
    marked = with_subscription_id(params, b'"a1"')
    assert json.loads(marked)["_meta"] == {"io.modelcontextprotocol/subscriptionId": "a1"}
    assert without_subscription_id(marked) == params
    assert with_subscription_id(marked, b"7") == with_subscription_id(params, b"7")


def test_a_notification_without_params_is_given_to_a_subscription() -> None:
    assert with_subscription_id(UNSET, b"7") == b'{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}'


# Results.


@given(MEMBERS, MEMBERS, st.booleans(), st.sampled_from(["tools/list", "tools/call"]))
def test_a_result_goes_from_one_era_to_the_other_and_back_byte_for_byte(
    members: dict[str, bytes], meta: dict[str, bytes], has_meta: bool, method: str
) -> None:
    result = write({**members, "_meta": write(meta)} if has_meta and meta else members)
    stateless = bytes(to_stateless_result(method, result, SERVER))
    assert json.loads(stateless)["resultType"] == "complete"
    assert to_stateless_result(method, stateless, SERVER) is stateless
    assert to_handshake_result(stateless) == result
    assert to_handshake_result(result) is result


@pytest.mark.parametrize(
    ("method", "keys"), [("tools/list", {"resultType", "ttlMs", "cacheScope"}), ("tools/call", {"resultType"})]
)
def test_only_results_that_can_be_kept_say_for_how_long(method: str, keys: set[str]) -> None:
    result = json.loads(bytes(to_stateless_result(method, b"{}", None)))
    assert set(result) == keys
    assert result.get("ttlMs", 0) == 0
    assert result.get("cacheScope", "private") == "private"


def test_what_the_server_said_is_not_overwritten() -> None:
    said = b'{"resultType":"complete","ttlMs":5,"cacheScope":"public","_meta":{' + SERVER_META + b"}}"
    assert to_stateless_result("tools/list", said, b'{"name":"other"}') is said
    asked = b'{"resultType":"input_required","requestState":"s"}'
    assert to_stateless_result("resources/read", asked, None) is asked


def test_a_server_is_named_beside_what_meta_holds() -> None:
    named = to_stateless_result("tools/call", b'{"content":[ 1.0 ],"_meta":{"a":1.0}}', SERVER)
    assert named == b'{"content":[ 1.0 ],"_meta":{"a":1.0,' + SERVER_META + b'},"resultType":"complete"}'
    assert to_stateless_result("x", b'{"_meta":1}', SERVER) == b'{"_meta":1,"resultType":"complete"}'


@pytest.mark.parametrize("result", [b"[]", b"null", b'"text"', b"1.0"])
def test_a_result_that_is_no_object_passes(result: bytes) -> None:
    assert to_stateless_result("tools/list", result, SERVER) is result
    assert to_handshake_result(result) is result


def test_discovery_is_answered_from_the_handshake() -> None:
    answer = (
        b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},'
        b'"logging":{},"resources":{"subscribe":true}},"serverInfo":' + SERVER + b',"instructions":"i","x":1.00,'
        b'"_meta":{"y":1e400}}'
    )
    discovered = to_discover_result(answer)
    assert discovered == (
        b'{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},'
        b'"logging":{},"resources":{"subscribe":true}},"instructions":"i","x":1.00,"ttlMs":0,"cacheScope":"private",'
        b'"_meta":{"y":1e400,' + SERVER_META + b"}}"
    )
    DiscoverResult.model_validate_json(discovered.replace(b"1e400", b"1"))
    DiscoverResult.model_validate_json(to_discover_result(b"{}"))


def test_the_handshake_is_answered_from_discovery() -> None:
    answer = (
        b'{"supportedVersions":["2026-07-28"],"resultType":"complete","ttlMs":3600,"cacheScope":"public",'
        b'"capabilities":{"tools":{"listChanged":true},"extensions":{"e":{}}},"instructions":"i","x":1.00,'
        b'"_meta":{"y":2,' + SERVER_META + b"}}"
    )
    initialized = to_initialize_result(answer, "2025-06-18")
    assert initialized == (
        b'{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"extensions":{"e":{}}},'
        b'"serverInfo":' + SERVER + b',"instructions":"i","x":1.00,"_meta":{"y":2}}'
    )
    InitializeResult.model_validate_json(initialized)
    InitializeResult.model_validate_json(to_initialize_result(b"[]", "2025-06-18"))


# Errors.


@pytest.mark.parametrize(
    ("code", "stateless", "handshake"),
    [
        (-32002, -32602, -32002),
        (-32042, -32603, -32042),
        (-32020, -32603, -32603),
        (-32021, -32603, -32602),
        (-32022, -32603, -32603),
        (-32099, -32603, -32099),
        (-32100, -32100, -32100),
        (-32019, -32019, -32019),
        (-32001, -32001, -32001),
        (-32602, -32602, -32602),
        (-32603, -32603, -32603),
        (7, 7, 7),
    ],
)
def test_codes_that_the_other_era_lacks_are_replaced(code: int, stateless: int, handshake: int) -> None:
    error = b'{"message":"\\u00e9","code":%d,"data":{"n":1.00},"x":[ ]}'
    assert to_stateless_error(error % code) == error % stateless
    assert to_handshake_error(error % code) == error % handshake


@pytest.mark.parametrize(
    "error", [b"[]", b"{}", b'{"code":"-32002"}', b'{"code":-32002.0}', b'{"code":' + b"1" * 400 + b"}"]
)
def test_an_error_without_a_code_passes(error: bytes) -> None:
    assert to_stateless_error(error) is error
    assert to_handshake_error(error) is error
    assert status_of_error(error) == 200


def test_a_method_that_an_older_sdk_does_not_know_does_not_exist() -> None:
    said = b'{"code":-32602,"message":"Invalid request parameters","data":""}'
    unknown = said.replace(b"-32602", b"-32601")
    assert to_stateless_error(said, "no/such/method") == unknown
    assert to_stateless_error(said, "tools/call") is said
    assert to_stateless_error(said) is said
    own_words = b'{"code":-32602,"message":"The width is missing."}'
    assert to_stateless_error(own_words, "example/draw") is own_words


def test_an_error_whose_text_was_cut_is_replaced_too() -> None:
    assert to_stateless_error(rb'{"code":-32002,"message":"\ud800"}') == rb'{"code":-32602,"message":"\ud800"}'


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32700, 400),
        (-32600, 400),
        (-32601, 404),
        (-32602, 400),
        (-32603, 200),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32000, 200),
        (1, 200),
    ],
)
def test_the_code_of_an_error_decides_its_status(code: int, status: int) -> None:
    assert status_of_error(Raw(json.dumps({"code": code, "message": "m"}).encode())) == status
