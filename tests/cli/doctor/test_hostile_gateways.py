"""Whatever answers at an address, doctor ends in time with findings, and shows nothing that steers a terminal."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fluidmcp.cli.doctor.printing import COLOURS
from fluidmcp.cli.doctor.walk.calls import Caller, build_context
from fluidmcp.cli.doctor.walk.seen import Failure
from fluidmcp.cli.doctor.walk.walk import Wishes
from fluidmcp.cli.doctor.walking import show_report
from tests.cli.doctor.stage import codes, look
from tests.providers.serving import serve

Answer = Callable[[Request], Response]
LIMIT_SECONDS: Final = 15.0
EVIL: Final = "\x1b]0;owned\x07\x1b[31m\u202e<b>x</b>\r\n"
ADDRESSES: Final = (
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/",
    "https://[::1",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "http://user:secret@localhost/",
    "//localhost/",
    "http://localhost:99999/",
    "",
    "http://localhost:1/\r\nX: y",
    "a" * 10_000,
)


class Gateway:
    """Answers to a path with what a test gives; everything it was asked is kept."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append(f"{request.method} {request.url.path}")
        answer = self.answers.get(request.url.path) or self.answers.get("*")
        await (Response(status_code=404) if answer is None else answer(request))(scope, receive, send)


@asynccontextmanager
async def gateway() -> AsyncGenerator[tuple[Gateway, str]]:
    app = Gateway()
    async with serve(app) as url:
        yield app, url


def challenge(url: str) -> Answer:
    header = f'Bearer realm="fluidmcp", error="invalid_token", resource_metadata="{url}"'
    return lambda _: JSONResponse({"error": "x", "message": "y"}, status_code=401, headers={"www-authenticate": header})


def document(url: str, **changes: Any) -> Answer:
    values = {"resource": f"{url}/mail/mcp", "authorization_servers": [f"{url}/mail"], **changes}
    return lambda _: JSONResponse(values)


def server_document(url: str, **changes: Any) -> Answer:
    values = {
        "issuer": f"{url}/mail",
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "registration_endpoint": f"{url}/register",
        "code_challenge_methods_supported": ["S256"],
        **changes,
    }
    return lambda _: JSONResponse(values)


def publish(app: Gateway, url: str, *, resource: Any = None, **server: Any) -> None:
    app.answers["/mail/mcp"] = challenge(f"{url}/.well-known/oauth-protected-resource/mail/mcp")
    app.answers["/.well-known/oauth-protected-resource/mail/mcp"] = document(url, **(resource or {}))
    app.answers["/.well-known/oauth-authorization-server/mail"] = server_document(url, **server)
    app.answers["/register"] = lambda _: JSONResponse({"client_id": "c"}, status_code=201)


@pytest.mark.parametrize("member", ["registration_endpoint", "authorization_endpoint"])
@pytest.mark.parametrize("address", ADDRESSES, ids=range(len(ADDRESSES)))
async def test_an_address_in_a_document_that_is_none_is_a_finding(member: str, address: str) -> None:
    async with gateway() as (app, url):
        publish(app, url, **{member: address})
        report = await look(f"{url}/mail/mcp", None, seconds=LIMIT_SECONDS)
        assert report.has_problem


@pytest.mark.parametrize("issuers", [[], "x", [1], ["http://10.0.0.1/x"], ["http://[::1"], [EVIL], None])
async def test_an_authorization_server_that_is_none_is_a_finding(issuers: Any) -> None:
    async with gateway() as (app, url):
        publish(app, url, resource={"authorization_servers": issuers})
        report = await look(f"{url}/mail/mcp", None, seconds=LIMIT_SECONDS)
        assert report.has_problem


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"resource": 1}', b"\xff\xfe", b"[" * 100_000])
async def test_a_document_that_is_none_is_a_finding(body: bytes) -> None:
    async with gateway() as (app, url):
        publish(app, url)
        app.answers["/.well-known/oauth-protected-resource/mail/mcp"] = lambda _: Response(
            body, media_type="application/json"
        )
        report = await look(f"{url}/mail/mcp", None, seconds=LIMIT_SECONDS)
        assert report.has_problem


async def test_an_answer_without_end_ends_nothing() -> None:
    async def endless() -> AsyncGenerator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    async with gateway() as (app, url):
        app.answers["*"] = lambda _: StreamingResponse(endless(), media_type="text/html")
        report = await look(f"{url}/mail/mcp", None, seconds=LIMIT_SECONDS)
        assert set(codes(report)) == {"another_site", "not_public"}


EVIL_ANSWERS: tuple[Answer, ...] = (
    lambda _: HTMLResponse(f"<title>{EVIL}</title>"),
    lambda _: JSONResponse({"error": EVIL, "message": EVIL}, status_code=403),
    lambda _: JSONResponse({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": EVIL}}),
    lambda _: RedirectResponse("https://x.example/%1b]0;owned%07"),
    lambda _: Response(status_code=401, headers={"www-authenticate": "Evil\x1b[31m x"}),
    lambda _: Response(status_code=502, headers={"server": "a\x1b[31m"}),
    lambda _: Response(status_code=302, headers={"location": "https://[::1"}),
    lambda _: Response(status_code=302),
)


@pytest.mark.parametrize("number", range(len(EVIL_ANSWERS)))
async def test_words_of_the_other_side_cannot_steer_the_terminal(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with gateway() as (app, url):
        app.answers["*"] = EVIL_ANSWERS[number]
        report = await look(f"{url}/mail/mcp", None, seconds=LIMIT_SECONDS)
    assert report.has_problem
    show_report(report, {})
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
    json.dumps(report.as_document())
    assert "\x1b" in _painted(report, capsys), "the colours are there where they are wanted"


def _painted(report: Any, capsys: pytest.CaptureFixture[str]) -> str:
    show_report(report, COLOURS)
    return capsys.readouterr().out


async def test_codes_and_tokens_do_not_leave_over_plain_http_where_https_was_typed() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with gateway() as (app, url):
        caller = Caller(typed_host="mcp.example", context=build_context(None), is_secure=True, resolve=resolve)
        try:
            seen = await caller.call("POST", url.replace("127.0.0.1", "mcp.example"), {}, b"code")
        finally:
            await caller.aclose()
        assert isinstance(seen, Failure) and seen.kind == "not_allowed"
        assert app.asked == []


@pytest.mark.parametrize("address", ["file:///etc/passwd", "javascript:alert(1)", "http://10.0.0.1/"])
async def test_a_browser_is_sent_to_no_address_that_doctor_refuses(address: str) -> None:
    shown: list[str] = []
    async with gateway() as (app, url):
        publish(app, url, authorization_endpoint=address)
        await look(f"{url}/mail/mcp", None, Wishes(show_login=shown.append), seconds=LIMIT_SECONDS)
    assert shown == []


async def test_nobody_but_the_typed_host_is_called_from_a_page_of_this_machine() -> None:
    """A document cannot make doctor send anything to another service of this machine's network."""
    async with gateway() as (other, elsewhere), gateway() as (app, url):
        publish(app, url, registration_endpoint=elsewhere.replace("127.0.0.1", "10.0.0.1") + "/register")
        report = await look(f"{url}/mail/mcp", None, seconds=LIMIT_SECONDS)
        assert "inner_address" in codes(report)
        assert other.asked == []
