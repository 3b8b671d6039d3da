"""The one HTTP client of OAuth calls: token, introspection, discovery and key endpoints.

It follows no redirect, reads no proxy from the environment, keeps no cookie, verifies TLS, and bounds time and size
of an answer, before and after decompression. It speaks https, and http to this machine only, and connects to the very
addresses that were checked.
"""

import asyncio
import logging
import socket
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import msgspec

from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client import deferred
from fluidmcp.oauth_client.target import Resolve, find_addresses, resolve_name

if TYPE_CHECKING:
    import httpx2

TOTAL_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 4.0
"""For one of several addresses of a name, before the next one is tried."""
MAX_ANSWER_BYTES = 64 * 1024
MAX_HEADER_CHARACTERS = 8192

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAnswer:
    """What an endpoint answered: status, media type (lower case, without parameters) and decompressed body.

    `date` is its clock, `location` where a redirect leads, `cache_control`, `expires` and `age` say how long it may be
    kept: all as sent and cut off at a length; "" where absent.
    """

    status: int
    media_type: str
    body: bytes
    date: str = ""
    location: str = ""
    cache_control: str = ""
    expires: str = ""
    age: str = ""

    def __repr__(self) -> str:
        return f"FetchAnswer(status={self.status}, media_type={self.media_type!r}, {len(self.body)} bytes)"


class Fetcher:
    """Calls endpoints of providers. One per gateway; `aclose()` at the end."""

    def __init__(
        self,
        *,
        total_timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        allow_loopback: bool = True,
        allow_private: bool = False,
        resolve: Resolve = resolve_name,
    ) -> None:
        """`allow_private` lets the provider stand in a private network (10.0.0.0/8 and the like), over https."""
        self._total_timeout_seconds = total_timeout_seconds
        self._max_answer_bytes = max_answer_bytes
        self._allow_loopback = allow_loopback
        self._allow_private = allow_private
        self._resolve = resolve
        self._transport: httpx2.AsyncHTTPTransport | None = None

    def prepare(self) -> "httpx2.AsyncHTTPTransport":
        """Load the HTTP client now and not in the middle of the first call, where everybody would wait for it."""
        if self._transport is None:
            # The bare transport: a client object would remember cookies of one person's call for the next one's. No
            # connection is kept, because a code must not be lost to one that the provider closed a moment ago.
            self._transport = deferred.AsyncHTTPTransport(
                trust_env=False, limits=deferred.Limits(max_connections=100, max_keepalive_connections=0)
            )
        return self._transport

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    async def post_form(
        self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> FetchAnswer:
        """POST a form; the answer whatever its status, redirects excepted.

        Raises:
            ProviderUnavailableError: refused address, no connection, no TLS, or not finished within the total time.
            ProviderAnswerError: a redirect, or an answer that is too large or cannot be decompressed.
        """
        form_headers = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self._call("POST", url, form_headers, urlencode(form).encode("ascii"))

    async def post_json(
        self, url: str, document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
    ) -> FetchAnswer:
        """POST a JSON object; otherwise as `post_form`."""
        json_headers = {"Content-Type": "application/json", **(headers or {})}
        return await self._call("POST", url, json_headers, msgspec.json.encode(document))

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FetchAnswer:
        """GET a JSON document; the answer whatever its status, redirects excepted. Raises as `post_form`."""
        return await self._call("GET", url, headers or {}, b"")

    async def look(self, url: str) -> FetchAnswer:
        """GET a page as a browser would first do. A redirect is an answer as well, not followed; no body is read.

        Raises as `post_form`.
        """
        return await self._call("GET", url, {"Accept": "text/html"}, b"", head_only=True)

    async def _call(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, *, head_only: bool = False
    ) -> FetchAnswer:
        all_headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "fluidmcp",
            **headers,
        }
        host = urlsplit(url).hostname
        try:
            async with asyncio.timeout(self._total_timeout_seconds):
                return await self._open_and_read(method, url, all_headers, content, head_only=head_only)
        except TimeoutError as error:
            logger.warning("no complete answer in time from %s", host)
            raise ProviderUnavailableError(
                "The provider did not answer in time",
                why=f"{host} did not finish its answer within {self._total_timeout_seconds:g} seconds.",
                hint="Try again in a moment.",
            ) from error
        except (deferred.TransportError, deferred.InvalidURL, OSError) as error:
            logger.warning("cannot talk to %s: %s", host, type(error).__name__)
            raise ProviderUnavailableError(
                "The provider cannot be reached",
                why=f"The name {host} has no address here."
                if isinstance(error, socket.gaierror)
                else f"The connection to {host} failed ({type(error).__name__}).",
                hint="Check the addresses of the provider and the network of the gateway.",
            ) from error

    async def _open_and_read(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, *, head_only: bool
    ) -> FetchAnswer:
        """The only place where a connection is opened: whatever restricts targets belongs here."""
        addresses = await find_addresses(
            url, resolve=self._resolve, allow_loopback=self._allow_loopback, allow_private=self._allow_private
        )
        response = await self._open(deferred.Request(method, url, headers=dict(headers), content=content), addresses)
        try:
            if 300 <= response.status_code < 400 and not head_only:
                raise ProviderAnswerError(
                    "The provider answered with a redirect", why="Endpoints for tokens are never followed elsewhere."
                )
            raw = b"" if head_only else await self._read_bounded(response)
        finally:
            await response.aclose()
        encoding = "" if head_only else response.headers.get("content-encoding", "").strip().lower()
        return FetchAnswer(
            status=response.status_code,
            media_type=response.headers.get("content-type", "").split(";")[0].strip().lower(),
            body=self._decompress(raw, encoding),
            date=_short(response, "date"),
            location=_short(response, "location"),
            cache_control=_short(response, "cache-control"),
            expires=_short(response, "expires"),
            age=_short(response, "age"),
        )

    async def _open(self, request: "httpx2.Request", addresses: Sequence[str]) -> "httpx2.Response":
        """Send the request to the first address that takes the connection; the name stays in `Host` and in TLS."""
        name = request.url.host
        request.extensions = {
            "timeout": {"connect": CONNECT_TIMEOUT_SECONDS, "pool": self._total_timeout_seconds},
            "sni_hostname": name,
        }
        for address in addresses[:-1]:
            try:
                return await self._send(request, address)
            except (deferred.ConnectError, deferred.ConnectTimeout):
                # Nothing was sent: the code is still good.
                continue
        return await self._send(request, addresses[-1])

    async def _send(self, request: "httpx2.Request", address: str) -> "httpx2.Response":
        request.url = request.url.copy_with(host=address)
        return await self.prepare().handle_async_request(request)

    async def _read_bounded(self, response: "httpx2.Response") -> bytes:
        received = bytearray()
        stream = response.stream
        assert isinstance(stream, deferred.AsyncByteStream)
        async for chunk in stream:
            received += chunk
            if len(received) > self._max_answer_bytes:
                raise self._too_large()
        return bytes(received)

    def _decompress(self, raw: bytes, encoding: str) -> bytes:
        """Undo gzip or deflate, which some servers use unasked, never producing more than the limit."""
        if encoding in ("", "identity"):
            return raw
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise ProviderAnswerError("The provider's answer cannot be read", why="Its compression is not supported.")
        decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        try:
            body = decompressor.decompress(raw, self._max_answer_bytes + 1)
        except zlib.error as error:
            raise ProviderAnswerError(
                "The provider's answer cannot be read", why="It is not compressed as it says."
            ) from error
        if len(body) > self._max_answer_bytes:
            raise self._too_large()
        return body

    def _too_large(self) -> ProviderAnswerError:
        return ProviderAnswerError(
            "The provider's answer is too large", why=f"It has more than {self._max_answer_bytes} bytes."
        )


def _short(response: "httpx2.Response", name: str) -> str:
    return response.headers.get(name, "")[:MAX_HEADER_CHARACTERS]
