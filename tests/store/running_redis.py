"""A real Valkey on loopback, that a test stops, kills, fills and writes to; its time passes when the test says so."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, cast

from redis.asyncio import Redis

from fluidmcp.config.secret import Secret
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.store.redis import RedisStore
from fluidmcp.store.redis_entries import Entries
from fluidmcp.store.redis_server import RedisServer
from tests import parts
from tests.acceptance.harness import free_port
from tests.authorization_server.sealing_stage import seal_key
from tests.providers.login_gateway import Clock

LIMIT_SECONDS: Final = 30.0
PUBLIC_URL: Final = "https://gateway.example"


def start_server(arguments: list[str], *, until: bytes) -> subprocess.Popen[bytes]:
    """A server that has written these words to its output."""
    process = subprocess.Popen([str(parts.require("redis-server")), *arguments], stdout=subprocess.PIPE)
    pipe = process.stdout
    assert pipe is not None
    seen = b""
    while until not in seen:
        readable, _, _ = select.select([pipe], [], [], LIMIT_SECONDS)
        written = os.read(pipe.fileno(), 65536) if readable else b""
        assert written, f"it did not start: {seen.decode()}"
        seen += written
    return process


def end_server(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.wait(LIMIT_SECONDS)
    assert process.stdout is not None
    process.stdout.close()


class RunningRedis:
    """The server, its port and who its clients are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.user = ""
        self.password = ""
        self._options: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def url_through(self, port: int) -> Secret:
        """Its address behind a relay."""
        return Secret(self.url.reveal().replace(f":{self.port}/", f":{port}/"))

    @property
    def url(self) -> Secret:
        return Secret(f"redis://{self.user}:{self.password}@127.0.0.1:{self.port}/0")

    def start(self, **options: str) -> None:
        """Begin, with nothing in it unless it is told to keep things, and return when it answers.

        `options` are those of the command line; without any, those of the last time.
        """
        self._options = options or self._options
        settings = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "dir": str(self.folder), **self._options}
        arguments: list[str] = []
        for name, value in settings.items():
            arguments += [f"--{name.replace('_', '-')}", value]
        self._process = start_server(arguments, until=b"Ready to accept connections")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator stops it: what it was told to keep is written."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            end_server(self._process, number)
            self._process = None

    @contextlib.contextmanager
    def stopped(self) -> Generator[None]:
        """While it neither answers nor goes away."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def client(self) -> Any:
        """What somebody else may do there."""
        return cast(Any, Redis).from_url(self.url.reveal())

    async def elapse(self, seconds: float) -> None:
        """Bring all that lives there nearer to its end, as if this time had passed."""
        async with self.client() as client:
            for name in await client.keys("*"):
                if await client.type(name) == b"zset":
                    for member, _ in await client.zrange(name, 0, -1, withscores=True):
                        await client.zincrby(name, -seconds * 1000, member)
                left = await client.pttl(name) - round(seconds * 1000)
                await (client.pexpire(name, left) if left > 0 else client.delete(name))


class Replicas:
    """Stores of one name, as gateways with the same keys have them; `now` is the clock of all."""

    def __init__(self, running: RunningRedis) -> None:
        self.running = running
        self.now = Clock()
        self._servers: list[RedisServer] = []

    def store(
        self,
        name: str = "grants",
        *keys: str,
        entries: int = 100,
        seconds: float = 10.0,
        unreadable: bytes | None = None,
        url: Secret | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> RedisStore:
        """`url`: where it is reached, if not directly. `clock`: by what it waits after a time-out."""
        server = RedisServer(url or self.running.url, command_seconds=seconds, now=clock)
        self._servers.append(server)
        sealer = Sealer([seal_key(key) for key in keys or ("one",)])
        named = Entries(name, sealer, public_url=PUBLIC_URL, now=self.now)
        return RedisStore(server, named, max_entries=entries, unreadable=unreadable)

    async def elapse(self, seconds: float) -> None:
        self.now.time += seconds
        await self.running.elapse(seconds)

    async def aclose(self) -> None:
        for server in self._servers:
            await server.aclose()


@contextlib.contextmanager
def running_redis(folder: Path, **options: str) -> Generator[RunningRedis]:
    running = RunningRedis(folder)
    running.password = options.get("requirepass", "")
    try:
        running.start(**options)
        yield running
    finally:
        running.kill()
