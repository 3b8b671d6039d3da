"""Real npm and uv against a registry on loopback: what is installed, refused, held by the lock, and left behind."""

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
import sysconfig
from collections.abc import Generator
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError, FluidMCPError, InstallError, UnknownPackageError
from fluidmcp.packages.found import FoundPackage
from fluidmcp.packages.resolve import find_packages
from fluidmcp.packages.sources.install import InstallOptions, InstallPlace, install_package, uninstall_package
from fluidmcp.packages.sources.installed import find_changed, find_start_hint, resolve_package_key, resolve_spec
from fluidmcp.packages.sources.lock import LOCK_FILE, LockedPackage, read_lock
from tests.packages.sources.registry import JAVASCRIPT_SERVER, PYTHON_SERVER, Registry, open_registry

pytestmark = pytest.mark.needs("node")

BIN = {"bin": {"server": "index.js"}}
FILES = {"index.js": JAVASCRIPT_SERVER}


@pytest.fixture(scope="module")
def registry() -> Generator[Registry]:
    with open_registry() as opened:
        yield opened


@pytest.fixture
def search_path(tmp_path: Path) -> str:
    """A PATH without Node and uv: what FluidMCP's own environment has is used."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env", "dirname", "realpath"):
        (folder / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return str(folder)


class Stage:
    def __init__(self, registry: Registry, folder: Path, search_path: str) -> None:
        self.registry = registry
        self.directory = folder / "packages"
        self.steps: list[str] = []
        self.environ = registry.environ(folder, search_path)

    def install(self, text: str, options: InstallOptions | None = None) -> LockedPackage:
        return self.try_install(text, options)[0]

    def try_install(self, text: str, options: InstallOptions | None = None) -> tuple[LockedPackage, bool]:
        return install_package(text, self.place, options or InstallOptions())

    @property
    def place(self) -> InstallPlace:
        return InstallPlace(directory=self.directory, environ=self.environ, report=self.steps.append)

    def find(self) -> tuple[FoundPackage, ...]:
        return find_packages(self.directory)

    def changed(self) -> dict[str, ConfigurationError]:
        return find_changed(self.find(), directory=self.directory)

    def is_empty(self) -> bool:
        return {path.name for path in self.directory.iterdir()} <= {".installing"}


@pytest.fixture
def stage(registry: Registry, tmp_path: Path, search_path: str) -> Stage:
    return Stage(registry, tmp_path, search_path)


def test_a_registry_that_cannot_be_reached_is_named_as_the_reason(stage: Stage):
    stage.environ = {**stage.environ, "npm_config_registry": "http://127.0.0.1:9/", "npm_config_fetch_retries": "0"}
    with pytest.raises(InstallError) as caught:
        stage.install("npm:any")
    assert caught.value.why == "It could not reach its registry (ECONNREFUSED)."


def test_what_cannot_be_removed_is_an_error_of_ours(stage: Stage):
    stage.registry.add_npm("removed", "1.0.0", FILES, **BIN)
    package = stage.install("npm:removed")
    (stage.directory / ".staging").write_text("not a folder")
    with pytest.raises(ConfigurationError, match="could not be removed"):
        uninstall_package(package.spec, stage.place)


def test_a_link_in_place_of_the_held_file_is_not_followed(stage: Stage, tmp_path: Path):
    stage.directory.mkdir(exist_ok=True)
    (stage.directory / ".installing").symlink_to(tmp_path / "made-by-us")
    with pytest.raises(ConfigurationError):
        stage.install("npm:any")
    assert not (tmp_path / "made-by-us").exists()


def test_a_package_of_npm_is_installed_with_what_it_needs(stage: Stage):
    stage.registry.add_npm("needed", "2.0.0", {"index.js": ""}, scripts={"install": "touch ran"})
    stage.registry.add_npm("@scope/full", "1.2.3", FILES, **BIN, dependencies={"needed": "^2.0.0"})
    package = stage.install("npm:@scope/full")
    assert (package.spec, package.slug) == ("npm:@scope/full@1.2.3", "scope-full")
    assert package.skipped_scripts == ("needed@2.0.0",)
    (found,) = stage.find()
    assert found.spec == "npm/scope-full@1.2.3"
    entry = json.loads(found.metadata.read_text())["mcpServers"]["scope-full"]
    assert entry == {"command": "node", "args": ["${__dirname}/node_modules/@scope/full/index.js"]}
    assert not (found.metadata.parent / "node_modules" / "needed" / "ran").exists()
    assert stage.changed() == {}
    assert "--allow-scripts" in find_start_hint(found, directory=stage.directory)
    program = resolve_package_key("npm:@scope/full@1.2", directory=stage.directory)
    assert (program.command, Path(program.args[0]).is_file()) == ("node", True)
    texts = [path.read_text(errors="replace") for path in stage.directory.rglob("*lock*") if path.is_file()]
    assert texts and not any("127.0.0.1" in text for text in texts)


def test_scripts_run_where_they_are_allowed(stage: Stage):
    stage.registry.add_npm("scripted", "1.0.0", FILES, **BIN, scripts={"install": "echo x > ran"})
    package = stage.install("npm:scripted", InstallOptions(allow_scripts=True))
    assert package.skipped_scripts == ()
    assert (package.find_folder(stage.directory) / "node_modules" / "scripted" / "ran").is_file()


def test_a_package_of_pypi_is_installed_and_an_exact_version_is_not_asked_for_again(stage: Stage):
    for version in ("1.0", "1.1"):
        stage.registry.add_wheel("py-one", version, {"one.py": PYTHON_SERVER}, scripts={"py-one": "one:main"})
    assert stage.install("pypi:py_one").version == "1.1"
    package = stage.install("pypi:py-one==1.0")
    assert package.interpreter.startswith("python 3.") and package.requires == "python >=3.9"
    assert resolve_spec("pypi:py-one", directory=stage.directory).version == "1.1"
    assert resolve_spec("pypi:py-one@1.0", directory=stage.directory).version == "1.0"
    before = len(stage.registry.asked)
    assert stage.try_install("pypi:py-one==1.0")[1] is False
    assert len(stage.registry.asked) == before
    assert stage.changed() == {}


@pytest.mark.parametrize(
    ("shebang", "command", "args"),
    [
        ("", "node", 1),
        ("#!/usr/bin/env -S node --no-warnings\n", "node", 2),
        ("#!/bin/sh\n", "${__dirname}/node_modules/odd/run", 0),
    ],
)
def test_node_runs_what_is_javascript_and_nothing_else(stage: Stage, shebang: str, command: str, args: int):
    stage.registry.npm.pop("odd", None)
    stage.registry.add_npm("odd", "1.0.0", {"run": f"{shebang}true\n"}, bin="run")
    package = stage.install("npm:odd")
    path = package.find_folder(stage.directory) / "metadata.json"
    entry = json.loads(path.read_text())["mcpServers"]["odd"]
    assert (entry["command"], len(entry["args"])) == (command, args)
    if not args:
        assert (path.parent / "node_modules" / "odd" / "run").stat().st_mode & stat.S_IXUSR


def test_what_has_no_program_or_several_is_refused_with_what_there_is(stage: Stage):
    registry = stage.registry
    registry.add_npm("library", "1.0.0", {"index.js": ""})
    registry.add_npm("several", "1.0.0", {"a.js": "a", "b.js": "b"}, bin={"a": "a.js", "b": "b.js"})
    registry.add_npm("outside", "1.0.0", {"index.js": ""}, bin="../../package.json")
    registry.add_wheel("py-library", "1.0", {"x.py": ""}, scripts={})
    registry.add_wheel("py-several", "1.0", {"x.py": "def f(): 0"}, scripts={"a": "x:f", "b": "x:f"})
    for text, word in {
        "npm:library": "library",
        "npm:several": "--entry",
        "npm:outside": "no",
        "pypi:py-library": "library",
        "pypi:py-several": "--entry",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            stage.install(text)
        assert word in f"{caught.value.what} {caught.value.hint}", text
    assert stage.is_empty()
    assert stage.install("npm:several", InstallOptions(entry="b")).entry_point.endswith("/b.js")
    assert stage.install("pypi:py-several", InstallOptions(entry="b")).entry_point == "venv/bin/b"


def test_what_the_registry_does_not_have_is_said(stage: Stage):
    stage.registry.add_npm("some", "1.0.0", FILES, **BIN)
    stage.registry.add_wheel("py-some", "1.0", {"x.py": ""}, scripts={"py-some": "x:f"})
    for text in ("npm:none", "npm:some@9.9.9", "pypi:none", "pypi:py-some==9.9"):
        with pytest.raises(UnknownPackageError):
            stage.install(text)
    assert stage.is_empty()


def test_a_package_for_another_python_names_the_one_to_install(stage: Stage):
    stage.registry.add_wheel("py-new", "1.0", {"x.py": ""}, scripts={"py-new": "x:f"}, python=">=3.99")
    stage.registry.add_wheel("py-old", "1.0", {"x.py": ""}, scripts={"py-old": "x:f"}, python=">=3.9,<3.10")
    stage.environ["UV_PYTHON_INSTALL_DIR"] = str(stage.directory)
    with pytest.raises(ConfigurationError) as caught:
        stage.install("pypi:py-old")
    assert "<3.10" in caught.value.what and "uv python install 3.9" in caught.value.hint
    with pytest.raises(ConfigurationError) as caught:
        stage.install("pypi:py-new==1.0")
    assert ">=3.99" in caught.value.what
    for python in ("3.8", "2.7", "--version", "/no/such/python"):
        with pytest.raises(ConfigurationError):
            stage.install("pypi:py-old", InstallOptions(python=python))
    assert stage.is_empty()


def test_an_interpreter_of_a_version_manager_is_found(stage: Stage, tmp_path: Path):
    own = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    folder = tmp_path / ".pyenv" / "versions" / own / "bin"
    folder.mkdir(parents=True)
    (folder / "python3").symlink_to(sys.executable)
    stage.registry.add_wheel("py-any", "1.0", {"x.py": ""}, scripts={"py-any": "x:f"})
    package = stage.install("pypi:py-any", InstallOptions(python=f"{sys.version_info.major}.{sys.version_info.minor}"))
    assert package.interpreter == f"python {own}"
    assert stage.install("pypi:py-any", InstallOptions(python=str(folder / "python3"))).interpreter == f"python {own}"
    assert resolve_package_key("pypi:py-any", directory=stage.directory, python=own).version == "1.0"
    with pytest.raises(ConfigurationError, match="not for Python 3.1") as caught:
        resolve_package_key("pypi:py-any", directory=stage.directory, python="3.1")
    assert "--python 3.1" in caught.value.hint


@pytest.mark.threat("E14")
def test_another_content_for_the_same_version_is_refused(stage: Stage):
    stage.registry.add_npm("swapped", "1.0.0", FILES, **BIN)
    stage.registry.add_wheel("py-swapped", "1.0", {"x.py": "1"}, scripts={"py-swapped": "x:f"})
    for text in ("npm:swapped", "pypi:py-swapped"):
        stage.install(text)
    stage.registry.add_npm("swapped", "1.0.0", {"index.js": f"{JAVASCRIPT_SERVER}//"}, **BIN)
    stage.registry.add_wheel("py-swapped", "1.0", {"x.py": "2"}, scripts={"py-swapped": "x:f"})
    for cache in ("npm", "uv"):
        shutil.rmtree(stage.directory.parent / cache)
    before = (stage.directory / LOCK_FILE).read_bytes()
    for text in ("npm:swapped", "pypi:py-swapped"):
        with pytest.raises(ConfigurationError, match="not the one"):
            stage.install(text)
    assert (stage.directory / LOCK_FILE).read_bytes() == before
    assert stage.changed() == {}
    for text in ("npm:swapped", "pypi:py-swapped"):
        stage.install(text, InstallOptions(force=True))
    assert stage.changed() == {}


@pytest.mark.threat("E14")
def test_a_changed_byte_keeps_a_package_from_running_and_installing_again_repairs_it(stage: Stage):
    stage.registry.add_npm("tampered", "1.0.0", FILES, **BIN)
    package = stage.install("npm:tampered")
    program = package.find_folder(stage.directory) / package.entry_point
    content = bytearray(program.read_bytes())
    content[-2] ^= 1
    program.write_bytes(content)
    (error,) = stage.changed().values()
    assert "tampered/index.js" in error.why and "fluidmcp install npm:tampered@1.0.0" in error.hint
    with pytest.raises(ConfigurationError):
        resolve_package_key("npm:tampered", directory=stage.directory)
    stage.install("npm:tampered@1.0.0")
    assert stage.changed() == {}


@pytest.mark.threat("E14")
def test_what_is_not_in_the_lock_does_not_run(stage: Stage):
    folder = stage.directory / "npm" / "planted" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text('{"mcpServers": {"planted": {"command": "true"}}}')
    assert list(stage.changed()) == ["npm/planted@1.0.0"]
    with pytest.raises(UnknownPackageError, match="not installed"):
        resolve_spec("npm:planted", directory=stage.directory)


def test_two_packages_of_one_served_name_are_refused(stage: Stage):
    stage.registry.add_npm("@a/b", "1.0.0", FILES, **BIN)
    stage.registry.add_npm("a-b", "1.0.0", FILES, **BIN)
    stage.install("npm:@a/b")
    with pytest.raises(ConfigurationError, match="beside"):
        stage.install("npm:a-b")


def test_what_is_removed_is_gone(stage: Stage):
    stage.registry.add_npm("@a/gone", "1.0.0", FILES, **BIN)
    stage.install("npm:@a/gone")
    with pytest.raises(UnknownPackageError):
        uninstall_package("other", stage.place)
    assert [package.spec for package in uninstall_package("a-gone", stage.place)] == ["npm:@a/gone@1.0.0"]
    assert stage.find() == () and not (stage.directory / "npm").exists() and not read_lock(stage.directory).packages


def test_options_of_the_other_registry_are_refused(stage: Stage):
    for text, options in (
        ("npm:x", InstallOptions(python="3.12")),
        ("pypi:x", InstallOptions(allow_scripts=True)),
        ("npm:x", InstallOptions(entry="../x")),
    ):
        with pytest.raises(ConfigurationError):
            stage.install(text, options)


def test_what_npm_says_is_shown_without_credentials(stage: Stage):
    stage.environ["npm_config_registry"] = "http://user:hunter2hunter2@127.0.0.1:9/"
    stage.environ["npm_config_fetch_retries"] = "0"
    with pytest.raises(InstallError) as caught:
        stage.install("npm:unreachable")
    assert caught.value.output_tail
    assert "hunter2" not in "\n".join(caught.value.output_tail)
    assert stage.is_empty()


async def start_install(stage: Stage, *texts: str) -> asyncio.subprocess.Process:
    program = Path(sysconfig.get_path("scripts")) / "fluidmcp"
    return await asyncio.create_subprocess_exec(
        str(program),
        "install",
        *texts,
        env={**stage.environ, "MCP_INSTALLATION_DIR": str(stage.directory)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


class Gate:
    """An install script that tells when it begins, and waits until it is let through."""

    def __init__(self, folder: Path) -> None:
        self._begun = folder / "begun"
        self._end = folder / "end"
        os.mkfifo(self._begun)
        os.mkfifo(self._end)
        (folder / "bin" / "cat").symlink_to(shutil.which("cat") or "/bin/cat")
        self.script = f"echo begun > {self._begun} && cat {self._end}"

    async def wait(self) -> None:
        assert await asyncio.to_thread(self._begun.read_text) == "begun\n"

    async def let_through(self) -> None:
        await asyncio.to_thread(self._end.write_text, "end")


async def test_an_installation_waits_for_the_one_that_is_under_way(stage: Stage, tmp_path: Path):
    gate = Gate(tmp_path)
    stage.registry.npm.pop("first", None)
    stage.registry.add_npm("first", "1.0.0", FILES, **BIN, scripts={"install": gate.script})
    stage.registry.add_npm("second", "1.0.0", FILES, **BIN)
    async with asyncio.timeout(90):
        first = await start_install(stage, "npm:first", "--allow-scripts")
        await gate.wait()
        second = await start_install(stage, "npm:second")
        assert second.stdout is not None
        assert b"Waiting for another installation" in await second.stdout.readline()
        await gate.let_through()
        told = [(await each.communicate())[0].decode() for each in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert set(read_lock(stage.directory).packages) == {"npm:first@1.0.0", "npm:second@1.0.0"}
    assert stage.changed() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_an_interrupted_installation_leaves_nothing_half(stage: Stage, tmp_path: Path, number: signal.Signals):
    gate = Gate(tmp_path)
    stage.registry.npm.pop("slow", None)
    stage.registry.add_npm("slow", "1.0.0", FILES, **BIN, scripts={"install": gate.script})
    async with asyncio.timeout(60):
        process = await start_install(stage, "npm:slow", "--allow-scripts")
        await gate.wait()
        process.send_signal(number)
        if number is signal.SIGKILL:
            await process.wait()
            await gate.let_through()  # npm outlives it
        else:
            await process.communicate()
            assert process.returncode == 130
    assert stage.find() == () and read_lock(stage.directory).packages == {}
    stage.registry.add_npm("quick", "1.0.0", FILES, **BIN)
    stage.install("npm:quick")
    assert {p.name for p in stage.directory.iterdir()} <= {".installing", LOCK_FILE, "npm", ".staging"}
    assert [package.spec for package in stage.find()] == ["npm/quick@1.0.0"]


def test_a_lock_that_was_written_by_somebody_else_is_refused(stage: Stage):
    stage.directory.mkdir()
    for text in ("", "[]", "{}", '{"lockVersion": 2, "packages": {}}', '{"lockVersion": 1, "packages": {"npm:x": {}}}'):
        (stage.directory / LOCK_FILE).write_text(text)
        with pytest.raises(FluidMCPError, match="cannot be read"):
            read_lock(stage.directory)
