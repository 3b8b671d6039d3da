"""The event loop's end of a child's pipes: chunks in, lines out."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

MAX_READ_BYTES = 256 * 1024
"""What is taken from a pipe in one turn of the event loop, so that one talkative server does not stop the others."""


class LineBuffer:
    """Cuts a stream into lines. A long line costs its length once: chunks are joined only at its newline."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.waiting_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without LF or CR LF; blank ones are left out."""
        lines = data.split(b"\n")
        last = lines.pop()
        if not lines:
            self._chunks.append(last)
            self.waiting_bytes += len(last)
            return []
        has_waited = bool(self._chunks)
        if has_waited:
            self._chunks.append(lines[0])
            lines[0] = b"".join(self._chunks)
        self._chunks = [last] if last else []
        self.waiting_bytes = len(last)
        if not has_waited and data.find(b"\r") < 0 and all(lines):
            return lines
        return [line for raw in lines if (line := raw.removesuffix(b"\r"))]

    def take_rest(self) -> bytes:
        rest = b"".join(self._chunks)
        self._chunks.clear()
        self.waiting_bytes = 0
        return rest


class PipeReader:
    """Hands on what comes out of one pipe, and that it ended. Owns the descriptor, for the running event loop.

    Not the loop's `connect_read_pipe`: uvloop closes the number of a pipe a second time after libuv has closed it, and
    whatever a thread opened under that number in between is lost.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.is_open = True
        self._descriptor = descriptor
        self._pending: list[bytes] = []
        self._on_data: Callable[[bytes], None] = self._pending.append
        self._on_end: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def attach(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Hand on what came already, and from now on all that comes; `on_end` when the other end is closed."""
        self._on_data, self._on_end = on_data, on_end
        for data in self._pending:
            on_data(data)
        self._pending.clear()

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, MAX_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._on_data(data)
            return
        self.close()
        if self._on_end is not None:
            self._on_end()


class PipeWriter(asyncio.BaseProtocol):
    """Knows whether somebody still reads at the other end."""

    def __init__(self) -> None:
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """The gateway's ends of the three pipes of a child, connected to the event loop."""

    stdin: tuple[asyncio.WriteTransport, PipeWriter]
    stdout: PipeReader
    stderr: PipeReader


def watch_exit(pid: int, on_exit: Callable[[], None]) -> None:
    """Call `on_exit` from the event loop when the child `pid` is dead; it is not reaped by this.

    A descriptor of the process, where the kernel has such, else a thread that waits.
    """
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        threading.Thread(target=_wait_for_exit, args=(pid, loop, on_exit), daemon=True).start()
        return

    def handle_exit() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        on_exit()

    loop.add_reader(descriptor, handle_exit)


def _wait_for_exit(pid: int, loop: asyncio.AbstractEventLoop, on_exit: Callable[[], None]) -> None:
    # Only looks: the dead process keeps its number until its group has been killed.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(RuntimeError):
        # The loop is closed: nobody is there to be told.
        loop.call_soon_threadsafe(on_exit)
