"""Programs that read the files of deploy/ as those who use them do: each checks, and says what is wrong."""

import subprocess
from pathlib import Path
from typing import Final

from tests import parts

LIMIT_SECONDS: Final = 120


def run_tool(name: str, *args: str | Path, stdin: str = "") -> tuple[int, str]:
    """The exit code of a program of `deploy-tools`, and all that it wrote."""
    command = [parts.require("deploy-tools") / name, *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    return done.returncode, done.stdout + done.stderr


def run_python(program: str, *, stdin: str) -> tuple[int, str]:
    """A few lines of Python beside those libraries, which must not meet ours."""
    return run_tool("python", "-I", "-c", program, stdin=stdin)
