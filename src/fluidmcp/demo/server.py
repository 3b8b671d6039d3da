"""gmail-mock: an MCP server on stdio that reads one person's mail, with the token it finds in its environment.

It serves whoever owns `GMAIL_ACCESS_TOKEN` and asks the mail API at `GMAIL_API_URL` (Google's, when that is not set).
It only reads, and its answers and errors never show the token.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

import httpx2
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import read_environment

TOKEN_VARIABLE: Final = "GMAIL_ACCESS_TOKEN"
URL_VARIABLE: Final = "GMAIL_API_URL"
GOOGLE_API_URL: Final = "https://gmail.googleapis.com"
REQUEST_TIMEOUT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
MAX_LISTED: Final = 25
MAX_TEXT_CHARACTERS: Final = 50_000

_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")

# Plain JSON, named for readability: the shapes are Gmail's and checked where they are read.
Json = dict[str, Any]


class Account(BaseModel):
    """Whose mailbox this is."""

    email: str
    messages_total: int


class MessageSummary(BaseModel):
    id: str
    sender: str
    subject: str
    date: str
    snippet: str
    unread: bool


class Message(MessageSummary):
    to: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """What the environment says: both may be wrong, which the tools then explain."""

    token: Secret
    api_url: str

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.api_url).hostname in _LOOPBACK_NAMES

    def check(self) -> None:
        """Raises ToolError when no request may be made with these settings."""
        if not self.token:
            raise ToolError(
                f"{TOKEN_VARIABLE} is not set: this server reads mail for one person and needs that person's access "
                "token. Log in at /gmail-mock/auth/login of the gateway and send the token with the request."
            )
        if not _TOKEN.fullmatch(self.token.reveal()):
            raise ToolError(f"{TOKEN_VARIABLE} does not hold an access token: it has characters no token has.")
        parts = urlsplit(self.api_url)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and self.is_loopback)
        if not is_safe or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ToolError(f"{URL_VARIABLE} must be an https address (plain http only on this machine).")


def load_mail_settings(environ: Mapping[str, str]) -> MailSettings:
    token = Secret(environ.get(TOKEN_VARIABLE, "").strip())
    return MailSettings(token=token, api_url=(environ.get(URL_VARIABLE) or GOOGLE_API_URL).rstrip("/"))


class MailClient:
    """Asks the mail API; every failure is a ToolError that says what to do."""

    def __init__(self, settings: MailSettings, http: httpx2.AsyncClient) -> None:
        self._settings = settings
        self._http = http

    async def get(self, path: str, **params: str | int) -> Json:
        """The JSON object at `/gmail/v1/users/me{path}`.

        Raises:
            ToolError: what went wrong, in words for the person or model that called the tool.
        """
        self._settings.check()
        url = f"{self._settings.api_url}/gmail/v1/users/me{path}"
        headers = {"Authorization": f"Bearer {self._settings.token.reveal()}", "Accept": "application/json"}
        try:
            async with self._http.stream("GET", url, params=params, headers=headers) as response:
                body = await _read_body(response)
        except httpx2.TimeoutException as exc:
            raise ToolError("The mail service did not answer in time. Please try again.") from exc
        except httpx2.HTTPError as exc:
            raise ToolError("The mail service cannot be reached. Please try again later.") from exc
        if response.status_code != 200:
            raise ToolError(_explain_refusal(response.status_code))
        try:
            value = json.loads(body)
        except ValueError as exc:
            raise ToolError("The mail service answered something that is not JSON.") from exc
        if not isinstance(value, dict):
            raise ToolError("The mail service answered something unexpected.")
        return cast(Json, value)


@asynccontextmanager
async def open_mail_client(settings: MailSettings) -> AsyncGenerator[MailClient]:
    # A proxy of the environment is right for Google and wrong for a service on this machine.
    trust_env = not settings.is_loopback
    async with httpx2.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS, trust_env=trust_env) as http:
        yield MailClient(settings, http)


def create_server(settings: MailSettings) -> MCPServer:
    """The MCP server with its three tools."""
    server = MCPServer(
        "gmail-mock",
        title="Mail of the person who logged in",
        version="1.0.0",
        instructions="Reads the mailbox of the person whose access token this server was started with.",
        # INFO would log every request; stderr is for what somebody has to look at.
        log_level="WARNING",
        subscriptions=False,
    )
    read_only = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=True)

    @server.tool(title="Who am I?", annotations=read_only)
    async def whoami() -> Account:  # pyright: ignore[reportUnusedFunction]
        """Say whose mailbox this is."""
        async with open_mail_client(settings) as client:
            profile = await client.get("/profile")
        return Account(email=_text(profile.get("emailAddress")), messages_total=_number(profile.get("messagesTotal")))

    @server.tool(title="List messages", annotations=read_only)
    async def list_messages(  # pyright: ignore[reportUnusedFunction]
        limit: Annotated[int, Field(ge=1, le=MAX_LISTED, description="How many messages, newest first.")] = 10,
    ) -> list[MessageSummary]:
        """List the newest messages with sender, subject and a snippet."""
        async with open_mail_client(settings) as client:
            listed = await client.get("/messages", maxResults=limit)
            ids = [_text(entry.get("id")) for entry in _objects(listed.get("messages"))][:limit]
            wanted = [message_id for message_id in ids if _MESSAGE_ID.fullmatch(message_id)]
            return [_read_summary(await client.get(f"/messages/{id_}", format="metadata")) for id_ in wanted]

    @server.tool(title="Read a message", annotations=read_only)
    async def get_message(  # pyright: ignore[reportUnusedFunction]
        id: Annotated[str, Field(description="The id of a message, as list_messages gives it.")],
    ) -> Message:
        """Read one message as plain text."""
        if not _MESSAGE_ID.fullmatch(id):
            raise ToolError("This is not the id of a message; list_messages gives them.")
        async with open_mail_client(settings) as client:
            return _read_message(await client.get(f"/messages/{id}", format="full"))

    return server


async def _read_body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ToolError("The answer of the mail service is too large.")
    return bytes(body)


def _explain_refusal(status: int) -> str:
    match status:
        case 401:
            return "The mail service refused the access token: it is expired or revoked. Please log in again."
        case 403:
            return "The access token does not allow this. Please log in again and allow reading mail."
        case 404:
            return "There is no such message in this mailbox."
        case 429:
            return "The mail service asks to slow down. Please try again in a minute."
        case _:
            return f"The mail service answered with HTTP status {status}."


def _read_summary(message: Json) -> MessageSummary:
    headers = _read_headers(message)
    return MessageSummary(
        id=_text(message.get("id")),
        sender=headers.get("from", ""),
        subject=headers.get("subject", ""),
        date=headers.get("date", ""),
        snippet=_text(message.get("snippet")),
        unread="UNREAD" in _list(message.get("labelIds")),
    )


def _read_message(message: Json) -> Message:
    text = next(_find_plain_texts(_object(message.get("payload"))), "")
    return Message(
        **_read_summary(message).model_dump(),
        to=_read_headers(message).get("to", ""),
        text=text[:MAX_TEXT_CHARACTERS] or _text(message.get("snippet")),
    )


def _read_headers(message: Json) -> dict[str, str]:
    """The headers by lower-case name; the first of each wins."""
    headers: dict[str, str] = {}
    for header in _objects(_object(message.get("payload")).get("headers")):
        headers.setdefault(_text(header.get("name")).lower(), _text(header.get("value")))
    return headers


def _find_plain_texts(payload: Json) -> Iterator[str]:
    """The text/plain parts in order, without recursion: a message may nest deeply."""
    waiting = [payload]
    while waiting:
        part = waiting.pop()
        waiting.extend(reversed(_objects(part.get("parts"))))
        data = _text(_object(part.get("body")).get("data"))
        if part.get("mimeType") == "text/plain" and data:
            try:
                yield urlsafe_b64decode(data + "=" * (-len(data) % 4)).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                continue


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _objects(value: object) -> list[Json]:
    return [_object(item) for item in _list(value)]


def main() -> None:
    create_server(load_mail_settings(read_environment())).run()


if __name__ == "__main__":
    main()
