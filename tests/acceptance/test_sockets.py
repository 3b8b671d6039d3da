"""A gateway at a Unix socket, or at one that its service manager opened, through the real executable."""

import asyncio
import json
import shutil
import signal
import socket
import stat
import sys
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import RunningGateway, free_port, run_fluidmcp
from tests.acceptance.listening import start_listening
from tests.gateway.running import STDLIB_SERVER

LIMIT_SECONDS = 60.0
URL = "https://gateway.example"
OPEN = ("--public-url", URL, "--allow-insecure")
ACTIVATE = shutil.which("systemd-socket-activate")
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "through a socket"}},
}
LAUNCHER = """
import os, socket, sys
kind, address = sys.argv[1], sys.argv[2]
listener = socket.socket(socket.AF_UNIX) if kind == "unix" else socket.socket()
listener.bind(address if kind == "unix" else ("127.0.0.1", int(address)))
if kind != "deaf":
    listener.listen()
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2" if kind == "two" else "1")
os.execv(sys.argv[3], sys.argv[3:])
"""
"""What a service manager does: descriptor 3 listens, and two variables say so."""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    server = {"command": sys.executable, "args": ["-I", str(STDLIB_SERVER)]}
    path.write_text(json.dumps({"mcpServers": {"echo": server}}))
    return str(path)


async def call(path: Path) -> str:
    """The answer of the tool, over the Unix socket, as a proxy in front would ask."""
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with httpx2.AsyncClient(transport=transport, base_url=URL.replace("https", "http"), timeout=60) as client:
        assert (await client.get("/ready")).status_code == 200
        answer = await client.post("/echo/mcp", json=CALL)
        foreign = await client.get("/health", headers={"host": "other.example"})
    assert foreign.status_code == 421
    return str(answer.json()["result"]["content"][0]["text"])


async def test_a_unix_socket_is_for_the_owner_and_the_group_and_is_removed(config: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    before = ("sh", "-c", 'umask 0; exec "$@"', "sh")
    async with start_listening(config, "--uds", str(path), *OPEN, before=before) as gateway:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
        assert stat.S_ISSOCK(path.lstat().st_mode)
        assert await call(path) == "through a socket"
        second = await run_fluidmcp("run", config, "--start-server", "--uds", str(path), *OPEN, "--port", "1")
        assert second.code == 2, "--port and --uds do not go together"
        async with start_listening(config, "--uds", str(path), *OPEN, says="") as other:
            async with asyncio.timeout(LIMIT_SECONDS):
                assert await other.process.wait() == 2
            await other.stderr.wait_for("is in use")
        assert await call(path) == "through a socket", "the second gateway left the socket alone"
        assert await gateway.stop() == 0
    assert not path.exists()


async def test_the_socket_of_a_dead_gateway_is_replaced_and_a_file_never(config: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    async with start_listening(config, "--uds", str(path), *OPEN) as gateway:
        assert await gateway.stop(with_signal=signal.SIGKILL) == -signal.SIGKILL
    assert path.exists()
    async with start_listening(config, *OPEN, env={"FMCP_UDS": str(path)}) as gateway:
        assert await call(path) == "through a socket"
        # Somebody else's socket, which has the name meanwhile, stays.
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            assert await gateway.stop() == 0
    assert path.exists()
    path.unlink()
    path.write_text("precious")
    async with start_listening(config, "--uds", str(path), *OPEN, says="") as gateway:
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await gateway.process.wait() == 2
        await gateway.stderr.wait_for("A file is there that is no socket")
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--uds", "x.sock", "--allow-insecure"), "a Unix socket needs --public-url"),
        (("--uds", "x.sock", "--public-url", "http://localhost:8099"), "Nothing guards echo"),
        (("--uds", "x" * 200, *OPEN), "a path of at most 107 bytes"),
        (("--uds", "not/there/x.sock", *OPEN), "No such file or directory"),
    ],
)
async def test_a_unix_socket_says_what_it_needs(
    config: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """The second: it counts as open to others, whatever the public address says."""
    async with start_listening(config, *arguments, cwd=tmp_path, says="") as gateway:
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await gateway.process.wait() == 2
        await gateway.stderr.finish()
        assert says in gateway.stderr.text


async def rest(gateway: RunningGateway) -> str:
    async with asyncio.timeout(LIMIT_SECONDS):
        await gateway.process.wait()
    await gateway.stderr.finish()
    return gateway.stderr.text


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_socket_that_is_handed_over_is_used_and_outlives_the_gateway(
    config: str, tmp_path: Path, kind: str
) -> None:
    port, path, ear = free_port(), tmp_path / "given.sock", tmp_path / "notify.sock"
    before = (sys.executable, "-c", LAUNCHER, kind, str(path) if kind == "unix" else str(port))
    arguments = OPEN if kind == "unix" else ()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(ear))
        manager.setblocking(False)
        loop = asyncio.get_running_loop()
        async with start_listening(config, *arguments, before=before, env={"NOTIFY_SOCKET": str(ear)}) as gateway:
            async with asyncio.timeout(LIMIT_SECONDS):
                assert await loop.sock_recv(manager, 100) == b"READY=1"
            if kind == "unix":
                assert await call(path) == "through a socket"
            else:
                assert f"http://localhost:{port}/echo/mcp" in gateway.stdout.text
                async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
                    answer = await client.post(f"http://127.0.0.1:{port}/echo/mcp", json=CALL)
                    assert answer.status_code == 200
            assert await gateway.stop() == 0
            async with asyncio.timeout(LIMIT_SECONDS):
                assert await loop.sock_recv(manager, 100) == b"STOPPING=1"
    assert path.exists() == (kind == "unix"), "who made it removes it"


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("two", (), "the gateway takes one"),
        ("deaf", (), "does not listen for connections"),
        ("tcp", ("--port", "1234"), "--host and --port do not go together"),
        ("unix", ("--public-url", "http://localhost:8099"), "Nothing guards echo"),
    ],
)
async def test_a_socket_that_does_not_fit_is_refused(
    config: str, tmp_path: Path, kind: str, arguments: tuple[str, ...], says: str
) -> None:
    address = str(tmp_path / "given.sock") if kind == "unix" else str(free_port())
    before = (sys.executable, "-c", LAUNCHER, kind, address)
    async with start_listening(config, *arguments, before=before, says="") as gateway:
        assert says in await rest(gateway)
        assert gateway.process.returncode == 2


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not there: apt-get install systemd")
async def test_systemds_own_tool_hands_a_socket_over(config: str) -> None:
    """It starts the gateway when the first client comes, who waits meanwhile."""
    port = free_port()
    before = (str(ACTIVATE), "-l", f"127.0.0.1:{port}")
    async with start_listening(config, before=before, says="") as gateway:
        await gateway.stderr.wait_for("Listening on")
        async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
            answer = await client.post(f"http://127.0.0.1:{port}/echo/mcp", json=CALL)
            assert answer.status_code == 200
