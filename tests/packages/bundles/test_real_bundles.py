"""Bundles made by the official packer, unpacked, and run by the real gateway."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fluidmcp.packages.bundles.unpack import extract_bundle
from tests import parts
from tests.acceptance.harness import run_fluidmcp, start_fluidmcp
from tests.packages.bundles.zips import MANIFEST, listing

pytestmark = pytest.mark.needs("node", "mcpb")

PROGRAMS = Path(__file__).parent / "programs"
LIMIT_SECONDS = 60


async def mcpb(*args: str, cwd: Path) -> str:
    """A command of the official tool."""
    program = parts.require("mcpb") / "dist" / "cli" / "cli.js"
    process = await asyncio.create_subprocess_exec(
        str(parts.require("node")),
        str(program),
        *args,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def write_source(folder: Path, server: Mapping[str, object], files: Mapping[str, str], **members: object) -> Path:
    source = folder / "source"
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (source / "manifest.json").write_text(json.dumps(MANIFEST | {"server": server} | members))
    return source


def write_node(folder: Path, **members: object) -> Path:
    config = {
        "command": "node",
        "args": ["${__dirname}/server/index.js", "--units", "metric"],
        "env": {"WEATHER_KEY": "k"},
    }
    files = {
        "server/index.js": (PROGRAMS / "server.js").read_text(),
        "node_modules/forecast/index.js": 'exports.say = () => "rain";\n',
    }
    return write_source(
        folder, {"type": "node", "entry_point": "server/index.js", "mcp_config": config}, files, **members
    )


def write_python(folder: Path) -> Path:
    config = {
        "command": "python",
        "args": ["server/main.py", "--units", "metric"],
        "env": {"PYTHONPATH": "${__dirname}/server/lib", "WEATHER_KEY": "k"},
    }
    files = {"server/main.py": (PROGRAMS / "server.py").read_text(), "server/lib/forecast.txt": "rain"}
    return write_source(folder, {"type": "python", "entry_point": "server/main.py", "mcp_config": config}, files)


async def ask_report(bundle: Path, *options: str) -> Any:
    """What the tool of the bundle answers through a gateway."""
    env = {"PATH": _path_with_node()}
    async with (
        start_fluidmcp("run", bundle.name, "--start-server", *options, env=env, cwd=bundle.parent) as gateway,
        httpx2.AsyncClient(timeout=LIMIT_SECONDS) as client,
    ):
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "report"}}
        reply = await client.post(f"{gateway.url}/weather-report/mcp", json=call)
        assert reply.status_code == 200, f"{reply.text}\n{gateway.report()}"
        return json.loads(reply.json()["result"]["content"][0]["text"])


def _path_with_node() -> str:
    python = shutil.which("python3") or ""
    return f"{parts.require('node').parent}:{Path(python).parent}:/usr/bin:/bin"


@pytest.mark.parametrize("write", [write_node, write_python])
async def test_a_packed_bundle_runs(tmp_path: Path, write: Any):
    await mcpb("pack", str(write(tmp_path)), "weather.mcpb", cwd=tmp_path)
    answer = {"forecast": "rain", "arguments": ["--units", "metric"], "key": "k"}
    assert await ask_report(tmp_path / "weather.mcpb", "--install") == answer
    assert await ask_report(tmp_path / "weather.mcpb") == answer
    (tmp_path / ".fmcp-packages/mcpb/weather-report/1.2.0/server/lib.js").touch()
    (tmp_path / ".fmcp-packages/mcpb/weather-report/1.2.0/manifest.json").write_text("{}")
    ended = await run_fluidmcp("run", "weather-report", env={"PATH": _path_with_node()}, cwd=tmp_path)
    assert ended.code == 2
    assert "manifest.json' was changed" in ended.stderr
    assert "fluidmcp install FILE.mcpb" in ended.stderr


async def test_a_signed_bundle_is_the_same_package(tmp_path: Path):
    source = write_node(tmp_path)
    await mcpb("pack", str(source), "weather.mcpb", cwd=tmp_path)
    plain = extract_bundle(tmp_path / "weather.mcpb", tmp_path / "plain")
    await mcpb("sign", "weather.mcpb", "--self-signed", cwd=tmp_path)
    signed = extract_bundle(tmp_path / "weather.mcpb", tmp_path / "signed")
    assert (plain.is_signed, signed.is_signed) == (False, True)
    assert listing(tmp_path / "plain") == listing(tmp_path / "signed")
    assert plain.digest != signed.digest


async def test_programs_of_a_packed_bundle_stay_programs(tmp_path: Path):
    tool = {"type": "binary", "entry_point": "bin/tool", "mcp_config": {"command": "bin/tool"}}
    source = write_source(tmp_path, tool, {"bin/tool": "#!/bin/sh\n", "bin/helper": "#!/bin/sh\n", "data": "x"})
    (source / "bin" / "helper").chmod(0o755)
    await mcpb("pack", str(source), "weather.mcpb", cwd=tmp_path)
    folder = tmp_path / "folder"
    extract_bundle(tmp_path / "weather.mcpb", folder)
    modes = {name: (folder / name).stat().st_mode & 0o777 for name in ("bin/tool", "bin/helper", "data")}
    assert modes == {"bin/tool": 0o755, "bin/helper": 0o755, "data": 0o644}
