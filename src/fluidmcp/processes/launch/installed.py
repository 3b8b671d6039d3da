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
from typing import Final, TypeAlias

from fluidmcp.errors import ServerStartError
from fluidmcp.packages.npm_programs import choose_program
from fluidmcp.processes.isolation.reach import cache_folders
from fluidmcp.processes.launch.runners import RunnerCall, parse_runner
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.process import ServerProcess

Launch = Callable[[LaunchSpec], Awaitable[ServerProcess]]
_FOR_THE_QUESTION: Final = {"UV_COMPILE_BYTECODE": "1", "npm_config_update_notifier": "false"}
"""Compile now, because persons' processes may not write beside the code; and print nothing but the answer."""
_MAX_MANIFEST_BYTES: Final = 1024 * 1024

_Found = tuple[str, str]
"""The program, and the PATH to run it with."""
OnInstall: TypeAlias = Callable[[ServerProcess], None]
"""Told of the runner that installs, before its end is waited for."""


class _Question:
    """A runner that is asked, and those who wait for its answer."""

    def __init__(self) -> None:
        self.task: asyncio.Task[_Found | None]
        self._process: ServerProcess | None = None
        self._waiters: list[OnInstall] = []

    def tell(self, process: ServerProcess) -> None:
        self._process = process
        for on_install in self._waiters:
            on_install(process)

    async def wait(self, on_install: OnInstall) -> None:
        """Until there is an answer. The last one who goes away before it ends the question: it may hang."""
        if self._process is not None and not self.task.done():
            on_install(self._process)
        self._waiters.append(on_install)
        try:
            # Not `await task`: a caller who is cancelled must not cancel the question for the others.
            await asyncio.wait({self.task})
        finally:
            self._waiters.remove(on_install)
            if not self._waiters and not self.task.done():
                self.task.cancel()

    @property
    def is_good(self) -> bool:
        """Whether it goes on, or what was found is still there."""
        if not self.task.done():
            return not self.task.cancelling()
        if self.task.cancelled() or self.task.exception() is not None:
            return False
        found = self.task.result()
        return found is None or os.path.exists(found[0])


class InstalledPrograms:
    """Remembers, for as long as the gateway runs, where the programs of runners are."""

    def __init__(self, launch: Launch, *, install_timeout_seconds: float) -> None:
        """`launch` starts a process that may write to the caches."""
        self._launch = launch
        self._install_timeout_seconds = install_timeout_seconds
        self._questions: dict[tuple[str, str, tuple[str, ...]], _Question] = {}

    async def replace(self, spec: LaunchSpec, on_install: OnInstall) -> LaunchSpec:
        """The specification that starts the program itself; `spec` unchanged where its command is no known runner call.

        Raises:
            ServerStartError: the runner could not install the package, or did not say where it is.
        """
        call = parse_runner(spec.command, spec.args)
        if call is None:
            return spec
        if not spec.personal_args.keys().isdisjoint(call.question):
            raise ServerStartError(
                f"The server of '{spec.package}' could not be started.",
                why=f"An argument of `{spec.command}` itself holds a value of a person, and the package is installed "
                "once for everybody.",
                hint="Put the placeholder behind the name of the package in `args`, or into `env`.",
            )
        key = (spec.package, spec.command, spec.args)
        question = self._questions.get(key)
        if question is None or not question.is_good:
            question = self._questions[key] = _Question()
            question.task = asyncio.create_task(self._ask(spec, call, question))
        await question.wait(on_install)
        found = question.task.result()
        if found is None:
            return spec
        program, path = found
        return replace(spec, command=program, args=call.args, environment={**spec.environment, "PATH": path})

    async def _ask(self, spec: LaunchSpec, call: RunnerCall, question: _Question) -> _Found | None:
        environment = {**spec.environment, **_FOR_THE_QUESTION}
        for name in spec.personal_variables:
            environment.pop(name, None)
        asked = replace(spec, args=call.question, environment=environment, personal_args={}, files=(), may_install=True)
        process = await self._launch(asked)
        question.tell(process)
        lines: list[bytes] = []
        process.connect(lines.append, lambda: None)
        try:
            async with asyncio.timeout(self._install_timeout_seconds):
                await process.wait_exited()
            ending = process.exit_description()
        except TimeoutError:
            ending = f"no answer within {self._install_timeout_seconds:g} seconds"
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


def _read_program(folder: Path, package: str) -> str | None:
    """The name of the program of an npm package whose dependencies' programs are in `folder`."""
    try:
        with (folder.parent / package / "package.json").open("rb") as file:
            manifest: object = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except (OSError, ValueError):
        return None
    return choose_program(package, manifest.get("bin")) if isinstance(manifest, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
