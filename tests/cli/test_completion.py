"""What a shell proposes at a Tab: tried in a real bash, with what this machine's disk says and nothing else."""

import asyncio
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from fluidmcp.cli.main import commands, run_commands
from fluidmcp.packages.sources.lock import Lock, LockedPackage, read_lock, write_lock
from tests.acceptance.harness import BIN, environment, run_fluidmcp
from tests.cli.terminal import at_terminal
from tests.cli.test_run import GOOD, install

LIMIT_SECONDS: Final = 60.0
FLUIDMCP: Final = shlex.quote(str(BIN / "fluidmcp"))


async def propose(folder: Path, *words: str, **env: str) -> tuple[list[str], str]:
    """What bash offers in place of the last word; and what came on stderr besides bash's own words."""
    line = " ".join(shlex.quote(word) for word in words)
    script = (
        f'eval "$({FLUIDMCP} completion bash)"; compopt() {{ echo "$@" >&2; }}; COMP_WORDS=({line}); '
        f'COMP_CWORD={len(words) - 1}; _fluidmcp_completion {FLUIDMCP}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", script),
        env=environment(env),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        out, err = await process.communicate()
    return out.decode().split(), err.decode()


async def test_bash_completes_at_a_tab(tmp_path: Path) -> None:
    async with at_terminal("--norc", "--noprofile", "-i", program="bash", cwd=tmp_path, env={"PS1": "> "}) as terminal:
        terminal.type(f'eval "$({FLUIDMCP} completion bash)"; echo "is set" up\n')
        await terminal.wait_for("is set up\r\n")
        terminal.type("fluidmcp conn\tcurs\t--wr\t; echo $((40+2))\n")
        await terminal.wait_for("42\r\n")
        assert "fluidmcp connect cursor --write " in terminal.written
        terminal.type("exit\n")
        await terminal.process.wait()


async def test_commands_options_and_choices_are_proposed(tmp_path: Path) -> None:
    assert await propose(tmp_path, "fluidmcp", "co") == (["connect", "completion"], "")
    assert (await propose(tmp_path, "fluidmcp", "run", "--start"))[0] == ["--start-server"]
    assert (await propose(tmp_path, "fluidmcp", "connect", "cur"))[0] == ["cursor", "curl"]
    assert (await propose(tmp_path, "fluidmcp", "completion", ""))[0] == ["bash", "zsh", "fish"]


async def test_installed_packages_are_proposed_where_one_is_meant(tmp_path: Path) -> None:
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD)
    for command in ("tools", "call", "doctor"):
        assert (await propose(tmp_path, "fluidmcp", command, ""))[0] == ["gmail-mock", "mypackage"]
    assert (await propose(tmp_path, "fluidmcp", "connect", "cursor", "my"))[0] == ["mypackage"]
    names, files = await propose(tmp_path, "fluidmcp", "run", "")
    assert names == ["all", "gmail-mock", "mypackage"]
    assert files == "-o default\n", "where no name is left, bash goes on with files"


async def test_what_was_installed_by_name_is_proposed_as_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / ".fmcp-packages"
    folder.mkdir()
    package = LockedPackage(
        source="npm", name="some-server", version="1.0.0", integrity=("i",), tree="t", entry_point="e", contents="c"
    )
    write_lock(folder, Lock().with_package(package))
    assert await propose(tmp_path, "fluidmcp", "uninstall", "") == (["npm:some-server"], "")
    assert (await propose(tmp_path, "fluidmcp", "run", "np"))[0] == ["npm:some-server"]


@pytest.mark.parametrize("name", ["$(touch pwned)", "a;b", "`id`", "a b", "x\nplain,evil", "a*", "--help\x1b[2J"])
async def test_no_name_is_proposed_that_a_shell_would_take_for_more(tmp_path: Path, name: str) -> None:
    folder = tmp_path / ".fmcp-packages"
    folder.mkdir()
    hostile = LockedPackage(
        source="npm", name=name, version="1.0.0", integrity=("i",), tree="t", entry_point="e", contents="c"
    )
    write_lock(folder, Lock().with_package(hostile).with_package(replace(hostile, name="@some/server")))
    assert name in {package.name for package in read_lock(folder).packages.values()}
    assert await propose(tmp_path, "fluidmcp", "uninstall", "") == (["npm:@some/server"], "")


async def test_known_servers_providers_and_files_are_proposed(tmp_path: Path) -> None:
    assert (await propose(tmp_path, "fluidmcp", "add", "lin"))[0] == ["linear"]
    assert (await propose(tmp_path, "fluidmcp", "catalogue", "lin"))[0] == ["linear"]
    assert "google" in (await propose(tmp_path, "fluidmcp", "providers", "go"))[0]
    for command in ("validate", "import"):
        assert await propose(tmp_path, "fluidmcp", command, "x") == ([], "-o default\n")


async def test_a_tab_prints_no_errors(tmp_path: Path) -> None:
    (tmp_path / ".fmcp-packages").mkdir()
    (tmp_path / ".fmcp-packages" / "fluidmcp.lock").write_text("{")
    assert await propose(tmp_path, "fluidmcp", "uninstall", "") == ([], "")


async def test_names_of_gateways_are_not_asked_for(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await propose(tmp_path, "fluidmcp", "tools", "", FMCP_PUBLIC_URL=url))[0] == ["gmail-mock"]
    assert not asked.is_set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_what_it_reads(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_commands(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_FLUIDMCP_COMPLETE" in script
    assert f"{shell}_complete" in script


async def test_another_shell_is_refused() -> None:
    done = await run_fluidmcp("completion", "tcsh")
    assert done.code == 2
    assert "bash" in done.stderr


def test_commands_are_proposed_with_what_they_do() -> None:
    context = commands.make_context("fluidmcp", [], resilient_parsing=True)
    items = {item.value: item.help for item in commands.shell_complete(context, "de")}
    assert items == {"demo": "Try a login and a call on this machine, with nothing to configure."}
