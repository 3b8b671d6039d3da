import pytest

from fluidmcp.protocol.inbound import META_PREFIX, classify_post
from fluidmcp.protocol.jsonrpc import has_escaped_ascii, parse_message

MODERN = b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}'


@pytest.mark.parametrize(
    ("method", "params", "session_id", "version", "kind"),
    [
        ("tools/list", b"{}", None, None, "bare"),
        ("tools/list", b"{}", None, "2025-06-18", "bare"),
        ("tools/list", b"{}", "s", None, "session"),
        ("tools/list", b"{}", "s", "2025-11-25", "session"),
        ("tools/list", b"{}", "s", "1999-01-01", "unsupported_version"),
        ("initialize", b"{}", None, None, "initialize"),
        ("initialize", b"{}", None, "1999-01-01", "stateless"),
        ("server/discover", b"{}", None, None, "stateless"),
        ("tools/list", b"{}", None, "2026-07-28", "stateless"),
        ("tools/list", MODERN, None, None, "stateless"),
        ("initialize", MODERN, None, None, "stateless"),
        ("tools/list", MODERN.replace(b"/", rb"\/"), None, None, "stateless"),
        ("tools/list", MODERN.replace(b"_meta", rb"\u005fmeta"), None, None, "stateless"),
        ("tools/list", MODERN[:-1] + rb',"cut":"\ud83d"}', None, None, "stateless"),
        ("tools/call", b'{"name":"io.modelcontextprotocol/protocolVersion"}', None, None, "bare"),
    ],
)
def test_a_post_is_classified_by_body_first_then_headers(
    method: str, params: bytes, session_id: str | None, version: str | None, kind: str
) -> None:
    text = b'{"jsonrpc":"2.0","id":1,"method":"%b","params":%b}' % (method.encode(), params)
    kinds = {
        classify_post(parse_message(text), may_be_stateless=may, session_id=session_id, protocol_version=version)
        for may in (has_escaped_ascii(text) or META_PREFIX in text, True)
    }
    assert kinds == {kind}
