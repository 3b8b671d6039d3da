"""`fluidmcp tools` and `fluidmcp call` against servers of both eras, of the older ones alone and of the newest alone.

A terminal is a pseudo-terminal: what a person would see and type goes through it.
"""

import asyncio
import json
import os
import pty
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.acceptance.harness import BIN, Finished, RunningGateway, environment, run_fluidmcp, start_fluidmcp
from tests.conformance.fixtures import FixtureName, fixture_command, missing_fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES: Final[tuple[FixtureName, ...]] = ("dual", "handshake", "stateless")
LIMIT_SECONDS: Final = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[RunningGateway]:
    config = tmp_path_factory.mktemp("fixtures") / "config.json"
    servers = {name: fixture_command(name) for name in NAMES if missing_fixture(name) is None}
    entries = {name: {"command": command[0], "args": list(command[1:])} for name, command in servers.items()}
    config.write_text(json.dumps({"mcpServers": entries}))
    async with start_fluidmcp("run", str(config), "--start-server") as running:
        yield running


@pytest.fixture(params=NAMES)
def package(request: pytest.FixtureRequest) -> str:
    if (missing := missing_fixture(request.param)) is not None:
        pytest.skip(missing)
    return str(request.param)


class Terminal:
    """A command whose stdin and stderr are a terminal."""

    def __init__(self, gateway: RunningGateway, *args: str) -> None:
        self._args = (*args, "--url", gateway.url)
        self.shown = ""

    async def run(self, answers: list[tuple[str, str]]) -> Finished:
        """Type each answer once its question is shown; what was shown is the stderr."""
        ours, theirs = pty.openpty()
        os.set_blocking(ours, False)
        process = await asyncio.create_subprocess_exec(
            str(BIN / "fluidmcp"),
            *self._args,
            env=environment(),
            stdin=theirs,
            stderr=theirs,
            stdout=asyncio.subprocess.PIPE,
        )
        os.close(theirs)
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._read, ours, changed)
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                for question, answer in answers:
                    while question not in self.shown:
                        changed.clear()
                        await changed.wait()
                    os.write(ours, answer.encode() + b"\n")
                    self.shown = self.shown.partition(question)[2]
                assert process.stdout is not None
                out = await process.stdout.read()
                code = await process.wait()
        finally:
            loop.remove_reader(ours)
            os.close(ours)
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Finished(code, out.decode(), self.shown)

    def _read(self, descriptor: int, changed: asyncio.Event) -> None:
        try:
            self.shown += os.read(descriptor, 65536).decode()
        except OSError:
            asyncio.get_running_loop().remove_reader(descriptor)
        changed.set()


async def call(gateway: RunningGateway, *args: str) -> Finished:
    return await run_fluidmcp("call", *args, "--url", gateway.url)


async def test_tools_are_listed_and_called(gateway: RunningGateway, package: str, tmp_path: Path):
    listed = await run_fluidmcp("tools", package, "--json", "--url", gateway.url)
    shown = await run_fluidmcp("tools", package, "--url", gateway.url)
    text = await call(gateway, package, "test_simple_text")
    failed = await call(gateway, package, "test_error_handling")
    several = await call(gateway, package, "test_multiple_content_types", "-o", str(tmp_path))

    names = {tool["name"] for tool in json.loads(listed.stdout)["tools"]}
    assert {"test_simple_text", "json_schema_2020_12_tool"} <= names
    assert "contactMethod=phone|email (optional)" in shown.stdout
    assert (text.code, text.stdout) == (0, "This is a simple text response for testing.\n")
    assert failed.code == 1
    assert "intentionally returns an error" in failed.stdout
    assert several.code == 0
    assert several.stdout.startswith("Multiple content types test:\n")
    assert (tmp_path / "test_multiple_content_types-1.png").read_bytes().startswith(b"\x89PNG")


async def test_arguments_arrive_in_their_types(gateway: RunningGateway, package: str):
    typed = ("name=Ada", 'address={"city": "Ulm"}', "contactMethod=email", "email=a@b.example")

    done = await call(gateway, package, "json_schema_2020_12_tool", *typed, "--json")

    assert done.code == 0, done.stderr
    seen = json.loads(json.loads(done.stdout)["content"][0]["text"])
    assert seen == {"name": "Ada", "address": {"city": "Ulm"}, "contactMethod": "email", "email": "a@b.example"}


async def test_arguments_that_a_header_repeats_are_sent_in_it(gateway: RunningGateway, package: str):
    listed = await run_fluidmcp("tools", package, "--json", "--url", gateway.url)
    if "test_x_mcp_header" not in {tool["name"] for tool in json.loads(listed.stdout)["tools"]}:
        assert package == "handshake"
        return

    done = await call(gateway, package, "test_x_mcp_header", "region=Süd ", "limit=3", "urgent=true")

    assert done.code == 0, done.stderr
    assert json.loads(done.stdout) == {"region": "Süd ", "limit": 3, "urgent": True}


async def test_a_question_is_asked_in_the_terminal(gateway: RunningGateway, package: str):
    answered = await Terminal(gateway, "call", package, "test_elicitation", "message=Who are you?").run(
        [("Who are you?", "y"), ("username", "ada"), ("email", "a@b.example")]
    )
    declined = await Terminal(gateway, "call", package, "test_elicitation", "message=Who are you?").run(
        [("Who are you?", "n")]
    )

    assert answered.code == declined.code == 0
    said = json.loads(answered.stdout.partition("User response: ")[2])
    assert (said["action"], said["content"]) == ("accept", {"username": "ada", "email": "a@b.example"})
    assert json.loads(declined.stdout.partition("User response: ")[2])["action"] == "decline"


async def test_typed_answers_have_defaults_and_types(gateway: RunningGateway, package: str):
    done = await Terminal(gateway, "call", package, "test_elicitation_sep1034_defaults").run(
        [
            ("Answer?", ""),
            ("name", ""),
            ("age", "old"),
            ("not of its type", "31"),
            ("score", ""),
            ("status", "gone"),
            ("none of them", "pending"),
            ("verified", "false"),
        ]
    )

    content = json.loads(done.stdout.partition("content=")[2])
    assert content == {"name": "John Doe", "age": 31, "score": 95.5, "status": "pending", "verified": False}


async def test_progress_is_shown_where_a_person_looks(gateway: RunningGateway, package: str):
    done = await Terminal(gateway, "call", package, "test_tool_with_progress").run([])
    quiet = await call(gateway, package, "test_tool_with_progress")

    assert "... 50 of 100" in done.stderr
    assert done.stdout == "Reported progress\n"
    assert quiet.stderr == ""


async def test_without_a_terminal_a_question_is_an_error_that_says_so(gateway: RunningGateway, package: str):
    done = await call(gateway, package, "test_elicitation", "message=x", "--json")

    assert done.code == 3
    assert json.loads(done.stdout)["error"]["message"] == "The tool wants to ask you something."


async def test_several_questions_come_one_after_the_other(gateway: RunningGateway, package: str):
    if package == "handshake":
        tool, rounds = "test_elicitation", [("Step", "y"), ("username", "Ada"), ("email", "e")]
        expected, extra = "Ada", ("message=Step 1",)
    else:
        tool, extra = "test_input_required_result_multi_round", ()
        rounds = [("Step 1", "y"), ("name", "Ada"), ("Step 2", "y"), ("color", "blue")]
        expected = "Ada likes blue"

    done = await Terminal(gateway, "call", package, tool, *extra).run(rounds)

    assert expected in done.stdout
