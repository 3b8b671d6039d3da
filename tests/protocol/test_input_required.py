import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import ClientCapabilities, InputRequiredResult
from msgspec import UNSET, Raw

from fluidmcp.protocol.input_required import (
    Capability,
    InputRequest,
    digest_params,
    encode_input_required,
    fits_response,
    has_capability,
    list_interactive_capabilities,
    missing_capability,
    read_input_required,
    read_input_responses,
    read_url_elicitations,
    required_capability,
    with_input_responses,
    without_input_responses,
)
from fluidmcp.protocol.objects import read_object
from fluidmcp.protocol.stateless import StatelessError
from tests.protocol.odd_json import MEMBERS, VALUES, write

FORM = b'{"message":"m","requestedSchema":{"type":"object","properties":{"n":{"type":"number","maximum":1e30}}}}'


def members_of(text: bytes) -> dict[str, Raw]:
    members = read_object(text)
    assert members is not None
    return members


@given(st.dictionaries(st.text(max_size=5), MEMBERS, max_size=3), st.text(max_size=10))
def test_questions_go_to_the_client_and_come_back_byte_for_byte(asked: dict[str, dict[str, bytes]], state: str) -> None:
    requests = {key: InputRequest("sampling/createMessage", Raw(write(params))) for key, params in asked.items()}
    text = encode_input_required(requests, state, b'{"name":"s","version":"1"}')
    read = read_input_required(text)
    assert read is not None
    assert json.loads(bytes(cast(Raw, read.request_state))) == state
    assert {key: (request.method, bytes(cast(Raw, request.params))) for key, request in read.requests.items()} == {
        key: ("sampling/createMessage", write(params)) for key, params in asked.items()
    }


def test_the_official_client_reads_the_questions() -> None:
    text = encode_input_required(
        {
            "a": InputRequest("elicitation/create", Raw(FORM)),
            "b": InputRequest("roots/list", UNSET),
            "c": InputRequest(
                "elicitation/create", Raw(b'{"mode":"url","url":"https://x.test/","elicitationId":"1","message":"m"}')
            ),
        },
        "sealed",
        None,
    )
    result = InputRequiredResult.model_validate_json(text)
    assert result.request_state == "sealed"
    assert result.input_requests is not None and list(result.input_requests) == ["a", "b", "c"]
    assert b"elicitationId" not in text
    assert FORM in text


@pytest.mark.parametrize(
    "result", [b"{}", b"[]", b'{"resultType":"complete","requestState":"s"}', b'{"inputRequests":{}}']
)
def test_other_results_ask_nothing(result: bytes) -> None:
    assert read_input_required(result) is None


def test_a_server_may_ask_to_be_called_again_only() -> None:
    read = read_input_required(b'{"resultType":"input_required","requestState":"\\u0073"}')
    assert read is not None and read.requests == {}
    assert bytes(cast(Raw, read.request_state)) == b'"\\u0073"'


@pytest.mark.parametrize(
    "members",
    [
        b"",
        b',"inputRequests":null,"requestState":null',
        b',"inputRequests":[]',
        b',"inputRequests":{"a":1}',
        b',"inputRequests":{"a":{}}',
        b',"inputRequests":{"a":{"method":1}}',
        b',"inputRequests":{"a":{"method":"roots/list","params":[]}}',
        b',"requestState":1',
    ],
)
def test_questions_that_nobody_can_answer_are_a_fault_of_the_server(members: bytes) -> None:
    with pytest.raises(StatelessError) as failure:
        read_input_required(b'{"resultType":"input_required"' + members + b"}")
    assert failure.value.rpc_code == -32603


def test_the_error_that_requires_addresses_becomes_questions() -> None:
    error = (
        b'{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://a.test/","message":"a",'
        b'"elicitationId":"1"},{"url":"https://b.test/","message":"b"}]}}'
    )
    requests = read_url_elicitations(error)
    assert requests is not None
    asked = json.loads(encode_input_required(requests, None, None))["inputRequests"]
    assert [request["params"] for request in asked.values()] == [
        {"mode": "url", "url": "https://a.test/", "message": "a"},
        {"mode": "url", "url": "https://b.test/", "message": "b"},
    ]


@pytest.mark.parametrize(
    "error",
    [
        b'{"code":-32603,"data":{"elicitations":[{"url":"https://a.test/"}]}}',
        b'{"code":-32042}',
        b'{"code":-32042,"data":{"elicitations":[]}}',
        b'{"code":-32042,"data":{"elicitations":[1]}}',
        b'{"code":-32042,"data":{"elicitations":[{"message":"m"}]}}',
        b'{"code":-32042,"data":[]}',
    ],
)
def test_other_errors_hold_no_questions(error: bytes) -> None:
    assert read_url_elicitations(error) is None


@given(MEMBERS, MEMBERS, st.text(max_size=10))
def test_a_retry_carries_answers_and_state_and_loses_them_again(
    members: dict[str, bytes], answer: dict[str, bytes], state: str
) -> None:
    params = write(members)
    retry = with_input_responses(params, {"k": write(answer)}, json.dumps(state).encode())
    again = with_input_responses(retry, {"k": write(answer)}, json.dumps(state).encode())
    assert again == retry
    responses, read_state = read_input_responses(members_of(bytes(retry)))
    assert responses is not None
    assert {key: bytes(response) for key, response in responses.items()} == {"k": write(answer)}
    assert read_state == state
    assert without_input_responses(retry) == params
    assert without_input_responses(params) is params
    assert digest_params(retry) == digest_params(params)


def test_the_state_of_an_earlier_round_does_not_stay() -> None:
    retry = with_input_responses(b'{"name":"t","requestState":"old","inputResponses":{"a":{}}}', {}, None)
    assert retry == b'{"name":"t"}'
    assert with_input_responses(UNSET, {"a": b"{}"}, None) == b'{"inputResponses":{"a":{}}}'


@pytest.mark.parametrize("params", [b"{}", b'{"inputResponses":null,"requestState":null}'])
def test_a_first_request_carries_neither(params: bytes) -> None:
    assert read_input_responses(members_of(params)) == (None, None)


@pytest.mark.parametrize(
    "params",
    [b'{"inputResponses":[]}', b'{"inputResponses":"x"}', b'{"inputResponses":{"a":1}}', b'{"requestState":{}}'],
)
def test_answers_of_the_wrong_form_are_refused(params: bytes) -> None:
    with pytest.raises(StatelessError) as failure:
        read_input_responses(members_of(params))
    assert (failure.value.rpc_code, failure.value.status) == (-32602, 400)


@pytest.mark.parametrize(
    ("method", "params", "required"),
    [
        ("elicitation/create", FORM, {"elicitation": {"form": {}}}),
        ("elicitation/create", b'{"mode":"form"}', {"elicitation": {"form": {}}}),
        ("elicitation/create", b'{"mode":"url"}', {"elicitation": {"url": {}}}),
        ("sampling/createMessage", b'{"messages":[]}', {"sampling": {}}),
        ("sampling/createMessage", b'{"tools":null}', {"sampling": {}}),
        ("sampling/createMessage", b'{"tools":[]}', {"sampling": {"tools": {}}}),
        ("sampling/createMessage", b'{"toolChoice":{}}', {"sampling": {"tools": {}}}),
        ("roots/list", UNSET, {"roots": {}}),
        ("tasks/get", b"{}", None),
    ],
)
def test_each_question_needs_its_capability(method: str, params: bytes, required: Capability | None) -> None:
    assert required_capability(method, params) == required


@pytest.mark.parametrize(
    ("declared", "required", "has"),
    [
        (b'{"elicitation":{}}', {"elicitation": {"form": {}}}, True),
        (b'{"elicitation":{}}', {"elicitation": {"url": {}}}, False),
        (b'{"elicitation":{"url":{}}}', {"elicitation": {"form": {}}}, False),
        (b'{"elicitation":{"url":{}}}', {"elicitation": {"url": {}}}, True),
        (b'{"elicitation":{"form":{},"url":{}}}', {"elicitation": {"form": {}}}, True),
        (b'{"elicitation":null}', {"elicitation": {"form": {}}}, False),
        (b'{"sampling":{}}', {"sampling": {}}, True),
        (b'{"sampling":{}}', {"sampling": {"tools": {}}}, False),
        (b'{"sampling":{"tools":{"x":1}}}', {"sampling": {"tools": {}}}, True),
        (b'{"sampling":true}', {"sampling": {}}, False),
        (b'{"roots":{"listChanged":true}}', {"roots": {}}, True),
        (b"{}", {"roots": {}}, False),
        (b"[]", {"roots": {}}, False),
    ],
)
def test_a_capability_is_found_where_it_was_declared(declared: bytes, required: Capability, has: bool) -> None:
    assert has_capability(declared, required) is has


def test_a_missing_capability_is_told_as_an_object() -> None:
    failure = missing_capability({"sampling": {"tools": {}}})
    assert (failure.rpc_code, failure.status) == (-32021, 400)
    assert failure.data == {"requiredCapabilities": {"sampling": {"tools": {}}}}


@pytest.mark.parametrize(
    ("declared", "listed"),
    [
        (b"{}", b"{}"),
        (b"null", b"{}"),
        (b'{"experimental":{},"tasks":{},"extensions":{"x":{}}}', b"{}"),
        (b'{"elicitation":{"form":{}}}', b'{"elicitation":{}}'),
        (b'{"elicitation":{"made up":1}}', b'{"elicitation":{}}'),
        (b'{"elicitation":{"url":{},"form":{}}}', b'{"elicitation":{"form":{},"url":{}}}'),
        (b'{"elicitation":{"url":{"x":1}}}', b'{"elicitation":{"url":{}}}'),
        (
            b'{"sampling":{"tools":{},"context":{}},"roots":{"listChanged":true},"elicitation":{}}',
            b'{"elicitation":{},"roots":{},"sampling":{"context":{},"tools":{}}}',
        ),
    ],
)
def test_capabilities_that_mean_the_same_have_one_spelling(declared: bytes, listed: bytes) -> None:
    assert list_interactive_capabilities(declared) == listed
    assert list_interactive_capabilities(listed) == listed
    ClientCapabilities.model_validate_json(listed)


@given(MEMBERS)
def test_the_digest_ignores_order_space_and_meta(members: dict[str, bytes]) -> None:
    turned = {name: members[name] for name in reversed(members)}
    spaced = write(turned).replace(b"{", b"{ ", 1)
    assert digest_params(spaced) == digest_params(write(members))
    assert digest_params(write({**members, "_meta": b'{"progressToken":2}'})) == digest_params(write(members))


@given(VALUES, VALUES)
def test_the_digest_differs_where_the_values_differ(one: bytes, other: bytes) -> None:
    same = digest_params(write({"a": one})) == digest_params(write({"a": other}))
    if same:
        assert json.loads(one) == json.loads(other)
    if one == other:
        assert same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":9007199254740993.0}', b'{"a":9007199254740992.0}'),
        (b'{"a":123456789012345678901234567890}', b'{"a":123456789012345678901234567891}'),
        (b'{"a":1e400}', b'{"a":1e401}'),
        (b'{"a":true}', b'{"a":1}'),
        (b'{"a":"1"}', b'{"a":1}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":' + b"1" * 5000 + b"}", b'{"a":' + b"1" * 4999 + b"2}"),
        (b'{"a":{"_meta":1}}', b'{"a":{}}'),
    ],
)
def test_close_params_have_different_digests(one: bytes, other: bytes) -> None:
    assert digest_params(one) != digest_params(other)


def test_the_digest_of_anything_is_32_bytes() -> None:
    deep = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"
    for params in (UNSET, b"[]", b"{}", deep, rb'{"a":"\ud800"}'):
        assert len(digest_params(params)) == 32


@pytest.mark.parametrize(
    ("method", "response", "fits"),
    [
        ("elicitation/create", b'{"action":"accept","content":{"n":1}}', True),
        ("elicitation/create", b'{"action":"decline"}', True),
        ("elicitation/create", b'{"action":"cancel","content":null}', True),
        ("elicitation/create", b'{"action":"maybe"}', False),
        ("elicitation/create", b'{"action":"accept","content":[]}', False),
        ("elicitation/create", b'{"content":{}}', False),
        ("sampling/createMessage", b'{"role":"assistant","model":"m","content":{"type":"text"}}', True),
        ("sampling/createMessage", b'{"role":"assistant","model":"m","content":[]}', True),
        ("sampling/createMessage", b'{"role":"assistant","model":"m"}', False),
        ("sampling/createMessage", b'{"role":"assistant","content":{}}', False),
        ("sampling/createMessage", b'{"action":"accept"}', False),
        ("roots/list", b'{"roots":[]}', True),
        ("roots/list", b'{"roots":[{"uri":"file:///a"}]}', True),
        ("roots/list", b'{"roots":[{"name":"a"}]}', False),
        ("roots/list", b'{"roots":{}}', False),
        ("roots/list", b"[]", False),
        ("ping", b"{}", False),
    ],
)
def test_an_answer_fits_its_question_or_does_not(method: str, response: bytes, fits: bool) -> None:
    assert fits_response(method, response) is fits
