"""Starts directly what `npx` and `uvx` would run, where their caches may only be read: no known person may write what
another person's process executes.

Each package's runner is asked once, with nobody's token, where the program is; that also installs it. The processes of
persons then start from what is there, without the runner, which is faster and takes less memory.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from fluidmcp.errors import ServerStartError
from fluidmcp.processes.isolation.reach import cache_folders
from fluidmcp.processes.launch.runners import RunnerCall, choose_program, parse_runner
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.process import ServerProcess

Launch = Callable[[LaunchSpec], Awaitable[ServerProcess]]
_FOR_THE_QUESTION: Final = {"UV_COMPILE_BYTECODE": "1", "npm_config_update_notifier": "false"}
"""Compile now, because persons' processes may not write beside the code; and print nothing but the answer."""
INSTALL_SECONDS: Final = 600.0
"""How long a runner may take to install a package and say where it is."""
_MAX_MANIFEST_BYTES: Final = 1024 * 1024

_Found = tuple[str, str]
"""The program, and the PATH to run it with."""


class InstalledPrograms:
    """Remembers, for as long as the gateway runs, where the programs of runners are."""

    def __init__(self, launch: Launch) -> None:
        """`launch` starts a process that may write to the caches."""
        self._launch = launch
        self._found: dict[tuple[str, str, tuple[str, ...]], asyncio.Task[_Found | None]] = {}

    async def replace(self, spec: LaunchSpec) -> LaunchSpec:
        """The specification that starts the program itself; `spec` unchanged where its command is no known runner call.

        Raises:
            ServerStartError: the runner could not install the package, or did not say where it is.
        """
        call = parse_runner(spec.command, spec.args)
        if call is None:
            return spec
        key = (spec.package, spec.command, spec.args)
        task = self._found.get(key)
        if task is None or (task.done() and not _is_good(task)):
            task = self._found[key] = asyncio.create_task(self._ask(spec, call))
        # Not `await task`: a caller who is cancelled must not cancel the question for the others.
        await asyncio.wait({task})
        found = task.result()
        if found is None:
            return spec
        program, path = found
        return replace(spec, command=program, args=call.args, environment={**spec.environment, "PATH": path})

    async def _ask(self, spec: LaunchSpec, call: RunnerCall) -> _Found | None:
        environment = {**spec.environment, **_FOR_THE_QUESTION}
        environment.pop(spec.token_variable, None)
        process = await self._launch(replace(spec, args=call.question, environment=environment, may_install=True))
        lines: list[bytes] = []
        process.connect(lines.append, lambda: None)
        try:
            async with asyncio.timeout(INSTALL_SECONDS):
                await process.wait_exited()
            ending = process.exit_description()
        except TimeoutError:
            ending = f"no answer within {INSTALL_SECONDS:g} seconds"
        finally:
            await process.stop()
        path = next((os.fsdecode(line) for line in reversed(lines) if line.startswith(b"/")), "")
        folder = path.partition(os.pathsep)[0]
        name = call.program or (_read_program(Path(folder), call.package) if folder else None)
        if ending != "exit code 0" or not name or "/" in name:
            raise ServerStartError(
                f"The server of '{spec.package}' could not be installed.",
                why=f"`{spec.command}` was asked where its program is: {ending}.",
                hint="Read its last lines; try the command by hand.",
                stderr_tail=process.stderr_tail(),
            )
        if not _is_installed(folder, spec.environment):
            # Found somewhere else on the machine: left to the runner, with caches of its own.
            return None
        # Only the folder is taken from what it said: a package's own `sh` may have said it.
        return os.path.join(folder, name), os.pathsep.join((folder, spec.environment.get("PATH", os.defpath)))


def _is_installed(folder: str, environment: Mapping[str, str]) -> bool:
    """Whether a folder is one of a package manager's, and no other that a package names."""
    real = os.path.realpath(folder)
    return any((real + "/").startswith(os.path.realpath(place) + "/") for place in cache_folders(environment))


def _is_good(task: "asyncio.Task[_Found | None]") -> bool:
    """Whether what was found is still there."""
    if task.cancelled() or task.exception() is not None:
        return False
    found = task.result()
    return found is None or os.path.exists(found[0])


def _read_program(folder: Path, package: str) -> str | None:
    """The name of the program of an npm package whose dependencies' programs are in `folder`."""
    try:
        with (folder.parent / package / "package.json").open("rb") as file:
            manifest: object = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except (OSError, ValueError):
        return None
    return choose_program(package, manifest.get("bin")) if isinstance(manifest, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
