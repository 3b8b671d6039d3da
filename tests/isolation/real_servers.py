"""Six public MCP servers behind a gateway whose callers are known: what they work on, and how they are started."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests import parts
from tests.acceptance.harness import BIN, RunningGateway, start_fluidmcp
from tests.providers.serving import serve

User = Literal["root", "ordinary"]
Way = Literal["installed", "runner"]
"""By the program that `scripts/install-parts` has installed, or by `npx` and `uvx`, which install into caches."""

USERS: Final[tuple[User, ...]] = ("root", "ordinary") if os.geteuid() == 0 else ("ordinary",)
"""Who is not root can be nobody else: then the other half is not tried."""
ORDINARY: Final = Path(__file__).resolve().parent.parent / "ordinary.py"
ORDINARY_ID: Final = 4242
TOKEN: Final = "a-token-that-nobody-guesses"
CALL_LIMIT_SECONDS: Final = 100.0
START_LIMIT_SECONDS: Final = "100"
PAGE: Final = """\
<html><head><title>News</title></head>
<body><article><h1>Harbour</h1><p>The ferry leaves at noon on every working day.</p></article></body></html>
"""

HELLO: Final = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}

NPM_PACKAGES: Final = {
    "everything": "@modelcontextprotocol/server-everything",
    "files": "@modelcontextprotocol/server-filesystem",
    "memory": "@modelcontextprotocol/server-memory",
}
PROGRAMS: Final = {
    "everything": "mcp-server-everything",
    "files": "mcp-server-filesystem",
    "memory": "mcp-server-memory",
    "time": "mcp-server-time",
    "git": "mcp-server-git",
    "fetch": "mcp-server-fetch",
}
"""Server -> its program; those that are no npm packages are packages of this name on PyPI."""
PARTS: Final[tuple[parts.Part, ...]] = (
    "node",
    "git",
    "python-servers",
    "server-everything",
    "server-filesystem",
    "server-memory",
)
RUNNER_PARTS: Final[tuple[parts.Part, ...]] = ("node", "git", "uvx")


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder of the operator: their home, with the caches of npm and uv, and what servers are to work on."""

    folder: Path
    uid: int

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def bin(self) -> Path:
        """Where Node and `npx` are, as on a machine that has them."""
        return self.folder / "bin"

    @property
    def repository(self) -> Path:
        return self.folder / "work" / "repository"

    @property
    def documents(self) -> Path:
        return self.folder / "work" / "documents"

    @property
    def memories(self) -> Path:
        return self.folder / "work" / "memories"

    @property
    def caches(self) -> tuple[Path, Path]:
        return self.home / ".npm", self.home / ".cache" / "uv"

    @property
    def search_path(self) -> str:
        return os.pathsep.join(map(str, (self.bin, parts.UVX.parent, BIN, "/usr/bin", "/bin")))

    def list_caches(self) -> dict[str, tuple[int, int]]:
        """Everything in the caches, with its size and when it was changed; empty until something is installed."""
        found: dict[str, tuple[int, int]] = {}
        for cache in self.caches:
            for path in cache.rglob("*"):
                state = path.lstat()
                found[str(path)] = (state.st_size, state.st_ctime_ns)
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway that serves all six, and a page for the one that fetches pages."""

    ground: Ground
    gateway: RunningGateway
    page_url: str

    async def call(self, server: str, tool: str, **arguments: Any) -> str:
        """The text that the tool answers. Raises AssertionError with what the gateway said when it is no answer."""
        return await self._call(server, tool, arguments, "")

    async def call_in_new_process(self, server: str, tool: str, **arguments: Any) -> str:
        """The same in a session, which has a process of its own."""
        answer = await self._post(server, "initialize", HELLO, "")
        assert answer.status_code == 200, f"{answer.text}\n{self.gateway.report()}"
        return await self._call(server, tool, arguments, answer.headers["mcp-session-id"])

    async def wait_until_all_answered(self) -> None:
        """The gateway starts each package once at its own start; what has to be installed is installed then."""
        for server in PROGRAMS:
            await self.gateway.stderr.wait_for(f"{server} answers", limit_seconds=CALL_LIMIT_SECONDS)

    async def _call(self, server: str, tool: str, arguments: dict[str, Any], session: str) -> str:
        answer = await self._post(server, "tools/call", {"name": tool, "arguments": arguments}, session)
        is_stream = answer.headers["content-type"].startswith("text/event-stream")
        told = json.loads(answer.text.rpartition("data: ")[2] if is_stream else answer.text)
        assert answer.status_code == 200 and "result" in told, f"{answer.text}\n{self.gateway.report()}"
        text = "\n".join(part["text"] for part in told["result"]["content"] if part["type"] == "text")
        assert not told["result"].get("isError"), f"{text}\n{self.gateway.report()}"
        return text

    async def _post(self, server: str, method: str, params: dict[str, Any], session: str) -> httpx2.Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}
        if session:
            headers["Mcp-Session-Id"] = session
        async with httpx2.AsyncClient(trust_env=False, timeout=CALL_LIMIT_SECONDS) as client:
            return await client.post(f"{self.gateway.url}/{server}/mcp", json=message, headers=headers)


@asynccontextmanager
async def open_stage(way: Way, user: User) -> AsyncGenerator[Stage]:
    """The real gateway, run by that user, who is its operator."""
    uid = ORDINARY_ID if user == "ordinary" and os.geteuid() == 0 else os.geteuid()
    page = Starlette(routes=[Route("/news", _answer_page)])
    async with AsyncExitStack() as stack:
        ground = stack.enter_context(_make_ground(uid, way))
        address = await stack.enter_async_context(serve(page))
        before = [sys.executable, str(ORDINARY), str(uid), str(uid)]
        starting = start_fluidmcp(
            "run",
            str(ground.folder / "servers.json"),
            "--start-server",
            "--secure",
            env=_environment(ground),
            cwd=ground.folder,
            before=before,
        )
        gateway = await stack.enter_async_context(starting)
        yield Stage(ground, gateway, f"{address}/news")


async def _answer_page(_: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


def _environment(ground: Ground) -> dict[str, str]:
    npm_cache, uv_cache = ground.caches
    return {
        "HOME": str(ground.home),
        "PATH": ground.search_path,
        "npm_config_cache": str(npm_cache),
        "npm_config_update_notifier": "false",
        "NODE_USE_SYSTEM_CA": "1",
        "UV_CACHE_DIR": str(uv_cache),
        "UV_PYTHON_DOWNLOADS": "never",
        "FMCP_ISOLATION": "landlock",
        "FMCP_SECURE_TOKEN": TOKEN,
        "FMCP_START_TIMEOUT_SECONDS": START_LIMIT_SECONDS,
    }


@contextmanager
def _make_ground(uid: int, way: Way) -> Generator[Ground]:
    """All of it owned by `uid`; nothing is left of it at the end."""
    ground = Ground(Path(tempfile.mkdtemp(prefix="fluidmcp-servers-", dir="/tmp")), uid)
    try:
        ground.folder.chmod(0o755)
        for folder in (ground.home, ground.bin, ground.documents, ground.memories, ground.folder / "no-node"):
            folder.mkdir(parents=True)
        ground.home.chmod(0o700)
        (ground.bin / "node").symlink_to(parts.require("node"))
        npx = parts.npx_path()
        assert npx is not None, "npx is part of the wheel that brings node"
        (ground.bin / "npx").symlink_to(npx)
        _write_program(ground.folder / "no-node" / "node", "exit 1")
        (ground.documents / "letter.txt").write_text("Dear Ada, the ferry leaves at noon.\n", encoding="utf-8")
        _make_repository(ground.repository)
        entries = {server: _build_entry(ground, server, way) for server in PROGRAMS}
        (ground.folder / "servers.json").write_text(json.dumps({"mcpServers": entries}), encoding="utf-8")
        if os.geteuid() == 0:
            for path in (ground.folder, *ground.folder.rglob("*")):
                os.chown(path, uid, uid, follow_symlinks=False)
        yield ground
    finally:
        shutil.rmtree(ground.folder, ignore_errors=True)


def _write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def _make_repository(folder: Path) -> None:
    """A repository with one commit."""
    run = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-C", str(folder))
    environment = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    folder.mkdir()
    (folder / "timetable.txt").write_text("noon\n", encoding="utf-8")
    for step in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "The ferry leaves at noon")):
        subprocess.run((*run, *step), env=environment, check=True, timeout=60)


def _build_entry(ground: Ground, server: str, way: Way) -> dict[str, Any]:
    """As an operator would write it: the server, and the folders that it is there for."""
    args: list[str] = []
    more: dict[str, Any] = {}
    match server:
        case "everything":
            args = ["stdio"]
        case "files":
            args = [str(ground.documents)]
            more["paths"] = {"read": [str(ground.documents)]}
        case "memory":
            more["env"] = {"MEMORY_FILE_PATH": str(ground.memories / "memory.jsonl")}
            more["paths"] = {"write": [str(ground.memories)]}
        case "time":
            args = ["--local-timezone", "Europe/Paris"]
        case "git":
            args = ["--repository", str(ground.repository)]
            more["paths"] = {"read": [str(ground.repository)]}
        case _:
            args = ["--allow-private-ips"]
            # Where it finds npm, it installs a helper into its own package at the first page.
            more["env"] = {"PATH": f"{ground.folder / 'no-node'}{os.pathsep}{ground.search_path}"}
    command, *first = _choose_command(server, way)
    return {"command": command, "args": [*first, *args], **more}


def _choose_command(server: str, way: Way) -> tuple[str, ...]:
    program = PROGRAMS[server]
    package = NPM_PACKAGES.get(server)
    if way == "runner":
        return ("uvx", program) if package is None else ("npx", "-y", package)
    folder = parts.PYTHON_SERVERS / "bin" if package is None else parts.NODE_MODULES / ".bin"
    return (str(folder / program),)
