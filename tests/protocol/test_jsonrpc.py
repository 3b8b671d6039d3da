import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from fluidmcp.protocol.jsonrpc import (
    INVALID_REQUEST,
    PARSE_ERROR,
    InvalidMessageError,
    encode_answer,
    encode_error,
    encode_notification,
    encode_object,
    encode_request,
    has_escaped_ascii,
    parse_batch,
    parse_message,
    parse_object,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_VALUES), st.booleans(), st.sampled_from([None, 2]))
def test_params_survive_byte_for_byte_under_another_id(
    params: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(params, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if b"\xed\xa0" in text or not _is_utf8(text):
        return
    message = json.dumps({"jsonrpc": "2.0", "id": "mine", "method": "x"}, indent=indent).encode()
    body = message.rstrip(b"}\n") + b',"params":' + text + b"}"
    envelope = parse_message(body)
    line = encode_request(b"7", "x", envelope.params)
    assert b"\n" not in line
    if "\\ud" not in text.decode():
        assert line == b'{"jsonrpc":"2.0","id":7,"method":"x","params":' + text + b"}"
    assert json.loads(line)["params"] == params


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "params", [b'{"n":12345678901234567890123456789012345678901234567890}', b'{"x":1.00,"y":1e400}', b'{"a":1,"a":2}']
)
def test_numbers_and_keys_that_python_would_alter_pass_unchanged(params: bytes) -> None:
    envelope = parse_message(b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + params + b"}")
    assert (
        encode_request(b"9", "m", envelope.params) == b'{"jsonrpc":"2.0","id":9,"method":"m","params":' + params + b"}"
    )


def test_what_stands_beside_a_lone_surrogate_passes_unchanged() -> None:
    params = (
        rb'{ "cut":"\ud83d", "n":[1.10,1e400,12345678901234567890.10],"\uDC00":1,"\uDC00":2,"ok":"\ud83d\ude00\u00e9"}'
    )
    message = rb'{"id":"\udc00","method":"x/\udfff","params":%b,"more":null}' % params
    envelope = parse_message(message.replace(b"[1.10", b"[\r\n1.10"))
    assert envelope.method == "x/\udfff"
    expected = rb'{"jsonrpc":"2.0","id":"\udc00","method":"x/\udfff","params":%b}' % params
    assert encode_request(bytes(cast(Raw, envelope.id)), "x/\udfff", envelope.params) == expected
    answer = parse_message(b'{"id":1,"error":%b}' % params)
    assert encode_answer(b"1", answer) == b'{"jsonrpc":"2.0","id":1,"error":%b}' % params


def test_the_members_of_an_object_with_a_lone_surrogate_keep_their_bytes() -> None:
    members = parse_object(rb'{"cut": "\ud83d","n":1.10,"\ud800":[1e400 ]}')
    assert members is not None
    assert {name: bytes(value) for name, value in members.items()} == {
        "cut": rb'"\ud83d"',
        "n": b"1.10",
        "\ud800": b"[1e400 ]",
    }
    assert encode_object(members) == rb'{"cut":"\ud83d","n":1.10,"\ud800":[1e400 ]}'


def test_a_batch_may_hold_a_lone_surrogate() -> None:
    messages = [rb'{"id":1,"method":"a","params":["\ud83d",1.10]}', b'{"id":2,"method":"b"}']
    assert parse_batch(b" [%b]" % b" , ".join(messages)) == messages
    with pytest.raises(InvalidMessageError):
        parse_batch(rb'["\ud83d",]')


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (rb'"\u005fmeta"', True),
        (rb'"a\/b"', True),
        (rb'"\u007f"', True),
        (b'"a/b"', False),
        (rb'"\n\u000a\u00e9\u1041"', False),
    ],
)
def test_names_that_a_search_misses_are_known_by_their_escapes(text: bytes, has: bool) -> None:
    assert has_escaped_ascii(text) == has


@pytest.mark.parametrize("request_id", [b"1", b'"1"', b"1.0", b"-5", b'"\\u00e9"'])
def test_the_id_comes_back_as_it_was_written(request_id: bytes) -> None:
    envelope = parse_message(b'{"jsonrpc":"2.0","id":' + request_id + b',"method":"m"}')
    assert isinstance(envelope.id, Raw)
    answer = parse_message(b'{"jsonrpc":"2.0","id":1,"result":{"ok":true}}')
    expected = b'{"jsonrpc":"2.0","id":' + request_id + b',"result":{"ok":true}}'
    assert encode_answer(bytes(envelope.id), answer) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", PARSE_ERROR),
        (b"{", PARSE_ERROR),
        (b"not json", PARSE_ERROR),
        (b'{"id":1,"method":"m","params":{"a":"\xff"}}', PARSE_ERROR),
        (b'{"id":1,"method":"m","params":{"a":"x\ny"}}', PARSE_ERROR),
        (b'{"id":1,"method":"m","params":{"a":NaN}}', PARSE_ERROR),
        (b'{"id":1,"method":"m","params":{"a":NaN,"b":"\\ud800"}}', PARSE_ERROR),
        (b'{"id":1,"method":"m","params":{"a":"\\ud800\n"}}', PARSE_ERROR),
        (b'{"id":1,"method":"m\xff"}', PARSE_ERROR),
        (b'{"id":1,"method":"\\ud800\xff"}', PARSE_ERROR),
        (b'{"id":"\\ud800"}', INVALID_REQUEST),
        (b'["\\ud800"]', INVALID_REQUEST),
        (b'{"id":1,"method":"m","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}", PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'[{"id":1,"method":"m"}]', INVALID_REQUEST),
        (b'"text"', INVALID_REQUEST),
        (b"{}", INVALID_REQUEST),
        (b'{"id":1}', INVALID_REQUEST),
        (b'{"id":null,"method":"m"}', INVALID_REQUEST),
        (b'{"id":{},"method":"m"}', INVALID_REQUEST),
        (b'{"id":true,"method":"m"}', INVALID_REQUEST),
        (b'{"id":1,"method":7}', INVALID_REQUEST),
        (b'{"id":1,"result":1,"error":{}}', INVALID_REQUEST),
    ],
)
def test_what_is_no_message_is_refused_with_its_code(text: bytes, code: int) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        parse_message(text)
    assert caught.value.rpc_code == code


def test_a_notification_has_no_id_and_an_error_without_request_has_null() -> None:
    assert encode_notification("notifications/x", UNSET) == b'{"jsonrpc":"2.0","method":"notifications/x"}'
    assert json.loads(encode_error(None, -32700, "bad"))["id"] is None


def test_pretty_printed_json_becomes_one_line() -> None:
    envelope = parse_message(b'{\r\n  "id": 1,\n  "method": "m",\n  "params": {\n    "a": "b c"\n  }\n}\n')
    assert json.loads(encode_request(b"1", "m", envelope.params))["params"] == {"a": "b c"}
    assert b"\n" not in encode_request(b"1", "m", envelope.params)
