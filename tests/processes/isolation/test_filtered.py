"""Where a filter of system calls stands around the gateway, as in a container."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fluidmcp.processes.starter_child import landlock
from tests import parts
from tests.acceptance.harness import BIN, COMMAND_LIMIT_SECONDS, environment

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or landlock.abi() == 0, reason="there is no Landlock on this machine"
)


def look(folder: Path, refused: str) -> str:
    """What `fluidmcp run` says of a server, where a call is refused."""
    server = parts.ROOT / "tests" / "servers" / "stdlib_server.py"
    entry = {"command": sys.executable, "args": ["-I", str(server)], "isolation": "landlock"}
    config = folder / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"tools": entry}}), encoding="utf-8")
    command = [sys.executable, str(parts.ROOT / "tests" / "filtered.py"), refused, str(BIN / "fluidmcp")]
    done = subprocess.run(
        [*command, "run", str(config)],
        env=environment({"HOME": str(folder)}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def test_where_nobody_reaches_a_keyring_servers_start(tmp_path: Path) -> None:
    assert "landlock   ok" in look(tmp_path, "keyctl")


def test_where_the_keyring_of_the_operator_could_be_read_they_do_not(tmp_path: Path) -> None:
    told = look(tmp_path, "join")
    assert "landlock   cannot start" in told
    assert "could not be isolated" in told


def test_where_places_cannot_be_opened_safely_it_says_which_call_is_missing(tmp_path: Path) -> None:
    told = look(tmp_path, "openat2")
    assert "landlock is missing: openat2: Operation not permitted" in told
    assert "no RestrictSUIDSGID" in told
