"""What npm and uv are given, and what is shown of what they wrote."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from fluidmcp.errors import InstallError
from fluidmcp.packages.sources.programs import make_tool_environment, quote, run_tool


def test_credentials_are_taken_out_of_what_is_shown(tmp_path: Path):
    secrets = ("hunter2hunter2", "npm-token-1", "pass-word-3", "auth-value-4")
    text = (
        f"GET https://user:{secrets[0]}@registry.example/x failed\n"
        f"//registry.example/:_authToken={secrets[3]}\n"
        f"used {secrets[1]} and password: {secrets[2]}\n"
    )
    script = f"import sys; sys.stderr.write({text!r}); sys.exit(3)"
    ended = run_tool([sys.executable, "-c", script], folder=tmp_path, environment={})
    lines = quote(ended, {"NPM_TOKEN": secrets[1], "HOME": "/root"})
    assert ended.code == 3 and len(lines) == 3 and "registry.example/x" in lines[0]
    assert not any(secret in line for secret in secrets for line in lines)


def test_long_output_is_cut_and_need_not_be_text(tmp_path: Path):
    script = "import sys; [sys.stdout.buffer.write(b'\\xff' * 3000 + b'\\n') for _ in range(100)]"
    lines = quote(run_tool([sys.executable, "-c", script], folder=tmp_path, environment={}), {})
    assert 0 < len(lines) <= 20 and all(len(line) <= 500 for line in lines)


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    mark = f"{os.getpid()}.123"
    command = ["sh", "-c", f"sleep {mark} & sleep {mark}"]
    with pytest.raises(InstallError, match="not done"):
        run_tool(command, folder=tmp_path, environment={"PATH": "/usr/bin:/bin"}, limit_seconds=1.0)
    left = [each for each in psutil.process_iter(["cmdline"]) if mark in (each.info["cmdline"] or [])]
    psutil.wait_procs(left, timeout=30)
    assert not any(each.is_running() for each in left)


@pytest.mark.parametrize("command", [["/no/such/program"], [sys.executable, "a\0b"]])
def test_a_program_that_cannot_be_started_is_an_error_of_ours(tmp_path: Path, command: list[str]):
    with pytest.raises(InstallError):
        run_tool(command, folder=tmp_path, environment={})


def test_what_is_the_gateways_own_is_not_handed_on():
    environ = {"FMCP_SEAL_KEYS": "x", "fmcp_secure_token": "x", "VIRTUAL_ENV": "/v", "HOME": "/h", "UV_INDEX": "i"}
    assert make_tool_environment(environ) == {"HOME": "/h", "UV_INDEX": "i"}
