import json

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
    encode_request,
    parse_message,
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


def test_a_lone_surrogate_passes() -> None:
    envelope = parse_message(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"cut":"\\ud83d"}}')
    assert json.loads(encode_request(b"1", "m", envelope.params))["params"] == {"cut": "\ud83d"}


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
