"""Packages of registries through the real executable: installed once, started afterwards without a network.

First with packages of the test, from a registry on loopback that is gone when they start; then with public ones, which
need the public registries and run in .ci/run.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.acceptance.harness import Finished, run_fluidmcp, start_fluidmcp
from tests.packages.sources.registry import JAVASCRIPT_SERVER, PYTHON_SERVER, Registry, open_registry

IS_COMPLETE: Final = os.environ.get("FMCP_TESTS_COMPLETE") == "1"
needs_registries: Final = pytest.mark.skipif(not IS_COMPLETE, reason="public packages are installed in .ci/run")
OFFLINE: Final = {
    "npm_config_registry": "http://127.0.0.1:9/",
    "UV_OFFLINE": "1",
    "UV_DEFAULT_INDEX": "http://127.0.0.1:9",
}
TOOLS_LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
BROKEN: Final = "require('./built.node');"

pytestmark = pytest.mark.needs("node")


def environ_of(registry: Registry, folder: Path) -> dict[str, str]:
    return {name: value for name, value in registry.environ(folder, "").items() if name not in ("PATH", "HOME")}


async def list_tools(folder: Path, target: str, *packages: str) -> list[list[str]]:
    """The tools of the packages that a gateway without a network serves."""
    starting = start_fluidmcp("run", target, "--start-server", cwd=folder, env=OFFLINE)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        answers = [await client.post(f"{gateway.url}/{name}/mcp", json=TOOLS_LIST) for name in packages]
        return [[tool["name"] for tool in answer.json()["result"]["tools"]] for answer in answers]


async def test_what_is_installed_starts_without_a_network(tmp_path: Path) -> None:
    with open_registry() as registry:
        registry.add_npm("@scope/js", "1.0.0", {"index.js": JAVASCRIPT_SERVER}, bin="index.js")
        registry.add_wheel("py-server", "2.0", {"py_server.py": PYTHON_SERVER}, scripts={"py-server": "py_server:main"})
        env = environ_of(registry, tmp_path)
        done = await run_fluidmcp("install", "npm:@scope/js", "pypi:py-server", cwd=tmp_path, env=env)
        assert done.code == 0, done
        again = await run_fluidmcp("run", "npm:@scope/js@2.0.0", "--install", cwd=tmp_path, env=env)
        assert again.code == 2 and "knows no" in again.stderr
    assert await list_tools(tmp_path, "npm:@scope/js", "scope-js") == [["hello"]]
    (tools,) = await list_tools(tmp_path, "pypi:py-server", "py-server")
    assert tools
    assert await list_tools(tmp_path, "all", "py-server", "scope-js") == [tools, ["hello"]]
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / ".fmcp-packages").rename(moved / ".fmcp-packages")
    assert await list_tools(moved, "all", "py-server", "scope-js") == [tools, ["hello"]]
    listed = await run_fluidmcp("list", cwd=moved)
    assert "npm:@scope/js" in listed.stdout and "pypi:py-server" in listed.stdout
    gone = await run_fluidmcp("uninstall", "scope-js", "pypi:py-server", cwd=moved)
    assert gone.code == 0
    assert "Nothing is installed" in (await run_fluidmcp("list", cwd=moved)).stdout


@pytest.mark.threat("E14")
async def test_a_package_that_was_changed_does_not_run_and_the_others_do(tmp_path: Path) -> None:
    with open_registry() as registry:
        for name in ("good", "bad"):
            registry.add_npm(name, "1.0.0", {"index.js": JAVASCRIPT_SERVER}, bin="index.js")
        env = environ_of(registry, tmp_path)
        assert (await run_fluidmcp("install", "npm:good", "npm:bad", cwd=tmp_path, env=env)).code == 0
    program = tmp_path / ".fmcp-packages" / "npm" / "bad" / "1.0.0" / "node_modules" / "bad" / "index.js"
    program.write_text(program.read_text().replace("'hello'", "'hallo'"))
    alone = await run_fluidmcp("run", "npm:bad", cwd=tmp_path, env=OFFLINE)
    assert alone.code == 2
    assert "node_modules/bad/index.js' was changed" in alone.stderr and "fluidmcp install npm:bad@1.0.0" in alone.stderr
    table = await run_fluidmcp("run", "all", cwd=tmp_path, env=OFFLINE)
    assert table.code == 0 and "refused" in table.stdout
    assert await list_tools(tmp_path, "all", "good") == [["hello"]]


async def test_without_the_lock_the_command_to_type_is_named(tmp_path: Path) -> None:
    done = await run_fluidmcp("run", "npm:@scope/js@1.2.3", cwd=tmp_path)
    assert done.code == 2
    assert "fluidmcp install npm:@scope/js@1.2.3" in done.stderr and "--install" in done.stderr
    assert not (tmp_path / ".fmcp-packages").exists()


async def test_a_server_that_misses_what_a_script_would_have_made_says_so(tmp_path: Path) -> None:
    with open_registry() as registry:
        registry.add_npm("native", "1.0.0", {"index.js": BROKEN}, bin="index.js", scripts={"install": "exit 1"})
        done = await run_fluidmcp("run", "npm:native", "--install", cwd=tmp_path, env=environ_of(registry, tmp_path))
    assert done.code == 1
    assert "native@1.0.0" in done.stderr and "--allow-scripts" in done.stderr


async def install(folder: Path, *args: str, env: dict[str, str] | None = None) -> Finished:
    return await run_fluidmcp("install", *args, cwd=folder, env=env)


@needs_registries
async def test_public_packages_start_without_a_network(tmp_path: Path) -> None:
    """A plain one of each registry; the one in Python brings parts in C and Rust."""
    packages = ("npm:@modelcontextprotocol/server-memory@2026.8.31", "pypi:mcp-server-time==2026.10.19")
    done = await install(tmp_path, *packages)
    assert done.code == 0, done
    memory, time = await list_tools(tmp_path, "all", "modelcontextprotocol-server-memory", "mcp-server-time")
    assert "read_graph" in memory and "convert_time" in time


@needs_registries
async def test_a_public_package_with_an_install_script_says_what_it_lacks(tmp_path: Path) -> None:
    done = await install(tmp_path, "npm:mcp-server-sqlite-npx@0.8.0")
    assert done.code == 0 and "sqlite3@5.1.7" in done.stdout
    tried = await run_fluidmcp("run", "npm:mcp-server-sqlite-npx", cwd=tmp_path, env=OFFLINE)
    assert tried.code == 1 and "--allow-scripts" in tried.stderr


@needs_registries
async def test_a_public_library_is_refused(tmp_path: Path) -> None:
    done = await install(tmp_path, "npm:zod@4.6.7", "pypi:typing-extensions==4.16.0")
    assert done.code == 2 and done.stderr.count("it is a library") == 2
    assert json.loads((await asyncio.to_thread(read_lock, tmp_path)) or "{}").get("packages", {}) == {}


def read_lock(folder: Path) -> str:
    path = folder / ".fmcp-packages" / "fluidmcp.lock"
    return path.read_text() if path.exists() else ""


@needs_registries
async def test_public_packages_for_another_python_name_it(tmp_path: Path) -> None:
    hidden = {"HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path), "UV_PYTHON_INSTALL_DIR": str(tmp_path)}
    hidden |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    for text, python in (("pypi:pagerduty-mcp==1.1.0", "<3.13"), ("pypi:dbt-mcp==2.8.0", "<3.14")):
        done = await install(tmp_path, text, env=hidden)
        assert done.code == 2
        assert python in done.stderr and "uv python install 3.12" in done.stderr
