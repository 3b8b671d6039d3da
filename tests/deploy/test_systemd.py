"""deploy/systemd: read by systemd, and its command run as it stands."""

import configparser
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests import parts
from tests.acceptance.harness import free_port, start_fluidmcp
from tests.deploy.shipped import DEPLOY
from tests.deploy.three import SERVER

UNIT: Final = DEPLOY / "systemd" / "fluidmcp@.service"
MOST_EXPOSED: Final = 3.1
"""What `systemd-analyze security` says of the unit, from 0 (nothing) to 10."""


class Unit(configparser.ConfigParser):
    """A name may stand several times; the values are then one, on several lines."""

    def __init__(self) -> None:
        super().__init__(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
        text = UNIT.read_text(encoding="utf-8")
        environment = " ".join(re.findall(r"^Environment=(.*)$", text, re.MULTILINE))
        self.read_string(text)
        self["Service"]["Environment"] = environment

    def optionxform(self, optionstr: str) -> str:
        """Names as they stand, not in small letters."""
        return optionstr


def analyze(folder: Path, *words: str) -> tuple[int, str]:
    """systemd reads instance 1; its program is one that is there."""
    path = folder / "fluidmcp@1.service"
    path.write_text(
        UNIT.read_text(encoding="utf-8").replace("/opt/fluidmcp/bin/fluidmcp", "/bin/true"), encoding="utf-8"
    )
    command = ["systemd-analyze", *words, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.needs("systemd")
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    assert analyze(tmp_path, "verify", "--man=no") == (0, "")


@pytest.mark.needs("systemd")
def test_little_of_the_machine_is_open_to_it(tmp_path: Path) -> None:
    code, told = analyze(tmp_path, "security", "--offline=yes", f"--threshold={round(MOST_EXPOSED * 10)}")
    assert code == 0, told
    assert f"{MOST_EXPOSED} " in told


def test_it_has_more_time_to_end_than_it_takes_and_its_servers_are_not_signalled() -> None:
    service = Unit()["Service"]
    assert int(service["TimeoutStopSec"]) > 20 + 10
    assert service["KillMode"] == "mixed"


def test_what_isolation_needs_is_not_taken_away() -> None:
    """Each of these was seen to take it away, under a real systemd."""
    service = Unit()["Service"]
    assert not {"RestrictSUIDSGID", "MemoryDenyWriteExecute", "ProtectProc", "ProcSubset"} & {*service}
    assert set(service["RestrictNamespaces"].split()) == {"user", "pid", "mnt", "ipc"}
    calls = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "@mount", "@system-service"}
    assert set(service["SystemCallFilter"].split()) == calls


def test_gateways_are_where_the_balancers_expect_them() -> None:
    command = Unit()["Service"]["ExecStart"]
    assert "--port 810%i" in command
    for number in (1, 2, 3):
        assert f"127.0.0.1:810{number}" in (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
        assert f"port_value: 810{number}" in (DEPLOY / "envoy.yaml").read_text(encoding="utf-8")


def test_the_log_is_for_people_and_the_operator_can_change_that() -> None:
    """The journal is read by people; a variable of the file overrides one of the unit, and an option both."""
    service = Unit()["Service"]
    assert "--log-format" not in service["ExecStart"]
    assert "FMCP_LOG_FORMAT" not in service["Environment"]
    page = (parts.ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert "FMCP_LOG_FORMAT=json" in page.partition("\n## systemd")[2]


async def test_its_command_starts_a_gateway(tmp_path: Path) -> None:
    service = Unit()["Service"]
    config = tmp_path / "servers.json"
    entry = {"command": "python3", "args": [str(SERVER)]}
    config.write_text(json.dumps({"mcpServers": {"time": entry}}), encoding="utf-8")
    port = free_port()
    changes = {"/etc/fluidmcp/servers.json": str(config), "810%i": str(port), "$FMCP_GUARD": "--secure"}
    program, *words = [changes.get(word, word) for word in shlex.split(service["ExecStart"])]
    assert program == "/opt/fluidmcp/bin/fluidmcp"
    text = service["Environment"].replace("/var/lib/fluidmcp/%i", str(tmp_path)).replace("%i", "1")
    env = dict(pair.split("=", 1) for pair in text.split())
    env |= {"FMCP_PUBLIC_URL": "https://mcp.example.com", "FMCP_SECURE_TOKEN": "x" * 40}
    async with start_fluidmcp(*words, env=env, cwd=tmp_path, port=port, says_port=False) as gateway:
        await gateway.stdout.wait_for("at https://mcp.example.com/time/mcp")
