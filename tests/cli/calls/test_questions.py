"""Questions of a server at the terminal: what it says steers nothing, and where it leads is named as it is."""

import io
import sys
from typing import Any

import pytest

from fluidmcp.cli.calls.questions import ask_person

EVIL = "\x1b]0;owned\x07\x1b[31m\u202e"


async def ask(monkeypatch: pytest.MonkeyPatch, typed: str, **params: Any) -> tuple[dict[str, object], list[str]]:
    """The answer, and the addresses that were opened."""
    opened: list[str] = []
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    answer = await ask_person("elicitation/create", params, package="mail", open_url=opened.append)
    return answer, opened


@pytest.mark.threat("E18")
async def test_e18_nothing_that_a_server_asks_steers_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    field = {"type": "string", "title": EVIL, "description": EVIL, "default": EVIL, "enum": [EVIL, "b"]}
    schema = {"properties": {EVIL: field}, "required": [EVIL]}

    answer, _ = await ask(monkeypatch, "y\n\n", message=EVIL, requestedSchema=schema)

    shown = "".join(capsys.readouterr())
    assert answer == {"action": "accept", "content": {EVIL: EVIL}}, "what was proposed is sent as it was"
    assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
    assert "\\x1b]0;owned" in shown


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://pay.example/a?b=c#d", "pay.example"),
        ("http://localhost:8099/x", "localhost"),
        ("https://xn--pple-43d.example/", "xn--pple-43d.example"),
        ("https://[::1]:8/", "::1"),
    ],
)
async def test_an_address_is_opened_when_the_person_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, host: str
):
    answer, opened = await ask(monkeypatch, "y\n", mode="url", message="Pay", url=url)

    assert (answer, opened) == ({"action": "accept"}, [url])
    assert f"visit {host}:" in capsys.readouterr().err
    assert await ask(monkeypatch, "n\n", mode="url", message="Pay", url=url) == ({"action": "decline"}, [])


@pytest.mark.threat("E18")
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example\\@good.example/",
        "https://good.example@evil.example/",
        "https://good.exam\nple/",
        "https://good\t.example/",
        "https://\u0430pple.example/",
        "https://[::1",
        "https://good.example:99999/",
        "https://a b/",
        "https:/good.example",
        "https://good.example%2f.evil.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://good.example/" + "a" * 10_000,
        "",
    ],
)
async def test_e18_an_address_that_a_browser_may_read_otherwise_is_declined_unasked(
    monkeypatch: pytest.MonkeyPatch, url: str
):
    assert await ask(monkeypatch, "y\n", mode="url", message="x", url=url) == ({"action": "decline"}, [])
