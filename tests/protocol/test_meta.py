import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from fluidmcp.protocol.jsonrpc import InvalidMessageError, has_escaped_ascii
from fluidmcp.protocol.meta import (
    mentions_meta,
    mentions_progress_token,
    replace_member,
    replace_progress_token,
    without_interactive_capabilities,
)


def test_the_progress_token_is_replaced_and_the_rest_stays() -> None:
    params = b'{"name":"t","arguments":{"n":1.00},"_meta":{"progressToken":"mine","trace":[1]}}'
    replaced, token = replace_progress_token(params, b"7")
    assert token == b'"mine"'
    assert replaced == b'{"name":"t","arguments":{"n":1.00},"_meta":{"progressToken":7,"trace":[1]}}'


@pytest.mark.parametrize("params", [UNSET, b'{"a":"progressToken"}', b'{"_meta":{}}', b'{"_meta":1}', b"[]"])
def test_params_without_a_token_are_handed_on_as_they_are(params: bytes) -> None:
    assert replace_progress_token(params, b"7") == (params, None)


@pytest.mark.parametrize(
    ("params", "replaced"),
    [
        (
            rb'{ "a":1,"a":"\ud83d", "_meta" : {"x":1.10,"progressToken" :"mine" , "x":2} }',
            rb'{ "a":1,"a":"\ud83d", "_meta" : {"x":1.10,"progressToken" :7 , "x":2} }',
        ),
        (
            rb'{"in":{"_meta":{"progressToken":"mine"}},"s":"\"_meta\"", "_meta": {"progressToken":"mine"}}',
            rb'{"in":{"_meta":{"progressToken":"mine"}},"s":"\"_meta\"", "_meta": {"progressToken":7}}',
        ),
        (rb'{"\u005fmeta": {"progress\u0054oken":"mine"}}', b'{"_meta":{"progressToken":7}}'),
    ],
)
def test_around_the_progress_token_every_byte_stays(params: bytes, replaced: bytes) -> None:
    assert replace_progress_token(params, b"7") == (replaced, b'"mine"')


@pytest.mark.parametrize(
    "params",
    [
        b'{"_meta":{"progressToken":"other"},"_meta":{"progressToken":"mine"}}',
        b'{"_meta":{"progressToken":"other","progressToken":"mine"}}',
        rb'{"_meta":{"progressToken":"other"},"\u005fmeta":{"progressToken":"mine"}}',
        rb'{"_meta":{"progress\u0054oken":"other","progressToken":"mine"}}',
    ],
)
def test_a_second_progress_token_goes(params: bytes) -> None:
    assert replace_progress_token(params, b"7") == (b'{"_meta":{"progressToken":7}}', b'"mine"')


def test_params_that_cannot_be_looked_into_are_refused() -> None:
    with pytest.raises(InvalidMessageError):
        replace_progress_token(b'{"_meta":{"progressToken":1},"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b"7")


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        (b'{"progressToken":1}', True),
        (rb'{"progress\u0054oken":1}', True),
        (rb'{"progress":"\u00e9"}', False),
    ],
)
def test_a_progress_token_is_not_overlooked(text: bytes, mentions: bool) -> None:
    assert mentions_progress_token(text, has_escapes=has_escaped_ascii(text)) == mentions


@given(st.text(alphabet='_"meta\\', max_size=200))
def test_a_meta_member_is_found_wherever_it_is(text: str) -> None:
    assert mentions_meta(text.encode(), has_escapes=False) == ('"_meta"' in text)


def test_a_meta_member_is_found_behind_many_underscores_and_escapes() -> None:
    assert mentions_meta(b"_" * 100 + b'"_meta"', has_escapes=False)
    assert mentions_meta(rb'{"\u005fmeta":{}}', has_escapes=True)
    assert not mentions_meta(b"_" * 100 + b'"_met"', has_escapes=False)


def test_a_member_is_replaced_only_where_it_is() -> None:
    assert replace_member(b'{"requestId":"a","reason":"r"}', "requestId", b"3") == b'{"requestId":3,"reason":"r"}'
    assert replace_member(b'{"x":1}', "requestId", b"3") == b'{"x":1}'


def test_a_server_hears_of_no_capability_that_nobody_can_serve() -> None:
    params = b'{"capabilities":{"roots":{},"sampling":{},"elicitation":{},"experimental":{"x":1}},"clientInfo":{}}'
    assert json.loads(without_interactive_capabilities(params))["capabilities"] == {"experimental": {"x": 1}}
    plain = b'{ "capabilities": {} }'
    assert without_interactive_capabilities(plain) == plain
