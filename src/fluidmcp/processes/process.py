"""One server process: started in a session of its own, spoken to line by line, never left behind.

Lines come in and go out as bytes; what they mean is not known here. A process has an owner who calls `stop`; a process
that dies by itself takes its whole group with it and cleans up after itself. There is no task per process: the event
loop calls back.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from fluidmcp.config.secret import Secret
from fluidmcp.errors import CapacityError, ServerExitedError
from fluidmcp.processes.launch.home import remove_home
from fluidmcp.processes.pipes import LineBuffer, Pipes, watch_exit
from fluidmcp.processes.stderr import StderrTail
from fluidmcp.processes.watchdog import Watchdog

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What may wait for a server that does not read its input."""
MAX_LINE_BYTES = 256 * 1024 * 1024
"""A server that writes more than this without a newline is ended."""
EXIT_DRAIN_SECONDS = 0.05
"""How long the pipes of a dead process are still read when somebody outside its group holds them open."""
KILL_TIMEOUT_SECONDS = 5.0
"""How long the kernel may take to end a killed process before it is given up."""
OVERLOAD_RETRY_SECONDS = 5.0


def _ignore_line(_: bytes) -> None:
    """Nobody listens any more."""


class Child(Protocol):
    """A child process of ours that leads a process group."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int:
        """Reap it, once it is dead; its exit code, negative for a signal."""
        ...

    def kill(self) -> None:
        """Kill it and all that it started."""
        ...


class PlainChild:
    """A child that `subprocess` started: its group is what can be killed."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self._popen = popen
        self.pid = popen.pid

    def wait(self) -> int:
        return self._popen.wait()

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)


class ServerProcess:
    """A running child. Built by a launcher, with its pipes connected; for one event loop only."""

    def __init__(
        self,
        package: str,
        *,
        child: Child,
        pipes: Pipes,
        secrets: Iterable[Secret],
        home: Path | None,
        watchdog: Watchdog,
        stop_timeout_seconds: float,
    ) -> None:
        self.pid = child.pid
        self.package = package
        self._loop = asyncio.get_running_loop()
        self._child = child
        self._stdin, self._stdin_writer = pipes.stdin
        self._stdout = pipes.stdout
        self._stderr = pipes.stderr
        self._home = home
        self._watchdog = watchdog
        self._stop_timeout_seconds = stop_timeout_seconds
        self._lines = LineBuffer()
        self._early_lines: list[bytes] = []
        self._tail = StderrTail(package, secrets)
        self._on_line: Callable[[bytes], None] = self._early_lines.append
        self._on_exit: Callable[[], None] | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._unsent_bytes = 0
        self._returncode: int | None = None
        self._limit_passed = ""
        self._on_cleaned: Callable[[], None] | None = None
        self._is_finished = False
        self._exited = asyncio.Event()
        self._cleaned = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._stdout.attach(self._read_stdout, self._finish_when_drained)
        self._stderr.attach(self._tail.feed, self._finish_when_drained)
        watch_exit(self.pid, self._handle_exit)

    def __repr__(self) -> str:
        return f"<ServerProcess {self.package} pid={self.pid} {self.exit_description()}>"

    @property
    def is_alive(self) -> bool:
        return self._returncode is None

    def connect(self, on_line: Callable[[bytes], None], on_exit: Callable[[], None]) -> None:
        """Hand every stdout line to `on_line` from now on, those that came before first, and call `on_exit` once.

        Lines come without their newline; blank ones are left out. `on_exit` comes after the last line. Both are called
        by the event loop and must not raise.
        """
        early, self._early_lines = self._early_lines, []
        for line in early:
            on_line(line)
        self._on_line = on_line
        self._on_exit = on_exit
        if self._is_finished:
            self._loop.call_soon(on_exit)

    def write(self, line: bytes) -> None:
        """Send one line (without newline); what is written within one turn of the event loop goes out as one piece.

        Raises:
            ServerExitedError: the process is gone or has closed its input.
            CapacityError: more than 64 MiB wait because the server does not read.
        """
        if self._returncode is not None or self._stopping is not None:
            raise ServerExitedError(f"The server process of '{self.package}' is gone.", why=self.exit_description())
        if not self._stdin_writer.is_open:
            raise ServerExitedError(f"The server process of '{self.package}' has closed its input.")
        size = len(line) + 1
        # What the pipe has not taken is asked for once per turn of the event loop.
        if not self._outgoing:
            self._unsent_bytes = self._stdin.get_write_buffer_size()
        if self._unsent_bytes + self._outgoing_bytes > MAX_WAITING_BYTES:
            raise CapacityError(
                f"The server process of '{self.package}' does not read its input.",
                why="Too many bytes wait for it already.",
                retry_after_seconds=OVERLOAD_RETRY_SECONDS,
            )
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += (line, b"\n")
        self._outgoing_bytes += size

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines of stderr: at most 20, at most 500 characters each, without secrets and control characters."""
        return self._tail.lines()

    @property
    def stderr_reads(self) -> int:
        """How often it has written to stderr, as far as that can be told: it only grows."""
        return self._tail.reads

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below 0 it is the number of the signal that ended it."""
        return self._returncode

    def exit_description(self) -> str:
        """How it ended: `exit code 3`, `killed by SIGKILL`, or the limit that it passed; `running` while it has not."""
        if self._returncode is None:
            return "running"
        if self._limit_passed:
            return self._limit_passed
        if self._returncode >= 0:
            return f"exit code {self._returncode}"
        try:
            return f"killed by {signal.Signals(-self._returncode).name}"
        except ValueError:
            return f"killed by signal {-self._returncode}"

    def note_limit(self, text: str) -> None:
        """It is being ended because it went over a limit; `text` says which."""
        logger.warning("server process %d of %s: %s", self.pid, self.package, text)
        self._limit_passed = text

    def add_cleaned_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the process is gone and its home is deleted."""
        self._on_cleaned = callback

    async def wait_exited(self) -> None:
        """Return when the process is gone, its last line is read and `on_exit` has been called."""
        await self._exited.wait()

    async def stop(self) -> None:
        """End the process and all it started, and delete its home: close stdin, wait, SIGTERM, wait, SIGKILL.

        Takes at most twice the stop timeout and the time the kernel needs. May be called any number of times, also at
        once; a caller who is cancelled does not stop the stopping.
        """
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._flush()
        self._stdin.close()
        if not await self.exits_within(self._stop_timeout_seconds):
            self._signal_group(signal.SIGTERM)
            if not await self.exits_within(self._stop_timeout_seconds):
                self._kill()
                if not await self.exits_within(KILL_TIMEOUT_SECONDS):
                    self._signal_group(signal.SIGKILL)
                    # It stays registered: the watchdog tries once more when the gateway ends.
                    logger.error("server process %d of %s survives SIGKILL", self.pid, self.package)
                    return
        await self._cleaned.wait()

    async def exits_within(self, seconds: float) -> bool:
        """Whether it has ended, its last words read, before so much time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def _kill(self) -> None:
        if self._returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._child.kill()

    def _signal_group(self, signum: signal.Signals) -> None:
        if self._returncode is not None:
            # Reaped: the number may be another's by now.
            return
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            # All of them are gone already.
            return
        except PermissionError:
            logger.warning("server process %d of %s runs as another user now", self.pid, self.package)

    def _flush(self) -> None:
        if not self._outgoing:
            return
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        self._outgoing_bytes = 0
        if self._stdin_writer.is_open and not self._stdin.is_closing():
            self._stdin.write(data)

    def _read_stdout(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._on_line(line)
        if self._lines.waiting_bytes > MAX_LINE_BYTES:
            logger.warning("%s wrote a line longer than %d bytes and is ended", self.package, MAX_LINE_BYTES)
            self._lines.take_rest()
            self._kill()

    def _handle_exit(self) -> None:
        """The leader is dead: so are its descendants from now on, and what they still hold open will end."""
        # Before it is reaped: until then the number of the group cannot belong to anybody else.
        self._signal_group(signal.SIGKILL)
        self._returncode = self._child.wait()
        self._finish_when_drained()
        if not self._is_finished:
            self._loop.call_later(EXIT_DRAIN_SECONDS, self._finish)

    def _finish_when_drained(self) -> None:
        if self._returncode is not None and not (self._stdout.is_open or self._stderr.is_open):
            self._finish()

    def _finish(self) -> None:
        if self._is_finished:
            return
        self._is_finished = True
        self._tail.end()
        rest = self._lines.take_rest().removesuffix(b"\r")
        if rest:
            self._on_line(rest)
        # Frees all pipes; also those that a stray descendant still holds at its end.
        for transport in (self._stdin, self._stdout, self._stderr):
            transport.close()
        self._exited.set()
        logger.debug("server process %d of %s ended: %s", self.pid, self.package, self.exit_description())
        if self._on_exit is not None:
            self._on_exit()
        self._on_line = _ignore_line
        if self._home is None:
            self._end_cleaning()
        else:
            removal = self._loop.run_in_executor(None, remove_home, self._home)
            removal.add_done_callback(self._handle_removal)

    def _handle_removal(self, removal: asyncio.Future[bool]) -> None:
        if removal.cancelled() or removal.exception() is not None or not removal.result():
            logger.warning("the private home of a server process of %s could not be deleted", self.package)
        self._end_cleaning()

    def _end_cleaning(self) -> None:
        self._watchdog.unregister(self.pid)
        self._cleaned.set()
        if self._on_cleaned is not None:
            self._on_cleaned()
