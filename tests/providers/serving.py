"""A real HTTP server on loopback for an ASGI app of a test."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp


@asynccontextmanager
async def serve(app: ASGIApp, *, tells_time: bool = True) -> AsyncGenerator[str]:
    """Serve the app on a free port of 127.0.0.1; the address without trailing slash.

    Without `tells_time` the answers have no `Date` but that of the app.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
        loop="none",
        access_log=False,
        date_header=tells_time,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        async with asyncio.timeout(5):
            await serving
        listener.close()
