"""The listener that waits for the provider's answer to `fluidmcp login` (RFC 8252 section 7.3).

It binds loopback addresses only, before the browser opens. Whatever is not the answer to this very login (another
path, another Host, another state, something that is no HTTP) gets a refusal and changes nothing.
"""

import asyncio
import contextlib
import errno
import hmac
import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fluidmcp.errors import ConfigurationError, PortInUseError
from fluidmcp.operator.pages import FAILED, LOGGED_IN, NOT_ALLOWED, NOT_EXPECTED, NOT_FOUND, Page

REQUEST_SECONDS: Final = 5.0
"""How long a client may take to send its request."""
OUTCOME_SECONDS: Final = 60.0
"""How long the browser waits for the page while the code is redeemed."""
FLUSH_SECONDS: Final = 2.0
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_CONNECTIONS: Final = 32
MAX_PARAMETERS: Final = 32

_REQUEST_LINE: Final = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,24576}) HTTP/1\.[01]")
_HEADER_LINE: Final = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

Parameters = Mapping[str, str]
"""The parameters of the provider's answer, each of which came once."""


class NotTheCallbackError(ValueError):
    """The request is not the answer to this login; `page` is what the browser is told."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.title)
        self.page = page


def open_sockets(redirect_uri: str) -> list[socket.socket]:
    """Sockets that listen where the redirect URI points: 127.0.0.1 and ::1 for `localhost`, else the one address.

    Raises:
        PortInUseError: somebody else listens there: the code would reach them.
        ConfigurationError: the port needs rights that we lack, or the address is not there.
    """
    parts = urlsplit(redirect_uri)
    host, port = parts.hostname or "", 80 if parts.port is None else parts.port
    addresses = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
            try:
                sockets.append(socket.create_server((address, port), family=family, backlog=MAX_CONNECTIONS))
            except OSError as error:
                if address == "::1" and host == "localhost" and error.errno in _NO_IPV6:
                    continue
                raise _cannot_listen(error, redirect_uri, port) from error
    except (PortInUseError, ConfigurationError):
        for opened in sockets:
            opened.close()
        raise
    return sockets


def read_callback(query: str, *, state: str) -> Parameters:
    """The parameters of an answer to the login with this state. Pure.

    Raises:
        NotTheCallbackError: a parameter twice (RFC 6749 section 3.1), another state or none, neither code nor error.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise NotTheCallbackError(NOT_EXPECTED) from None
    parameters = dict(pairs)
    given = parameters.get("state", "").encode("utf-8", "surrogatepass")
    if len(parameters) != len(pairs) or not hmac.compare_digest(given, state.encode()):
        raise NotTheCallbackError(NOT_EXPECTED)
    if ("code" in parameters) == ("error" in parameters):
        raise NotTheCallbackError(NOT_EXPECTED)
    return parameters


def read_pasted(text: str, *, redirect_uri: str, state: str) -> Parameters:
    """The parameters in an address that a person copied from the browser. Pure; raises as `read_callback`."""
    try:
        expected, given = urlsplit(redirect_uri), urlsplit(text.strip())
    except ValueError:
        raise NotTheCallbackError(NOT_EXPECTED) from None
    if (given.scheme, given.netloc.lower(), given.path) != (expected.scheme, expected.netloc.lower(), expected.path):
        raise NotTheCallbackError(NOT_EXPECTED)
    return read_callback(given.query, state=state)


def read_request(head: bytes, *, redirect_uri: str, state: str) -> Parameters:
    """The parameters of a request to the redirect URI, from the head of an HTTP/1.1 request. Pure.

    Raises:
        NotTheCallbackError: anything else.
    """
    request_line, *header_lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(request_line)
    headers = [_HEADER_LINE.fullmatch(line) for line in header_lines]
    if matched is None:
        raise NotTheCallbackError(NOT_EXPECTED)
    fields = [(header[1].lower(), header[2].lower()) for header in headers if header is not None]
    hosts = [value for name, value in fields if name == b"host"]
    expected = urlsplit(redirect_uri)
    if len(fields) != len(headers) or hosts != [expected.netloc.lower().encode()]:
        raise NotTheCallbackError(NOT_EXPECTED)
    path, _, query = matched[2].decode("ascii").partition("?")
    if path != (expected.path or "/"):
        raise NotTheCallbackError(NOT_FOUND)
    if matched[1] != b"GET":
        raise NotTheCallbackError(NOT_ALLOWED)
    if any(name in (b"sec-purpose", b"purpose") and b"prefetch" in value for name, value in fields):
        raise NotTheCallbackError(NOT_EXPECTED)
    return read_callback(query, state=state)


class CallbackListener:
    """Waits for one answer. Made by `listen`."""

    def __init__(self, *, redirect_uri: str, state: str) -> None:
        loop = asyncio.get_running_loop()
        self._redirect_uri = redirect_uri
        self._state = state
        self._callback: asyncio.Future[Parameters] = loop.create_future()
        self._outcome: asyncio.Future[bool] = loop.create_future()
        self._connections: dict[asyncio.Task[None], bool] = {}
        """The open connections, oldest first, and whether their request has been read."""

    async def wait(self) -> Parameters:
        """The parameters of the answer, once."""
        return await asyncio.shield(self._callback)

    def report(self, *, is_logged_in: bool) -> None:
        """Tell the waiting browser how it went."""
        if not self._outcome.done():
            self._outcome.set_result(is_logged_in)

    async def finish(self) -> None:
        """Give the last page a moment to leave."""
        self.report(is_logged_in=False)
        for task, was_read in self._connections.items():
            if not was_read:
                task.cancel()
        if self._connections:
            _, left = await asyncio.wait(set(self._connections), timeout=FLUSH_SECONDS)
            for task in left:
                task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting = [other for other, was_read in self._connections.items() if not was_read]
        if len(self._connections) >= MAX_CONNECTIONS and waiting:
            # Whoever opens many connections and says nothing must not keep the browser out.
            waiting[0].cancel()
        self._connections[task] = False
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            self._connections[task] = True
            page = await self._choose_page(head)
            writer.write(page.render())
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # It goes away unanswered, as it came.
        except asyncio.LimitOverrunError:
            writer.write(NOT_EXPECTED.render())
        finally:
            del self._connections[task]
            writer.close()

    async def _choose_page(self, head: bytes) -> Page:
        try:
            parameters = read_request(head, redirect_uri=self._redirect_uri, state=self._state)
        except NotTheCallbackError as error:
            return error.page
        if self._callback.done():
            return NOT_EXPECTED
        self._callback.set_result(parameters)
        try:
            async with asyncio.timeout(OUTCOME_SECONDS):
                return LOGGED_IN if await asyncio.shield(self._outcome) else FAILED
        except TimeoutError:
            return FAILED


@contextlib.asynccontextmanager
async def listen(redirect_uri: str, *, state: str) -> AsyncGenerator[CallbackListener]:
    """Listen for the answer to the login with this state. Raises as `open_sockets`, before anything else happens."""
    sockets = open_sockets(redirect_uri)
    listener = CallbackListener(redirect_uri=redirect_uri, state=state)
    servers = [await asyncio.start_server(listener.serve, sock=opened, limit=MAX_HEAD_BYTES) for opened in sockets]
    try:
        yield listener
    finally:
        for server in servers:
            server.close()
        await listener.finish()


def _cannot_listen(error: OSError, redirect_uri: str, port: int) -> PortInUseError | ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"Port {port} is in use",
            why="Another process listens where the provider will send the browser; it would receive your login.",
            hint=f"Stop it, or register another redirect URI at the provider than {redirect_uri} "
            "and set FMCP_OAUTH_REDIRECT_URI.",
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            f"Port {port} may not be opened",
            why="Ports below 1024 need special rights.",
            hint="Choose another port in FMCP_OAUTH_REDIRECT_URI, and register it at the provider.",
        )
    return ConfigurationError(
        f"Cannot listen at {redirect_uri}",
        why="This machine does not have the address.",
        hint="Use http://localhost:8088/callback in FMCP_OAUTH_REDIRECT_URI.",
    )
