"""What `fluidmcp demo` tells to do next: each command is typed as it stands, and the page opens in a browser."""

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Final

from fluidmcp.demo.mailboxes import PEOPLE
from tests.acceptance.harness import BIN, Finished, environment
from tests.demo.demo_client import NO_SCREEN, log_in, start_demo

LIMIT_SECONDS: Final = 60.0
BROWSER: Final = f"{shlex.quote(sys.executable)} {Path(__file__).with_name('demo_browser.py')} %s"


async def type_in(command: str, env: dict[str, str]) -> Finished:
    program, *words = shlex.split(command)
    assert program == "fluidmcp"
    process = await asyncio.create_subprocess_exec(
        str(BIN / program),
        *words,
        env=environment(NO_SCREEN | env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        out, err = await process.communicate()
    return Finished(await process.wait(), out.decode(), err.decode())


async def test_every_command_that_the_demo_names_works_as_it_stands(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "BROWSER": BROWSER}
    async with start_demo() as demo:
        await demo.gateway.stdout.wait_for("Stop: Ctrl-C")
        lines = [line.strip() for line in demo.gateway.stdout.lines]
        commands = [line.partition("   (")[0] for line in lines if line.startswith("fluidmcp ")]
        done = {command.split()[1]: await type_in(command, env) for command in commands}
    assert [*done] == ["tools", "call", "connect", "doctor"]
    assert all(each.code == 0 for each in done.values()), done
    assert "list_messages" in done["tools"].stdout
    assert any(person.email in done["call"].stdout for person in PEOPLE), done["call"]
    assert f"{demo.gateway.url}/gmail-mock/mcp" in done["connect"].stdout
    assert "No problem found." in done["doctor"].stdout
    assert f"{demo.gateway.url}/" in lines
    assert "in the browser that opens" not in "\n".join(lines), "there is no screen"


async def test_the_page_opens_in_a_browser_once_there_is_something_to_see(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    # It keeps the address under its name only when it has read the page.
    script = f'curl -sf "$1" > {tmp_path}/page && echo "$1" > {opened}.new && mv {opened}.new {opened}'
    (tmp_path / "browser").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "browser").chmod(0o700)
    async with start_demo(env={"BROWSER": f"{tmp_path}/browser"}) as demo:
        await demo.gateway.stdout.wait_for("in the browser that opens:")
        async with asyncio.timeout(LIMIT_SECONDS):
            while not opened.exists():
                await asyncio.sleep(0.02)
        url = demo.gateway.url
    assert opened.read_text().strip() == f"{url}/"
    assert "gmail-mock" in (tmp_path / "page").read_text()


async def test_no_browser_opens_for_who_wants_none(tmp_path: Path) -> None:
    (tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    (tmp_path / "browser").chmod(0o700)
    async with start_demo("--no-browser", env={"BROWSER": f"{tmp_path}/browser", "DISPLAY": ":99"}) as demo:
        await demo.gateway.stdout.wait_for("Stop: Ctrl-C")
        assert (await log_in(demo.login_url, PEOPLE[0])).status_code == 200
        assert "in the browser that opens" not in demo.gateway.stdout.text
    assert not (tmp_path / "opened").exists()


async def test_who_cannot_be_logged_in_is_told_the_true_reason(tmp_path: Path) -> None:
    async with start_demo() as demo:
        end = f"--json --url {demo.gateway.url}"
        home = {"HOME": str(tmp_path)}
        refused = await type_in(f"fluidmcp call gmail-mock whoami --no-login {end}", home | {"BROWSER": "true"})
        unseen = await type_in(f"fluidmcp call gmail-mock whoami {end}", home)
        overview = await type_in(f"fluidmcp tools {end}", home | {"BROWSER": "true"})
    assert (refused.code, unseen.code, overview.code) == (4, 4, 0)
    whys = [json.loads(done.stdout)["error"]["why"] for done in (refused, unseen)]
    assert whys == [
        "--no-login was given, and no login is stored that is good.",
        "Nobody can be asked here: there is neither a browser nor a terminal.",
    ]
    said = json.loads(overview.stdout)["packages"]["gmail-mock"]["error"]
    assert said["why"] == "A login begins only where one package is named."


async def test_help_names_the_exit_codes_that_there_are_and_the_default_time() -> None:
    tools, call = await type_in("fluidmcp tools --help", {}), await type_in("fluidmcp call --help", {})
    failed = "1    the tool answered, and says that it failed (isError)"
    assert failed in call.stdout
    assert failed not in tools.stdout
    for text in (tools.stdout, call.stdout):
        assert "[default: 600]" in text
        assert "0    done" in text
        assert "4    a login is needed" in text
