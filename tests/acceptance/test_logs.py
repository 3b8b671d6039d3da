"""The log of the real executable: an object a line with `--log-format json`, and a line for each call where wanted."""

import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest

from fluidmcp.gateway.calls.access_log import MAX_REFUSED_LINES
from tests.acceptance.harness import RunningGateway, run_fluidmcp, start_fluidmcp

SERVER: Final = Path(__file__).parent.parent / "servers" / "stdlib_server.py"
NAMES: Final = {"time", "level", "logger", "message"}
CALL: Final = {"package", "method", "status", "milliseconds", "request_id", "person"}
ACCESS: Final = " INFO    fluidmcp.access: package="
HOSTILE: Final = 'x\n{"time": "2026", "level": "info", "logger": "fluidmcp.access", "message": "forged"}\r\x1b[2J\u2028'


def write_file(folder: Path) -> str:
    entry = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    servers = {
        "echo": entry,
        "broken": {"command": sys.executable, "args": ["-c", f"import sys; sys.exit({HOSTILE!r})"]},
        "nothing": {"command": "no-such-command"},
    }
    path = folder / "config.json"
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return str(path)


async def call_in_many_ways(gateway: RunningGateway) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = {"name": "echo", "arguments": {"text": "canary-argument"}}
        headers = {"x-request-id": "mine-1", "authorization": "Bearer canary-token"}
        for _ in range(3):
            assert (await client.post("/echo/mcp", json=message, headers=headers)).status_code == 200
        # What the server wrote before it ended is quoted in the log.
        assert (await client.post("/broken/mcp", json=message)).status_code in (502, 503)
        assert (await client.post(f"/{quote(HOSTILE)}/mcp", json=message)).status_code == 404
        reply = await client.post("/echo/mcp", json={**message, "method": HOSTILE + "x" * 100_000, "params": {}})
        assert reply.status_code == 200
        # uvicorn says that itself, and it is a call of no package.
        assert (await client.get("/health", headers={"bad": "\x1b"})).status_code == 400
        assert (await client.post("/echo/mcp", json=message, headers={"x-request-id": "the last"})).status_code == 200


async def flood(gateway: RunningGateway) -> None:
    """What is no HTTP, more often than it is told one by one."""
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        for _ in range(MAX_REFUSED_LINES + 20):
            assert (await client.get("/health", headers={"bad": "\x1b"})).status_code == 400


@pytest.mark.threat("E18")
async def test_each_line_of_the_log_is_one_object(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "FMCP_LOG_LEVEL": "debug"}
    arguments = ("run", write_file(tmp_path), "--start-server", "--log-format", "json")
    async with start_fluidmcp(*arguments, env=env) as gateway:
        await gateway.stdout.wait_for("broken")
        await call_in_many_ways(gateway)
        await flood(gateway)
        assert await gateway.stop() == 0
    told = [json.loads(line) for line in gateway.stderr.lines]
    assert all(line.keys() >= NAMES for line in told)
    assert all(line.isascii() and line.isprintable() for line in gateway.stderr.lines)
    by_logger: dict[str, list[dict[str, Any]]] = {}
    for line in told:
        by_logger.setdefault(line["logger"], []).append(line)
    said = [line["message"] for line in by_logger["uvicorn.error"]]
    warned = [message for message in said if message.startswith("Invalid HTTP request received.")]
    assert 1 <= len(warned) < MAX_REFUSED_LINES, "once a minute, however long this takes"
    assert any("no-such-command" in line["message"] for line in by_logger["fluidmcp.cli"])
    calls, many = by_logger["fluidmcp.access"][:8], by_logger["fluidmcp.access"][8:]
    assert {line["status"] for line in many} == {400}
    assert sum(line.get("count", 1) for line in many) == MAX_REFUSED_LINES + 20, "lines of their own, and numbers"
    assert all(line.keys() == NAMES | CALL for line in calls)
    assert [(line["package"][:6], (line["method"] or "")[:10], line["status"]) for line in calls[:3]] == [
        ("echo", "tools/call", 200)
    ] * 3
    assert calls[0]["request_id"] == "mine-1"
    assert [line["status"] for line in calls[3:]] == [calls[3]["status"], 404, 200, 400, 200]
    assert calls[4]["package"].startswith("x\n{")
    assert [calls[6][name] for name in ("package", "method", "milliseconds", "person")] == [None] * 4
    assert "canary" not in gateway.stderr.text
    assert "forged" not in [line["message"] for line in told]


@pytest.mark.threat("E18")
async def test_in_text_a_call_is_a_line_where_it_is_asked_for(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "FMCP_ACCESS_LOG": "off"}
    async with start_fluidmcp("run", write_file(tmp_path), "--start-server", "--access-log", env=env) as gateway:
        await gateway.stdout.wait_for("broken")
        await call_in_many_ways(gateway)
        await gateway.stop()
    lines = [line for line in gateway.stderr.lines if ACCESS in line]
    assert len(lines) == 8
    assert all(line.endswith(" person=-") for line in lines)
    # What a server wrote is marked, and a name that holds a line of its own begins none.
    assert all(line.startswith("  | ") or ACCESS in line for line in gateway.stderr.lines if "forged" in line)
    assert "canary" not in gateway.stderr.text


async def test_without_either_there_is_no_line_for_a_call(tmp_path: Path) -> None:
    async with start_fluidmcp("run", write_file(tmp_path), "--start-server", env={"HOME": str(tmp_path)}) as gateway:
        await gateway.stdout.wait_for("broken")
        await call_in_many_ways(gateway)
        await gateway.stop()
    assert ACCESS not in gateway.stderr.text


async def test_a_mistake_in_the_command_is_an_object_too_once_the_form_is_known(tmp_path: Path) -> None:
    done = await run_fluidmcp("run", str(tmp_path / "none.json"), "--start-server", "--log-format", "json")
    assert done.code == 2
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "error"
    assert "none.json" in json.loads(line)["message"]
    done = await run_fluidmcp("run", "x", env={"FMCP_LOG_FORMAT": "xml"})
    assert done.code == 2
    assert "FMCP_LOG_FORMAT must be text or json" in done.stderr
