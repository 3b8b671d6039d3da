r"""Which tool a call means, for every reader of its text, and lists with some tools left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from fluidmcp.protocol.jsonrpc import Json
from fluidmcp.protocol.tool_lists import is_misspelt_call, keep_tools, read_called_tool
from tests.protocol.odd_json import MEMBERS, SPACES, VALUES, write


@pytest.mark.parametrize(
    ("params", "name"),
    [
        (b'{"name":"a","arguments":{}}', "a"),
        (b'{"arguments":{"name":"b"},"name" : "a"}', "a"),
        (rb'{"name":"\u0061"}', "a"),
        (b'{"name":"a","arguments":{"Name":"b"}}', "a"),
    ],
)
def test_params_that_name_the_tool_once_pass_as_they_are(params: Json, name: str) -> None:
    found, passed = read_called_tool(params)
    assert found == name
    assert passed is params


@given(MEMBERS, SPACES)
def test_params_with_anything_around_the_name_pass_as_they_are(members: dict[str, bytes], spaces: str) -> None:
    rest = {name: value for name, value in members.items() if name.casefold() != "name"}
    space = spaces.encode()
    params = b'{"name"%b:%b"a"%b' % (space, space, b"," + write(rest)[1:] if rest else b"}")
    name, passed = read_called_tool(params)
    assert name == "a"
    assert passed in (params, write({"name": b'"a"', **rest}))


@pytest.mark.parametrize(
    ("params", "name", "passed"),
    [
        (b'{"name":"a","name":"b"}', "b", b'{"name":"b"}'),
        (b'{"name":"a","x":1,"name":"b"}', "b", b'{"name":"b","x":1}'),
        (rb'{"n\u0061me":"a","name":"b"}', "b", b'{"name":"b"}'),
        (rb'{"name":"a","n\u0061me":"b"}', "b", b'{"name":"b"}'),
        (rb'{"n\u0061me":"a"}', "a", b'{"name":"a"}'),
    ],
)
def test_what_reaches_a_server_has_one_name_and_that_is_the_one_that_was_looked_at(
    params: Json, name: str, passed: Json
) -> None:
    assert read_called_tool(params) == (name, passed)


@pytest.mark.parametrize(
    "params",
    [
        b"{}",
        b"null",
        b"[]",
        b'["a"]',
        b'"a"',
        b'{"name":null}',
        b'{"name":1}',
        b'{"name":["a"]}',
        b'{"name":{"name":"a"}}',
        b'{"name":"a","name":1}',
        b'{"name":"a","Name":"b"}',
        b'{"NAME":"b","name":"a"}',
        rb'{"name":"a","\u004eame":"b"}',
        b'{"Name":"a"}',
        rb'{"name":"a\ud83d"}',
    ],
)
def test_params_that_readers_may_take_for_different_tools_name_none(params: Json) -> None:
    assert read_called_tool(params)[0] is None


def test_no_params_name_no_tool() -> None:
    assert read_called_tool(UNSET) == (None, UNSET)


def allows(name: str) -> bool:
    return name.startswith("good")


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (b'{"tools":[{"name":"good","n":1.0},{"name":"bad"}]}', b'{"tools":[{"name":"good","n":1.0}]}'),
        (b'{ "tools" : [ {"name" : "bad"} ] , "nextCursor":"x" }', b'{ "tools" : [] , "nextCursor":"x" }'),
        (rb'{"tools":[{"name":"\u0067ood"},{"name":"b\u0061d"}]}', rb'{"tools":[{"name":"\u0067ood"}]}'),
        (rb'{"tools":[{"name":"good","d":"\ud83d"},{"name":"bad"}]}', rb'{"tools":[{"name":"good","d":"\ud83d"}]}'),
        (b'{"tools":[{"name":1},{},7,null,{"name":"good"},"good"]}', b'{"tools":[{"name":"good"}]}'),
        (b'{"tools":[{"name":"bad"}],"tools":[{"name":"good"}]}', b'{"tools":[{"name":"good"}]}'),
        (b'{"tools":[]}', b'{"tools":[]}'),
        (b'{"resultType":"input_required"}', b'{"resultType":"input_required"}'),
    ],
)
def test_a_list_holds_the_allowed_tools_and_all_other_bytes_stay(result: Json, kept: Json) -> None:
    assert keep_tools(result, allows) == kept


@pytest.mark.parametrize("result", [b"[]", b"null", b'{"tools":null}', b'{"tools":{"bad":{"name":"bad"}}}', b'"bad"'])
def test_a_list_that_cannot_be_read_is_none(result: Json) -> None:
    assert keep_tools(result, allows) is None


@given(MEMBERS, VALUES, st.lists(st.sampled_from(["good", "good2", "bad"])))
def test_around_a_list_every_byte_stays(members: dict[str, bytes], value: bytes, names: list[str]) -> None:
    rest = {name: text for name, text in members.items() if name != "tools"}

    def result(names: list[str]) -> Json:
        tools = [b'{"name":"%b","v":%b}' % (name.encode(), value) for name in names]
        return write({**rest, "tools": b"[%b]" % b",".join(tools)})

    assert keep_tools(result(names), allows) == result([name for name in names if name != "bad"])


@pytest.mark.parametrize(
    "method", ["Tools/call", "tools/call ", "tools/call\0", "TOOLS/CALL", "tools//call", "tools.call"]
)
def test_a_method_that_is_a_call_to_a_lenient_server_is_known(method: str) -> None:
    assert is_misspelt_call(method)


@pytest.mark.parametrize("method", ["tools/call", "tools/list", "tools/calls", "tasks/result", ""])
def test_other_methods_are_no_misspelt_call(method: str) -> None:
    assert not is_misspelt_call(method)
