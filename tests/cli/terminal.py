"""`fluidmcp` at a terminal of a given size: what it writes to it, and what stands there in the end."""

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.acceptance.harness import BIN, environment

LIMIT_SECONDS: Final = 60.0
_PIECES: Final = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


@dataclass(slots=True)
class Terminal:
    """`written` is all that came, `process` the program."""

    process: asyncio.subprocess.Process
    master: int
    written: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ended: bool = False

    @property
    def screen(self) -> list[str]:
        """The lines that stand there, without colours and spaces at their ends; nothing is scrolled away."""
        lines, row, column = [""], 0, 0
        for piece in _PIECES.finditer(self.written):
            numbers, command = piece.group(1), piece.group(2)
            if command == "A":
                row = max(0, row - int(numbers or 1))
            elif command == "K":
                lines[row] = ""
            elif command is not None:
                assert command in "mhl", f"a sequence that is not expected: {piece.group()!r}"
            elif piece.group() == "\r":
                column = 0
            elif piece.group() == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            else:
                text = piece.group()
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        return [line.rstrip() for line in lines]

    async def wait_for(self, text: str) -> None:
        """Until this was written."""
        async with asyncio.timeout(LIMIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: text in self.written or self._ended)
        assert text in self.written, self.written

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self.master, keys.encode())

    async def read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):  # how the end of a terminal is told
            while data := await reader.read(65536):
                async with self._changed:
                    self.written += data.decode()
                    self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def stop(self) -> int:
        """The exit code after SIGTERM."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def at_terminal(
    *args: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    lines: int = 40,
    columns: int = 120,
    before: Sequence[str] = (),
    stays: bool = True,
    program: str | None = None,
) -> AsyncGenerator[Terminal]:
    """The command with stdin, stdout and stderr at a terminal; stopped at the end of the block.

    `before` is a command that runs the one behind it. `stays` False: the terminal is closed when the program has begun.
    `program` is another one than fluidmcp.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    kept = {name: value for name, value in environment().items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = await asyncio.create_subprocess_exec(
        *before,
        program or str(BIN / "fluidmcp"),
        *args,
        env=kept | {"TERM": "xterm-256color"} | dict(env or {}),
        cwd=cwd,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    terminal = Terminal(process, master)
    reading: asyncio.Task[None] | None = None
    transport: asyncio.ReadTransport | None = None
    if stays:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(master, "rb", buffering=0)
        )
        reading = asyncio.create_task(terminal.read(reader))
    else:
        os.close(master)
    try:
        yield terminal
    finally:
        await terminal.stop()
        if reading is not None:
            await asyncio.wait((reading,), timeout=LIMIT_SECONDS)
            reading.cancel()
        if transport is not None:
            transport.close()
