"""People with many clients each: they log in, call, renew, and go on by themselves when something is away.

What a client may meet is decided here: a failure that `World` does not excuse fails the test at once.
"""

import asyncio
import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from tests.scale.provider import PersonsProvider
from tests.scale.wire import Reply, Wire

PACKAGE: Final = "tally"
VERSION: Final = "2025-06-18"
REDIRECT_URI: Final = "http://localhost:33418/callback"
PLACES: Final = 32
"""How many requests are under way at once, held ones not counted."""
LIMIT_SECONDS: Final = 600.0


class LostError(Exception):
    """The gateway that had the request was killed meanwhile; what it had done, nobody knows."""


@dataclass
class World:
    """What goes on around the clients, and what happened to them. `events` counts it by name."""

    url: str
    provider: PersonsProvider
    events: Counter[str] = field(default_factory=Counter[str])
    gone: set[str] = field(default_factory=set[str])
    """Names of gateways that have ended, so that sessions of them may be unknown."""
    killed: str = ""
    is_killing: bool = False
    kills: int = 0
    absences: int = 0
    """How often Redis went away."""
    has_redis: asyncio.Event = field(default_factory=asyncio.Event)
    processes: set[str] = field(default_factory=set[str])
    """All server processes that have answered somebody."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLACES))
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, event: str) -> None:
        self.events[event] += 1
        async with self._changed:
            self._changed.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_SECONDS), self._changed:
            await self._changed.wait_for(is_so)

    async def until_more(self, event: str, number: int) -> None:
        """Until it has happened so many times more."""
        goal = self.events[event] + number
        await self.until(lambda: self.events[event] >= goal)

    async def ask(self, wire: Wire, method: str, target: str, *, is_held: bool = False, **options: Any) -> Reply:
        """The answer, repeated for as long as Redis is away. Raises LostError."""
        while True:
            kills, absences, had_redis = self.kills, self.absences, self.has_redis.is_set()
            if is_held:
                reply = await wire.send(method, target, **options)
            else:
                async with self.places:
                    reply = await wire.send(method, target, **options)
            if reply.status == 502 and (self.is_killing or self.kills > kills):
                raise LostError
            if reply.status == 503 and not (had_redis and self.has_redis.is_set() and self.absences == absences):
                assert int(reply.headers["retry-after"]) > 0
                await self.note("unavailable")
                await self.has_redis.wait()
                continue
            return reply


@dataclass
class Session:
    """`answers` of `process`, the last one that answered; its count goes up by one with each call."""

    id: str
    process: str = ""
    token: str = ""
    answers: int = 0

    @property
    def gateway(self) -> str:
        return self.id.partition(".")[0]


class Client:
    """A client of a person, with a browser, one login and one session. Its name is that of the login."""

    def __init__(self, world: World, name: str, wire: Wire) -> None:
        self.world = world
        self.name = name
        self.session: Session | None = None
        self.access_token = ""
        self._wire = wire
        self._client_id = ""
        self._refresh_token = ""
        self._cookies: dict[str, str] = {}
        self._turn = asyncio.Lock()
        """A client that renews does not call meanwhile: which of the two tokens came first would not be known."""

    # Logging in

    async def begin(self) -> None:
        """Log in and make the first call."""
        while not self.access_token:
            try:
                await self.log_in()
            except LostError:
                await self.world.note("login begun again")
        await self.world.note("logged in")
        await self.call()

    async def log_in(self, *, is_left: bool = False) -> None:
        """`is_left`: as far as the provider's page, which the person leaves."""
        self._cookies.clear()
        registration = {"client_name": f"Client {self.name}", "redirect_uris": [REDIRECT_URI]}
        registered = await self._step("POST", "/register", 201, message=registration)
        self._client_id = registered.json()["client_id"]
        verifier, state = create_code_verifier(), secrets.token_urlsafe(16)
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": REDIRECT_URI,
            "state": state,
            "code_challenge": code_challenge_s256(verifier),
            "code_challenge_method": "S256",
            "resource": f"{self.world.url}/{PACKAGE}/mcp",
        }
        page = await self._step("GET", f"/authorize?{urlencode(asked)}", 200)
        hidden = re.search(rb'<input[^>]*name="request"[^>]*value="([^"]*)"', page.body)
        assert hidden is not None, page
        form = {"request": unescape(hidden[1].decode()), "decision": "allow"}
        sent = await self._step("POST", "/consent", 303, form=form, headers={"origin": self.world.url})
        if is_left:
            return
        absences = self.world.absences if self.world.has_redis.is_set() else -1
        there = urlsplit(self.world.provider.allow(sent.headers["location"], self.name))
        back = await self._step("GET", f"/auth/callback?{there.query}", 302, 303, 307)
        answer = dict(pair.split("=", 1) for pair in urlsplit(back.headers["location"]).query.split("&"))
        assert answer["state"] == state
        if answer.get("error") == "temporarily_unavailable" and absences != self.world.absences:
            raise LostError
        redeemed = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": REDIRECT_URI,
            "client_id": self._client_id,
            "code_verifier": verifier,
        }
        self._keep(await self._step("POST", "/token", 200, form=redeemed))

    async def _step(self, method: str, target: str, *good: int, **options: Any) -> Reply:
        """One request of a login. Where a gateway or Redis went away with it, the login begins again."""
        kills, absences = self.world.kills, self.world.absences
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {**options.pop("headers", {}), **({"cookie": cookies} if cookies else {})}
        reply = await self.world.ask(self._wire, method, f"/{PACKAGE}{target}", headers=headers, **options)
        if reply.status not in good and (
            self.world.is_killing or (kills, absences) != (self.world.kills, self.world.absences)
        ):
            raise LostError
        assert reply.status in good, (self.name, target.partition("?")[0], reply)
        self._cookies.update(reply.cookies)
        return reply

    def _keep(self, reply: Reply) -> None:
        tokens = reply.json()
        self.access_token, self._refresh_token = tokens["access_token"], tokens["refresh_token"]

    async def renew(self, *, times: int = 1) -> None:
        """Never a new login: what the client has must do. Who asks several times at once gets one answer."""
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token, "client_id": self._client_id}
        async with self._turn:
            asking = [self.world.ask(self._wire, "POST", f"/{PACKAGE}/token", form=form) for _ in range(times)]
            replies = await asyncio.gather(*asking)
            assert [reply.status for reply in replies] == [200] * times, (self.name, replies)
            assert len({reply.body for reply in replies}) == 1, self.name
            self._keep(replies[0])
        await self.world.note("renewed")

    async def give_up(self) -> None:
        """Revoke what it has."""
        form = {"token": self._refresh_token, "client_id": self._client_id}
        reply = await self.world.ask(self._wire, "POST", f"/{PACKAGE}/revoke", form=form)
        assert reply.status == 200, (self.name, reply)

    async def revoke(self) -> None:
        """Until its own session is over."""
        await self.give_up()
        refused = await self._post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        while refused.status == 200:
            refused = await self._post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert refused.status == 401, (self.name, refused)
        await self.world.note("revoked")

    async def check_revoked(self, ports: Sequence[int]) -> None:
        """At each gateway."""
        headers = {"authorization": f"Bearer {self.access_token}", "accept": "application/json, text/event-stream"}
        for port in ports:
            wire = Wire(port, self._wire.host, authority=None)
            ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            reply = await wire.send("POST", f"/{PACKAGE}/mcp", headers=headers, message=ping)
            assert reply.status == 401, (self.name, port, reply)
            wire.close()

    # Calling

    async def call(self, tool: str = "tally", **arguments: object) -> None:
        """The answer is that of its own process, which has lost nothing; in a new session where the old one is gone."""
        async with self._turn:
            while not await self._try_call(tool, arguments):
                pass
        await self.world.note("answered")

    async def _try_call(self, tool: str, arguments: dict[str, object]) -> bool:
        if self.session is None:
            await self._open_session()
        session = self.session
        assert session is not None
        text = secrets.token_hex(8)
        params = {"name": tool, "arguments": {"text": text, **arguments}}
        message = {"jsonrpc": "2.0", "id": text, "method": "tools/call", "params": params}
        try:
            reply = await self._post(message, is_held=tool == "wait")
        except LostError:
            assert session.gateway == self.world.killed, (self.name, session)
            await self.world.note("call lost")
            return False
        if reply.status == 404:
            assert session.gateway in self.world.gone, (self.name, session, reply)
            await self.world.note(f"session of {session.gateway} gone")
            self.session = None
            return False
        assert reply.status == 200, (self.name, session.id, reply)
        answer = reply.message()
        assert answer["id"] == text, (self.name, answer)
        self._check(session, text, json.loads(answer["result"]["content"][0]["text"]))
        return True

    def _check(self, session: Session, text: str, answer: dict[str, Any]) -> None:
        token = self.world.provider.accounts[self.name].token
        assert (answer["token"], answer["text"]) == (token, text), (self.name, answer)
        if session.token == token:
            # Nothing of what the process knew is lost, and nobody else has called it.
            assert (answer["process"], answer["count"]) == (session.process, session.answers + 1), (self.name, answer)
        else:
            assert answer["process"] not in self.world.processes, (self.name, answer)
            assert answer["count"] == 1, (self.name, answer)
        self.world.processes.add(answer["process"])
        session.token, session.process, session.answers = token, answer["process"], answer["count"]

    async def _open_session(self) -> None:
        client = {"name": self.name, "version": "1"}
        params = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": client}
        try:
            reply = await self._post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        except LostError:
            await self.world.note("session lost at its beginning")
            return await self._open_session()
        assert reply.status == 200, (self.name, reply)
        assert reply.message()["result"]["serverInfo"]["name"] == "tallying", (self.name, reply)
        self.session = Session(reply.headers["mcp-session-id"])
        return None

    async def _post(self, message: object, *, is_held: bool = False) -> Reply:
        headers = {
            "authorization": f"Bearer {self.access_token}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": VERSION,
        }
        if self.session is not None:
            headers["mcp-session-id"] = self.session.id
        target = f"/{PACKAGE}/mcp"
        return await self.world.ask(self._wire, "POST", target, is_held=is_held, headers=headers, message=message)
