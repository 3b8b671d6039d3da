"""Bodies beyond the limit: refused, not kept, and the refusal is read by a client that first sends all that it has."""

import asyncio
import json
import socket

import pytest

from tests.gateway.front.messages import PING, mirror_entry, post, post_head
from tests.gateway.front.wire import LIMIT_SECONDS, connected
from tests.gateway.running import running_gateway

MAX_BYTES = 100_000
LARGE_BYTES = 60_000_000

WAYS = pytest.mark.parametrize("has_front", [True, False])


@WAYS
@pytest.mark.threat("B40")
@pytest.mark.parametrize("zeros", [1, 19, 20, 100, 5000])
async def test_b40_zeros_before_its_length_do_not_let_a_large_body_in(zeros: int, has_front: bool) -> None:
    async with running_gateway([mirror_entry()], max_body_bytes=MAX_BYTES, has_front=has_front) as running:
        await running.rpc("mirror", "mirror/echo")
        async with connected(running) as wire:
            wire.send(post_head("0" * zeros + str(MAX_BYTES + 1)))
            assert (await wire.reply()).startswith(b"HTTP/1.1 413 ")
        async with connected(running) as wire:
            good = post(PING).replace(b"Content-Length: ", b"Content-Length: " + b"0" * zeros)
            for _ in range(3):
                wire.send(good)
                assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")


@WAYS
@pytest.mark.parametrize("line", ["X-Nothing: more", "Connection: close", "HTTP/1.0"])
async def test_the_refusal_of_a_large_body_is_read_by_its_client(line: str, has_front: bool) -> None:
    version = "1.0" if line == "HTTP/1.0" else "1.1"
    head = post_head(LARGE_BYTES, *([line] if ":" in line else []), version=version)

    def send_and_read(port: int) -> tuple[bytes, bytes]:
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS) as sock:
            sock.sendall(head + bytes(LARGE_BYTES))  # a connection that is reset would take the reply away
            reply = b""
            while b"\r\n\r\n{" not in reply or not reply.endswith(b"}"):
                piece = sock.recv(65536)
                if not piece:
                    break
                reply += piece
            return reply, b"" if line.startswith("X") else sock.recv(1)

    async with running_gateway([mirror_entry()], max_body_bytes=MAX_BYTES, has_front=has_front) as running:
        reply, more = await asyncio.to_thread(send_and_read, int(running.url.rpartition(":")[2]))
    assert reply.startswith(b"HTTP/1.1 413 ") and reply.endswith(b"}") and more == b""


@WAYS
async def test_a_trailer_is_not_taken_for_a_header(has_front: bool) -> None:
    body = json.dumps(PING).encode()
    head = b"POST /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = b"Host: evil.example\r\nMcp-Session-Id: nobody\r\nOrigin: http://evil.example\r\n\r\n"
    async with running_gateway([mirror_entry()], has_front=has_front) as running, connected(running) as wire:
        for _ in range(2):
            wire.send(head + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + trailers)
            assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")
