"""What the conformance suite leaves in a gateway: nothing that waits, runs or is held open."""

import asyncio
from pathlib import Path
from typing import get_args

import psutil
import pytest

from fluidmcp.config.entries import ServerEntry
from tests.conformance import fixtures, suite
from tests.conformance.fixtures import FixtureName
from tests.conformance.test_conformance import whole
from tests.gateway.running import RunningGateway, running_gateway

LIMIT_SECONDS = 60.0


def count_open_work(running: RunningGateway, tasks: set[asyncio.Task[object]]) -> list[str]:
    """Tasks that were not there before, and everything that the gateway itself knows to be unfinished.

    But for suspended calls: the suite asks for some that it never answers. They wait for their person, within limits
    that tests/bridge/test_suspended.py shows.
    """
    gateway = running.gateway
    found = [str(task) for task in asyncio.all_tasks() - tasks if "uvicorn" not in str(task)]
    found += ["an event stream"] * len(gateway.parts.calls.streams)
    found += ["a request in a session"] * sum(session.is_in_use for session in gateway.parts.calls.sessions)
    found += ["a subscription"] * len(gateway.parts.calls.subscriptions)
    return found


@whole
@pytest.mark.parametrize("fixture", get_args(FixtureName))
async def test_nothing_is_left_after_the_suite(fixture: FixtureName, tmp_path: Path) -> None:
    missing = suite.missing_suite() or fixtures.missing_fixture(fixture)
    if missing:
        pytest.skip(missing)
    with fixtures.forked_commands(fixture) as commands:
        command, *arguments = commands[fixture]
        entry = ServerEntry(name=fixture, command=command, args=tuple(arguments), directory=tmp_path, source="a test")
        async with running_gateway([entry]) as running:
            tasks = {*asyncio.all_tasks()}
            url = f"{running.url}/{fixture}/mcp".replace("127.0.0.1", "localhost")
            for requirement_set in ("2025-11-25", "2026-07-28"):
                assert (await suite.run_suite(url, requirement_set)).faults == []
            async with asyncio.timeout(LIMIT_SECONDS):
                while count_open_work(running, tasks):
                    # The suite leaves at once when it is done; with each turn the gateway learns more of that.
                    assert (await running.client.get("/health")).is_success
            processes = [
                child for child in psutil.Process().children(recursive=True) if fixture in " ".join(child.cmdline())
            ]
            assert len(processes) >= running.gateway.process_count > 0
            for session in list(running.gateway.parts.calls.sessions):
                headers = {"mcp-session-id": session.session_id}
                assert (await running.client.delete(f"/{fixture}/mcp", headers=headers)).status_code == 204
            assert len(running.gateway.parts.calls.sessions) == 0
        assert running.gateway.process_count == 0
