"""The web application of a gateway, from the first request on that needs it.

FastAPI takes as long to load as all the rest of a start, and as much memory; MCP needs none of it.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from fluidmcp.gateway.garbage import spare_what_was_loaded

if TYPE_CHECKING:
    from fastapi import FastAPI


class LateWeb:
    """Calls `build` once, in a thread: it loads for a while, in which other requests go on."""

    one_at_a_time: ClassVar = threading.Lock()
    """FastAPI silences warnings of pydantic while it builds, and Python does that for the whole process: of two
    gateways that build at once, one would show them, or fail where warnings are errors."""

    def __init__(self, build: "Callable[[], FastAPI]") -> None:
        self._build = build
        self._app: FastAPI | None = None
        self._building: asyncio.Task[FastAPI] | None = None

    async def get(self) -> "FastAPI":
        """The application; whoever asks while it is built waits for the same one.

        What `build` raises is raised for all of them, and the next request tries it again.
        """
        if self._app is not None:
            return self._app
        if self._building is None:
            self._building = asyncio.create_task(self._load())
        # Whoever goes away does not end it for the others.
        return await asyncio.shield(self._building)

    async def _load(self) -> "FastAPI":
        try:
            self._app = await asyncio.to_thread(self._build_alone)
        finally:
            self._building = None
        spare_what_was_loaded()
        return self._app

    def _build_alone(self) -> "FastAPI":
        with self.one_at_a_time:
            return self._build()
