"""Requests of revision 2026-07-28 to one package of a gateway: each stands for itself, no session is opened.

The gateway translates for servers of the older revisions, so one era reaches all of them. Sources: 2026-07-28,
"Streamable HTTP", "Multi Round-Trip Requests", "Progress".
"""

import asyncio
import base64
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import httpx2
import msgspec

from fluidmcp import __version__
from fluidmcp.errors import FluidMCPError, GatewayAnswerError, NotLoggedInError
from fluidmcp.observability.printable import cut
from fluidmcp.operator.calls.gateway import Gateway, explain_transport
from fluidmcp.protocol.stateless import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    MISSING_CAPABILITY,
    NAME_MEMBERS,
    PROTOCOL_VERSION,
)
from fluidmcp.protocol.tool_headers import HeaderRule
from fluidmcp.protocol.versions import STATELESS_VERSIONS

MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
MAX_PAGES: Final = 1000
MAX_WORDS: Final = 2000
"""Characters of an error of the other side that are repeated."""
MAX_ROUNDS: Final = 20
"""How often one call may ask."""
MAX_LOGINS: Final = 2
"""How often one request may be refused for its token before that is the answer: a stored one, and a new one."""

Json = dict[str, object]
Ask = Callable[[str, Json], Awaitable[Json]]
"""A question of the server, as method and params, to its answer."""


class TokenSource:
    """Where the token of a package comes from; this one has none, and gets none."""

    async def find(self) -> str | None:
        """The token to begin with, if one is there."""
        return None

    async def replace(self, refused: str | None, challenge: str) -> str:
        """Another token than the one that was refused; `challenge` is the `WWW-Authenticate` of the refusal.

        Raises:
            NotLoggedInError: there is none, and nobody can be asked.
            AuthError: a login failed.
        """
        raise NotLoggedInError(
            "The package needs a login.", hint="Run it where a browser can be opened, or give a token with --token-env."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who can be asked and told something while a call runs. None: nobody."""

    ask: Ask | None = None
    note_progress: Callable[[str], None] | None = None


class PackageCaller:
    """A client of one package."""

    def __init__(
        self, gateway: Gateway, package: str, *, tokens: TokenSource, person: Person, limit_seconds: float
    ) -> None:
        """`limit_seconds` is for each request; logins and questions take their own time between them."""
        self._gateway = gateway
        self._url = gateway.endpoint(package)
        self._package = package
        self._tokens = tokens
        self._token: str | None = None
        self._has_looked = False
        self._person = person
        self._limit_seconds = limit_seconds
        self._numbers = itertools.count(1)

    async def list_tools(self) -> list[Json]:
        """All tools, all pages of them. Raises as `request`."""
        tools: list[Json] = []
        cursor: object = None
        seen: set[object] = set()
        for _ in range(MAX_PAGES):
            result = await self.request("tools/list", {} if cursor is None else {"cursor": cursor})
            page = result.get("tools")
            if not isinstance(page, list):
                break
            tools += [cast(Json, tool) for tool in cast("list[object]", page) if isinstance(tool, dict)]
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str):
                return tools
            if cursor in seen:
                # It would go round in circles until the last page that we look at.
                break
            seen.add(cursor)
        raise GatewayAnswerError(f"The package {self._package} does not say which tools it has.")

    async def call_tool(self, name: str, arguments: Json, rules: Sequence[HeaderRule] = ()) -> Json:
        """The result of a call, after whatever the server asked. Raises as `request`."""
        params: Json = {"name": name, "arguments": arguments}
        headers = _write_tool_headers(rules, arguments)
        for _ in range(MAX_ROUNDS):
            result = await self.request("tools/call", params, headers)
            if result.get("resultType") != "input_required":
                return result
            answers = await self._answer(result.get("inputRequests"))
            params = {"name": name, "arguments": arguments, "inputResponses": answers}
            if result.get("requestState") is not None:
                params["requestState"] = result["requestState"]
        raise GatewayAnswerError(f"The tool asked more than {MAX_ROUNDS} times.")

    async def request(self, method: str, params: Json, headers: Mapping[str, str] | None = None) -> Json:
        """The result of one request. A login takes place where the package needs one.

        Raises:
            GatewayUnreachableError: the connection failed.
            GatewayAnswerError: the answer is an error, or none.
            AuthError: a login is needed and was not possible.
        """
        if not self._has_looked:
            self._token, self._has_looked = await self._tokens.find(), True
        for _ in range(MAX_LOGINS):
            try:
                return await self._send(method, params, headers or {})
            except _RefusedTokenError as error:
                self._token = await self._tokens.replace(self._token, error.challenge)
        try:
            return await self._send(method, params, headers or {})
        except _RefusedTokenError:
            raise NotLoggedInError(
                f"The package {self._package} does not accept the login.",
                hint="Try again, and log in as somebody else.",
            ) from None

    async def _answer(self, requests: object) -> Json:
        if self._person.ask is None or not isinstance(requests, dict):
            raise _cannot_ask()
        answers: Json = {}
        for key, value in cast(Json, requests).items():
            question = cast(Json, value) if isinstance(value, dict) else {}
            params = question.get("params")
            answers[key] = await self._person.ask(
                str(question.get("method")), cast(Json, params) if isinstance(params, dict) else {}
            )
        return answers

    async def _send(self, method: str, params: Json, headers: Mapping[str, str]) -> Json:
        number = next(self._numbers)
        body = msgspec.json.encode(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": self._describe(number)}}
        )
        sent = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": STATELESS_VERSIONS[-1],
            "mcp-method": method,
            **headers,
        }
        if (member := NAME_MEMBERS.get(method)) is not None:
            sent["mcp-name"] = encode_header_value(str(params[member]))
        if self._token is not None:
            sent["authorization"] = f"Bearer {self._token}"
        try:
            async with (
                asyncio.timeout(self._limit_seconds),
                self._gateway.http.stream("POST", self._url, content=body, headers=sent) as response,
            ):
                return await self._read(response, number)
        except (httpx2.TransportError, TimeoutError) as error:
            raise explain_transport(error, self._gateway.url) from error

    def _describe(self, number: int) -> Json:
        capabilities: Json = {"elicitation": {"form": {}, "url": {}}} if self._person.ask is not None else {}
        described: Json = {
            PROTOCOL_VERSION: STATELESS_VERSIONS[-1],
            CLIENT_CAPABILITIES: capabilities,
            CLIENT_INFO: {"name": "fluidmcp", "version": __version__},
        }
        return described | ({"progressToken": number} if self._person.note_progress is not None else {})

    async def _read(self, response: httpx2.Response, number: int) -> Json:
        if response.status_code == 401:
            raise _RefusedTokenError(response.headers.get("www-authenticate", ""))
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream":
            async for data in _read_events(response):
                message = _decode(data)
                if message.get("id") == number and "method" not in message:
                    return self._take(message, response.status_code)
                if message.get("method") == "notifications/progress":
                    self._note_progress(message.get("params"))
            raise GatewayAnswerError("The gateway ended the answer before it was complete.", hint="Try again.")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            _check_size(len(body))
        return self._take(_decode(bytes(body)), response.status_code)

    def _take(self, message: Json, status: int) -> Json:
        result = message.get("result")
        if isinstance(result, dict):
            return cast(Json, result)
        error = message.get("error")
        if isinstance(error, dict):
            raise _explain_error(cast(Json, error), status)
        # An error of the gateway itself, whose words are ours.
        what = message.get("message") or message.get("error")
        if not isinstance(what, str):
            raise GatewayAnswerError(f"The answer of {self._gateway.url} is none (HTTP {status}).", status=status)
        why, hint = (cut(str(message.get(name) or ""), MAX_WORDS) for name in ("why", "hint"))
        raise GatewayAnswerError(cut(what, MAX_WORDS), why=why, hint=hint, status=status)

    def _note_progress(self, params: object) -> None:
        if self._person.note_progress is None or not isinstance(params, dict):
            return
        told = cast(Json, params)
        amounts = [_show_amount(told[name]) for name in ("progress", "total") if told.get(name) is not None]
        parts = (" of ".join(amounts), str(told.get("message") or ""))
        self._person.note_progress(cut(" ".join(part for part in parts if part), MAX_WORDS))


class _RefusedTokenError(FluidMCPError):
    def __init__(self, challenge: str) -> None:
        super().__init__("The token was refused.")
        self.challenge = challenge


def _show_amount(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def encode_header_value(text: str) -> str:
    """A value as `Mcp-Name` and `Mcp-Param-*` carry it (2026-07-28, "Value Encoding")."""
    is_plain = text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?")
    return text if is_plain else f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def _write_tool_headers(rules: Sequence[HeaderRule], arguments: Json) -> dict[str, str]:
    headers: dict[str, str] = {}
    for rule in rules:
        value = _find_argument(arguments, rule.path)
        if isinstance(value, str):
            headers[rule.header] = encode_header_value(value)
        elif isinstance(value, bool | int | float):
            headers[rule.header] = msgspec.json.encode(value).decode()
    return headers


def _find_argument(arguments: object, path: Sequence[str]) -> object:
    value = arguments
    for name in path:
        value = cast(Json, value).get(name) if isinstance(value, dict) else None
    return value


async def _read_events(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """The data of each event. Lines are those of the bytes: JSON may hold what else counts as a line break in text."""
    pending = bytearray()
    data: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        pending += chunk
        size += len(chunk)
        _check_size(size)
        if b"\n" not in chunk:
            continue
        *lines, rest = bytes(pending).split(b"\n")
        pending = bytearray(rest)
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                event = b"\n".join(data)
                data = []
                if event:
                    yield event


def _decode(data: bytes) -> Json:
    try:
        message: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise GatewayAnswerError(
            "The answer is no JSON object.", hint="Check --url, and what stands before the gateway."
        )
    return cast(Json, message)


def _check_size(size: int) -> None:
    if size > MAX_ANSWER_BYTES:
        raise GatewayAnswerError("The answer is too large.", why=f"It has more than {MAX_ANSWER_BYTES} bytes.")


def _explain_error(error: Json, status: int) -> GatewayAnswerError:
    code = error.get("code")
    if code == MISSING_CAPABILITY:
        return _cannot_ask()
    what = cut(str(error.get("message") or "The request failed."), MAX_WORDS)
    return GatewayAnswerError(what, rpc_code=code if isinstance(code, int) else None, status=status)


def _cannot_ask() -> GatewayAnswerError:
    return GatewayAnswerError(
        "The tool wants to ask you something.",
        why="Nobody can be asked: the command does not run in a terminal, or prints JSON.",
        hint="Run it in a terminal, without --json.",
        rpc_code=MISSING_CAPABILITY,
    )
