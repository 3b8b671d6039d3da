"""`fluidmcp connect` as a person types it: shown, written, written again, removed."""

import json
import os
import stat
import sys
import tomllib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from html import unescape
from pathlib import Path

import httpx2
import pytest

from fluidmcp.cli.connect.files import BACKUP_SUFFIX, find_client_file
from fluidmcp.cli.main import run_commands
from fluidmcp.packages.clients.snippets import CLIENT_KEYS
from fluidmcp.packages.clients.table import FILE_CLIENTS
from tests.acceptance.harness import Finished, RunningGateway, free_port, run_fluidmcp, start_fluidmcp
from tests.parts import ROOT

STDLIB = str(ROOT / "tests" / "servers" / "stdlib_server.py")
AUTH = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://provider.example/authorize",
    "token_url": "https://provider.example/token",
    "client_id_env": "MAIL_CLIENT_ID",
    "scopes": ["mail"],
    "env_var_name": "MAIL_TOKEN",
}
CONFIG = {
    "mcpServers": {
        "clock": {"command": sys.executable, "args": ["-I", STDLIB]},
        "mail": {"command": sys.executable, "args": ["-I", STDLIB], "auth": AUTH},
    }
}


SECURE = {"FMCP_SECURE_TOKEN": "a-token-of-this-gateway-0123456789"}


def start_guarded(folder: Path) -> AbstractAsyncContextManager[RunningGateway]:
    """A gateway with --secure, and one server."""
    config = folder / "config.json"
    config.write_text(json.dumps({"mcpServers": {"clock": CONFIG["mcpServers"]["clock"]}}))
    return start_fluidmcp("run", str(config), "--start-server", "--secure", env=SECURE)


async def connect_really(home: Path, *args: str) -> Finished:
    return await run_fluidmcp("connect", *args, env={"HOME": str(home), "XDG_CONFIG_HOME": ""})


Connect = Callable[..., Finished]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Connect:
    """The command in this process, with a home directory of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "FMCP_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: str) -> Finished:
        code = run_commands(("connect", *args))
        seen = capsys.readouterr()
        return Finished(code, seen.out, seen.err)

    return run


@pytest.fixture
def nowhere() -> str:
    """An address at which nothing answers."""
    return f"http://localhost:{free_port()}"


async def test_a_gateway_that_runs_is_asked_for_its_packages_and_their_logins(tmp_path: Path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    async with start_fluidmcp("run", str(config), "--start-server", env={"MAIL_CLIENT_ID": "x"}) as gateway:
        url = ("--url", gateway.url)
        shown = await connect_really(tmp_path, "codex", *url)
        written = await connect_really(tmp_path, "codex", "--write", *url)
        unknown = await connect_really(tmp_path, "codex", "nope", "--write", *url)

    assert shown.code == written.code == 0, shown.stderr + written.stderr
    assert f"codex mcp add clock --url {gateway.url}/clock/mcp" in shown.stdout
    assert "codex mcp login mail" in shown.stdout
    assert "codex mcp login clock" not in shown.stdout
    servers = tomllib.loads((tmp_path / ".codex" / "config.toml").read_text())["mcp_servers"]
    assert servers == {name: {"url": f"{gateway.url}/{name}/mcp"} for name in ("clock", "mail")}
    assert unknown.code == 2
    assert "has no package nope" in unknown.stderr


async def test_a_gateway_that_wants_a_token_of_its_own_is_told_of_and_no_login_promised(tmp_path: Path):
    async with start_guarded(tmp_path) as gateway:
        shown = await connect_really(tmp_path, "codex", "clock", "--url", gateway.url)

    assert shown.code == 0, shown.stderr
    assert "codex mcp login" not in shown.stdout
    assert "--token-env FMCP_SECURE_TOKEN" in shown.stderr


async def test_the_last_line_of_a_start_with_secure_connects_as_it_stands(tmp_path: Path):
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    async with start_guarded(tmp_path) as gateway:
        line = await gateway.stdout.wait_for("Connect a client: fluidmcp ")
        args = line.partition("Connect a client: fluidmcp ")[2].partition("   (or")[0].split()
        one = await run_fluidmcp(*args, "--write", env={**home, **SECURE})
        every = ("connect", "cursor", "--write", "--url", gateway.url, "--token-env", "FMCP_SECURE_TOKEN")
        all_of_them = await run_fluidmcp(*every, env={**home, **SECURE})

    url = f"{gateway.url}/clock/mcp"
    for done in (one, all_of_them):
        assert done.code == 0, done.stderr
        assert "Warning" not in done.stderr
        assert SECURE["FMCP_SECURE_TOKEN"] not in done.stdout + done.stderr
    assert json.loads((tmp_path / ".claude.json").read_text())["mcpServers"]["clock"] == {
        "type": "http",
        "url": url,
        "headers": {"Authorization": "Bearer ${FMCP_SECURE_TOKEN}"},
    }
    assert json.loads((tmp_path / ".cursor" / "mcp.json").read_text())["mcpServers"]["clock"] == {
        "url": url,
        "headers": {"Authorization": "Bearer ${env:FMCP_SECURE_TOKEN}"},
    }


async def test_a_token_that_is_refused_and_a_package_that_is_none_are_told_apart(tmp_path: Path):
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    wrong = {**home, "FMCP_SECURE_TOKEN": "another-token-0123456789"}
    async with start_guarded(tmp_path) as gateway:
        rest = ("--url", gateway.url, "--token-env", "FMCP_SECURE_TOKEN")
        refused = await run_fluidmcp("connect", "cursor", "clock", *rest, env=wrong)
        not_listed = await run_fluidmcp("connect", "cursor", *rest, env=wrong)
        unknown = await run_fluidmcp("connect", "cursor", "clocks", "--write", *rest, env={**home, **SECURE})

    assert (refused.code, not_listed.code, unknown.code) == (0, 2, 2)
    assert "clock refuses the token that is in FMCP_SECURE_TOKEN now" in refused.stderr
    assert "does not take the token that was sent" in not_listed.stderr
    assert "has no package clocks" in unknown.stderr
    assert not (tmp_path / ".cursor").exists()


async def test_the_page_shows_the_variable_and_never_the_token(tmp_path: Path):
    async with start_guarded(tmp_path) as gateway, httpx2.AsyncClient() as http:
        headers = {"accept": "text/html", "authorization": f"Bearer {SECURE['FMCP_SECURE_TOKEN']}"}
        page = unescape((await http.get(f"{gateway.url}/", headers=headers)).text)

    for text in ("--header 'Authorization: Bearer ${FMCP_SECURE_TOKEN}'", "--bearer-token-env-var FMCP_SECURE_TOKEN"):
        assert text in page
    assert "Claude logs in, and sends no token of yours" in page
    assert "codex mcp login" not in page
    assert "/auth/login gives" not in page
    assert SECURE["FMCP_SECURE_TOKEN"] not in page


@pytest.mark.parametrize("key", [key for key, client in FILE_CLIENTS.items() if client.token_members is not None])
def test_an_entry_that_is_there_gets_the_tokens_variable_once(connect: Connect, tmp_path: Path, nowhere: str, key: str):
    path = find_client_file(FILE_CLIENTS[key], {"HOME": str(tmp_path)})
    args = (key, "mail", "--url", nowhere, "--write")
    connect(*args)

    first = connect(*args, "--token-env", "MY_TOKEN")
    content = path.read_bytes()
    second = connect(*args, "--token-env", "OTHER_TOKEN")

    third = connect(*args, "--token-env", "MY_TOKEN")

    assert first.code == second.code == third.code == 0, first.stderr + second.stderr
    assert "Added the token's variable to mail" in first.stdout
    assert "is not set here" in first.stderr
    assert b"MY_TOKEN" in content
    for done in (second, third):
        assert "has mail already" in done.stdout
    assert "will not send the token in OTHER_TOKEN" in second.stderr, "what somebody has put there is left alone"
    assert "will not send" not in third.stderr
    assert path.read_bytes() == content


@pytest.mark.parametrize("key", ["cursor", "codex"])
def test_an_entry_that_starts_a_command_is_left_as_it_is_and_said_to_send_no_token(
    connect: Connect, tmp_path: Path, nowhere: str, key: str
):
    path = find_client_file(FILE_CLIENTS[key], {"HOME": str(tmp_path)})
    path.parent.mkdir()
    url = f"{nowhere}/mail/mcp"
    path.write_text(
        f'[mcp_servers.mail]\ncommand = "npx"\nargs = ["-y", "mcp-remote", "{url}"]\n'
        if key == "codex"
        else json.dumps({"mcpServers": {"mail": {"command": "npx", "args": ["-y", "mcp-remote", url]}}})
    )
    before = path.read_bytes()

    done = connect(key, "mail", "--url", nowhere, "--write", "--token-env", "MY_TOKEN")

    assert done.code == 0, done.stderr
    assert "mail in ~/" in done.stderr and "will not send the token in MY_TOKEN" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["\u201ctoken\u201d", "two words", "a\nb", "x" * 9000])
def test_a_variable_without_a_token_is_named_and_its_content_is_not(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, nowhere: str, text: str
):
    monkeypatch.setenv("MY_TOKEN", text)
    done = connect("cursor", "mail", "--url", nowhere, "--token-env", "MY_TOKEN")

    assert done.code == 2
    assert "There is no token in MY_TOKEN." in done.stderr
    assert text not in done.stdout + done.stderr


@pytest.mark.parametrize("key", ["claude-desktop", "zed", "claude", "chatgpt"])
def test_a_client_that_takes_no_token_from_a_variable_says_so(connect: Connect, tmp_path: Path, nowhere: str, key: str):
    done = connect(key, "mail", "--url", nowhere, "--token-env", "MY_TOKEN")

    assert done.code == 2
    assert "cannot take a token from a variable" in done.stderr
    assert os.listdir(tmp_path) == []


async def test_packages_of_similar_names_are_all_connected(tmp_path: Path):
    config = tmp_path / "config.json"
    entry = CONFIG["mcpServers"]["clock"]
    config.write_text(json.dumps({"mcpServers": {"my.clock": entry, "my-clock": entry}}))
    async with start_fluidmcp("run", str(config), "--start-server") as gateway:
        written = [await connect_really(tmp_path, key, "--write", "--url", gateway.url) for key in ("cursor", "codex")]

    assert [done.code for done in written] == [0, 0], written
    wanted = {
        name: {"url": f"{gateway.url}/{of}/mcp"} for name, of in (("my-clock", "my-clock"), ("my-clock-2", "my.clock"))
    }
    assert json.loads((tmp_path / ".cursor" / "mcp.json").read_text())["mcpServers"] == wanted
    assert tomllib.loads((tmp_path / ".codex" / "config.toml").read_text())["mcp_servers"] == wanted


def test_without_a_gateway_a_package_that_is_named_is_enough(connect: Connect, tmp_path: Path, nowhere: str):
    unnamed = connect("cursor", "--url", nowhere)
    named = connect("cursor", "mail", "--url", nowhere)

    assert unnamed.code == 1
    assert "Why: Nothing answers at that address." in unnamed.stderr
    assert named.code == 0
    assert "cannot be reached" in named.stderr
    assert json.dumps({"mcpServers": {"mail": {"url": f"{nowhere}/mail/mcp"}}}, indent=2) in named.stdout


@pytest.mark.parametrize("key", CLIENT_KEYS)
def test_every_client_can_be_shown(connect: Connect, tmp_path: Path, nowhere: str, key: str):
    done = connect(key, "mail", "--url", nowhere)

    assert done.code == 0
    assert f"{nowhere}/mail/mcp" in done.stdout
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", FILE_CLIENTS)
def test_written_twice_and_removed(connect: Connect, tmp_path: Path, nowhere: str, key: str):
    path = find_client_file(FILE_CLIENTS[key], {"HOME": str(tmp_path)})
    args = (key, "mail", "--url", f"{nowhere}/base")

    first = connect(*args, "--write")
    content = path.read_bytes()
    second = connect(*args, "--write")

    assert first.code == second.code == 0, first.stderr
    assert "Added mail: ~/" in first.stdout
    assert "has mail already" in second.stdout
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    removed = connect(*args, "--remove")
    assert "Removed mail: ~/" in removed.stdout
    assert b"/base/" not in path.read_bytes()
    assert path.with_name(path.name + BACKUP_SUFFIX).read_bytes() == content
    assert "it is as it was" in (connect(*args, "--remove")).stdout


def test_the_file_keeps_its_mode_and_its_link_and_a_private_copy_stays_beside_it(
    connect: Connect, tmp_path: Path, nowhere: str
):
    real = tmp_path / "dotfiles" / "cursor.json"
    real.parent.mkdir()
    real.write_text('{"mcpServers": {}} // mine\n')
    real.chmod(0o640)
    link = tmp_path / ".cursor" / "mcp.json"
    link.parent.mkdir()
    link.symlink_to("../dotfiles/cursor.json")

    done = connect("cursor", "mail", "--as", "post", "--url", nowhere, "--write")

    assert done.code == 0, done.stderr
    assert link.is_symlink()
    assert real.read_text() == f'{{"mcpServers": {{"post": {{"url": "{nowhere}/mail/mcp"}}}}}} // mine\n'
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    copy = real.with_name("cursor.json" + BACKUP_SUFFIX)
    assert copy.read_text() == '{"mcpServers": {}} // mine\n'
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(os.listdir(real.parent)) == sorted([copy.name, real.name])


def test_other_names_of_the_file_are_said_to_keep_what_it_held(connect: Connect, tmp_path: Path, nowhere: str):
    path, other = tmp_path / ".cursor" / "mcp.json", tmp_path / "dotfiles.json"
    path.parent.mkdir()
    path.write_text("{}")
    os.link(path, other)
    args = ("cursor", "mail", "--url", nowhere, "--write")

    done = connect(*args)

    assert done.code == 0 and "/mail/mcp" in path.read_text()
    warning = "Warning: ~/.cursor/mcp.json had another name on this disk (a hard link), which keeps the old content."
    assert warning in done.stderr.splitlines()
    assert other.read_text() == "{}"
    assert "hard link" not in connect(*args, "--remove").stderr, "it has one name now"


@pytest.mark.parametrize("content", [b'{"mcpServers": {', b"\xff", b'{"mcpServers": 3}', b'{"a": 1, "a": 2}'])
def test_a_broken_file_is_left_alone(connect: Connect, tmp_path: Path, nowhere: str, content: bytes):
    path = tmp_path / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_bytes(content)

    done = connect("cursor", "mail", "--url", nowhere, "--write")

    assert done.code == 2
    assert "Error: ~/.cursor/mcp.json" in done.stderr
    assert "  Why: " in done.stderr
    assert "  Do: " in done.stderr
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["mcp.json"]


@pytest.mark.parametrize(
    ("key", "environ", "expected"),
    [
        ("claude-code", {"CLAUDE_CONFIG_DIR": "/c"}, "/c/.claude.json"),
        ("codex", {"CODEX_HOME": "/c"}, "/c/config.toml"),
        ("gemini", {"GEMINI_CLI_HOME": "/c"}, "/c/.gemini/settings.json"),
        ("zed", {"XDG_CONFIG_HOME": "/c"}, "/c/zed/settings.json"),
        ("vscode", {"XDG_CONFIG_HOME": "relative"}, "/h/.config/Code/User/mcp.json"),
        ("codex", {"CODEX_HOME": "relative"}, "/h/.codex/config.toml"),
    ],
)
def test_a_client_that_keeps_its_files_elsewhere_is_found(key: str, environ: dict[str, str], expected: str):
    assert find_client_file(FILE_CLIENTS[key], {"HOME": "/h", **environ}, is_mac=False) == Path(expected)


def test_on_a_mac_desktop_programs_have_their_own_place():
    paths = [find_client_file(FILE_CLIENTS[key], {"HOME": "/h"}, is_mac=True) for key in ("vscode", "zed")]

    assert paths == [Path("/h/Library/Application Support/Code/User/mcp.json"), Path("/h/.config/zed/settings.json")]


def test_the_file_of_opencode_that_is_there_is_the_one(tmp_path: Path):
    folder = tmp_path / ".config" / "opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").touch()

    assert find_client_file(FILE_CLIENTS["opencode"], {"HOME": str(tmp_path)}) == folder / "opencode.jsonc"


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("emacs",), "Invalid value for 'CLIENT'"),
        (("cursor", "--as", "x"), "--as is for one package"),
        (("cursor", "m", "--write", "--remove"), "exclude each other"),
        (("chatgpt", "m", "--write"), "chatgpt has no file to write"),
        (("cursor", "m", "--url", "ftp://x"), "The address of the gateway must begin with https://"),
        (("cursor", "m", "--as", "a b"), "cannot be used in every client"),
        (("cursor", "m", "--remove", "--token-env", "X"), "--token-env is for what is shown or written"),
        (("cursor", "m", "--token-env", "$X"), "takes the name of an environment variable, not a token"),
    ],
)
def test_what_cannot_be_done_is_a_mistake_of_the_command_line(connect: Connect, args: tuple[str, ...], what: str):
    done = connect(*args)

    assert done.code == 2
    assert what in done.stderr
