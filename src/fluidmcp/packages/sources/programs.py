"""Running npm and uv: their output is kept for the case that they fail, without what must not be shown."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fluidmcp.config.variables import is_own_variable
from fluidmcp.errors import InstallError

INSTALL_SECONDS: Final = 900.0
"""How long one run of npm or uv may take."""
_MAX_TAIL_LINES: Final = 12
_MAX_LINE: Final = 500
_USER_IN_ADDRESS: Final = re.compile(r"//[^/\s@]+@")
_ASSIGNED: Final = re.compile(r"((?:_auth\w*|token|passw\w*|secret|key)[\"']?\s*[=:]\s*)\S+", re.IGNORECASE)
_SECRET_NAME: Final = re.compile(r"TOKEN|PASSW|SECRET|_AUTH|API_?KEY|CREDENTIAL", re.IGNORECASE)
_MIN_SECRET: Final = 6
_NOT_FOR_TOOLS: Final = frozenset(
    # A virtual environment that is active, and what would bend where and how the tools install.
    {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_WORKING_DIR"}
    | {"UV_PROJECT_ENVIRONMENT", "UV_BREAK_SYSTEM_PACKAGES", "UV_TARGET", "UV_PREFIX", "NODE_OPTIONS"}
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended; the text of its output is not for anybody's eyes before `quote`."""

    code: int
    stdout: str
    stderr: str


def make_tool_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What npm and uv get of the operator's environment: all of it but what is the gateway's alone."""
    return {name: value for name, value in environ.items() if not is_own_variable(name) and name not in _NOT_FOR_TOOLS}


def run_tool(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdin: str = "",
    limit_seconds: float = INSTALL_SECONDS,
) -> Ended:
    """Run a program in `folder` to its end; it and its children are ended with us.

    Raises:
        InstallError: it cannot be started, or takes longer than `limit_seconds`.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = f"The system says: {error.strerror}." if isinstance(error, OSError) else "An argument holds NUL."
        raise InstallError(f"{Path(command[0]).name} could not be started.", why=why) from error
    try:
        out, err = process.communicate(stdin.encode(), timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise InstallError(
            f"{Path(command[0]).name} was not done after {limit_seconds:g} seconds and was ended.",
            why="The registry may be slow, or cannot be reached.",
            hint="Try it again; look at the proxy and the network of this machine.",
        ) from None
    except BaseException:
        # Ctrl-C reaches us alone: the tool runs in a session of its own.
        _end(process)
        raise
    return Ended(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def quote(ended: Ended, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The last lines that a program wrote, without credentials."""
    text = hide_credentials("\n".join((ended.stdout, ended.stderr)), environment)
    lines = [line.rstrip()[:_MAX_LINE] for line in text.splitlines() if line.strip()]
    return tuple(lines[-_MAX_TAIL_LINES:])


def hide_credentials(text: str, environment: Mapping[str, str]) -> str:
    """`text` without users of addresses, assigned secrets, and values of variables that are named as secrets."""
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value) >= _MIN_SECRET:
            text = text.replace(value, "***")
    return _ASSIGNED.sub(r"\1***", _USER_IN_ADDRESS.sub("//***@", text))


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Not read to the end: who left the session may hold them open.
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
