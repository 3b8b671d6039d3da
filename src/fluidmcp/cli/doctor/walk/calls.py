"""The HTTP of the walk: one request, and one answer or the reason why there is none.

Nothing is raised, and no redirect is followed. Time and size are bounded, TLS is verified, no proxy and no cookie is
taken from anywhere. The host that was typed is called wherever it is; others, which only documents name, must be
public, or as near as the typed one is.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
from cryptography import x509

from fluidmcp.cli.doctor.walk.address import split_address
from fluidmcp.cli.doctor.walk.seen import Answer, Certificate, Failure, FailureKind, Seen, StreamSeen
from fluidmcp.errors import ProviderUnavailableError
from fluidmcp.oauth_client.target import Resolve, find_addresses, is_loopback_host, resolve_name

CONNECT_SECONDS: Final = 3.0
REQUEST_SECONDS: Final = 4.0
CALL_SECONDS: Final = 60.0
"""For a call that may have to start a server process first."""
HEAD_SECONDS: Final = 2.5
"""For the head of an event stream, which waits for no server process."""
FIRST_EVENT_SECONDS: Final = 2.0
MAX_BODY_BYTES: Final = 256 * 1024
MAX_HEADER_CHARACTERS: Final = 8192

_WRONG_VERSION: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


def build_context(ca: Path | None) -> ssl.SSLContext:
    """The authorities that the gateway's own calls trust, and those of a file. Raises OSError: it cannot be read."""
    context = httpx2.create_ssl_context(trust_env=False)
    if ca is not None:
        context.load_verify_locations(cafile=str(ca))
    return context


class Caller:
    """`typed_host` is that of the address which the person typed; with `is_secure` it is called over https only, as it
    was typed. `aclose()` at the end.
    """

    def __init__(
        self,
        *,
        typed_host: str,
        context: ssl.SSLContext,
        is_secure: bool = False,
        resolve: Resolve = resolve_name,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._typed_host = typed_host
        self._is_secure = is_secure
        self._is_local = is_loopback_host(typed_host)
        self._resolve = resolve
        self._now = now
        self._transport = httpx2.AsyncHTTPTransport(
            verify=context, trust_env=False, limits=httpx2.Limits(max_connections=20, max_keepalive_connections=0)
        )

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes = b"",
        *,
        seconds: float = REQUEST_SECONDS,
    ) -> Seen:
        """The answer, its body read up to a length."""
        try:
            async with asyncio.timeout(seconds):
                asked_at = self._now()
                async with self._opened(method, url, headers, content) as response:
                    answered_at = self._now()
                    if isinstance(response, Failure):
                        return response
                    body = await _read(response)
                    return _describe(url, response, body, asked_at=asked_at, answered_at=answered_at)
        except TimeoutError:
            return Failure(url=url, kind="timeout", seconds=seconds)
        except (httpx2.TransportError, httpx2.InvalidURL, ValueError):
            # A ValueError: what a document names is no address, or cannot be sent.
            return Failure(url=url, kind="broken")

    async def watch(self, url: str, headers: Mapping[str, str], *, hold_seconds: float) -> StreamSeen | Seen:
        """Open an event stream, wait for its first event, and see whether it stays open for a while.

        An answer that is no stream is given as it is.
        """
        try:
            async with asyncio.timeout(HEAD_SECONDS) as limit:
                async with self._opened("GET", url, headers, b"") as response:
                    limit.reschedule(None)
                    if isinstance(response, Failure):
                        return response
                    answer = _describe(url, response, b"")
                    if response.status_code != 200 or answer.media_type != "text/event-stream":
                        limit.reschedule(asyncio.get_running_loop().time() + REQUEST_SECONDS)
                        return _describe(url, response, await _read(response))
                    return await _watch(response, answer, hold_seconds=hold_seconds)
        except TimeoutError:
            # Not even the head came: it is kept back together with the events.
            return Failure(url=url, kind="timeout", seconds=HEAD_SECONDS)
        except httpx2.TransportError:
            return Failure(url=url, kind="broken")

    @asynccontextmanager
    async def _opened(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> AsyncGenerator[httpx2.Response | Failure]:
        try:
            addresses = await self._find_addresses(url)
        except ProviderUnavailableError:
            yield Failure(url=url, kind="not_allowed")
            return
        except OSError:
            yield Failure(url=url, kind="name")
            return
        response = await self._send_to_first(method, url, headers, content, addresses)
        if isinstance(response, Failure):
            yield response
            return
        try:
            yield response
        finally:
            await response.aclose()

    async def _find_addresses(self, url: str) -> Sequence[str]:
        parts = split_address(url)
        host = parts.hostname or ""
        if self._is_secure and parts.scheme != "https" and not is_loopback_host(host):
            raise ProviderUnavailableError("A document names plain http where https was typed")
        if host == self._typed_host:
            found = await self._resolve(host, parts.port or (443 if parts.scheme == "https" else 80))
            if not found:
                raise OSError("the name has no address")
            return found
        return await find_addresses(
            url, resolve=self._resolve, allow_loopback=self._is_local, allow_private=self._is_local
        )

    async def _send_to_first(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, addresses: Sequence[str]
    ) -> httpx2.Response | Failure:
        failure = Failure(url=url, kind="refused")
        for address in addresses:
            request = httpx2.Request(method, url, headers=dict(headers), content=content)
            name = request.url.host
            request.extensions = {"timeout": {"connect": CONNECT_SECONDS}, "sni_hostname": name}
            request.url = request.url.copy_with(host=address)
            try:
                return await self._transport.handle_async_request(request)
            except httpx2.ConnectTimeout:
                failure = Failure(url=url, kind="timeout", seconds=CONNECT_SECONDS)
            except httpx2.ConnectError as error:
                failure = await self._explain(error, url, address)
        return failure

    async def _explain(self, error: httpx2.ConnectError, url: str, address: str) -> Failure:
        cause = _find_tls_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            parts = split_address(url)
            certificate = await _fetch_certificate(address, parts.port or 443, parts.hostname or "", cause.verify_code)
            return Failure(url=url, kind="tls", certificate=certificate)
        if cause is not None:
            kind: FailureKind = "not_tls" if any(word in str(cause.reason) for word in _WRONG_VERSION) else "broken"
            return Failure(url=url, kind=kind)
        return Failure(url=url, kind="refused")


def _find_tls_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


async def _fetch_certificate(address: str, port: int, host: str, verify_code: int) -> Certificate:
    """What the server calls itself: read without trust, shown and nothing else. Nothing is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
            connection = writer.get_extra_info("ssl_object")
            assert isinstance(connection, ssl.SSLObject)
            encoded = connection.getpeercert(binary_form=True)
            writer.close()
        return _read_certificate(encoded or b"", verify_code)
    except (TimeoutError, OSError, ValueError):
        return Certificate(verify_code=verify_code)


def _read_certificate(encoded: bytes, verify_code: int) -> Certificate:
    """Raises ValueError: it cannot be read."""
    certificate = x509.load_der_x509_certificate(encoded)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = map(str, found.get_values_for_type(x509.IPAddress))
        names = (*found.get_values_for_type(x509.DNSName), *addresses)
    except x509.ExtensionNotFound:
        names = ()
    return Certificate(
        verify_code=verify_code,
        names=names,
        issuer=certificate.issuer.rfc4514_string(),
        not_before=f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
        not_after=f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
    )


async def _read(response: httpx2.Response) -> bytes:
    received = bytearray()
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    async for chunk in stream:
        received += chunk
        # The answer to one request is the first event with data; the stream may stay open behind it.
        is_told = is_stream and b"data: {" in received and received.rstrip(b" ").endswith(b"\n\n")
        if len(received) >= MAX_BODY_BYTES or is_told:
            break
    return bytes(received[:MAX_BODY_BYTES])


async def _watch(response: httpx2.Response, answer: Answer, *, hold_seconds: float) -> StreamSeen:
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    chunks = aiter(stream)
    loop = asyncio.get_running_loop()
    began = loop.time()
    ended = False
    received = 0
    with_event = False
    try:
        async with asyncio.timeout(FIRST_EVENT_SECONDS):
            received = len(await anext(chunks))
            with_event = received > 0
    except TimeoutError:
        return StreamSeen(answer=answer, has_event=False)
    except (StopAsyncIteration, httpx2.TransportError):
        ended = True
    try:
        async with asyncio.timeout(hold_seconds):
            while not ended and received < MAX_BODY_BYTES:
                received += len(await anext(chunks))
    except TimeoutError:
        return StreamSeen(answer=answer, has_event=with_event)
    except (StopAsyncIteration, httpx2.TransportError):
        ended = True
    if not ended:
        # It says so much that the rest is not listened to.
        return StreamSeen(answer=answer, has_event=with_event)
    return StreamSeen(answer=answer, has_event=with_event, ended_after_seconds=loop.time() - began)


def _describe(
    url: str, response: httpx2.Response, body: bytes, *, asked_at: float = 0.0, answered_at: float = 0.0
) -> Answer:
    version = response.extensions.get("http_version", b"HTTP/1.1")
    return Answer(
        url=url,
        status=response.status_code,
        headers={name: value[:MAX_HEADER_CHARACTERS] for name, value in response.headers.items()},
        body=body,
        cookies=tuple(value.partition(";")[0] for value in response.headers.get_list("set-cookie")),
        http_version=version.decode("ascii", "replace") if isinstance(version, bytes) else "HTTP/1.1",
        asked_at=asked_at,
        answered_at=answered_at,
    )
