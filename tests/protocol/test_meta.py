import json

import pytest
from msgspec import UNSET

from fluidmcp.protocol.meta import replace_member, replace_progress_token, without_interactive_capabilities


def test_the_progress_token_is_replaced_and_the_rest_stays() -> None:
    params = b'{"name":"t","arguments":{"n":1.00},"_meta":{"progressToken":"mine","trace":[1]}}'
    replaced, token = replace_progress_token(params, b"7")
    assert token == b'"mine"'
    assert replaced == b'{"name":"t","arguments":{"n":1.00},"_meta":{"progressToken":7,"trace":[1]}}'


@pytest.mark.parametrize("params", [UNSET, b'{"a":"progressToken"}', b'{"_meta":{}}', b'{"_meta":1}', b"[]"])
def test_params_without_a_token_are_handed_on_as_they_are(params: bytes) -> None:
    assert replace_progress_token(params, b"7") == (params, None)


def test_a_member_is_replaced_only_where_it_is() -> None:
    assert replace_member(b'{"requestId":"a","reason":"r"}', "requestId", b"3") == b'{"requestId":3,"reason":"r"}'
    assert replace_member(b'{"x":1}', "requestId", b"3") == b'{"x":1}'


def test_a_server_hears_of_no_capability_that_nobody_can_serve() -> None:
    params = b'{"capabilities":{"roots":{},"sampling":{},"elicitation":{},"experimental":{"x":1}},"clientInfo":{}}'
    assert json.loads(without_interactive_capabilities(params))["capabilities"] == {"experimental": {"x": 1}}
    plain = b'{ "capabilities": {} }'
    assert without_interactive_capabilities(plain) == plain
