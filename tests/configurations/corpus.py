"""Configuration files as people have them, run through the real executable: what does each server process get?

`files/NAME.SUFFIX` (or a folder, where the place of the file matters) is a file in the shape of some program, and
`files/NAME.expected.json` beside it says what must come of it:

    about    one sentence: what the file is there for
    given    env: variables of the gateway; options: of the command line; file: its path, in a folder; programs: paths
             where a server program stands; beside: texts of more files; here: a path in the file that stands for the
             folder where fluidmcp is typed
    served   by name in the address: argv, env, unset, cwd (relative to the case's folder), tools,
             request_timeout_seconds, which is small and is waited for, and never_ready, for one that only hangs
    refused  by name in the file: pieces of the one error that names it
    disabled names in the file that are left out, and said to be
    fails    pieces of the error that refuses the whole file
    threat   the attack of docs/threats.md that it tries

In the texts `{files}` stands for the case's folder, `{home}` for HOME, and `{typed}` for where fluidmcp is typed. The
programs that the files start are tests/servers/probe_server.py under many names, first in PATH.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import pytest

from tests.acceptance.harness import BIN, Finished, RunningGateway, run_fluidmcp, start_fluidmcp

Json = dict[str, Any]

FILES: Final = Path(__file__).parent / "files"
EXPECTED: Final = ".expected.json"
PROBE: Final = Path(__file__).parent.parent / "servers" / "probe_server.py"
PROGRAMS: Final = tuple("bash bunx deno dnx docker node npx pipx pnpm python python3 sh uv uvx my-server".split())
"""What the files start; `bash` and `sh` too, so that what a shell would have got can be seen."""

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "desktop": ("claude", "cherry", "cursor", "lmstudio", "windsurf"),
    "editor": ("amazonq", "augment", "cline", "continue", "kilo", "kiro", "roo", "trae", "visual", "vscode", "zed"),
    "terminal": ("amp", "codex", "copilot", "crush", "gemini", "goose", "opencode", "warp"),
    "framework": ("fast", "librechat", "mcp", "mcpb", "mcpo", "mistral", "registry"),
    "other": ("bare", "faulty", "own", "values", "windows"),
}
"""Which test module has the files of which programs, by the first word of their names."""

LIMIT_SECONDS: Final = 30.0
EXIT_MISTAKE: Final = 2
ALL_TOOLS: Final = ("report", "read_file", "write_file", "delete_file", "list_files", "search", "hang")


@dataclass(frozen=True, slots=True)
class Case:
    """One file and what must come of it."""

    name: str
    source: Path
    """The file, or the folder that holds it."""
    expected: Json

    @property
    def given(self) -> Json:
        return self.expected.get("given", {})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case runs."""

    files: Path
    typed: Path
    home: Path
    programs: Path
    file: str
    """As typed."""

    def fill(self, value: Any) -> Any:
        """A value of the expectation with its folders filled in."""
        if isinstance(value, str):
            for name, folder in (("files", self.files), ("home", self.home), ("typed", self.typed)):
                value = value.replace(f"{{{name}}}", str(folder))
            return value
        if isinstance(value, list):
            return [self.fill(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in cast("Json", value).items()}
        return value


@dataclass(frozen=True, slots=True)
class Said:
    """What the gateway wrote while it started."""

    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """Each error with its reason and its advice, as one text."""
        blocks: list[str] = []
        for line in self.stderr.splitlines():
            if line.startswith("Error: "):
                blocks.append(line)
            elif blocks and line.startswith("  "):
                blocks[-1] += f"\n{line}"
        return blocks

    @property
    def warnings(self) -> list[str]:
        return [
            line
            for line in self.stderr.splitlines()
            # What the machine cannot do is no matter of the file.
            if ("WARNING" in line or line.startswith("Warning: ")) and "isolation" not in line
        ]


def find_cases() -> list[Case]:
    """Every file of the corpus, in a stable order."""
    return [_read_case(path) for path in sorted(FILES.glob(f"*{EXPECTED}"))]


def parametrize(family: str) -> pytest.MarkDecorator:
    """The cases of a family, as `case`."""
    words = FAMILIES[family]
    params = [
        pytest.param(case, id=case.name, marks=_marks(case))
        for case in find_cases()
        if case.name.partition("-")[0] in words
    ]
    return pytest.mark.parametrize("case", params)


def _marks(case: Case) -> Sequence[pytest.MarkDecorator]:
    return [pytest.mark.threat(case.expected["threat"])] if "threat" in case.expected else []


def _read_case(path: Path) -> Case:
    name = path.name.removesuffix(EXPECTED)
    expected: Json = json.loads(path.read_text(encoding="utf-8"))
    sources = [found for found in FILES.glob(f"{name}*") if found.stem == name and found != path]
    assert len(sources) == 1, f"{path.name} stands beside {sources}"
    return Case(name=name, source=sources[0], expected=expected)


def install(case: Case, tmp_path: Path) -> Place:
    """Copy the case to a folder of its own, beside the one where fluidmcp is typed."""
    place = Place(
        files=tmp_path / "files",
        typed=tmp_path / "typed",
        home=tmp_path / "home",
        programs=tmp_path / "programs",
        file=f"../files/{case.given.get('file', case.source.name)}",
    )
    for folder in (place.typed, place.home, place.programs):
        folder.mkdir()
    if case.source.is_dir():
        shutil.copytree(case.source, place.files)
    else:
        place.files.mkdir()
        shutil.copy(case.source, place.files)
    if "here" in case.given:
        path = place.typed / place.file
        path.write_bytes(path.read_bytes().replace(case.given["here"].encode(), str(place.typed).encode()))
    for name, text in case.given.get("beside", {}).items():
        (place.files / name).write_text(text, encoding="utf-8")
    program = place.programs / "probe"
    # Without `site`: it is what takes longest.
    program.write_text(f"#!{sys.executable} -IS\n{PROBE.read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    own = [place.files / path for path in case.given.get("programs", [])]
    for path in (*(place.programs / name for name in PROGRAMS), *own):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(program, path)
    return place


async def check(case: Case, tmp_path: Path) -> None:
    """Run the file and compare; raises AssertionError with all that the gateway wrote."""
    place = install(case, tmp_path)
    expected: Json = place.fill(case.expected)
    args = ("run", place.file, "--start-server", *place.fill(case.given.get("options", [])))
    given: dict[str, str] = place.fill(case.given.get("env", {}))
    env: dict[str, str] = given | {
        "HOME": str(place.home),
        "PATH": f"{place.programs}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    if not expected.get("served"):
        try:
            done = await run_fluidmcp(*args, env=env, cwd=place.typed)
        except TimeoutError:
            raise AssertionError("the gateway serves, and nothing of the file should be") from None
        _check_failure(done, expected)
        _check_secrets(Said(done.stdout, done.stderr), given)
        return
    async with start_fluidmcp(*args, env=env, cwd=place.typed) as gateway:
        await gateway.stdout.wait_for(" ready")
        said = Said(gateway.stdout.text, gateway.stderr.text)
        try:
            _check_said(said, expected)
            _check_secrets(said, given)
            async with asyncio.TaskGroup() as group:
                for name, server in expected["served"].items():
                    if not server.get("never_ready"):
                        group.create_task(_check_server(gateway, name, server, place))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{gateway.report()}") from None
        except BaseExceptionGroup as errors:
            raise AssertionError(f"{errors.exceptions}\n{gateway.report()}") from None


def _check_failure(done: Finished, expected: Json) -> None:
    said = Said(done.stdout, done.stderr)
    everything = f"\n-- stdout\n{said.stdout}\n-- stderr\n{said.stderr}"
    assert done.code == EXIT_MISTAKE, f"exit code {done.code}{everything}"
    assert "Traceback" not in said.stderr, everything
    if "fails" in expected:
        assert len(said.errors) == 1, everything
        missing = [piece for piece in expected["fails"] if piece not in said.errors[0]]
        assert not missing, f"the error does not hold {missing}{everything}"
    else:
        _check_refused(said, expected)


def _check_said(said: Said, expected: Json) -> None:
    added = [line.split()[1] for line in said.stdout.splitlines() if line.startswith("Added ")]
    assert sorted(added) == sorted(expected["served"]), f"served: {added}"
    _check_refused(said, expected)
    for name in expected.get("disabled", []):
        lines = [line for line in said.stderr.splitlines() if "disabled in the file: " in line]
        names = lines[0].partition("disabled in the file: ")[2].split(", ") if lines else []
        assert name in names, f"{name} is not said to be disabled: {names}"
    assert not said.warnings, said.warnings


def _check_refused(said: Said, expected: Json) -> None:
    refused: Mapping[str, list[str]] = expected.get("refused", {})
    assert len(said.errors) == len(refused), f"{len(said.errors)} errors for {list(refused)}:\n{said.stderr}"
    for name, pieces in refused.items():
        matching = [error for error in said.errors if all(piece in error for piece in (name, *pieces))]
        assert matching, f"no error for {name} holds {pieces}:\n{said.stderr}"


def _check_secrets(said: Said, given: Mapping[str, str]) -> None:
    """What a variable holds is in no message: it may be a secret, whatever its name is."""
    told = [name for name, value in given.items() if len(value) > 3 and value in said.stdout + said.stderr]
    assert not told, f"the values of {told} are told:\n{said.stdout}\n{said.stderr}"


async def _check_server(gateway: RunningGateway, name: str, server: Json, place: Place) -> None:
    tools: list[str] = sorted(server.get("tools", ALL_TOOLS))
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
        url = f"{gateway.url}/{name}/mcp"
        listed = await _ask(client, url, "tools/list")
        names = sorted(tool["name"] for tool in listed["result"]["tools"])
        assert names == tools, f"{name} has the tools {names}, not {tools}"
        if "report" in tools:
            answer = await _ask(client, url, "tools/call", name="report", arguments={})
            _check_start(name, json.loads(answer["result"]["content"][0]["text"]), server, place)
        denied = sorted(set(ALL_TOOLS) - set(tools) - {"hang"})
        if denied:
            answer = await _ask(client, url, "tools/call", name=denied[0], arguments={})
            assert "error" in answer, f"{name}: {denied[0]} was called: {answer}"
        if "request_timeout_seconds" in server:
            answer = await _ask(client, url, "tools/call", name="hang", arguments={})
            assert answer["error"]["data"]["error"] == "server_timeout", f"{name}: {answer}"


def _check_start(name: str, started: Json, server: Json, place: Place) -> None:
    """What the process says of its start; `started` is from the probe."""
    argv: list[str] = started["argv"]
    if "argv" in server:
        program = server["argv"][0] if "/" in server["argv"][0] else str(place.programs / server["argv"][0])
        assert argv == [program, *server["argv"][1:]], f"{name}: {argv}"
    env: Mapping[str, str] = started["env"]
    wrong = {key: env.get(key) for key, value in server.get("env", {}).items() if env.get(key) != value}
    assert not wrong, f"{name}: {wrong}"
    present = [key for key in server.get("unset", []) if key in env]
    assert not present, f"{name} has {present}"
    directory = place.files / server["cwd"] if "cwd" in server else place.typed
    assert Path(started["cwd"]) == directory.resolve(), f"{name}: {started['cwd']}"


async def _ask(client: httpx2.AsyncClient, url: str, method: str, **params: Any) -> Json:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return (await client.post(url, json=message)).json()
