"""A real HTTP server on loopback for an ASGI app of a test."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

GRACE_SECONDS: Final = 1
"""What a handler that still runs may take at the end of its server."""
STOP_LIMIT_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.004


class PromptServer(uvicorn.Server):
    """uvicorn takes two tenths of a second to see that it should end and that it has; this one looks more often.

    For applications without lifespan.
    """

    async def main_loop(self) -> None:
        # Makes the headers that all answers have.
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(POLL_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(POLL_SECONDS)
                for server in self.servers:
                    await server.wait_closed()
        for task in self.server_state.tasks:
            task.cancel()


@asynccontextmanager
async def serve(app: ASGIApp, *, tells_time: bool = True, certificate: Path | None = None) -> AsyncGenerator[str]:
    """Serve the app on a free port of 127.0.0.1; the address without trailing slash.

    Without `tells_time` the answers have no `Date` but that of the app. With a `certificate` (and its key, in one
    file) it is https.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
        loop="none",
        access_log=False,
        date_header=tells_time,
        ssl_certfile=certificate,
    )
    server = PromptServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        async with asyncio.timeout(STOP_LIMIT_SECONDS):
            await serving
        listener.close()
