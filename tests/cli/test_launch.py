"""`fluidmcp run` where strangers can come: which packages must be guarded, and which processes isolated."""

from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.harness import run_fluidmcp, start_fluidmcp
from tests.cli.test_guarded_run import MANUAL, SERVE, at, list_tools
from tests.cli.test_run import AUTH, CLIENT, GOOD, install, read_error, write

SERVE_FILE: Final = ("run", "config.json", "--start-server")
PUBLIC: Final = ("--public-url", "https://mcp.example.com")
TOKEN: Final = "a-token-of-our-own"
SECURE: Final = ("--secure", "--token", TOKEN)
NAMED_AUTH: Final = AUTH | {"allow_any_user": True}
ALLOWED: Final = MANUAL | {
    "FMCP_OAUTH_INTROSPECTION_ENDPOINT": "https://id.example.com/introspect",
    "FMCP_OAUTH_CLIENT_ID": "client-1",
    "FMCP_OAUTH_ALLOWED_SUBJECTS": "ada",
}
UNISOLATED: Final = "The server processes of 'mypackage' would not be isolated."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory, which is HOME too."""
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD)
    return tmp_path


# A guard


@pytest.mark.parametrize(
    ("mode", "options", "env"),
    [
        (("--start-server",), PUBLIC, CLIENT),
        (("--start-server",), (), CLIENT | {"FMCP_PUBLIC_URL": PUBLIC[1]}),
        ((), PUBLIC, CLIENT),
    ],
    ids=["option", "variable", "check"],
)
async def test_an_open_package_of_a_public_gateway_is_refused_before_anything_starts(
    tmp_path: Path, mode: tuple[str, ...], options: tuple[str, ...], env: dict[str, str]
):
    plain = write(tmp_path, tools=GOOD, mail=GOOD | {"auth": NAMED_AUTH}, more=GOOD)
    done = await run_fluidmcp("run", plain, *mode, *options, cwd=tmp_path, env=env)
    what, why, hint = read_error(done)
    assert what == "Nothing guards tools, more, and the gateway can be reached from other machines."
    assert why == "Its public address is https://mcp.example.com."
    assert "--oauth or --secure" in hint
    assert "auth block" in hint
    assert "--allow-insecure" in hint
    assert "Added" not in done.stdout


@pytest.mark.parametrize(
    ("options", "env", "token"),
    [
        (SECURE, {}, TOKEN),
        (("--oauth",), ALLOWED, MANUAL["FMCP_OAUTH_ACCESS_TOKEN"]),
        (("--allow-insecure",), {}, None),
    ],
    ids=["secure", "oauth", "insecure"],
)
async def test_a_public_gateway_with_a_guard_or_one_that_is_meant_to_be_open_serves(
    folder: Path, options: tuple[str, ...], env: dict[str, str], token: str | None
):
    async with start_fluidmcp(*SERVE, *PUBLIC, *options, cwd=folder, env=at(folder, env)) as gateway:
        assert await list_tools(gateway, token) == 200
        assert await list_tools(gateway, None) == (200 if token is None else 401)


async def test_a_public_gateway_all_of_whose_packages_have_a_login_serves(tmp_path: Path):
    config = write(tmp_path, mail=GOOD | {"auth": NAMED_AUTH}, more=GOOD | {"auth": NAMED_AUTH})
    arguments = ("run", config, "--start-server", *PUBLIC)
    async with start_fluidmcp(*arguments, cwd=tmp_path, env=CLIENT) as gateway:
        assert await list_tools(gateway, None, "mail") == 401
        await gateway.stdout.wait_for("  Login: https://mcp.example.com/more/auth/login")


# Isolation


@pytest.mark.threat("E06")
@pytest.mark.parametrize(
    ("options", "env", "by"),
    [
        (("--host", "0.0.0.0", *SECURE), {}, "entry"),
        ((*PUBLIC, *SECURE), {"FMCP_ISOLATION": "none"}, "variable"),
        (("--oauth",), MANUAL, "entry"),
        (("--host", "0.0.0.0", "--allow-insecure"), {"FMCP_ISOLATION": "none"}, "variable"),
    ],
    ids=["host", "public-url", "oauth", "insecure"],
)
async def test_e06_no_isolation_is_refused_where_others_come(
    tmp_path: Path, options: tuple[str, ...], env: dict[str, str], by: str
):
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD | ({"isolation": "none"} if by == "entry" else {}))
    done = await run_fluidmcp(*SERVE, *options, cwd=tmp_path, env=at(tmp_path, env))
    what, why, hint = read_error(done)
    assert what == UNISOLATED
    assert why.startswith("Its isolation is `none`, and others than you use this gateway")
    assert "--allow-unisolated" in hint
    assert "Added" not in done.stdout


@pytest.mark.threat("E06")
@pytest.mark.parametrize(
    ("options", "env", "token"),
    [(("--host", "0.0.0.0", *SECURE), {}, TOKEN), (("--oauth",), MANUAL, MANUAL["FMCP_OAUTH_ACCESS_TOKEN"])],
    ids=["host", "oauth"],
)
async def test_e06_no_isolation_is_served_to_others_where_the_operator_allowed_it(
    folder: Path, options: tuple[str, ...], env: dict[str, str], token: str
):
    settings = at(folder, env | {"FMCP_ISOLATION": "none"})
    async with start_fluidmcp(*SERVE, *options, "--allow-unisolated", cwd=folder, env=settings) as gateway:
        await gateway.stdout.wait_for("Isolation of server processes: none")
        assert await list_tools(gateway, token) == 200


@pytest.mark.threat("E06")
async def test_e06_one_package_without_isolation_is_enough_to_refuse(tmp_path: Path):
    config = write(tmp_path, good=GOOD, bare=GOOD | {"isolation": "none"})
    arguments = ("run", config, "--start-server", "--host", "0.0.0.0", *SECURE)
    what, _, _ = read_error(await run_fluidmcp(*arguments, cwd=tmp_path))
    assert what == UNISOLATED.replace("mypackage", "bare")


@pytest.mark.threat("E06")
async def test_e06_on_this_machine_alone_no_isolation_is_the_choice_of_the_operator(tmp_path: Path):
    config = write(tmp_path, good=GOOD | {"isolation": "landlock"}, bare=GOOD | {"isolation": "none"})
    async with start_fluidmcp("run", config, "--start-server", *SECURE, cwd=tmp_path) as gateway:
        await gateway.stdout.wait_for("Isolation of server processes: landlock (good)")
        await gateway.stdout.wait_for("Isolation of server processes: none (bare)")
        assert await list_tools(gateway, TOKEN, "bare") == 200


@pytest.mark.threat("E01")
@pytest.mark.parametrize("path", ["~", "~/..", "{temporary}"])
async def test_paths_that_hold_the_operators_home_or_the_private_homes_are_refused(tmp_path: Path, path: str):
    home, temporary = tmp_path / "operator", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    write(tmp_path, wide=GOOD | {"paths": {"write": [path.format(temporary=temporary)]}})
    env = {"HOME": str(home), "TMPDIR": str(temporary)}
    what, why, do = read_error(await run_fluidmcp(*SERVE_FILE, "--secure", env=env, cwd=tmp_path))
    assert "A path of wide is too wide: " in what
    assert "private homes" in why
    assert "one by one" in do


async def test_a_folder_that_isolation_keeps_away_is_named_in_the_log(tmp_path: Path):
    folder = tmp_path / ".hidden" / "docs"
    folder.mkdir(parents=True)
    write(tmp_path, files=GOOD | {"args": [*GOOD["args"], str(folder)]})
    async with start_fluidmcp(*SERVE_FILE, "--secure", cwd=tmp_path) as gateway:
        line = await gateway.stderr.wait_for("isolation keeps ")
        assert str(folder) in line
        assert '"paths"' in line
