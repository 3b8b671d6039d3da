"""From a launch specification to a running server process: its program, its home, its pipes, its wall."""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import subprocess
from pathlib import Path
from typing import Protocol

from fluidmcp.errors import ServerStartError
from fluidmcp.processes.isolation.confinement import Confinement
from fluidmcp.processes.launch.environment import forget_caches
from fluidmcp.processes.launch.home import choose_home, create_home, home_variables, remove_home
from fluidmcp.processes.launch.installed import InstalledPrograms, OnInstall
from fluidmcp.processes.launch.spec import LaunchSpec, Place, find_program, holds_nul, no_interpreter, spawn_failure
from fluidmcp.processes.pipes import MAX_READ_BYTES, PipeReader, Pipes, PipeWriter
from fluidmcp.processes.process import Child, PlainChild, ServerProcess
from fluidmcp.processes.watchdog import Watchdog

logger = logging.getLogger(__name__)


def ignore_install(_: ServerProcess) -> None:
    """Nobody wants to know."""


class Launcher(Protocol):
    """Starts server processes."""

    async def launch(self, spec: LaunchSpec, *, on_install: OnInstall = ignore_install) -> ServerProcess:
        """Start a process; `on_install` is told of one that installs it first, which may take minutes.

        Raises ServerStartError when the program cannot be run.
        """
        ...


class ColdLauncher:
    """Starts every process afresh."""

    def __init__(
        self,
        watchdog: Watchdog,
        *,
        confinement: Confinement | None = None,
        homes: Path | None = None,
        stop_timeout_seconds: float = 2.0,
        install_timeout_seconds: float = 600.0,
    ) -> None:
        """`confinement` starts what asks for isolation; without one nothing can be isolated.

        `homes`: the directory for private homes, by default the system's temporary one. `install_timeout_seconds` is
        how long a runner may take to install a package.
        """
        self._watchdog = watchdog
        self._confinement = confinement
        self._homes = homes
        self._installed = InstalledPrograms(self._launch, install_timeout_seconds=install_timeout_seconds)
        self._stop_timeout_seconds = stop_timeout_seconds

    async def launch(self, spec: LaunchSpec, *, on_install: OnInstall = ignore_install) -> ServerProcess:
        """Start the process; it is registered with the watchdog when this returns.

        Raises:
            ServerStartError: the command or its directory is not there, or may not be used, or cannot be isolated.
            ConfigurationError: this machine does not have the isolation that was asked for.
            CapacityError: every user id of FMCP_UID_RANGE is in use.
        """
        if await self._has_read_only_caches(spec):
            spec = await self._installed.replace(spec, on_install)
        return await self._launch(spec)

    async def _has_read_only_caches(self, spec: LaunchSpec) -> bool:
        if self._confinement is None or not spec.private_home:
            return False
        return not (await self._confinement.choose_wall(spec.isolation)).is_none

    async def _launch(self, spec: LaunchSpec) -> ServerProcess:
        program = find_program(spec)
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
            place = Place(spec=spec, program=program, environment={**spec.environment, **dict([self._watchdog.mark])})
            if self._confinement is not None and spec.isolation != "none":
                place.wall = await self._confinement.choose_wall(spec.isolation)
                if spec.private_home and not spec.may_install:
                    # A process that installs writes to the caches, which belong to the gateway's user.
                    place.user_id = self._confinement.take_user_id(place.wall, spec.package)
                if place.user_id is not None:
                    unless_started.callback(self._confinement.give_back, place.user_id)
            if spec.private_home:
                place.home = choose_home(self._homes)
                unless_started.push_async_callback(self._delete_home, place.home)
                self._create_home(place, place.home)
                if not (place.wall.is_none or spec.may_install):
                    forget_caches(place.environment)
                place.environment.update(home_variables(place.home))
                place.environment.update(
                    (file.variable, str(place.home / file.target)) for file in spec.files if file.variable
                )
            process = await self._spawn(place, unless_started)
            unless_started.pop_all()
        return process

    async def _spawn(self, place: Place, unless_started: contextlib.AsyncExitStack) -> ServerProcess:
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
                pipes = (child_stdin.fileno(), child_stdout, child_stderr)
                if self._confinement is None or place.wall.is_none:
                    child: Child = _spawn(place, pipes)
                else:
                    child = await self._confinement.spawn(place, pipes)
                unless_spawned.pop_all()
        # In the same turn of the loop, so that hardly a moment is left to the watchdog's mark.
        self._watchdog.register(child.pid, place.home)
        unless_started.callback(self._abandon, child)
        loop = asyncio.get_running_loop()
        process = ServerProcess(
            place.spec.package,
            child=child,
            pipes=Pipes(
                stdin=await loop.connect_write_pipe(PipeWriter, stdin),
                stdout=PipeReader(stdout),
                stderr=PipeReader(stderr),
            ),
            secrets=place.spec.secrets,
            home=place.home,
            watchdog=self._watchdog,
            stop_timeout_seconds=self._stop_timeout_seconds,
        )
        if self._confinement is not None and not place.wall.is_none:
            self._confinement.watch(process, place)
        return process

    def _create_home(self, place: Place, home: Path) -> None:
        spec = place.spec
        self._watchdog.announce_home(home)
        # In namespaces the home that the process sees is another one: a file system in memory, with the files in it.
        try:
            create_home(home, user_id=place.user_id, files=() if place.wall.has_namespaces else spec.files)
        except OSError as exc:
            raise ServerStartError(
                f"The server of '{spec.package}' could not be given a private home directory.",
                why=f"A directory could not be made: {os.strerror(exc.errno or errno.EIO)}.",
                hint="Look at the free space and the permissions of the temporary directory.",
            ) from exc

    async def _delete_home(self, home: Path) -> None:
        await asyncio.to_thread(remove_home, home)
        self._watchdog.forget_home(home)

    def _abandon(self, child: Child) -> None:
        """The start failed after the birth: end what was born."""
        child.kill()
        child.wait()
        self._watchdog.unregister(child.pid)


def _open_pipe(child_ends: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe: the descriptors of the reading end and of the writing end, which `child_ends` closes."""
    read_end, write_end = os.pipe()
    with contextlib.suppress(OSError):  # this user has too much memory in pipes: it stays as it is
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, MAX_READ_BYTES)
    child_ends.callback(os.close, write_end)
    return read_end, write_end


def _spawn(place: Place, pipes: tuple[int, int, int]) -> PlainChild:
    """Start the program in a session of its own, with nothing open but its three pipes, and no wall around it.

    `subprocess` and not the event loop: uvloop leaves the gateway's own inherited descriptors open in the child, cuts
    arguments at a NUL character, and reports the birth only turns later; plain asyncio needs a thread per process.
    """
    stdin, stdout, stderr = pipes
    spec = place.spec
    try:
        popen = subprocess.Popen(
            [place.program, *spec.fill_args()],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=place.environment,
            cwd=spec.directory,
            start_new_session=True,
        )
        return PlainChild(popen)
    except FileNotFoundError as exc:
        raise no_interpreter(spec) from exc
    except OSError as exc:
        raise spawn_failure(spec, exc) from exc
    except ValueError as exc:
        raise holds_nul(spec) from exc
