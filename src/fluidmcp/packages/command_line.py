"""`fluidmcp run -- COMMAND ARGS...`: one server out of a command line. Pure module: no I/O."""

import re
from pathlib import Path, PurePath
from typing import Final

from fluidmcp.config.entries import ServerEntry, parse_package_name
from fluidmcp.config.filling.foreign_commands import find_meaning
from fluidmcp.packages.resolve import LoadedServer, LoadedServers

_SOURCE: Final = "the command line"
_RUNNERS: Final = frozenset(
    {"npx", "uvx", "uv", "npm", "bunx", "pnpm", "yarn", "pipx", "docker", "podman", "deno", "bun"}
)
_INTERPRETERS: Final = re.compile(r"python[\d.]*|node|ruby|perl|php|sh|bash|java")
_WORDS: Final = frozenset({"run", "tool", "exec", "x", "dlx"})
_VERSION: Final = re.compile(r"(?<=.)(?:@|==|\[|:).*")


def load_command(command: tuple[str, ...], *, name: str = "", working_directory: Path) -> LoadedServers:
    """The server that a command line starts, in the working directory; `name` is what it is served as.

    Nothing is filled in: a shell has done that.

    Raises:
        ConfigurationError: the name cannot be served.
    """
    program, args = find_meaning(command[0], command[1:])
    served = parse_package_name(name or name_command(program, args), source=_SOURCE)
    entry = ServerEntry(
        name=served,
        command=program,
        args=args,
        written_args=args,
        directory=working_directory,
        source=_SOURCE,
    )
    return LoadedServers(servers=(LoadedServer(entry=entry),))


def name_command(program: str, args: tuple[str, ...]) -> str:
    """A name for what a command line starts: of the package that a runner is told, of the script, or of the program."""
    own = PurePath(program).name
    words = [word for word in args if not word.startswith("-") and word not in _WORDS]
    is_indirect = own in _RUNNERS or _INTERPRETERS.fullmatch(own)
    if "-m" in args[:-1]:
        return args[args.index("-m") + 1].replace(".", "-")
    if not is_indirect or not words:
        return PurePath(own).stem or "server"
    first = words[0]
    if own in _RUNNERS and not first.endswith((".py", ".js", ".ts", ".mjs")):
        return _VERSION.sub("", first.rpartition("/")[2] if own in ("docker", "podman") else first)
    return PurePath(first).stem or "server"
