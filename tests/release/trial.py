"""The wheel as a person gets it: installed where nothing else is, asked for its version, and its demo used."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx2

from fluidmcp.demo.mailboxes import MAYA
from fluidmcp.errors import UserError
from tests.acceptance.harness import BIN, Output, free_port
from tests.demo.demo_client import call_tool, log_in
from tests.release.project import Project, clean_environment, run

START_LIMIT_SECONDS: Final = 120.0
STOP_LIMIT_SECONDS: Final = 60.0
_COMMANDS: Final = ("fluidmcp", "fmcp", "fluidai-mcp")
_IMPORTS: Final = """
import importlib.metadata, sys
import fluidmcp, fluidai_mcp.services.oauth2_pkce
print(importlib.metadata.version(sys.argv[1]), fluidmcp.__version__)
"""


def install(project: Project, wheel: Path, python: Path, folder: Path) -> Path:
    """The Python of a new environment in `folder` that holds the wheel and what it depends on, as the tests have it."""
    pins = folder.with_name(f"{folder.name}.txt")
    pins.write_text("".join(f"{pin}\n" for pin in project.pins), encoding="utf-8")
    run([BIN / "uv", "venv", "--quiet", "--no-config", "--python", python, folder], cwd=folder.parent)
    own = folder / "bin" / "python"
    run(
        [BIN / "uv", "pip", "install", "--quiet", "--no-config", "--python", own, "--constraints", pins, wheel],
        cwd=folder.parent,
    )
    return own


def check_commands(project: Project, python: Path, empty: Path) -> None:
    """Raises UserError where a command or an import is missing, or another version answers."""
    for name in _COMMANDS:
        said = run([python.with_name(name), "--version"], cwd=empty)
        if said != f"fluidmcp {project.version}\n":
            raise UserError(f"`{name} --version` says {said.strip()}.", why=f"The version is {project.version}.")
    said = run([python, "-I", "-c", _IMPORTS, project.name], cwd=empty)
    if said.split() != [project.version] * 2:
        raise UserError(f"The installed package says that it is {said.strip()}.")


async def try_demo(command: Sequence[str | Path], empty: Path) -> None:
    """Start `command` with ports, log in as somebody, ask the server who that is, and end it.

    Raises:
        UserError: a step failed; what the demo wrote is in it.
    """
    port, provider_port = free_port(), free_port()
    demo = await asyncio.create_subprocess_exec(
        *map(str, command),
        "--no-browser",
        "--port",
        str(port),
        "--provider-port",
        str(provider_port),
        cwd=empty,
        env=clean_environment() | {"PATH": os.defpath},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert demo.stdout is not None
    output = Output(demo.stdout)
    try:
        await output.wait_for("Stop: Ctrl-C", limit_seconds=START_LIMIT_SECONDS)
        await _use(f"http://localhost:{port}")
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_LIMIT_SECONDS):
            code = await demo.wait()
        if code not in (0, 130, -signal.SIGINT):
            raise AssertionError(f"it ended with {code}")
    except (AssertionError, OSError, TimeoutError, httpx2.HTTPError, KeyError) as error:
        raise UserError(
            "The demo of the installed wheel does not work.", why=f"{error!r:.300}. It wrote:\n{output.text[-2000:]}"
        ) from error
    finally:
        if demo.returncode is None:
            os.killpg(demo.pid, signal.SIGKILL)
            await demo.wait()
        await output.finish()


async def _use(url: str) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        assert (await client.get(f"{url}/ready")).status_code == 200, "/ready"
        page = await client.get(f"{url}/", headers={"Accept": "text/html"})
        assert page.status_code == 200 and "gmail-mock" in page.text, "the page"
    answer = (await log_in(f"{url}/gmail-mock/auth/login", MAYA)).json()
    me = await call_tool(url, answer["token_data"]["access_token"], "whoami")
    assert me["email"] == MAYA.email, "whoami"
