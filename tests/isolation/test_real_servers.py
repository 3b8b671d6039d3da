"""Public servers behind a gateway that isolates their processes: each does what it is there for, for a known person.

Nothing is prepared for them but what an operator writes into their entry. Started by `npx` and `uvx` they are installed
by the gateway's own start, which needs a package registry: that half runs in .ci/run.
"""

import os
from collections.abc import AsyncGenerator
from typing import Final

import msgspec
import pytest
import pytest_asyncio

from tests import parts
from tests.isolation.real_servers import PAGE, PARTS, RUNNER_PARTS, USERS, Stage, User, Way, open_stage

IS_COMPLETE: Final = os.environ.get("FMCP_TESTS_COMPLETE") == "1"
STAGES: Final[list[tuple[Way, User]]] = [(way, user) for way in ("installed", "runner") for user in USERS]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=STAGES, ids="-".join)
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    way: Way
    way, user = request.param
    missing = [
        parts.missing_part(part) for part in (PARTS if way == "installed" else RUNNER_PARTS) if not parts.find(part)
    ]
    if missing:
        pytest.skip("; ".join(missing))
    if way == "runner" and not IS_COMPLETE:
        pytest.skip("servers are installed by npx and uvx in .ci/run")
    async with open_stage(way, user) as running:
        yield running


async def test_the_time_server_converts_a_time(stage: Stage):
    question = {"source_timezone": "Asia/Tokyo", "time": "16:30", "target_timezone": "Asia/Kolkata"}
    told = msgspec.json.decode(await stage.call("time", "convert_time", **question))
    assert told["target"]["datetime"].partition("T")[2] == "13:00:00+05:30"


async def test_the_git_server_tells_the_log_of_a_repository(stage: Stage):
    told = await stage.call("git", "git_log", repo_path=str(stage.ground.repository), max_count=5)
    assert "The ferry leaves at noon" in told
    assert "Ada" in told


async def test_the_fetch_server_fetches_a_page(stage: Stage):
    told = await stage.call("fetch", "fetch", url=stage.page_url)
    assert "The ferry leaves at noon on every working day." in told
    assert "<p>" in PAGE
    assert "<p>" not in told


async def test_the_reference_server_adds_numbers(stage: Stage):
    assert "42" in await stage.call("everything", "get-sum", a=40, b=2)


async def test_the_file_server_reads_a_file(stage: Stage):
    letter = stage.ground.documents / "letter.txt"
    assert "Dear Ada" in await stage.call("files", "read_text_file", path=str(letter))


async def test_the_memory_server_remembers_what_it_was_told(stage: Stage):
    ferry = {"name": "ferry", "entityType": "ship", "observations": ["leaves at noon"]}
    await stage.call("memory", "create_entities", entities=[ferry])
    told = msgspec.json.decode(await stage.call("memory", "read_graph"))
    assert [entity["observations"] for entity in told["entities"]] == [["leaves at noon"]]
    assert "leaves at noon" in (stage.ground.memories / "memory.jsonl").read_text(encoding="utf-8")


async def test_no_process_of_a_person_writes_to_the_caches(stage: Stage):
    await stage.wait_until_all_answered()
    before = stage.ground.list_caches()
    await stage.call_in_new_process("time", "get_current_time", timezone="Europe/Paris")
    await stage.call_in_new_process("everything", "get-sum", a=40, b=2)
    after = stage.ground.list_caches()
    assert {path for path, state in after.items() if before.get(path) != state} == set()
