"""Server processes inside a wall: the order that the starter gets, what it reports, and who went over a limit."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
from typing import Final

from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.config.settings import IsolationSettings
from fluidmcp.errors import CapacityError, ServerProcessError, ServerStartError
from fluidmcp.processes.isolation.reach import ReachBuilder, cache_folders, find_too_wide
from fluidmcp.processes.isolation.starter import Starter
from fluidmcp.processes.isolation.wall import (
    NO_MACHINE,
    UserIds,
    Wall,
    can_isolate,
    choose_wall,
    paths_too_wide,
    refuse_accounts,
)
from fluidmcp.processes.launch.home import FOLDERS
from fluidmcp.processes.launch.spec import Place, holds_nul, no_interpreter, spawn_failure
from fluidmcp.processes.process import ServerProcess
from fluidmcp.processes.starter_child.keeper import END_NOW, SIGNAL_EXIT_CODE
from fluidmcp.processes.starter_child.order import (
    FAILED_TO_CONFINE,
    FAILED_TO_ENTER,
    THREADS_PER_PROCESS,
    Kept,
    Limits,
    Notice,
    Order,
    Reach,
    Report,
)

logger = logging.getLogger(__name__)

USER_ID_RETRY_SECONDS: Final = 5.0
_MEGABYTE: Final = 1024 * 1024
_LIMIT_TEXTS: Final = {
    "memory": ("{used} MB of memory, and {allowed} MB are allowed (FMCP_MAX_MEMORY_MB)", _MEGABYTE),
    "disk": ("{used} MB of disk in its home, and {allowed} MB are allowed (FMCP_MAX_DISK_MB)", _MEGABYTE),
    "processes": ("{used} processes, and {allowed} are allowed (FMCP_MAX_TASKS)", 1),
    "threads": (f"{{used}} threads, and {{allowed}} are allowed (FMCP_MAX_TASKS times {THREADS_PER_PROCESS})", 1),
}


class KeptChild:
    """The keeper of a confined server: it is a child of ours, although the starter made it."""

    def __init__(self, pid: int, starter: Starter, *, is_first: bool) -> None:
        """`is_first`: it is the first process of a PID namespace, which cannot end by a signal."""
        self.pid = pid
        self._starter = starter
        self._is_first = is_first

    def wait(self) -> int:
        # The starter may have told already why the process was ended, without anybody having read it.
        self._starter.read_notices()
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        is_signal = self._is_first and code - SIGNAL_EXIT_CODE in signal.valid_signals()
        return SIGNAL_EXIT_CODE - code if is_signal else code

    def kill(self) -> None:
        os.kill(self.pid, END_NOW)


class Confinement:
    """Starts confined processes. `operator_home` is the home whose files they do not reach."""

    def __init__(self, settings: IsolationSettings, *, operator_home: str) -> None:
        self._settings = settings
        self._starter = Starter(self._on_notice)
        self._user_ids = UserIds(settings.user_ids)
        self._operator_home = operator_home
        self._reaches: ReachBuilder | None = None
        self._processes: dict[int, ServerProcess] = {}
        self._told: set[tuple[str, str]] = set()
        """Folders already reported as out of reach, with the package that names them."""
        self._limits = Limits(
            memory_bytes=settings.max_memory_bytes,
            processes=settings.max_tasks,
            open_files=settings.max_open_files,
            disk_bytes=settings.max_disk_bytes,
        )

    @property
    def starter_pid(self) -> int | None:
        return self._starter.pid

    async def choose_wall(self, level: IsolationLevel) -> Wall:
        """What `level` means here; starts the starter, where it is not there yet.

        Raises:
            ConfigurationError: a level that was asked for by its name cannot be had here, or its user ids are in use.
            ServerStartError: the starter cannot be started.
        """
        if level == "none" or not can_isolate():
            return choose_wall(level, NO_MACHINE, None)
        await self._starter.start()
        wall = choose_wall(level, self._starter.machine, self._settings.user_ids)
        if wall.has_user_ids and self._settings.user_ids is not None:
            refuse_accounts(self._settings.user_ids)
        return wall

    def take_user_id(self, wall: Wall, package: str) -> int | None:
        """A user id for one process, None where the wall has none; `give_back` it when the process is gone.

        Raises:
            CapacityError: all of them are in use.
        """
        if not wall.has_user_ids:
            return None
        user_id = self._user_ids.take()
        if user_id is None:
            raise CapacityError(
                f"There is no free user id for a server process of '{package}'.",
                why="Every id of FMCP_UID_RANGE belongs to a process that runs.",
                hint="Give FMCP_UID_RANGE at least as many ids as FMCP_MAX_PROCESSES allows processes.",
                retry_after_seconds=USER_ID_RETRY_SECONDS,
            )
        return user_id

    def give_back(self, user_id: int) -> None:
        self._user_ids.give_back(user_id)

    async def spawn(self, place: Place, pipes: tuple[int, int, int]) -> KeptChild:
        """Start a process with the child's ends of its pipes, inside the wall of `place`.

        Raises:
            ServerStartError: it could not be confined, or its program not be executed.
        """
        order = self._build_order(place)
        if any("\0" in text for text in (*order.argv, *order.environment, *order.environment.values())):
            raise holds_nul(place.spec)
        report = await self._starter.launch(order, pipes)
        if report.pid is None or report.failed_at:
            if report.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(report.pid, signal.SIGKILL)
                await asyncio.to_thread(os.waitpid, report.pid, 0)
            raise _explain(place, order, report)
        return KeptChild(report.pid, self._starter, is_first=place.wall.has_namespaces)

    def watch(self, process: ServerProcess, place: Place) -> None:
        """`process` runs: listen for its limits, and take back what it had when it is gone."""
        self._processes[process.pid] = process
        home = None if place.home is None or place.wall.has_namespaces else str(place.home)
        self._starter.keep(Kept(process.pid, self._limits, home))
        process.add_cleaned_callback(lambda: self._forget(process.pid, place.user_id))

    async def close(self) -> None:
        await self._starter.close()

    def _forget(self, pid: int, user_id: int | None) -> None:
        del self._processes[pid]
        self._starter.forget(pid)
        if user_id is not None:
            self.give_back(user_id)

    def _on_notice(self, notice: Notice) -> None:
        process = self._processes.get(notice.pid)
        if process is not None:
            text, unit = _LIMIT_TEXTS[notice.limit]
            used, allowed = -(-notice.used // unit), notice.allowed // unit
            process.note_limit(f"ended because it used {text.format(used=used, allowed=allowed)}")

    def _build_order(self, place: Place) -> Order:
        spec = place.spec
        directory = os.path.abspath(spec.directory)
        reach = Reach(keeps_files=True) if place.home is None else self._build_reach(place, directory)
        if place.home is not None:
            self._warn_of_unreached(place, directory, reach)
        if place.home is not None and not _is_reached(directory, reach):
            if spec.default_directory is not None:
                raise _out_of_reach(place, directory)
            directory = str(place.home)
        return Order(
            program=place.program,
            argv=(place.program, *spec.fill_args()),
            environment=place.environment,
            directory=directory,
            has_landlock=place.wall.has_landlock,
            has_namespaces=place.wall.has_namespaces,
            user_id=place.user_id,
            # Where persons' files are those of other users, nobody needs to get at these.
            keeps_capabilities=place.home is None and not place.wall.has_user_ids,
            home=None if place.home is None else str(place.home),
            home_folders=FOLDERS,
            home_files=tuple((file.target, file.text) for file in spec.files) if place.wall.has_namespaces else (),
            reach=reach,
            limits=self._limits,
        )

    def _warn_of_unreached(self, place: Place, directory: str, reach: Reach) -> None:
        """Warn once of each folder that arguments name and isolation keeps away: the server itself can only fail."""
        for word in place.spec.public_args:
            path = os.path.realpath(os.path.join(directory, word))
            if word.startswith("-") or "/" not in word or not os.path.isdir(path):
                continue
            known = (*reach.read, *reach.write)
            told = (place.spec.package, path)
            if told not in self._told and not any(path == folder or path.startswith(folder + "/") for folder in known):
                self._told.add(told)
                logger.warning(
                    'isolation keeps %s from %s; if the server needs it: "paths": {"read": ["%s"]}, or "write"',
                    path,
                    place.spec.package,
                    path,
                )

    def _kept_out(self, place: Place) -> tuple[str, ...]:
        return (self._operator_home, "" if place.home is None else str(place.home.parent))

    def _build_reach(self, place: Place, directory: str) -> Reach:
        spec = place.spec
        too_wide = find_too_wide((*spec.paths.read, *spec.paths.write), *self._kept_out(place))
        if too_wide is not None:
            raise paths_too_wide(spec.package, too_wide)
        # A package's own file describes nobody else's server.
        source = "" if spec.owns_directory else spec.source
        if spec.may_install:
            for folder in cache_folders(spec.environment):
                # A folder must exist before it can be opened for the process that is to fill it.
                with contextlib.suppress(OSError):
                    os.makedirs(folder, exist_ok=True)
        if self._reaches is None:
            self._reaches = ReachBuilder(self._operator_home)
        return self._reaches.build(
            program=place.program,
            args=spec.public_args,
            environment=spec.environment,
            named=spec.named,
            directory=directory,
            default_directory=os.path.abspath(spec.default_directory or directory),
            owns_directory=spec.owns_directory,
            left_out=[os.path.realpath(path) for path in (source, os.path.dirname(place.home or "")) if path],
            read=spec.paths.read,
            write=spec.paths.write,
            may_install=spec.may_install,
        )


def _is_reached(directory: str, reach: Reach) -> bool:
    """Whether a process can be started in a folder: it sees something of it."""
    real = os.path.realpath(directory)
    whole = (*reach.read, *reach.write)
    if any(real == path or real.startswith(path + "/") for path in whole):
        return True
    return any(path == real or path.startswith(real + "/") for path in (*whole, *reach.listed))


def _out_of_reach(place: Place, directory: str) -> ServerStartError:
    """A process that silently ran elsewhere would do something else than the entry says."""
    return ServerStartError(
        f"The server of '{place.spec.package}' could not be started.",
        why=f"Its `cwd` {directory} is out of reach of a process that serves one known person "
        f"({place.wall.describe()}).",
        hint=f'Add "paths": {{"read": ["{directory}"]}} to the entry, or "write", or remove `cwd`.',
    )


def _explain(place: Place, order: Order, report: Report) -> ServerProcessError:
    spec = place.spec
    what = f"The server of '{spec.package}' could not be started."
    reason = os.strerror(report.errno) if report.errno else report.detail
    if report.failed_at == FAILED_TO_ENTER:
        return ServerStartError(
            what,
            why=f"Its process may not enter its working directory {order.directory}: {reason}.",
            hint='Name the folder in "paths": {"read": [...]} of the entry, or let other users enter it (uid).',
        )
    if report.failed_at == FAILED_TO_CONFINE or report.pid is None:
        return ServerStartError(
            f"The server of '{spec.package}' could not be isolated, and was not started.",
            why=f"Isolation {place.wall.describe()}: {report.detail or 'the starter'} failed: {reason}.",
            hint="Restart the gateway to have it look again at what this machine can do.",
        )
    error = OSError(report.errno, reason)
    if error.errno in (errno.ENOENT, errno.EACCES) and place.home is not None:
        return ServerStartError(
            what,
            why=f"Inside its isolation ({place.wall.describe()}) the program {place.program} or its interpreter "
            f"cannot be executed: {reason}.",
            hint='Name the folder of the program and of its interpreter in "paths": {"read": [...]} of the entry'
            + (", and let other users read it." if place.user_id is not None else "."),
        )
    return no_interpreter(spec) if error.errno == errno.ENOENT else spawn_failure(spec, error)
