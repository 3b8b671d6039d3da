"""What is to be started, where it is found, and what is said when it cannot be."""

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fluidmcp.config.filling.files import PrivateFile
from fluidmcp.config.isolation import IsolationLevel, Paths
from fluidmcp.config.secret import Secret
from fluidmcp.errors import ServerStartError
from fluidmcp.processes.isolation.wall import Wall


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """What to start. `secrets` are the values that must not show in what the process writes to stderr."""

    package: str
    command: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(repr=False)
    directory: Path
    private_home: bool = False
    """Whether it serves one known person, who has a home of their own and reaches nothing of the operator's."""
    secrets: tuple[Secret, ...] = ()
    personal_variables: frozenset[str] = frozenset()
    """The variables of the environment that hold something of the person."""
    personal_args: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The arguments that hold something of the person, by what stands for them in `args` until the birth."""
    files: tuple[PrivateFile, ...] = field(default=(), repr=False)
    """What is written into the private home before the start."""
    isolation: IsolationLevel = "none"
    paths: Paths = field(default_factory=Paths)
    """What it needs of the file system beyond what every process may reach."""
    named: tuple[str, ...] = field(default=(), repr=False)
    """Values of the entry's `env`: files that they name may be read."""
    owns_directory: bool = False
    """Whether `directory`, or the default one, holds this package and nothing else."""
    default_directory: Path | None = None
    """The working directory that it would have without the `cwd` of its entry; None: the entry has none."""
    source: str = ""
    """The file that describes the server, which its processes may not read."""
    may_install: bool = False
    """Whether it may write to the caches of package managers: the first start of a package, for nobody."""

    @property
    def public_args(self) -> tuple[str, ...]:
        """The arguments that hold nothing of the person: files that they name may be read."""
        return tuple(word for word in self.args if word not in self.personal_args)

    def fill_args(self) -> tuple[str, ...]:
        """The arguments as the process gets them."""
        return tuple(self.personal_args.get(word, word) for word in self.args)


@dataclass(slots=True, kw_only=True)
class Place:
    """A start that is under way: what was found and made for it so far."""

    spec: LaunchSpec
    program: str
    """Absolute."""
    environment: dict[str, str] = field(repr=False)
    wall: Wall = field(default_factory=Wall)
    user_id: int | None = None
    home: Path | None = None


def find_program(spec: LaunchSpec) -> str:
    """The absolute path of the command, looked for as the child's own shell would: in its PATH, from its directory.

    Checked here because the system reports a missing command, directory and interpreter alike.
    """
    if not spec.directory.is_dir():
        raise ServerStartError(
            f"The server of '{spec.package}' could not be started.",
            why=f"Its working directory {spec.directory} does not exist.",
            hint="Create the directory, or correct `cwd` of the entry.",
        )
    if "/" in spec.command:
        path = os.path.abspath(spec.directory / spec.command)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        if os.path.exists(path):
            raise spawn_failure(spec, PermissionError(errno.EACCES, ""))
        raise spawn_failure(spec, FileNotFoundError(errno.ENOENT, ""))
    found = shutil.which(spec.command, path=spec.environment.get("PATH", os.defpath))
    if found is None:
        raise spawn_failure(spec, FileNotFoundError(errno.ENOENT, ""))
    return os.path.abspath(found)


def spawn_failure(spec: LaunchSpec, exc: OSError) -> ServerStartError:
    what = f"The server of '{spec.package}' could not be started."
    if isinstance(exc, FileNotFoundError):
        return ServerStartError(
            what,
            why=f"The command '{spec.command}' was not found.",
            hint="Install it, or give its full path as `command` of the entry.",
        )
    if isinstance(exc, PermissionError) and not os.access(spec.directory, os.X_OK):
        return ServerStartError(
            what,
            why=f"Its process may not enter its working directory {spec.directory}: Permission denied.",
            hint="Let the gateway's user enter it, or correct `cwd` of the entry.",
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


def no_interpreter(spec: LaunchSpec) -> ServerStartError:
    """The command is there, and yet the system found nothing."""
    return ServerStartError(
        f"The server of '{spec.package}' could not be started.",
        why=f"The interpreter that the first line of '{spec.command}' names was not found.",
        hint="Install the interpreter, or name it as `command` and the script in `args`.",
    )


def holds_nul(spec: LaunchSpec) -> ServerStartError:
    return ServerStartError(
        f"The server of '{spec.package}' could not be started.",
        why="An argument or a variable of its environment holds a NUL character.",
        hint="Look at `args` and `env` of the entry.",
    )
