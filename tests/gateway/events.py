"""Event streams of a running gateway, read event by event, each within a limit of time."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

EVENT_SECONDS = 20.0


@dataclass
class Event:
    data: str
    event_id: str = ""
    name: str = ""

    @property
    def message(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.data)
        return parsed


class EventSource:
    """One open stream. Comments and events without data (which begin a stream) are passed over."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.last_event_id = ""
        self.begins_with_id = False
        self._lines = response.aiter_lines()

    async def next(self) -> Event:
        """The next event; EOFError when the stream ends, TimeoutError when nothing comes."""
        async with asyncio.timeout(EVENT_SECONDS):
            return await self._next()

    async def message(self) -> dict[str, Any]:
        """The next event's JSON-RPC message."""
        return (await self.next()).message

    async def rest(self) -> list[dict[str, Any]]:
        """All messages until the stream ends."""
        messages: list[dict[str, Any]] = []
        try:
            while True:
                messages.append(await self.message())
        except EOFError:
            return messages

    async def _next(self) -> Event:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields:
                self.last_event_id = fields.get("id", self.last_event_id)
                if fields.get("data"):
                    return Event(fields["data"], fields.get("id", ""), fields.get("event", ""))
                self.begins_with_id = "id" in fields
                fields = {}
        raise EOFError


@asynccontextmanager
async def open_events(
    client: httpx2.AsyncClient, method: str, path: str, **options: Any
) -> AsyncGenerator[EventSource]:
    """A request whose answer must be an event stream; leaving the block closes the connection."""
    async with client.stream(method, path, **options) as response:
        if response.status_code != 200:
            await response.aread()
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        yield EventSource(response)
