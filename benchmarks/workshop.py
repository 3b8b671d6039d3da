"""The folder that benchmarks keep to themselves, and the two programs that every run needs: load generator and echo."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PROGRAMS: Final = ROOT / "benchmarks" / "programs"
CACHE: Final = ROOT / ".parts" / "bench"
COMPILE_LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """`echo` is an MCP server on stdio; with the argument `both` it speaks the stateless era too."""

    load: tuple[str, ...]
    echo: tuple[str, ...]
    is_compiled: bool
    """False: both are Python, which costs so much itself that figures are lower bounds."""


def set_up_workshop(*, has_gcc: bool = True) -> Workshop:
    """Compile what is older than its source; without gcc, the same in Python."""
    CACHE.mkdir(parents=True, exist_ok=True)
    compiler = shutil.which("gcc") if has_gcc else None
    if compiler is None:
        load, echo = ((sys.executable, str(PROGRAMS / f"{name}.py")) for name in ("load", "echo"))
        return Workshop(load, echo, is_compiled=False)
    return Workshop((_compile(compiler, "load"),), (_compile(compiler, "echo"),), is_compiled=True)


def _compile(compiler: str, name: str) -> str:
    source, program = PROGRAMS / f"{name}.c", CACHE / name
    changed = max(path.stat().st_mtime for path in PROGRAMS.glob("*.[ch]"))
    if not program.exists() or program.stat().st_mtime < changed:
        command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)]
        subprocess.run(command, check=True, timeout=COMPILE_LIMIT_SECONDS)
    return str(program)
