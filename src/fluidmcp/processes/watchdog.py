"""The gateway's end of the watchdog: which process groups and private homes must not outlive the gateway.

`PR_SET_PDEATHSIG` would reach only direct children and would kill the children of a thread that ends; one process that
waits for the end of a pipe sees every way in which the gateway can go, SIGKILL and the OOM killer included, and reaches
the grandchildren of `npx` and `uvx` too.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from pathlib import Path

from fluidmcp.errors import ServerStartError
from fluidmcp.processes import watchdog_child

logger = logging.getLogger(__name__)

RESTART_DELAY_SECONDS = 1.0
"""Between two starts of a watchdog that dies at once."""
CLOSE_TIMEOUT_SECONDS = watchdog_child.TERM_GRACE_SECONDS + 4.0
_PROGRAM = os.path.abspath(watchdog_child.__file__)
MARK_NAME = "FLUIDMCP_RUN"
"""The variable by which a process of this gateway is found again when it has left its group."""


class _ExitProtocol(asyncio.SubprocessProtocol):
    def __init__(self, watchdog: "Watchdog") -> None:
        self._watchdog = watchdog
        self.has_exited = asyncio.Event()

    def process_exited(self) -> None:
        self.has_exited.set()
        self._watchdog._on_exit(self)  # pyright: ignore[reportPrivateUsage]


class Watchdog:
    """Starts the watchdog process, tells it what lives, and starts another one when it dies."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._homes: dict[Path, None] = {}
        self._groups: dict[int, Path | None] = {}
        self._pipe: int | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._protocol: _ExitProtocol | None = None
        self._started_at = float("-inf")
        self._restart: asyncio.Task[None] | None = None
        self._is_closing = False

    @property
    def mark(self) -> tuple[str, str]:
        """Name and value of the variable that every server process must have in its environment.

        It closes the gap between the birth of a process and its registration, and finds those that left their group.
        """
        return (MARK_NAME, self._mark)

    @property
    def pid(self) -> int | None:
        """The watchdog's process id; None while there is none."""
        return None if self._transport is None else self._transport.get_pid()

    async def start(self) -> None:
        """Start the watchdog process.

        Raises:
            ServerStartError: the interpreter cannot be started once more.
        """
        try:
            await self._spawn()
        except OSError as exc:
            raise ServerStartError(
                "The watchdog process could not be started.",
                why="Starting another Python process failed; the limit on processes or memory may be reached.",
                hint="Look at `ulimit -u` and at the memory limit of the container.",
            ) from exc

    def announce_home(self, home: Path) -> None:
        """`home` is to be deleted when the gateway goes, although no process lives in it yet."""
        self._homes[home] = None
        self._tell(_home_line(b"H", home))

    def forget_home(self, home: Path) -> None:
        if home in self._homes:
            del self._homes[home]
            self._tell(_home_line(b"h", home))

    def register(self, pgid: int, home: Path | None) -> None:
        """The process group `pgid` lives, in `home` if it has a private one. In force when this returns."""
        self._groups[pgid] = home
        self._tell(b"G %d\n" % pgid)
        if home is not None and home not in self._homes:
            self.announce_home(home)

    def unregister(self, pgid: int) -> None:
        """The process group is gone and its home is deleted. Unknown groups are ignored."""
        if pgid in self._groups:
            home = self._groups.pop(pgid)
            self._tell(b"g %d\n" % pgid)
            if home is not None:
                self.forget_home(home)

    async def close(self) -> None:
        """End the watchdog; it takes with it whatever is still registered."""
        self._is_closing = True
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.wait({self._restart})
        self._close_pipe()
        transport, protocol = self._transport, self._protocol
        if transport is None or protocol is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await protocol.has_exited.wait()
        except TimeoutError:
            logger.warning("the watchdog did not end in time and is killed")
        # Kills it if it still runs.
        transport.close()
        self._transport = self._protocol = None

    async def _spawn(self) -> None:
        self._started_at = asyncio.get_running_loop().time()
        read_end, write_end = os.pipe()
        with contextlib.ExitStack() as unless_started, contextlib.ExitStack() as always:
            always.callback(os.close, read_end)
            unless_started.callback(os.close, write_end)
            os.set_blocking(write_end, False)
            transport, protocol = await asyncio.get_running_loop().subprocess_exec(
                lambda: _ExitProtocol(self),
                sys.executable,
                "-I",
                "-S",
                _PROGRAM,
                stdin=read_end,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
            unless_started.pop_all()
        self._transport, self._protocol = transport, protocol
        self._pipe = write_end
        self._tell(b"M %s\n" % f"{MARK_NAME}={self._mark}".encode().hex().encode())
        for home in self._homes:
            self._tell(_home_line(b"H", home))
        for pgid in self._groups:
            self._tell(b"G %d\n" % pgid)
        if protocol.has_exited.is_set():
            self._on_exit(protocol)

    def _tell(self, line: bytes) -> None:
        """One line, written before anything else happens, unless there is no watchdog at the moment.

        Its successor is told everything. Lines are shorter than PIPE_BUF, so each is written whole or not at all.
        """
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, line)
        except BrokenPipeError:
            self._close_pipe()
        except BlockingIOError:
            # 64 KiB unread: it is stopped or stuck. It must be dead before its pipe closes, or it would end them all.
            logger.warning("the watchdog does not read and is replaced")
            if self._transport is not None:
                self._transport.kill()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _on_exit(self, protocol: _ExitProtocol) -> None:
        if self._is_closing or protocol is not self._protocol:
            return
        logger.warning("the watchdog process died; starting another one")
        self._close_pipe()
        if self._transport is not None:
            self._transport.close()
        self._transport = self._protocol = None
        self._restart = asyncio.get_running_loop().create_task(self._spawn_again())

    async def _spawn_again(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._started_at + RESTART_DELAY_SECONDS - loop.time()))
            try:
                await self._spawn()
            except OSError:
                logger.warning("the watchdog process could not be started; trying again")
            else:
                return


def _home_line(verb: bytes, home: Path) -> bytes:
    # Hexadecimal: a path may hold any byte, a newline too.
    return verb + b" " + os.fsencode(home).hex().encode() + b"\n"
