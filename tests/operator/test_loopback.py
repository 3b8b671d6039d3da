"""The listener of `fluidmcp login`: whom it answers, what ends the wait, and what the browser is shown."""

import asyncio
import hashlib
import os
import re
import socket
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.errors import ConfigurationError, PortInUseError
from fluidmcp.operator import loopback
from fluidmcp.operator.loopback import CallbackListener, NotTheCallbackError, listen, open_sockets, read_request
from tests.acceptance.harness import free_port

STATE = "the-state-of-this-login"


@dataclass(frozen=True)
class Waiting:
    listener: CallbackListener
    port: int
    answer: asyncio.Task[loopback.Parameters]

    async def send(self, request: bytes, host: str = "127.0.0.1") -> bytes:
        """The whole answer to a raw request."""
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(host, self.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

    async def get(self, target: str, *, host: str | None = None, method: str = "GET", more: str = "") -> bytes:
        host = f"localhost:{self.port}" if host is None else host
        return await self.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())


@asynccontextmanager
async def waiting(path: str = "/callback", host: str = "localhost") -> AsyncGenerator[Waiting]:
    port = free_port()
    async with listen(f"http://{host}:{port}{path}", state=STATE) as listener:
        answer = asyncio.create_task(listener.wait())
        yield Waiting(listener, port, answer)
        answer.cancel()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def finish(waiting: Waiting, *, is_logged_in: bool = True) -> bytes:
    page = asyncio.create_task(waiting.get(f"/callback?code=the-code&state={STATE}"))
    async with asyncio.timeout(60):
        parameters = await waiting.answer
    assert parameters["code"] == "the-code"
    waiting.listener.report(is_logged_in=is_logged_in)
    return await page


@pytest.mark.promise(60)
@pytest.mark.threat("C01")
async def test_c01_localhost_is_both_loopback_addresses_and_nothing_else() -> None:
    async with waiting() as login:
        listening = {
            (name, int(fields[1].rpartition(":")[2], 16), fields[1].rpartition(":")[0])
            for name in ("tcp", "tcp6")
            for fields in (line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:])
            if fields[3] == "0A"
        }
        addresses = {address for _, port, address in listening if port == login.port}
        assert addresses == {"0100007F", "00000000000000000000000001000000"}
        assert status_of(await login.send(b"GET / HTTP/1.1\r\n\r\n", "::1")) == 400


@pytest.mark.threat("C01")
@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)])
def test_c01_an_address_is_that_address_only(host: str, family: socket.AddressFamily) -> None:
    (only,) = open_sockets(f"http://{host}:{free_port()}/callback")
    with only:
        assert only.family == family


@pytest.mark.threat("C02")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
@pytest.mark.parametrize("option", [None, socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_c02_a_port_that_somebody_else_has_is_not_shared(address: str, option: int | None) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as other:
        if option is not None:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind((address, port))
        other.listen()
        with pytest.raises(PortInUseError) as caught:
            open_sockets(f"http://localhost:{port}/callback")
        assert caught.value.what == f"Port {port} is in use"


def test_an_address_that_is_not_here_is_said_plainly() -> None:
    with pytest.raises(ConfigurationError):
        open_sockets("http://[::2]:8088/callback")


@pytest.mark.promise(63)
@pytest.mark.threat("C03", "C05")
async def test_c03_c05_junk_is_refused_and_the_wait_goes_on() -> None:
    async with waiting() as login:
        good = f"/callback?code=the-code&state={STATE}"
        for target, expected in {
            "/favicon.ico": 404,
            "/": 404,
            "/callback/": 404,
            "/callback": 400,
            "/callback?code=x": 400,
            "/callback?code=x&state=": 400,
            "/callback?code=x&state=wrong": 400,
            f"/callback?state={STATE}": 400,
            f"/callback?code=x&state={STATE}&state={STATE}": 400,
            f"/callback?code=x&code=y&state={STATE}": 400,
            f"/callback?code=x&error=y&state={STATE}": 400,
            f"/callback?code=x&state={STATE}%00": 400,
            f"/callback?code=%ff&state={STATE}": 400,
            "/callback?" + "a=b&" * 40 + f"code=x&state={STATE}": 400,
            f"//callback?code=x&state={STATE}": 404,
            f"http://localhost:{login.port}{good}": 404,
            f"/callback?code={'x' * 40_000}&state={STATE}": 400,
        }.items():
            assert status_of(await login.get(target)) == expected, target
        for host in ("evil.example", f"evil.example:{login.port}", "localhost", f"127.0.0.1:{login.port}", ""):
            assert status_of(await login.get(good, host=host)) == 400, host
        assert status_of(await login.get(good, more=f"Host: localhost:{login.port}\r\n")) == 400
        for method, expected in {"HEAD": 405, "POST": 405, "OPTIONS": 405, "get": 400}.items():
            assert status_of(await login.get(good, method=method)) == expected, method
        assert status_of(await login.get(good, more="Sec-Purpose: prefetch\r\n")) == 400
        for raw in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n"):
            assert status_of(await login.send(raw)) == 400, raw
        assert not login.answer.done()
        assert status_of(await finish(login)) == 200


@given(st.binary(max_size=300))
def test_c03_no_bytes_raise_anything_else(head: bytes) -> None:
    with pytest.raises(NotTheCallbackError):
        read_request(head, redirect_uri="http://localhost:8088/callback", state=STATE)


@pytest.mark.threat("C04")
async def test_c04_a_second_callback_is_refused_and_after_the_login_nobody_listens() -> None:
    async with waiting() as login:
        first = asyncio.create_task(login.get(f"/callback?code=the-code&state={STATE}"))
        await login.answer
        assert status_of(await login.get(f"/callback?code=another&state={STATE}")) == 400
        login.listener.report(is_logged_in=True)
        assert status_of(await first) == 200
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", login.port)


@pytest.mark.threat("C04")
async def test_c04_clients_that_say_nothing_make_room_for_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(loopback, "REQUEST_SECONDS", 600.0)
    async with waiting() as login, asyncio.timeout(60):
        silent = [await asyncio.open_connection("127.0.0.1", login.port) for _ in range(8)]
        # The oldest are sent away, although their time is not over.
        for reader, _ in silent[:4]:
            assert await reader.read() == b""
        assert status_of(await finish(login)) == 200
        for _, writer in silent:
            writer.close()


@pytest.mark.threat("C04")
async def test_c04_a_slow_request_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "REQUEST_SECONDS", 0.2)
    async with waiting() as login, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", login.port)
        writer.write(b"GET /callback?code=x HTTP/1.1\r\nX: ")
        assert await reader.read() == b""
        writer.close()


@pytest.mark.promise(64)
@pytest.mark.threat("C07")
@pytest.mark.parametrize("is_logged_in", [True, False])
async def test_c07_the_page_holds_nothing_loads_nothing_and_drops_the_code(is_logged_in: bool) -> None:
    async with waiting() as login:
        head, _, body = (await finish(login, is_logged_in=is_logged_in)).decode().partition("\r\n\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
    assert ("You are logged in" in body) is is_logged_in
    assert "the-code" not in body and STATE not in body and "token" not in body
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    policy = re.search(r"content-security-policy: (.*)", head, re.IGNORECASE)
    assert policy is not None
    assert "default-src 'none'" in policy[1] and "frame-ancestors 'none'" in policy[1]
    script = re.search(r"<script>(.*?)</script>", body)
    assert script is not None and "history.replaceState" in script[1]
    assert b64encode(hashlib.sha256(script[1].encode()).digest()).decode() in policy[1]
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", body) == ["data:,"]


async def test_the_browser_learns_that_it_failed_when_the_login_is_given_up() -> None:
    async with waiting() as login:
        page = asyncio.create_task(login.get(f"/callback?code=the-code&state={STATE}"))
        await login.answer
    assert status_of(await page) == 400


def test_reading_the_state_takes_no_shortcut() -> None:
    """The comparison is hmac.compare_digest; a state with other letters or of another length is simply another one."""
    host = b"\r\nHost: localhost:8088\r\n\r\n"
    for state in ("", STATE[:-1], STATE + "x", STATE.upper(), "\u00e9", os.urandom(8).hex()):
        head = b"GET /callback?code=x&state=" + state.encode() + b" HTTP/1.1" + host
        with pytest.raises(NotTheCallbackError):
            read_request(head, redirect_uri="http://localhost:8088/callback", state=STATE)
