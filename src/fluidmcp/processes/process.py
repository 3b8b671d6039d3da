"""One server process: started in a session of its own, spoken to line by line, never left behind.

Lines come in and go out as bytes; what they mean is not known here. A process has an owner who calls `stop`; a process
that dies by itself takes its whole group with it and cleans up after itself. There is no task per process: the event
loop calls back.
"""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fluidmcp.config.secret import Secret
from fluidmcp.errors import CapacityError, ServerExitedError, ServerStartError
from fluidmcp.processes.home import choose_home, create_home, home_variables, remove_home
from fluidmcp.processes.pipes import LineBuffer, PipeReader, Pipes, PipeWriter, watch_exit
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """What to start. `secrets` are the values that must not show in what the process writes to stderr."""

    package: str
    command: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(repr=False)
    directory: Path
    private_home: bool = False
    secrets: tuple[Secret, ...] = ()


class Launcher(Protocol):
    """Starts server processes."""

    async def launch(self, spec: LaunchSpec) -> "ServerProcess":
        """Raises ServerStartError when the program cannot be run."""
        ...


class ServerProcess:
    """A running child. Built by a launcher, with its pipes connected; for one event loop only."""

    def __init__(
        self,
        spec: LaunchSpec,
        *,
        popen: "subprocess.Popen[bytes]",
        pipes: Pipes,
        home: Path | None,
        watchdog: Watchdog,
        stop_timeout_seconds: float,
    ) -> None:
        self.pid = popen.pid
        self.package = spec.package
        self._loop = asyncio.get_running_loop()
        self._popen = popen
        self._stdin, self._stdin_writer = pipes.stdin
        self._stdout = pipes.stdout
        self._stderr = pipes.stderr
        self._home = home
        self._watchdog = watchdog
        self._stop_timeout_seconds = stop_timeout_seconds
        self._lines = LineBuffer()
        self._early_lines: list[bytes] = []
        self._tail = StderrTail(spec.package, spec.secrets)
        self._on_line: Callable[[bytes], None] = self._early_lines.append
        self._on_exit: Callable[[], None] | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._returncode: int | None = None
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
        if not self.is_alive or self._stopping is not None:
            raise ServerExitedError(f"The server process of '{self.package}' is gone.", why=self.exit_description())
        if not self._stdin_writer.is_open:
            raise ServerExitedError(f"The server process of '{self.package}' has closed its input.")
        if self._stdin.get_write_buffer_size() + self._outgoing_bytes > MAX_WAITING_BYTES:
            raise CapacityError(
                f"The server process of '{self.package}' does not read its input.",
                why="Too many bytes wait for it already.",
                retry_after_seconds=OVERLOAD_RETRY_SECONDS,
            )
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += (line, b"\n")
        self._outgoing_bytes += len(line) + 1

    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines of stderr: at most 20, at most 500 characters each, without secrets and control characters."""
        return self._tail.lines()

    def exit_description(self) -> str:
        """How it ended: `exit code 3`, `killed by SIGKILL`; `running` while it has not."""
        if self._returncode is None:
            return "running"
        if self._returncode >= 0:
            return f"exit code {self._returncode}"
        try:
            return f"killed by {signal.Signals(-self._returncode).name}"
        except ValueError:
            return f"killed by signal {-self._returncode}"

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
        if not await self._exits_within(self._stop_timeout_seconds):
            self._signal_group(signal.SIGTERM)
            if not await self._exits_within(self._stop_timeout_seconds):
                self._signal_group(signal.SIGKILL)
                if not await self._exits_within(KILL_TIMEOUT_SECONDS):
                    # It stays registered: the watchdog tries once more when the gateway ends.
                    logger.error("server process %d of %s survives SIGKILL", self.pid, self.package)
                    return
        await self._cleaned.wait()

    async def _exits_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

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
            self._signal_group(signal.SIGKILL)

    def _handle_exit(self) -> None:
        """The leader is dead: so are its descendants from now on, and what they still hold open will end."""
        # Before it is reaped: until then the number of the group cannot belong to anybody else.
        self._signal_group(signal.SIGKILL)
        self._returncode = self._popen.wait()
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


class ColdLauncher:
    """Starts every process afresh."""

    def __init__(self, watchdog: Watchdog, *, homes: Path | None = None, stop_timeout_seconds: float = 2.0) -> None:
        """`homes`: the directory for private homes, by default the system's temporary one."""
        self._watchdog = watchdog
        self._homes = homes
        self._stop_timeout_seconds = stop_timeout_seconds

    async def launch(self, spec: LaunchSpec) -> ServerProcess:
        """Start the process; it is registered with the watchdog when this returns.

        Raises:
            ServerStartError: the command or its directory is not there, or may not be used.
        """
        program = _find_program(spec)
        # A task of its own: cancelled half-way, uvloop would close descriptors twice.
        start = asyncio.create_task(self._start(spec, program))
        try:
            process = await asyncio.shield(start)
        except asyncio.CancelledError:
            await asyncio.wait({start})
            if not start.cancelled() and start.exception() is None:
                await start.result().stop()
            raise
        logger.debug("started server process %d of %s", process.pid, spec.package)
        return process

    async def _start(self, spec: LaunchSpec, program: str) -> ServerProcess:
        async with contextlib.AsyncExitStack() as unless_started:
            environment = {**spec.environment, **dict([self._watchdog.mark])}
            home = None
            if spec.private_home:
                home = choose_home(self._homes)
                unless_started.push_async_callback(self._delete_home, home)
                self._create_home(spec, home)
                environment.update(home_variables(home))
            # Pipes of our own: uvloop would make sockets, on which `echo >/dev/stderr` of a shell script fails.
            with contextlib.ExitStack() as child_ends:
                stdin, child_stdin = socket.socketpair()
                child_ends.callback(child_stdin.close)
                stdout, child_stdout = _open_pipe(child_ends)
                stderr, child_stderr = _open_pipe(child_ends)
                with contextlib.ExitStack() as unless_spawned:
                    unless_spawned.callback(stdin.close)
                    for descriptor in (stdout, stderr):
                        unless_spawned.callback(os.close, descriptor)
                    popen = _spawn(spec, program, environment, (child_stdin.fileno(), child_stdout, child_stderr))
                    unless_spawned.pop_all()
            # In the same turn of the loop, so that hardly a moment is left to the watchdog's mark.
            self._watchdog.register(popen.pid, home)
            unless_started.callback(self._abandon, popen)
            loop = asyncio.get_running_loop()
            process = ServerProcess(
                spec,
                popen=popen,
                pipes=Pipes(
                    stdin=await loop.connect_write_pipe(PipeWriter, stdin),
                    stdout=PipeReader(stdout),
                    stderr=PipeReader(stderr),
                ),
                home=home,
                watchdog=self._watchdog,
                stop_timeout_seconds=self._stop_timeout_seconds,
            )
            unless_started.pop_all()
        return process

    def _create_home(self, spec: LaunchSpec, home: Path) -> None:
        self._watchdog.announce_home(home)
        try:
            create_home(home)
        except OSError as exc:
            raise ServerStartError(
                f"The server of '{spec.package}' could not be given a private home directory.",
                why=f"A directory could not be made: {os.strerror(exc.errno or errno.EIO)}.",
                hint="Look at the free space and the permissions of the temporary directory.",
            ) from exc

    async def _delete_home(self, home: Path) -> None:
        await asyncio.to_thread(remove_home, home)
        self._watchdog.forget_home(home)

    def _abandon(self, popen: "subprocess.Popen[bytes]") -> None:
        """The start failed after the birth: end what was born."""
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        self._watchdog.unregister(popen.pid)


def _open_pipe(child_ends: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe: the descriptors of the reading end and of the writing end, which `child_ends` closes."""
    read_end, write_end = os.pipe()
    child_ends.callback(os.close, write_end)
    return read_end, write_end


def _spawn(
    spec: LaunchSpec, program: str, environment: Mapping[str, str], pipes: tuple[int, int, int]
) -> "subprocess.Popen[bytes]":
    """Start the program in a session of its own, with nothing open but its three pipes.

    `subprocess` and not the event loop: uvloop leaves the gateway's own inherited descriptors open in the child, cuts
    arguments at a NUL character, and reports the birth only turns later; plain asyncio needs a thread per process.
    """
    stdin, stdout, stderr = pipes
    try:
        return subprocess.Popen(
            [program, *spec.args],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=spec.directory,
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        # The command itself was there a moment ago.
        raise ServerStartError(
            f"The server of '{spec.package}' could not be started.",
            why=f"The interpreter that the first line of '{spec.command}' names was not found.",
            hint="Install the interpreter, or name it as `command` and the script in `args`.",
        ) from exc
    except OSError as exc:
        raise _spawn_failure(spec, exc) from exc
    except ValueError as exc:
        raise ServerStartError(
            f"The server of '{spec.package}' could not be started.",
            why="An argument or a variable of its environment holds a NUL character.",
            hint="Look at `args` and `env` of the entry.",
        ) from exc


def _find_program(spec: LaunchSpec) -> str:
    """The absolute path of the command, looked for as the child's own shell would: in its PATH, from its directory.

    Checked here because the system reports a missing command, directory and interpreter alike.
    """
    if not spec.directory.is_dir():
        raise ServerStartError(
            f"The server of '{spec.package}' could not be started.",
            why=f"Its working directory {spec.directory} does not exist.",
            hint="Create the directory, or correct the path in the entry.",
        )
    if "/" in spec.command:
        path = os.path.abspath(spec.directory / spec.command)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        if os.path.exists(path):
            raise _spawn_failure(spec, PermissionError(errno.EACCES, ""))
        raise _spawn_failure(spec, FileNotFoundError(errno.ENOENT, ""))
    found = shutil.which(spec.command, path=spec.environment.get("PATH", os.defpath))
    if found is None:
        raise _spawn_failure(spec, FileNotFoundError(errno.ENOENT, ""))
    return os.path.abspath(found)


def _spawn_failure(spec: LaunchSpec, exc: OSError) -> ServerStartError:
    what = f"The server of '{spec.package}' could not be started."
    if isinstance(exc, FileNotFoundError):
        return ServerStartError(
            what,
            why=f"The command '{spec.command}' was not found.",
            hint="Install it, or give its full path as `command` of the entry.",
        )
    if isinstance(exc, PermissionError):
        return ServerStartError(
            what,
            why=f"The command '{spec.command}' may not be executed.",
            hint="Make it executable (chmod +x), or correct `command` in the entry.",
        )
    if exc.errno == errno.ENOEXEC:
        return ServerStartError(
            what,
            why=f"The command '{spec.command}' is not a program for this machine.",
            hint="A script needs an interpreter in its first line (#!/usr/bin/env ...).",
        )
    return ServerStartError(
        what,
        why=f"The system refused: {os.strerror(exc.errno or errno.EIO)}.",
        hint="Look at the limits on processes, open files and memory of the gateway.",
    )
