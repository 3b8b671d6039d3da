"""The limit: what a relay between HTTP and one stdio server can do at best in Python, on the same libraries.

Nothing but `asyncio.Protocol`, httptools and msgspec on uvloop: it checks that a body is JSON, replaces ids and
progress tokens, writes once per turn of the event loop and reads many lines at once. No package, no session, no bound,
no answer to anything that goes wrong, so not a gateway that anybody could use.

    python relay.py PORT COMMAND [ARGUMENT...]
"""

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final, cast

import httptools
import msgspec
import uvloop

PIPE_BYTES: Final = 1 << 20
SET_PIPE_SIZE: Final = 1031
LARGE_BYTES: Final = 1 << 16
"""From here on, putting together what stands apart in memory costs more than handing over the pieces."""
MAX_PIECES: Final = 1000
NOTHING: Final = msgspec.Raw(b"")
GREETING: Final = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    b'"clientInfo":{"name":"relay","version":"1"}}}'
)
GREETED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

Bytes = bytes | memoryview
Reply = Callable[[Sequence[Bytes], bool], None]
"""The pieces of one message, and whether it is the last one."""


class Meta(msgspec.Struct):
    progress_token: msgspec.Raw = msgspec.field(default=NOTHING, name="progressToken")


class Params(msgspec.Struct):
    meta: Meta | None = msgspec.field(default=None, name="_meta")


class Request(msgspec.Struct):
    method: str
    id: msgspec.Raw = NOTHING
    params: msgspec.Raw = NOTHING


class ProgressParams(msgspec.Struct):
    progress_token: int | None = msgspec.field(default=None, name="progressToken")


class Answer(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    params: ProgressParams | None = None


read_request = msgspec.json.Decoder(Request).decode
read_params = msgspec.json.Decoder(Params).decode
read_answer = msgspec.json.Decoder(Answer).decode
write_json = msgspec.json.encode


class Pending(msgspec.Struct):
    """One request in flight: the client's id and token, and who waits."""

    id: bytes
    token: bytes
    reply: Reply


class Server:
    """The stdio server, over two pipes of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._pending: dict[int, Pending] = {}
        self._parts: list[bytes] = []
        self._out: list[Bytes] = []
        self._count = 0
        self._is_full = False

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        their_in, self._in = os.pipe()
        self._from, their_out = os.pipe()
        for descriptor in (self._in, self._from):
            fcntl.fcntl(descriptor, SET_PIPE_SIZE, PIPE_BYTES)
            os.set_blocking(descriptor, False)
        self._process = subprocess.Popen(  # noqa: ASYNC220 - before anything else runs
            self._command, stdin=their_in, stdout=their_out
        )
        os.close(their_in)
        os.close(their_out)
        self._loop.add_reader(self._from, self._read)
        greeted: asyncio.Future[Sequence[Bytes]] = self._loop.create_future()
        self.send(GREETING, lambda answer, is_last: greeted.set_result(answer))
        await greeted
        self._write(GREETED)

    def send(self, body: bytes, reply: Reply) -> None:
        """Raises msgspec.MsgspecError when the body is no request."""
        request = read_request(body)
        self._count = number = self._count + 1
        params, token = request.params, b""
        if b'"progressToken"' in body:
            meta = read_params(params).meta
            token = bytes(meta.progress_token) if meta else b""
            mine = b'"progressToken":%d' % number
            params = msgspec.Raw(bytes(params).replace(b'"progressToken":%b' % token, mine, 1))
        self._pending[number] = Pending(bytes(request.id), token, reply)
        head = b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":' % (number, write_json(request.method))
        if len(body) < LARGE_BYTES:
            self._write(b"%b%b}\n" % (head, bytes(params) or b"{}"))
        else:
            self._write(head, memoryview(params), b"}\n")

    def _write(self, *pieces: Bytes) -> None:
        if not self._out and not self._is_full:
            self._loop.call_soon(self._flush)
        self._out += pieces

    def _flush(self) -> None:
        if sum(map(len, self._out)) < LARGE_BYTES:
            self._out = [b"".join(self._out)]
        try:
            written = os.writev(self._in, self._out[:MAX_PIECES])
        except BlockingIOError:
            written = 0
        while self._out and written >= len(self._out[0]):
            written -= len(self._out.pop(0))
        if written:
            self._out[0] = memoryview(self._out[0])[written:]
        if bool(self._out) != self._is_full:
            self._is_full = not self._is_full
            if self._is_full:
                self._loop.add_writer(self._in, self._flush)
            else:
                self._loop.remove_writer(self._in)

    def _read(self) -> None:
        data = os.read(self._from, PIPE_BYTES)
        if not data:
            sys.exit("the server is gone")
        *lines, rest = data.split(b"\n")
        if lines and self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts.clear()
        if rest:
            self._parts.append(rest)
        for line in lines:
            self._handle(line)

    def _handle(self, line: bytes) -> None:
        answer = read_answer(line)
        if isinstance(answer.id, int):
            pending = self._pending.pop(answer.id)
            name, value = (b"result", answer.result) if answer.error is NOTHING else (b"error", answer.error)
            head = b'{"jsonrpc":"2.0","id":%b,"%b":' % (pending.id, name)
            if len(line) < LARGE_BYTES:
                pending.reply((b"%b%b}" % (head, bytes(value)),), True)
            else:
                pending.reply((head, memoryview(value), b"}"), True)
        elif answer.params is not None and answer.params.progress_token in self._pending:
            token = answer.params.progress_token
            pending = self._pending[token]
            theirs = b'"progressToken":%b' % pending.token
            pending.reply((line.replace(b'"progressToken":%d' % token, theirs, 1),), False)


class Connection(asyncio.Protocol):
    """One HTTP connection; an answer becomes an event stream when a notification comes before it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parts: list[bytes] = []
        self._events: list[bytes] = []
        self._has_begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is none of asyncio's
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        try:
            self._server.send(body, self._reply)
        except msgspec.MsgspecError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    def _reply(self, message: Sequence[Bytes], is_last: bool) -> None:
        size = sum(map(len, message))
        if is_last and not self._has_begun:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size
            if size < LARGE_BYTES:
                self._transport.write(b"".join((head, *message)))
            else:
                self._transport.writelines((head, *message))
            return
        event = b"event: message\ndata: %b\n\n" % b"".join(message)
        if not self._events:
            asyncio.get_running_loop().call_soon(self._flush)
        if not self._has_begun:
            self._events.append(STREAM_HEAD)
        self._events.append(b"%x\r\n%b\r\n" % (len(event), event))
        if is_last:
            self._events.append(b"0\r\n\r\n")
        self._has_begun = not is_last

    def _flush(self) -> None:
        self._transport.write(b"".join(self._events))
        self._events.clear()


async def main(port: int, command: Sequence[str]) -> None:
    server = Server(command)
    await server.start()
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", port, backlog=2048
    )
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2:]))
