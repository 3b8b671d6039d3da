"""The lines of calls that a gateway of this event loop writes."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from fluidmcp.observability.logs import Event, JsonFormatter, TextFormatter
from tests.gateway.front.messages import mirror_entry
from tests.gateway.front.wire import LIMIT_SECONDS
from tests.gateway.running import RunningGateway, running_gateway

FIELDS: Final = ["package", "method", "status", "milliseconds", "request_id", "person"]


class Lines(logging.Handler):
    """What is written of calls, from here on."""

    def __init__(self) -> None:
        super().__init__()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, Event)
        for formatter in (TextFormatter(), JsonFormatter()):
            line = formatter.format(record)
            assert line.isprintable(), line
            assert len(line) < 2000, line
        told = json.loads(JsonFormatter().format(record))
        first, *rest = (list(told)[:10], *list(told)[10:])
        assert first == ["time", "level", "logger", "message", *FIELDS]
        assert rest in ([], ["messages", "methods"], ["count"])
        self._events.put_nowait({name: told[name] for name in [*FIELDS, *rest]})

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._events.get()

    def is_empty(self) -> bool:
        return self._events.empty()

    async def seen(self, *names: str) -> tuple[Any, ...]:
        told = await self.next()
        return tuple(told[name] for name in names or ("package", "method", "status"))


@contextmanager
def written_lines() -> Generator[Lines]:
    handler, logger = Lines(), logging.getLogger("fluidmcp.access")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


@asynccontextmanager
async def running_mirror(lines: Lines, **options: Any) -> AsyncGenerator[RunningGateway]:
    """A gateway whose server runs, so that calls take the front where there is one."""
    async with running_gateway([mirror_entry()], access_log=True, **options) as running:
        if options.get("guard") is None:
            await running.rpc("mirror", "mirror/echo")
            await lines.next()
        yield running
