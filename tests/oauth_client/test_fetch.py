import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import MAX_ANSWER_BYTES, Fetcher
from fluidmcp.oauth_client.target import check_target
from tests.providers.serving import serve

Handler = Callable[[Request], Response]


@asynccontextmanager
async def fetching(handler: Handler, *, total_timeout_seconds: float = 60.0) -> AsyncGenerator[tuple[Fetcher, str]]:
    fetcher = Fetcher(total_timeout_seconds=total_timeout_seconds)
    async with serve(Starlette(routes=[Route("/{path:path}", handler, methods=["GET", "POST"])])) as address:
        yield fetcher, address
    await fetcher.aclose()


async def test_a_form_arrives_and_the_answer_comes_back() -> None:
    seen: list[str | None] = []

    async def handler(request: Request) -> Response:
        seen.extend([(await request.body()).decode(), request.headers.get("accept"), request.headers.get("cookie")])
        response = PlainTextResponse("hello", status_code=400, media_type="Text/Thing")
        response.set_cookie("person", "one")
        return response

    async with fetching(handler) as (fetcher, address):  # type: ignore[arg-type]
        answer = await fetcher.post_form(f"{address}/x", {"a": "b c&d", "e": "é"})
        assert (answer.status, answer.media_type, answer.body) == (400, "text/thing", b"hello")
        assert b"hello" not in repr(answer).encode()
        await fetcher.post_form(f"{address}/x", {})
    # The second call carries nothing of the first person's answer.
    assert seen == ["a=b+c%26d&e=%C3%A9", "application/json", None, "", "application/json", None]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with fetching(lambda _request: PlainTextResponse("direct")) as (fetcher, address):
        assert (await fetcher.post_form(address, {})).body == b"direct"


@pytest.mark.threat("B17")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_b17_redirects_are_never_followed(status: int) -> None:
    paths: list[str] = []

    def handler(request: Request) -> Response:
        paths.append(request.url.path)
        return RedirectResponse("/elsewhere", status_code=status)

    async with fetching(handler) as (fetcher, address):
        with pytest.raises(ProviderAnswerError):
            await fetcher.post_form(f"{address}/token", {"code": "secret"})
    assert paths == ["/token"]


@pytest.mark.threat("B18")
async def test_b18_a_hundred_megabytes_are_cut_off() -> None:
    sent = 0

    async def megabytes() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1600):
            sent += 65536
            yield b"x" * 65536
            # Let the connection see that the reader has gone.
            await asyncio.sleep(0)

    async with fetching(lambda _request: StreamingResponse(megabytes())) as (fetcher, address):
        async with asyncio.timeout(60):
            with pytest.raises(ProviderAnswerError):
                await fetcher.post_form(address, {})
        assert sent < 50_000_000


@pytest.mark.threat("B18")
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_b18_a_gzip_bomb_is_refused(encoding: str) -> None:
    bomb = gzip.compress(b"x" * 50_000_000)
    assert len(bomb) < MAX_ANSWER_BYTES
    response = Response(bomb, headers={"Content-Encoding": encoding})
    async with fetching(lambda _request: response) as (fetcher, address):
        with pytest.raises(ProviderAnswerError):
            await fetcher.post_form(address, {})


async def test_a_compressed_answer_within_the_limit_is_read() -> None:
    response = Response(gzip.compress(b"x" * MAX_ANSWER_BYTES), headers={"Content-Encoding": "gzip"})
    async with fetching(lambda _request: response) as (fetcher, address):
        assert (await fetcher.post_form(address, {})).body == b"x" * MAX_ANSWER_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_an_answer_that_is_not_compressed_as_it_says_is_refused(encoding: str) -> None:
    response = Response(b"plain", headers={"Content-Encoding": encoding})
    async with fetching(lambda _request: response) as (fetcher, address):
        with pytest.raises(ProviderAnswerError):
            await fetcher.post_form(address, {})


@pytest.mark.threat("B18")
async def test_b18_a_slow_drip_ends_with_the_total_time() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    async with fetching(lambda _request: StreamingResponse(drip()), total_timeout_seconds=0.3) as (fetcher, address):
        async with asyncio.timeout(60):
            with pytest.raises(ProviderUnavailableError):
                await fetcher.post_form(address, {})


async def test_a_refused_connection_is_an_unavailable_provider() -> None:
    fetcher = Fetcher()
    with pytest.raises(ProviderUnavailableError) as caught:
        await fetcher.post_form("http://127.0.0.1:1/token", {"code": "canary"})
    assert "canary" not in caught.value.why
    await fetcher.aclose()


async def test_a_name_without_an_address_is_called_that() -> None:
    fetcher = Fetcher()
    with pytest.raises(ProviderUnavailableError) as caught:
        await fetcher.get("https://nothing.invalid/token")
    assert caught.value.why == "The name nothing.invalid has no address here."
    await fetcher.aclose()


@pytest.mark.threat("B26")
@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/token",
        "http://10.0.0.1/token",
        "https://10.0.0.1/token",
        "https://192.168.1.1/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/token",
        "https://[fe80::1]/token",
        "https://[fd00:ec2::254]/token",
        "https://[2002:a00:1::]/token",
        "https://0.0.0.0/token",
        "https://0x7f.1/token",
        "https://2130706433/token",
        "https://127.1/token",
        "https://user@as.example/token",
        "ftp://as.example/token",
        "file:///etc/passwd",
        "https:///token",
    ],
)
def test_b26_addresses_that_no_provider_has_are_refused(url: str) -> None:
    with pytest.raises(ProviderUnavailableError):
        check_target(url, allow_loopback=True)


@pytest.mark.parametrize("host", ["localhost", "as.localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_reached_only_where_that_is_allowed(host: str) -> None:
    check_target(f"http://{host}:9000/token", allow_loopback=True)
    with pytest.raises(ProviderUnavailableError):
        check_target(f"http://{host}:9000/token", allow_loopback=False)


def test_public_https_addresses_pass() -> None:
    for host in ("as.example", "8.8.8.8", "[2001:4860:4860::8888]"):
        check_target(f"https://{host}/token", allow_loopback=False)
