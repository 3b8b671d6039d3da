"""The console script: help, version, and what is said when something goes wrong."""

import json
import resource
import subprocess
import sys

import pytest

from fluidmcp import __version__
from tests.acceptance.harness import BIN, environment, run_fluidmcp

HELP_LIMIT_SECONDS = 0.3
HEAVY_MODULES = ("fastapi", "uvicorn", "uvloop", "pydantic", "httpx2", "msgspec", "asyncio", "fluidmcp.gateway.app")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_answers_at_once(arguments: list[str]):
    """The best of five, in processor time: the rest says how busy the machine is."""
    durations: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([BIN / "fluidmcp", *arguments], check=True, capture_output=True, env=environment())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        durations.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(durations) < HELP_LIMIT_SECONDS, durations


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["login", "--help"], ["token", "--help"], ["--version"]], ids=" ".join
)
def test_help_imports_nothing_of_the_gateway(arguments: list[str]):
    code = (
        "import json, sys\n"
        "from fluidmcp.cli.main import run_commands\n"
        f"run_commands({arguments!r})\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment())
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint(HEAVY_MODULES)


@pytest.mark.parametrize("program", ["fluidmcp", "fmcp", "fluidai-mcp"])
async def test_each_of_the_three_names_tells_the_version(program: str):
    done = await run_fluidmcp("--version", program=program)
    assert (done.code, done.stdout) == (0, f"fluidmcp {__version__}\n")


async def test_the_help_names_every_command_and_option():
    overview = await run_fluidmcp("--help")
    for command in ("run", "login", "logout", "status", "token", "demo"):
        assert f"  {command} " in overview.stdout
    options = (await run_fluidmcp("run", "--help")).stdout
    for option in ("--file", "--start-server", "--host", "--port", "--public-url", "--allow-insecure", "--allow-env"):
        assert f"  {option} " in options


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["rum"], "Error: There is no command 'rum'. Did you mean run?"),
        (["serve"], "Error: No such command 'serve'."),
        (["run"], "Error: Missing argument 'PACKAGE'."),
        (["run", "x", "--nope"], "Error: No such option '--nope'."),
        (["run", "x", "--port", "0"], "Error: Invalid value for '--port'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_a_mistake_in_the_command_line_is_two_lines_and_exit_code_2(arguments: list[str], what: str):
    done = await run_fluidmcp(*arguments)
    assert done.code == 2
    first, second = done.stderr.splitlines()
    assert first.startswith(what)
    assert second.startswith("  Do: Run: fluidmcp")


BROKEN_COMMAND = """
import sys, types, click
from fluidmcp.cli.main import run_commands

@click.command()
def demo() -> None:
    raise {error}

module = types.ModuleType("fluidmcp.cli.demo.command")
module.demo = demo
sys.modules["fluidmcp.cli.demo.command"] = module
sys.exit(run_commands(["demo"]))
"""


def run_broken(error: str, **changes: str) -> subprocess.CompletedProcess[str]:
    code = BROKEN_COMMAND.format(error=error)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(changes))


def test_a_fault_of_our_own_is_one_line_without_the_text_of_the_exception():
    done = run_broken("ValueError('canary')")
    assert done.returncode == 70
    (line,) = done.stderr.splitlines()
    assert line == (
        "Error: FluidMCP failed unexpectedly (ValueError). Set FMCP_LOG_LEVEL=debug and run it again to see where."
    )


def test_somebody_who_asks_for_debug_gets_the_traceback():
    done = run_broken("ValueError('canary')", FMCP_LOG_LEVEL="debug")
    assert done.returncode == 70
    assert "Traceback" in done.stderr and "canary" in done.stderr


def test_ctrl_c_is_quiet():
    done = run_broken("KeyboardInterrupt")
    assert (done.returncode, done.stderr.strip()) == (130, "")
