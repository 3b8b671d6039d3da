"""`load.c` in Python, for machines without gcc: the same options and the same checks, at a higher price."""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httptools

MAX_FAULTS: Final = 50
DRAIN_SECONDS: Final = 15.0


@dataclass(slots=True)
class Response:
    """What httptools calls while it reads one response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    parts: list[bytes] = field(default_factory=list[bytes])
    is_complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        self.is_complete = True

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


class Load:
    """All connections of one run, and what they have seen."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.payload = "".join(chr(97 + (i * 7 + i // 26) % 26) for i in range(options.bytes))
        self.counts: dict[str, int] = dict.fromkeys(("all_answers", "wrong", "refused", "lost"), 0)
        self.fault = ""
        self.times: list[tuple[float, float]] = []
        """When each answer came, and how long it took."""
        self.begun = 0
        self.next_id = 1000
        self.end = 0.0

    def note(self, counter: str, what: str, response: Response | None = None) -> None:
        self.counts[counter] += 1
        if not self.fault:
            quoted = response.body[:200].decode(errors="replace") if response else ""
            self.fault = f"{what}: HTTP {response.status if response else 0} {quoted}"

    def may_call(self) -> bool:
        faults = self.counts["wrong"] + self.counts["refused"] + self.counts["lost"]
        limit = self.options.requests
        return time.perf_counter() < self.end and (not limit or self.begun < limit) and faults < MAX_FAULTS

    def write_call(self) -> tuple[int, str, bytes]:
        """The id, the text that has to come back, and the body."""
        options = self.options
        number, self.next_id = self.next_id, self.next_id + 1
        self.begun += 1
        sought = f"n{number}-{self.payload}"
        arguments: dict[str, Any] = {"message": sought}
        if options.tool == "progress":
            arguments["steps"] = options.steps
        if options.tool == "convert_time":
            clock = f"{number // 60 % 24:02}:{number % 60:02}"
            arguments = {"source_timezone": "UTC", "target_timezone": "Asia/Tokyo", "time": clock}
            sought = f"T{clock}:00+00:00"
        if options.style == "rest":
            body: dict[str, Any] = {"server_name": options.server, "tool": options.tool, "arguments": arguments}
            return number, sought, write_json(body)
        meta: dict[str, Any] = {"progressToken": number} if options.tool == "progress" else {}
        if options.style == "stateless":
            prefix = "io.modelcontextprotocol/"
            meta |= {f"{prefix}protocolVersion": options.revision, f"{prefix}clientCapabilities": {}}
        params = {"name": options.tool, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return number, sought, write_json(write_message("tools/call", params, number))

    def check(self, response: Response, number: int, sought: str, took: float) -> None:
        messages = [] if response.status != 200 else read_messages(response)
        last = messages[-1] if messages else {}
        if response.status != 200:
            self.note("refused", "refused", response)
        elif sought not in response.body.decode():
            self.note("wrong", "what was sent did not come back", response)
        elif self.options.style != "rest" and last.get("id") != number:
            self.note("wrong", "another id", response)
        elif self.options.tool == "progress" and not has_all_steps(messages, number, self.options.steps):
            self.note("wrong", "progress is missing", response)
        else:
            self.counts["all_answers"] += 1
            self.times.append((time.perf_counter(), took))


class Connection:
    """One kept connection, and its session where there is one."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._session = ""

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._load.options.port, limit=1 << 24)

    async def greet(self) -> None:
        client = {"name": "load", "version": "1"}
        params = {"protocolVersion": self._load.options.revision, "capabilities": {}, "clientInfo": client}
        response = await self._ask("POST", write_json(write_message("initialize", params, 1)))
        self._session = response.headers.get("mcp-session-id", "")
        done = await self._ask("POST", write_json(write_message("notifications/initialized")))
        if response.status // 100 != 2 or done.status // 100 != 2:
            self._load.note("refused", "greeting refused", response)

    async def call_until_end(self) -> None:
        while self._load.may_call():
            number, sought, body = self._load.write_call()
            began = time.perf_counter()
            try:
                response = await self._ask("POST", body)
            except (OSError, EOFError):
                self._load.note("lost", "the connection was closed")
                await self.open()
                continue
            self._load.check(response, number, sought, (time.perf_counter() - began) * 1000)

    async def end(self) -> None:
        if self._session:
            await self._ask("DELETE", b"")
        self._writer.close()

    async def _ask(self, method: str, body: bytes) -> Response:
        options = self._load.options
        headers = {"Host": f"127.0.0.1:{options.port}", "Content-Type": "application/json", "Accept": options.accept}
        if options.style == "stateless":
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": options.tool}
        if options.style == "stateless" or self._session:
            headers["MCP-Protocol-Version"] = options.revision
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        lines = [f"{method} {options.path} HTTP/1.1", *options.header, *(f"{k}: {v}" for k, v in headers.items())]
        self._writer.write("\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body)
        response = Response()
        parser = httptools.HttpResponseParser(response)
        while not response.is_complete:
            data = await self._reader.read(1 << 18)
            if not data:
                raise EOFError
            parser.feed_data(data)
        response.status = parser.get_status_code()
        if not parser.should_keep_alive():
            await self.open()
        return response


def write_message(method: str, params: Mapping[str, Any] | None = None, number: int | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if number is not None:
        message |= {"id": number, "params": params}
    return message


def write_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def read_messages(response: Response) -> list[dict[str, Any]]:
    if "text/event-stream" not in response.headers.get("content-type", ""):
        return [json.loads(response.body)]
    lines = (line.partition(b":")[2].strip() for line in response.body.splitlines() if line.startswith(b"data:"))
    return [json.loads(line) for line in lines if line]


def has_all_steps(messages: list[dict[str, Any]], token: int, steps: int) -> bool:
    told = [one["params"] for one in messages if one.get("method") == "notifications/progress"]
    return [(one["progressToken"], one["progress"]) for one in told] == [(token, step + 1) for step in range(steps)]


def read_processor_seconds(pid: int) -> float:
    """Fields 14 and 15 of /proc/PID/stat."""
    if not pid:
        return 0.0
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def run(load: Load) -> dict[str, Any]:
    options = load.options
    connections = [Connection(load) for _ in range(options.connections)]
    for connection in connections:
        await connection.open()
        if options.style == "session":
            await connection.greet()
    began = time.perf_counter() + options.warm
    load.end = began + (1e9 if options.requests else options.seconds)
    callers = [asyncio.create_task(connection.call_until_end()) for connection in connections]
    await asyncio.wait(callers, timeout=options.warm or 1e-9)
    used, own = read_processor_seconds(options.pid), time.process_time()
    limit = None if options.requests else options.seconds
    await asyncio.wait(callers, timeout=limit)
    used, own = read_processor_seconds(options.pid) - used, time.process_time() - own
    end = min(time.perf_counter(), load.end)
    _, stuck = await asyncio.wait(callers, timeout=DRAIN_SECONDS)
    if not stuck:
        await asyncio.gather(*(connection.end() for connection in connections))
    return summarize(load, began, end) | {"gateway_seconds": used, "load_seconds": own, "stuck": len(stuck)}


def summarize(load: Load, began: float, end: float) -> dict[str, Any]:
    times = sorted(took for at, took in load.times if began <= at <= end)
    seconds = max(end - began, 0.0)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    percentiles = {name: times[int((len(times) - 1) * share)] if times else 0.0 for name, share in shares.items()}
    rate = len(times) / seconds if seconds else 0.0
    found = {"answers": len(times), "seconds": seconds, "per_second": rate, "fault": load.fault}
    return found | percentiles | load.counts


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = {"port": 8099, "connections": 1, "bytes": 200, "steps": 100, "requests": 0, "pid": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"seconds": 1.0, "warm": 0.3}.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    texts = {"path": "/mcp", "style": "bare", "revision": "2025-06-18", "tool": "echo", "server": ""}
    for name, default in texts.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--accept", default="application/json, text/event-stream")
    parser.add_argument("--header", action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Load(read_options())))))
