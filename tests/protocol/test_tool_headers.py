import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from msgspec import Raw

from fluidmcp.protocol.stateless import StatelessError
from fluidmcp.protocol.tool_headers import HeaderRule, check_tool_headers, read_header_rules

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "nested": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry-Run"}}},
        "plain": {"type": "string"},
    },
}


def rules_of(schema: object) -> tuple[HeaderRule, ...]:
    return read_header_rules(json.dumps({"name": "t", "inputSchema": schema}).encode())


def is_refused(arguments: object, headers: dict[str, str], schema: object = SCHEMA) -> bool:
    text = arguments if isinstance(arguments, bytes) else json.dumps(arguments).encode()
    try:
        check_tool_headers(rules_of(schema), Raw(text), headers)
    except StatelessError as failure:
        assert (failure.rpc_code, failure.status) == (-32020, 400)
        return True
    return False


def test_the_rules_of_a_tool_are_read() -> None:
    assert set(rules_of(SCHEMA)) == {
        HeaderRule("Mcp-Param-Region", ("region",), "string"),
        HeaderRule("Mcp-Param-Count", ("count",), "integer"),
        HeaderRule("Mcp-Param-Dry-Run", ("nested", "dry"), "boolean"),
    }


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "string", "x-mcp-header": ""},
        {"type": "string", "x-mcp-header": "a b"},
        {"type": "string", "x-mcp-header": "a\r\nb"},
        {"type": "string", "x-mcp-header": 1},
        {"type": "string", "x-mcp-header": "REGION"},
        {"type": "number", "x-mcp-header": "N"},
        {"type": ["string", "null"], "x-mcp-header": "N"},
        {"x-mcp-header": "N"},
        {"type": "array", "items": {"type": "string", "x-mcp-header": "N"}},
        {"anyOf": [{"type": "string", "x-mcp-header": "N"}]},
        {"$defs": {"n": {"type": "string", "x-mcp-header": "N"}}},
        {"if": {"properties": {"n": {"type": "string", "x-mcp-header": "N"}}}},
    ],
)
def test_one_broken_annotation_leaves_no_rule(broken: dict[str, object]) -> None:
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "broken": broken}}
    assert rules_of(schema) == ()


def test_an_annotation_inside_data_is_none() -> None:
    schema = {"properties": {"a": {"type": "string", "default": {"x-mcp-header": "A"}, "enum": [{"x-mcp-header": 1}]}}}
    assert rules_of(schema) == ()
    assert rules_of({**SCHEMA, "examples": [{"x-mcp-header": ""}]}) != ()


@pytest.mark.parametrize("tool", [b"[]", b"{}", b'{"inputSchema":1}', b'{"inputSchema":{"properties":[1]}}'])
def test_what_is_no_schema_has_no_rules(tool: bytes) -> None:
    assert read_header_rules(tool) == ()


def test_arguments_and_headers_that_agree_pass() -> None:
    headers = {"mcp-param-region": "eu", "mcp-param-count": "3", "mcp-param-dry-run": "true", "mcp-param-other": "x"}
    assert not is_refused({"region": "eu", "count": 3, "nested": {"dry": True}}, headers)
    assert not is_refused({"region": None, "plain": "p"}, {})
    assert not is_refused({"region": "é"}, {"mcp-param-region": "=?base64?w6k=?="})


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "eu"}, {}),
        ({"region": "eu"}, {"mcp-param-region": "us"}),
        ({"region": "eu"}, {"mcp-param-region": "EU"}),
        ({"region": "é"}, {"mcp-param-region": "é"}),
        ({"region": "é"}, {"mcp-param-region": "=?base64?w6k?="}),
        ({"region": None}, {"mcp-param-region": "eu"}),
        ({}, {"mcp-param-region": "eu"}),
        ({"region": ["eu"]}, {"mcp-param-region": '["eu"]'}),
        ({"nested": "dry"}, {"mcp-param-dry-run": "true"}),
        ({"nested": {"dry": False}}, {"mcp-param-dry-run": "true"}),
        ({"nested": {"dry": True}}, {"mcp-param-dry-run": "1"}),
        ({"count": True}, {"mcp-param-count": "1"}),
        ({"region": 42}, {"mcp-param-region": "42.0"}),
    ],
)
def test_arguments_and_headers_that_differ_are_refused(arguments: object, headers: dict[str, str]) -> None:
    assert is_refused(arguments, headers)


@pytest.mark.parametrize(
    ("number", "header", "refused"),
    [
        (b"42", "42.0", False),
        (b"42.0", "42", False),
        (b"4.2e1", "42", False),
        (b"-7", "-7", False),
        (b"9007199254740993", "9007199254740992", True),
        (b"9007199254740993", "9007199254740993", False),
        (b"42", "42.5", True),
        (b"42", "4.2e1", True),
        (b"42", "forty-two", True),
        (b"42", "NaN", True),
        (b"1" * 5000, "1" * 5000, False),
        (b"1" * 5000, "1" * 4999, True),
        (b"1e999999999", "1", True),
    ],
)
def test_integers_are_compared_by_value(number: bytes, header: str, refused: bool) -> None:
    assert is_refused(b'{"count":' + number + b"}", {"mcp-param-count": header}) is refused


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(max_size=5), st.just([1]))
_ARGUMENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={"region": _SCALARS, "count": _SCALARS, "nested": st.fixed_dictionaries({}, optional={"dry": _SCALARS})},
)


@given(
    _ARGUMENTS, st.dictionaries(st.sampled_from(["region", "count", "dry-run"]), st.sampled_from(["1", "true", "é"]))
)
def test_the_official_server_refuses_the_same_calls(arguments: dict[str, Any], changes: dict[str, str]) -> None:
    sent = {name.lower(): value for name, value in mcp_param_headers(x_mcp_header_map(SCHEMA), arguments).items()}
    headers = {**sent, **{f"mcp-param-{name}": value for name, value in changes.items()}}
    theirs = validate_mcp_param_headers(SCHEMA, arguments, headers)
    if "é" in changes.values():
        return  # The official server compares it, the specification has it refused.
    assert is_refused(arguments, headers) is (theirs is not None)


def _nest(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    keywords = st.sampled_from(["items", "not", "additionalProperties", "default"])
    return st.one_of(
        st.dictionaries(keywords, children, min_size=1, max_size=1),
        st.dictionaries(st.sampled_from("pq"), children, max_size=2).map(_as_properties),
        st.lists(children, max_size=2).map(_as_alternatives),
    )


def _as_properties(children: dict[str, Any]) -> dict[str, Any]:
    return {"properties": children}


def _as_alternatives(children: list[dict[str, Any]]) -> dict[str, Any]:
    return {"anyOf": children}


_LEAVES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "object"]),
        "x-mcp-header": st.sampled_from(["A", "a", "B", "", "b c"]),
    },
)
_SCHEMAS = st.recursive(_LEAVES, _nest, max_leaves=6)


@given(_SCHEMAS)
def test_the_official_clients_drop_the_same_tools(schema: dict[str, Any]) -> None:
    rules = rules_of(schema)
    if find_invalid_x_mcp_header(schema) is None:
        assert {rule.path: rule.header for rule in rules} == {
            path: f"Mcp-Param-{token}" for path, token in x_mcp_header_map(schema).items()
        }
    else:
        assert rules == ()
