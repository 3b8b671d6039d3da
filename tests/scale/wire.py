"""HTTP as thousands of requests need it: connections from one address that are kept, and no more than that.

A real client costs ten times the processor time; there are some beside this one in each test.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httptools

ANSWER_LIMIT_SECONDS: Final = 300.0
"""For one answer; it is this long because the machine may be busy with everything else."""


@dataclass(slots=True)
class Reply:
    """An answer. Names of headers are in small letters; of several that are equal the last one counts, but cookies."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)

    def message(self) -> Any:
        """The JSON-RPC answer: the body, or the last event of the stream."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return self.json()
        data = [line.removeprefix("data:") for line in self.body.decode().splitlines() if line.startswith("data:")]
        return json.loads(next(text for text in reversed(data) if text.strip()))


class _Connection(asyncio.Protocol):
    """One request after the other; called by the parser for each part of an answer."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_usable = True
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._answer: asyncio.Future[Reply] | None = None

    async def ask(self, head: bytes) -> Reply:
        assert self.transport is not None
        self._parser, self._reply = httptools.HttpResponseParser(self), Reply()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(head)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before the answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key == "set-cookie":
            cookie, _, content = text.partition(";")[0].partition("=")
            self._reply.cookies[cookie] = content
        self._reply.headers[key] = text

    def on_body(self, body: bytes) -> None:
        self._reply.body += body

    def on_message_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()
        self.is_usable = self.is_usable and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._reply)


class Wire:
    """What one address sends to one server. `host` is the name that the requests are for, with its port."""

    def __init__(self, port: int, host: str, *, source: str = "127.0.0.1", authority: ssl.SSLContext | None) -> None:
        self._port, self.host, self._source, self._authority = port, host, source, authority
        self._idle: list[_Connection] = []

    async def send(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        message: object = None,
    ) -> Reply:
        """`form` and `message` are bodies: a form, or JSON."""
        lines = {"host": self.host, **(headers or {})}
        body = b""
        if form is not None:
            body, lines["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        elif message is not None:
            body, lines["content-type"] = json.dumps(message).encode(), "application/json"
        lines["content-length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection = await self._connect()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_SECONDS):
                reply = await connection.ask(head.encode("latin-1") + b"\r\n" + body)
        except BaseException:
            self._close(connection)
            raise
        if connection.is_usable:
            self._idle.append(connection)
        else:
            self._close(connection)
        return reply

    def close(self) -> None:
        while self._idle:
            self._close(self._idle.pop())

    async def _connect(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            self._close(connection)
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection,
            "127.0.0.1",
            self._port,
            ssl=self._authority,
            server_hostname=None if self._authority is None else self.host.partition(":")[0],
            local_addr=(self._source, 0),
        )
        return connection

    @staticmethod
    def _close(connection: _Connection) -> None:
        if connection.transport is not None:
            connection.transport.abort()
