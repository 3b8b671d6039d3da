"""What `fluidmcp run` takes besides packages: commands, folders, paths in entries, and answers at the terminal."""

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

from tests.acceptance.harness import BIN, run_fluidmcp, start_fluidmcp

SERVER = Path(__file__).resolve().parent.parent / "servers" / "stdlib_server.py"
GOOD = {"command": sys.executable, "args": ["-I", str(SERVER)]}
LIMIT_SECONDS = 60


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


async def test_a_command_line_is_a_server(tmp_path: Path) -> None:
    done = await run_fluidmcp("run", "--name", "My One", "--", sys.executable, "-I", str(SERVER), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["PACKAGE", "my-one"]
    assert done.stdout.rstrip().endswith("ok")
    done = await run_fluidmcp("run", "--", str(SERVER), "--start-server", cwd=tmp_path)
    assert "stdlib_server" in done.stderr and done.code == 2


async def test_a_name_or_a_package_beside_a_command_is_a_mistake(tmp_path: Path) -> None:
    for arguments in (("mail", "--", "x"), ("--name", "x", "mail")):
        done = await run_fluidmcp("run", *arguments, cwd=tmp_path)
        assert done.code == 2
        assert "`--`" in done.stderr


async def test_a_folder_runs_as_it_says(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "metadata.json", {"mcpServers": {"one": GOOD}})
    manifest = {
        "manifest_version": "0.3",
        "name": "Bundled",
        "version": "1.0.0",
        "server": {
            "type": "python",
            "entry_point": "s.py",
            "mcp_config": {"command": "python3", "args": ["-I", "${__dirname}/s.py"]},
        },
    }
    write(tmp_path / "bundle" / "manifest.json", manifest)
    (tmp_path / "bundle" / "s.py").write_bytes(SERVER.read_bytes())
    (tmp_path / "empty").mkdir()
    for folder, name in (("./mine", "one"), (str(tmp_path / "mine"), "one"), ("./bundle", "bundled")):
        done = await run_fluidmcp("run", folder, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert done.stdout.splitlines()[-1].split()[0] == name
    done = await run_fluidmcp("run", "./empty", cwd=tmp_path)
    assert done.code == 2
    assert "./empty is a folder that says nothing of a server." in done.stderr


async def test_an_entry_may_name_a_folder_as_its_package(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "s.py").write_bytes(SERVER.read_bytes())
    inner = {"command": sys.executable, "args": ["-I", "${__dirname}/s.py"]}
    write(tmp_path / "shared" / "metadata.json", {"mcpServers": {"inner": inner}})
    write(tmp_path / "two" / "metadata.json", {"mcpServers": {"a": GOOD, "b": GOOD}})
    closed = {"closed": GOOD | {"tools": {"deny": ["add"]}}}
    write(tmp_path / "closed" / "metadata.json", {"mcpServers": closed})
    write(tmp_path / "circle" / "metadata.json", {"mcpServers": {"circle": {"package": "./"}}})
    servers = {
        "closed": {"package": "./closed"},
        "circle": {"package": "./circle"},
        "Outer One": {"package": "./shared"},
        "two": {"package": "./two"},
        "gone": {"package": "./gone"},
        "odd": {"package": "git+https://x.example/y"},
    }
    write(tmp_path / "config.json", {"mcpServers": servers})
    async with start_fluidmcp("run", "config.json", "--start-server", cwd=tmp_path) as gateway:
        await gateway.stdout.wait_for('/outer-one/mcp ("Outer One" in the file)')
        assert (await gateway.stdout.wait_for(" ready")).startswith("1 of 6 ready")
        for name in ("closed", "circle", "two", "gone", "odd"):
            await gateway.stderr.wait_for(f"mcpServers.{name}.package: ")


async def test_an_input_is_asked_for_at_the_terminal(tmp_path: Path) -> None:
    inputs = [{"id": "key", "type": "promptString", "description": "Your key", "password": True}]
    script = 'test "${#KEY}" = 10 && exec "$0" -I "$1"'
    entry = {"command": "sh", "args": ["-c", script, sys.executable, str(SERVER)], "env": {"KEY": "${input:key}"}}
    write(tmp_path / "mcp.json", {"servers": {"one": entry}, "inputs": inputs})
    done = await run_fluidmcp("run", "mcp.json", cwd=tmp_path)
    assert done.code == 2
    assert "FMCP_INPUT_KEY" in done.stderr
    master, slave = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            str(BIN / "fluidmcp"),
            "run",
            "mcp.json",
            cwd=tmp_path,
            stdin=slave,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await process.stderr.readuntil(b"Your key: ") == b"Your key: "
            os.write(master, b"typed-7c1e\n")
            stdout, stderr = await process.communicate()
    finally:
        os.close(master)
        os.close(slave)
    assert process.returncode == 0, stderr.decode()
    assert stdout.decode().rstrip().endswith("ok")
    assert b"typed-7c1e" not in stdout + stderr
