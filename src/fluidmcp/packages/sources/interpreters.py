"""Which Python a package is installed with: one that is on this machine and that the package accepts.

Nothing is downloaded. uv knows what is on PATH and what it installed itself; version managers keep others in folders
that are named as versions, and have them on PATH only while they are chosen.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.sources.programs import run_tool

_SECONDS: Final = 60.0
_WANTED: Final = re.compile(r"3(?:\.\d{1,2}(?:\.\d{1,2})?)?", re.ASCII)
_REFUSED: Final = re.compile(r"does not satisfy Python\s*((?:[<>=!~]=?=?[0-9.*]+,?\s*)+)")
"""What uv says where the interpreter does not fit; only for a message."""
_KNOWN_MINORS: Final = range(9, 16)


@dataclass(frozen=True, slots=True)
class Interpreter:
    path: str
    version: str


def list_interpreters(uv: str, environment: Mapping[str, str], wanted: str = "") -> Iterator[Interpreter]:
    """The interpreters to try, best first: FluidMCP's own, then the others by version, highest first.

    `wanted` is a version, of which the first numbers count, or the path of an interpreter: then only those that fit.

    Raises:
        ConfigurationError: `wanted` is neither, or there is no such interpreter.
    """
    if os.path.isabs(wanted):
        if not os.access(wanted, os.X_OK) or not os.path.isfile(wanted):
            raise ConfigurationError(
                f"There is no interpreter {wanted}.", why="It is no program.", hint="Check the path behind --python."
            )
        yield Interpreter(wanted, "")
        return
    if wanted and not _WANTED.fullmatch(wanted):
        raise ConfigurationError(
            f"{ascii(wanted[:40])} is no version of Python.",
            why="Behind --python comes a version such as 3.12, or the path of an interpreter.",
            hint="To see what is here: uv python list --only-installed",
        )
    own = Interpreter(sys.executable, platform.python_version())
    if _fits(own, wanted):
        yield own
    others = [each for each in _find_others(uv, environment) if _fits(each, wanted) and each.version != own.version]
    others.sort(key=lambda each: Version(each.version), reverse=True)
    yield from others
    if wanted and not others and not _fits(own, wanted):
        raise ConfigurationError(
            f"There is no Python {wanted} on this machine.",
            why="uv finds none, and neither do the folders of pyenv, mise and asdf.",
            hint=f"Install it: uv python install {wanted}",
        )


def read_refusal(output: str) -> str:
    """The versions of Python that a package accepts, from what uv says when the one it was given does not fit."""
    found = _REFUSED.findall(" ".join(output.split()))
    return found[-1].strip().rstrip(",").replace(" ", "") if found else ""


def accepts(accepted: str, version: str) -> bool:
    """Whether `accepted` (PEP 440) has `version` in it; what cannot be read, or is not known, is accepted."""
    try:
        return not version or SpecifierSet(accepted).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


def suggest_version(accepted: str) -> str:
    """The version of Python to install for `accepted` (PEP 440): the lowest one; empty where none is known."""
    try:
        specifiers = SpecifierSet(accepted)
    except InvalidSpecifier:
        return ""
    fitting = (f"3.{minor}" for minor in _KNOWN_MINORS if _accepts(specifiers, minor))
    return next(fitting, "")


def _accepts(specifiers: SpecifierSet, minor: int) -> bool:
    # Some patch of it: `>=3.12.4` is a 3.12 as well.
    return any(specifiers.contains(f"3.{minor}.{patch}") for patch in range(20))


def _fits(interpreter: Interpreter, wanted: str) -> bool:
    return not wanted or f"{interpreter.version}.".startswith(f"{wanted}.")


def _find_others(uv: str, environment: Mapping[str, str]) -> Sequence[Interpreter]:
    found: dict[str, Interpreter] = {}
    for interpreter in (*_ask_uv(uv, environment), *_look_into_folders(environment)):
        found.setdefault(interpreter.version, interpreter)
    return list(found.values())


def _ask_uv(uv: str, environment: Mapping[str, str]) -> Iterator[Interpreter]:
    command = [uv, "python", "list", "--only-installed", "--output-format", "json", "--no-config"]
    ended = run_tool(command, folder=Path("/"), environment=environment, limit_seconds=_SECONDS)
    try:
        listed: object = json.loads(ended.stdout)
    except ValueError:
        return
    for each in cast("list[dict[str, object]]", listed) if isinstance(listed, list) else []:
        version, path = each.get("version"), each.get("path")
        is_usual = each.get("implementation") == "cpython" and each.get("variant") == "default"
        if isinstance(version, str) and isinstance(path, str) and is_usual and _is_release(version):
            yield Interpreter(path, version)


def _look_into_folders(environment: Mapping[str, str]) -> Iterator[Interpreter]:
    home = environment.get("HOME", "")
    data = environment.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    folders = (
        os.path.join(environment.get("PYENV_ROOT") or os.path.join(home, ".pyenv"), "versions"),
        os.path.join(environment.get("MISE_DATA_DIR") or os.path.join(data, "mise"), "installs", "python"),
        os.path.join(environment.get("ASDF_DATA_DIR") or os.path.join(home, ".asdf"), "installs", "python"),
    )
    for folder in filter(os.path.isabs, folders):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name, "bin", "python3")
            if name.count(".") == 2 and _is_release(name) and os.access(path, os.X_OK):
                yield Interpreter(path, name)


def _is_release(version: str) -> bool:
    try:
        read = Version(version)
    except InvalidVersion:
        return False
    return read.major == 3 and not read.is_prerelease
