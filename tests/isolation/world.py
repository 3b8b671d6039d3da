"""A gateway, two persons at one hostile package, and an attack of one of them on the other or on the gateway."""

import asyncio
import json
import os
import pty
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import httpx2
import psutil
from starlette.responses import JSONResponse, Response

from tests.acceptance.harness import RunningGateway, kill_left, start_fluidmcp
from tests.isolation.ground import Ground, make_ground, make_label, remove_shared
from tests.isolation.loot import Loot, make_loot
from tests.isolation.rows import Row
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.serving import serve

User = Literal["root", "ordinary"]
ORDINARY: Final = Path(__file__).resolve().parent.parent / "ordinary.py"
HOPELESS: Final = {psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DEAD}
LIMIT_SECONDS: Final = 60.0
HARM_SECONDS: Final = 10.0


@dataclass(slots=True)
class Person:
    """Somebody with a token, and where their server has left it."""

    token: Loot
    package: str = "mail"
    label: str = field(default_factory=make_label)
    planted: dict[str, Any] = field(default_factory=dict[str, Any])
    server: psutil.Process | None = None
    session: str = ""

    @property
    def headers(self) -> dict[str, str]:
        own = {"authorization": f"Bearer {self.token.value}"} if self.package == "mail" else {}
        return {**own, "mcp-session-id": self.session} if self.session else own


@dataclass(slots=True)
class World:
    level: str
    user: User
    ground: Ground
    people: dict[str, str]
    gateway: RunningGateway
    client: httpx2.AsyncClient
    persons: list[Person] = field(default_factory=list[Person])

    def make_person(self, package: str = "mail") -> Person:
        person = Person(make_loot("token"), package)
        self.people[person.token.value] = f"person-{len(self.people)}"
        self.persons.append(person)
        return person

    async def call(self, person: Person, tool: str, **arguments: Any) -> str:
        """What the tool of their server says. Raises AssertionError with the gateway's answer when it says nothing."""
        message = {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        answer = await self.ask(person, message)
        text = answer.text
        assert answer.status_code == 200 and "result" in answer.json(), text
        return str(answer.json()["result"]["content"][0]["text"])

    async def ask(self, person: Person, message: dict[str, Any]) -> httpx2.Response:
        url = f"{self.gateway.url}/{person.package}/mcp"
        return await self.client.post(url, json={"jsonrpc": "2.0", "id": 1, **message}, headers=person.headers)

    async def open_session(self, person: Person) -> None:
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = await self.ask(person, {"method": "initialize", "params": params})
        assert answer.status_code == 200, answer.text
        person.session = answer.headers["mcp-session-id"]

    async def close_session(self, person: Person) -> None:
        url = f"{self.gateway.url}/{person.package}/mcp"
        assert (await self.client.delete(url, headers=person.headers)).status_code < 300
        person.session = ""

    async def settle(self, person: Person, *, plant: bool = True) -> None:
        """Start their server, let it leave its token everywhere, and find its process on this machine."""
        if plant:
            person.planted = json.loads(await self.call(person, "plant", label=person.label))
        else:
            await self.call(person, "echo", text="hello")
        person.server = self.find_server(person)

    def find_server(self, person: Person) -> psutil.Process:
        """The process that has their token in its environment; nobody's: the one that has none."""
        for process in self.gateway.descendants():
            with suppress(psutil.Error):
                if any("hostile_server" in part for part in process.cmdline()[:4]):
                    token = process.environ().get("GMAIL_ACCESS_TOKEN")
                    if token == (person.token.value if person.package == "mail" else None):
                        return process
        raise AssertionError(f"no server process of {person.label}: {self.gateway.report()}")

    def find_home(self, person: Person) -> str:
        """Where the home of their server is on this machine, whatever the server calls it."""
        assert person.server is not None
        return person.server.environ()["HOME"]

    def role(self, name: str, attacker: Person, victim: Person) -> psutil.Process | None:
        """The process that an attack goes for; None where this level has no such process."""
        if name == "victim":
            return victim.server
        if name == "gateway":
            return psutil.Process(self.gateway.pid)
        if name in ("keeper", "own keeper"):
            server = victim.server if name == "keeper" else attacker.server
            parent = server.parent() if server else None
            return parent if parent and parent.pid != self.gateway.pid else None
        # Keepers are forks of the starter, and younger.
        for process in sorted(psutil.Process(self.gateway.pid).children(), key=lambda child: child.create_time()):
            with suppress(psutil.Error):
                if any(f"/{name}_child" in part for part in process.cmdline()):
                    return process
        return None

    def markers(self, victim: Person) -> list[dict[str, str | int]]:
        return [victim.token.as_marker(), *(loot.as_marker() for loot in self.ground.loot.values())]

    def path_of(self, row: Row, victim: Person) -> str:
        """A place on the ground, or one in the victim's home or temporary folder, or any other."""
        if row.path.startswith("/") or not row.path:
            return row.path
        place, _, rest = row.path.partition("/")
        if place in ("home", "tmp"):
            return os.path.join(str(victim.planted[place]), rest)
        return self.ground.paths[row.path]

    async def attack(self, attacker: Person, victim: Person, row: Row) -> dict[str, Any]:
        """How the attempt ended; `{"outcome": "cut off"}` where whoever was to tell it is gone."""
        target = self.role(row.at, attacker, victim) if row.at else None
        if row.at and target is None:
            # Not with another number: 0 would be the attacker itself.
            return {"outcome": "absent", "detail": f"there is no {row.at}", "markers": []}
        arguments: dict[str, Any] = {
            "name": row.attack,
            "pid": target.pid if target else 0,
            "path": self.path_of(row, victim),
            "markers": [m for m in self.markers(victim) if row.seeks],
            "extra": {"label": victim.label, "port": self.gateway.port, "mount": str(self.ground.folder), **row.extra},
        }
        try:
            return json.loads(await self.call(attacker, "attack", **arguments))
        except (httpx2.TransportError, AssertionError) as error:
            return {"outcome": "cut off", "detail": str(error)[:500], "markers": []}

    async def serves(self, person: Person) -> bool:
        """Whether their server is the one that it was, and answers."""
        server = person.server
        if server is None or not is_well(server):
            return False
        with suppress(httpx2.TransportError, AssertionError):
            return await self.call(person, "echo", text="still here") == "still here" and server.is_running()
        return False

    def is_well(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            return self.gateway.process.returncode is None and is_well(psutil.Process(self.gateway.pid))
        return False


def is_well(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() not in HOPELESS
    return False


def is_tagged(tag: str) -> bool:
    """Whether there is such a process (`find_tagged`), in the fewest steps: it need not be there any more now."""
    for number in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        with suppress(OSError):
            names = Path(f"/proc/{number}/comm").read_text(encoding="utf-8", errors="replace").strip()
            if tag.encode() in Path(f"/proc/{number}/cmdline").read_bytes() or names == tag[-15:]:
                return True
    return False


def find_tagged(tag: str) -> list[psutil.Process]:
    """Processes of this machine that have the text on their command line or as their name.

    The newest first, and with few steps: some are gone again in a few thousandths of a second.
    """
    found: list[psutil.Process] = []
    for number in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        with suppress(OSError, psutil.Error):
            folder = Path(f"/proc/{number}")
            names = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
            if tag.encode() in (folder / "cmdline").read_bytes() or names == tag[-15:]:
                found.append(psutil.Process(number))
    return found


def choose_uid(user: User) -> int:
    """Root; or a user that nobody is. Who runs the tests as an ordinary user is the ordinary user."""
    if os.geteuid() != 0:
        return os.geteuid()
    return 0 if user == "root" else 300_000 + secrets.randbelow(60_000)


@asynccontextmanager
async def open_world(level: str, user: User, **settings: str) -> AsyncGenerator[World]:
    """The gateway with its provider; `settings` are variables of its environment."""
    people: dict[str, str] = {}

    def introspect(form: dict[str, str]) -> Response:
        person = people.get(form["token"])
        claims = {"sub": person, "client_id": "our-client", "scope": "mail", "token_type": "Bearer"}
        return JSONResponse({"active": False} if person is None else {"active": True, **claims})

    provider = FaultMakingProvider()
    provider.answer_introspection = introspect
    uid = choose_uid(user)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve(provider.app))
        ground = stack.enter_context(make_ground(uid, address))
        client = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS))
        key = ["--session-key", ground.paths["session_key"]]
        before = [sys.executable, str(ORDINARY), *key, str(uid), str(uid)]
        starting = start_fluidmcp(
            "run",
            ground.paths["config"],
            "--start-server",
            env=ground.environment(level) | settings,
            cwd=ground.work,
            before=before,
        )
        gateway = await stack.enter_async_context(_end_hard(starting))
        world = World(level, user, ground, people, gateway, client)
        stack.callback(lambda: [remove_shared(person.label) for person in world.persons])
        yield world


@asynccontextmanager
async def _end_hard(starting: AbstractAsyncContextManager[RunningGateway]) -> AsyncGenerator[RunningGateway]:
    """Attackers may have stopped or ended any part of it, and left something behind: the end takes all of it."""
    gateway = await starting.__aenter__()
    try:
        yield gateway
    finally:
        family = gateway.descendants()
        if gateway.process.returncode is None:
            gateway.process.send_signal(signal.SIGCONT)
        for process in family:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        with suppress(AssertionError):
            await starting.__aexit__(None, None, None)
        await asyncio.to_thread(kill_left, family, limit_seconds=2.0)


@contextmanager
def open_terminal(world: World) -> Generator[str]:
    """A terminal of the operator, at which something secret has just been typed; the path of its device."""
    master, slave = pty.openpty()
    try:
        path = os.ttyname(slave)
        os.chown(path, world.ground.uid, -1)
        os.write(master, world.ground.loot["typed"].value.encode() + b"\n")
        yield path
    finally:
        os.close(master)
        os.close(slave)
