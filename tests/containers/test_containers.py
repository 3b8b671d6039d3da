"""The images of deploy/Dockerfile as real containers, and which flags give which isolation."""

import json
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from tests import parts
from tests.containers.engine import GATEWAY, RUNTIMES, Engine, make_docker_profile
from tests.deploy.shipped import read_health_command

pytestmark = pytest.mark.needs("podman")

SERVER: Final = parts.ROOT / "tests" / "servers" / "stdlib_server.py"
HARDENED: Final = "--cap-drop ALL --security-opt no-new-privileges --read-only --tmpfs /tmp:exec,mode=1777"
FOR_USERS: Final = (
    "--user 0 --cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add KILL "
    "-e FMCP_UID_RANGE=200000-200999"
)
UNMASKED: Final = "--security-opt unmask=ALL"
"""Podman's word for `systempaths=unconfined` of Docker."""
NO_FILTER: Final = "--security-opt seccomp=unconfined"
ROWS: Final = [
    ("docker", "", "landlock"),
    ("docker", HARDENED, "landlock"),
    ("docker", f"{HARDENED} -e FMCP_ISOLATION=landlock", "landlock"),
    ("docker", FOR_USERS, "landlock+uid"),
    ("docker", f"{FOR_USERS} --security-opt no-new-privileges --read-only --tmpfs /tmp:exec,mode=1777", "landlock+uid"),
    ("docker", "--user 0 --cap-add SYS_ADMIN", "landlock"),
    ("docker", UNMASKED, "landlock"),
    ("none", f"{NO_FILTER}", "landlock"),
    ("none", f"{NO_FILTER} {UNMASKED}", "landlock+namespace"),
    ("none", f"{NO_FILTER} {UNMASKED} --cap-drop ALL --security-opt no-new-privileges", "landlock+namespace"),
    ("none", f"{NO_FILTER} --user 0 --cap-add SYS_ADMIN", "landlock+namespace"),
    ("podman", "", "landlock"),
    ("podman", HARDENED, "landlock"),
    ("podman", UNMASKED, "landlock+namespace"),
    ("old docker", "", "none"),
]
"""The filter of system calls, flags, and what is in force with them."""


@pytest.fixture(scope="module")
def engine() -> Generator[Engine]:
    # Not below pytest's folder: the programs refuse one whose name has more than 50 characters.
    made = Engine(Path(tempfile.mkdtemp(prefix="fmcp-")))
    try:
        made.load_base()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def gateway(engine: Engine) -> str:
    return engine.build(GATEWAY)


@pytest.fixture(scope="module")
def runtimes(engine: Engine) -> str:
    return engine.build(RUNTIMES)


@pytest.fixture
def mounts(tmp_path: Path) -> list[str]:
    """Flags: a file with one server, the server, and the two filters."""
    tmp_path.chmod(0o755)
    entry = {"command": "python3", "args": ["-I", "/opt/server/stdlib_server.py"]}
    for name in ("etc", "server"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "servers.json").write_text(json.dumps({"mcpServers": {"probe": entry}}), encoding="utf-8")
    shutil.copy(SERVER, tmp_path / "server")
    for name, without in (("docker", ""), ("old docker", "landlock_")):
        (tmp_path / name).write_text(json.dumps(make_docker_profile(without=without)), encoding="utf-8")
    return ["-v", f"{tmp_path}/etc:/etc/fluidmcp:ro", "-v", f"{tmp_path}/server:/opt/server:ro"]


def filter_flags(name: str, folder: Path) -> list[str]:
    return [f"--security-opt=seccomp={folder / name}"] if name.endswith("docker") else []


@pytest.mark.parametrize(("profile", "flags", "level"), ROWS)
def test_flags_give_the_isolation_that_the_page_says(
    profile: str, flags: str, level: str, engine: Engine, gateway: str, mounts: list[str], tmp_path: Path
) -> None:
    words = ["--rm", *mounts, *filter_flags(profile, tmp_path), *flags.split()]
    code, told = engine.start(gateway, words, "run", "/etc/fluidmcp/servers.json")
    row = next((line for line in told.splitlines() if line.startswith("probe ")), told)
    assert (code, row.split()[-2:]) == (0, [level, "ok"]), told


@pytest.mark.threat("E06")
def test_where_there_is_no_landlock_a_gateway_for_others_does_not_start(
    engine: Engine, gateway: str, mounts: list[str], tmp_path: Path
) -> None:
    words = ["--rm", *mounts, *filter_flags("old docker", tmp_path), "-e", "FMCP_SECURE_TOKEN=0123456789abcdef0123"]
    command = ("run", "/etc/fluidmcp/servers.json", "--start-server", "--host", "0.0.0.0", "--secure")
    code, told = engine.start(gateway, words, *command)
    assert (code, "would not be isolated" in told, "Docker 23" in told) == (2, True, True), told


def test_flags_of_the_page_are_those_of_the_rows() -> None:
    page = (parts.ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    for flags in (FOR_USERS, "--cap-drop ALL --security-opt no-new-privileges --read-only", NO_FILTER, UNMASKED):
        assert flags in page
    rows = re.findall(r"^\| .* \| `(landlock[a-z+]*)` \|$", page, re.MULTILINE)
    assert {*rows} == {level for _, _, level in ROWS if level != "none"}


def test_the_image_of_the_gateway_holds_nothing_else(engine: Engine, gateway: str) -> None:
    script = "id -u; ls -A /srv; touch /var/lib/fluidmcp/x && touch /tmp/x && echo both; ls /src /opt/uv $0"
    code, told = engine.start(gateway, ["--rm", "--entrypoint", "sh"], "-c", script, "/opt/fluidmcp/node")
    assert (code != 0, told.split()[:2], told.count("No such file")) == (True, ["10001", "both"], 3), told


def test_the_other_one_has_node_and_uv(engine: Engine, runtimes: str) -> None:
    script = "node --version && npx --version && npm --version && uvx --version"
    code, told = engine.start(runtimes, ["--rm", "--entrypoint", "sh"], "-c", script)
    assert code == 0, told


def test_a_hardened_container_serves_is_healthy_and_stops_with_its_calls_done(
    engine: Engine, gateway: str, mounts: list[str], tmp_path: Path
) -> None:
    token = "0123456789abcdef0123456789"
    flags = ["--detach", "--name", "serving", *mounts, *filter_flags("docker", tmp_path), *HARDENED.split()]
    command = ("run", "/etc/fluidmcp/servers.json", "--start-server", "--host", "0.0.0.0", "--secure")
    code, told = engine.start(gateway, [*flags, "-e", f"FMCP_SECURE_TOKEN={token}"], *command)
    assert code == 0, told
    body = '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    # Until it answers: connections are refused before.
    wait = 'until python3 -I -c "$1" 2>/dev/null; do :; done; python3 -I -c "$2"; ls -d /proc/[0-9]* | wc -l'
    call = (
        "import sys, urllib.request as u\n"
        f"asked = u.Request('http://127.0.0.1:8099/probe/mcp', data={body.encode()!r}, headers={headers!r})\n"
        "print(u.urlopen(asked, timeout=60).read().decode())"
    )
    code, told = engine.run("podman", "exec", "serving", "sh", "-c", wait, "sh", read_health_command(), call)
    assert (code, '"echo"' in told) == (0, True), told
    assert engine.run("podman", "stop", "--time", "60", "serving")[0] == 0
    code, told = engine.run("podman", "inspect", "--format", "{{.State.ExitCode}}", "serving")
    assert told.strip() == "0", told
