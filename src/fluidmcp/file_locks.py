"""Locks on files that processes of one machine respect; the system gives them back when a process dies."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator
from typing import Final

POLL_SECONDS: Final = 0.05
"""The lock of another process sends no event."""


def try_lock(descriptor: int) -> bool:
    """Whether the file is this process's now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.asynccontextmanager
async def hold(descriptor: int, *, wait_seconds: float) -> AsyncGenerator[None]:
    """Hold the lock on an open file, which is closed at the end.

    Raises:
        TimeoutError: somebody else held it all the time.
    """
    try:
        async with asyncio.timeout(wait_seconds):
            while not try_lock(descriptor):  # noqa: ASYNC110 - see POLL_SECONDS
                await asyncio.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
