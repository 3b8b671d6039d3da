"""An API of other people's, on loopback: it writes down what reaches it and answers what it was told to.

Two ways lead to it: by its own address, where a server has a setting for the address of its API, and as the proxy of
HTTPS_PROXY, where the address is built in. As a proxy it answers for the hosts of its certificate and refuses all
others, so nothing goes anywhere else.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import re
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import h11

from tests.known_servers.certificate import write_certificate

MEETING_LIMIT_SECONDS: Final = 60.0
"""How long the first person's request waits for the other person's."""
CHUNK: Final = 65536
OWN_ADDRESS: Final = "BASE"
"""Stands for the stub's own address in what was seen: its port is another one each time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request with somebody's credential."""

    person: str
    where: str
    """Method, host and path."""
    forms: tuple[str, ...]
    """Each place that held the credential, with TOKEN in place of it: `authorization: Bearer TOKEN`."""


@dataclass(slots=True)
class ApiStub:
    """Answers by `METHOD HOST/PATH`, in which * stands for anything; WHO in an answer becomes the person's name.

    What asks in JSON-RPC, another MCP server for instance, is `METHOD HOST/PATH#METHOD`, and gets the answer as result.
    """

    tokens: Mapping[str, str]
    """Person -> credential."""
    answers: Mapping[str, Any]
    url: str = ""
    certificate: Path = Path()
    """Of the authority: what servers have to trust."""
    chain: Path = Path()
    """The certificate of the API's hosts, with its key."""
    seen: list[Seen] = field(default_factory=list[Seen])
    tunnels: dict[str, int] = field(default_factory=dict[str, int])
    """Host -> port of this machine that answers for it, because it speaks something else than HTTP/1.1."""
    refused: set[str] = field(default_factory=set[str])
    """Hosts that somebody wanted to reach and that are none of the API's."""
    unanswered: set[str] = field(default_factory=set[str])
    _all_here: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    """Request -> set when it came from everybody."""

    async def answer(self, method: str, host: str, target: str, headers: Sequence[tuple[str, str]], body: str) -> Any:
        """The document to answer with; None when there is none."""
        where = f"{method} {host}{target.partition('?')[0]}"
        person = await self.note(where, [*headers, ("target", target), ("body", body)])
        called = re.search(r'"method": ?"([a-z/]+)"', body) if '"jsonrpc"' in body else None
        name = f"{where}#{called[1]}" if called else where
        for pattern, document in self.answers.items():
            if fnmatchcase(name, pattern):
                told = json.loads(json.dumps(document).replace("WHO", person or "nobody"))
                return {"jsonrpc": "2.0", "id": json.loads(body).get("id"), "result": told} if called else told
        self.unanswered.add(name)
        return None

    async def note(self, where: str, places: Sequence[tuple[str, str]]) -> str | None:
        """Whose credential stands in one of the places (name and value); writes it down, and waits for the others."""
        for person, token in self.tokens.items():
            forms = [form for name, value in places if (form := _show(name, value, token))]
            if forms:
                self.seen.append(Seen(person, where, tuple(sorted(forms))))
                await self._meet(where)
                return person
        return None

    async def _meet(self, where: str) -> None:
        """Nobody is answered before everybody has asked: the persons are there at once, and not one after the other."""
        all_here = self._all_here.setdefault(where, asyncio.Event())
        if {seen.person for seen in self.seen if seen.where == where} == set(self.tokens):
            all_here.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEETING_LIMIT_SECONDS):
                await all_here.wait()


@asynccontextmanager
async def open_stub(
    tokens: Mapping[str, str], answers: Mapping[str, Any], hosts: Sequence[str], folder: Path
) -> AsyncGenerator[ApiStub]:
    """The stub on a free port; `folder` is for its certificates."""
    stub = ApiStub(tokens, answers)
    stub.certificate, stub.chain = write_certificate(folder, hosts)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(stub.chain)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_Connection(stub, reader, writer, context, frozenset(hosts)).serve())
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stub
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@dataclass(slots=True)
class _Connection:
    """One connection of a server process, as HTTP/1.1: https after a CONNECT."""

    stub: ApiStub
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    context: ssl.SSLContext
    hosts: frozenset[str]
    host: str = ""
    """Of the CONNECT."""

    async def serve(self) -> None:
        try:
            # A server process may end, or give up, at any point of its connection.
            with contextlib.suppress(OSError, EOFError, h11.RemoteProtocolError):
                await self._serve()
        finally:
            self.writer.close()

    async def _serve(self) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            request = await self._next(connection)
            if not isinstance(request, h11.Request):
                return
            body = b""
            while isinstance(event := await self._next(connection), h11.Data):
                body += event.data
            if request.method == b"CONNECT":
                if not await self._open_tunnel(connection, request.target.decode()):
                    return
                connection = h11.Connection(h11.SERVER)
                continue
            await self._answer(connection, request, body)
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _next(self, connection: h11.Connection) -> h11.Event | type[h11.PAUSED]:
        while (event := connection.next_event()) is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self.writer.write(connection.send(go_on) or b"")
            connection.receive_data(await self.reader.read(CHUNK))
        assert event is not h11.NEED_DATA
        return event  # pyright: ignore[reportReturnType]  # NEED_DATA is ruled out above

    async def _open_tunnel(self, connection: h11.Connection, target: str) -> bool:
        self.host = target.removesuffix(":443")
        is_ours = self.host in self.hosts
        if not is_ours:
            self.stub.refused.add(target)
        answer = h11.Response(status_code=200 if is_ours else 403, headers=[])
        self.writer.write(connection.send(answer) or b"")
        await self.writer.drain()
        if port := self.stub.tunnels.get(self.host):
            await self._pass_through(port)
            return False
        if is_ours:
            await self.writer.start_tls(self.context)
        return is_ours

    async def _pass_through(self, port: int) -> None:
        """Every byte to that port and back, until both sides have ended."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_copy(self.reader, writer), _copy(reader, self.writer))
        finally:
            writer.close()

    async def _answer(self, connection: h11.Connection, request: h11.Request, body: bytes) -> None:
        headers = [(name.decode().lower(), value.decode("latin-1")) for name, value in request.headers]
        target = request.target.decode()
        host = self.host or OWN_ADDRESS
        # A client that speaks to a proxy without CONNECT names the whole address.
        if whole := re.match(r"https?://([^/]+)(/.*)", target):
            host, target = whole.groups()
        document = await self.stub.answer(request.method.decode(), host, target, headers, body.decode(errors="replace"))
        data = json.dumps({"message": "Not Found"} if document is None else document).encode()
        about = [("content-type", "application/json"), ("content-length", str(len(data)))]
        status = 404 if document is None else 200
        parts = (h11.Response(status_code=status, headers=about), h11.Data(data=data), h11.EndOfMessage())
        for part in parts:
            self.writer.write(connection.send(part) or b"")
        await self.writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _show(name: str, value: str, token: str) -> str | None:
    """`name: value` with TOKEN in place of the token, where the value holds it."""
    if token in value:
        if name == "cookie":
            value = "; ".join(cookie for cookie in value.split("; ") if token in cookie)
        # Of a body, the member alone.
        member = re.search(rf"([\w.]+)\W*{re.escape(token)}", value) if name == "body" else None
        return f"{name}: {f'{member[1]}=TOKEN' if member else value.replace(token, 'TOKEN')}"
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            plain = base64.b64decode(encoded).decode()
            if token in plain:
                return f"{name}: {scheme} base64({plain.replace(token, 'TOKEN')})"
    return None
