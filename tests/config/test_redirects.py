"""Where an MCP client may have its answers sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.redirects import check_redirect_uri, describe_redirect, is_same_redirect, redirect_kind

# As clients register them.
GOOD = {
    "https://claude.ai/api/mcp/auth_callback": ("https", "claude.ai"),
    "https://claude.com/api/mcp/auth_callback": ("https", "claude.com"),
    "https://chatgpt.com/connector_platform_oauth_redirect": ("https", "chatgpt.com"),
    "https://vscode.dev/redirect": ("https", "vscode.dev"),
    "https://insiders.vscode.dev/redirect": ("https", "insiders.vscode.dev"),
    "http://127.0.0.1/": ("loopback", "127.0.0.1"),
    "http://127.0.0.1:33418/": ("loopback", "127.0.0.1:33418"),
    "http://localhost:6274/oauth/callback": ("loopback", "localhost:6274"),
    "http://[::1]:8080/cb": ("loopback", "[::1]:8080"),
    "http://localhost": ("loopback", "localhost"),
    "cursor://anysphere.cursor-retrieval/oauth/user-notion/callback": ("private", "cursor:"),
    "cursor://anysphere.cursor-mcp/oauth/callback": ("private", "cursor:"),
    "vscode://dynamicauthprovider/redirect": ("private", "vscode:"),
    "com.example.app:/callback": ("private", "com.example.app:"),
    "claude://callback?x=1": ("private", "claude:"),
    "https://host.example:8443/cb?tenant=a%20b": ("https", "host.example:8443"),
}

BAD = """
    http://evil.example/ http://localhost.evil.example/ http://127.0.0.1.evil.example/ http://localhost@evil.example/
    https://user:secret@evil.example/ https://evil.example#x https:///evil.example https:evil.example https:/evil
    //evil.example /relative evil.example http://2130706433/ http://0x7f.1/ http://127.1/ http://[::ffff:127.0.0.1]/
    HTTP://localhost/ HTTPS://evil.example/ https://EVIL.example/ https://host:99999/ https://host:0/ https://host:x/
    javascript:alert(1) data:text/html,x file:///etc/passwd vbscript:x blob:https://x about:blank filesystem:x
    view-source:https://x ws://localhost/ wss://x ftp://x mailto:a@b tel:1 sms:1 intent://x#Intent android-app://x
    chrome://settings chrome-extension://x edge://x ms-msdt:/id ms-officecmd:x search-ms:x shell:x jar:https://x!/
    resource://x ssh://x smb://x ldap://x x: cursor: https://a.example\\@b.example https://a.example/<x> https://a_b/
    https://-a.example/ https://.example/ http://localhost:/../x@y
""".split()  # fmt: skip


@pytest.mark.parametrize(("uri", "expected"), GOOD.items())
def test_what_real_clients_register_is_fine(uri: str, expected: tuple[str, str]) -> None:
    assert check_redirect_uri(uri) is None
    assert (redirect_kind(uri), describe_redirect(uri)) == expected


@pytest.mark.parametrize("uri", [*BAD, "", " ", "https://a.example/ x", "https://a.example/\n", "https://ä.example/"])
def test_what_leads_elsewhere_or_can_be_read_in_two_ways_is_refused(uri: str) -> None:
    fault = check_redirect_uri(uri)
    assert fault is not None
    assert "evil" not in fault


def test_an_address_of_more_than_a_kilobyte_is_refused() -> None:
    assert check_redirect_uri("https://a.example/" + "x" * 1006) is None
    assert check_redirect_uri("https://a.example/" + "x" * 1007) is not None


@pytest.mark.parametrize(
    ("registered", "presented", "is_same"),
    [
        ("http://localhost/callback", "http://localhost:49152/callback", True),
        ("http://localhost:1/callback", "http://localhost:2/callback", True),
        ("http://localhost:1/callback", "http://localhost/callback", True),
        ("http://[::1]:1/callback", "http://[::1]:2/callback", True),
        ("http://127.0.0.1:1", "http://127.0.0.1:2", True),
        ("http://localhost:1/callback", "http://127.0.0.1:1/callback", False),
        ("http://localhost:1/callback", "http://localhost:1/callback/", False),
        ("http://localhost:1/callback", "http://localhost:1/callback?x", False),
        ("http://localhost:1/callback", "http://localhost:x/callback", False),
        ("http://localhost:1/callback", "http://localhost:1@evil.example/callback", False),
        ("http://localhost:1/callback", "https://localhost:1/callback", False),
        ("https://a.example/cb", "https://a.example:443/cb", False),
        ("https://a.example/cb", "https://a.example/CB", False),
        ("cursor://a/b", "cursor://a/c", False),
        ("cursor://a/b", "cursor://a/b", True),
    ],
)
def test_only_the_port_of_this_machine_may_differ(registered: str, presented: str, is_same: bool) -> None:
    assert is_same_redirect(registered, presented) is is_same


@given(st.text(max_size=60))
def test_any_text_is_judged_without_failing(text: str) -> None:
    for uri in (text, f"https://{text}", f"http://localhost{text}", f"cursor:{text}"):
        if check_redirect_uri(uri) is None:
            assert describe_redirect(uri)
            assert is_same_redirect(uri, uri)
