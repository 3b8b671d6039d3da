"""What a person types or pastes while something else is awaited, without a thread that would outlive the command."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TextIO

MAX_LINE_BYTES: Final = 64 * 1024


@contextmanager
def read_typed_lines(stream: TextIO | None) -> Generator["asyncio.Queue[str]"]:
    """A queue of the lines that come on the stream, inside a running loop. Nothing comes when there is no stream."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    try:
        descriptor = -1 if stream is None else stream.fileno()
    except (OSError, ValueError):
        descriptor = -1
    if descriptor < 0:
        yield lines
        return
    pending = bytearray()

    def take() -> None:
        chunk = os.read(descriptor, MAX_LINE_BYTES)
        if not chunk:
            loop.remove_reader(descriptor)
        pending.extend(chunk)
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending[:] = rest
            lines.put_nowait(line.decode("utf-8", "replace"))
        if len(pending) > MAX_LINE_BYTES:
            pending.clear()

    try:
        loop.add_reader(descriptor, take)
    except PermissionError:
        # A file, or /dev/null: it is always readable, and the selector does not take it.
        take()
    try:
        yield lines
    finally:
        loop.remove_reader(descriptor)
