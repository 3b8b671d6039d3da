"""Installs one package of PyPI into a folder, with uv: a virtual environment of its own, exactly what was resolved."""

import configparser
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from fluidmcp.errors import ConfigurationError, InstallError, UnknownPackageError
from fluidmcp.packages.sources.installer import Installation, Installed, Launch
from fluidmcp.packages.sources.interpreters import (
    Interpreter,
    accepts,
    list_interpreters,
    read_refusal,
    suggest_version,
)
from fluidmcp.packages.sources.programs import Ended, make_tool_environment, quote, run_tool
from fluidmcp.packages.sources.runtimes import find_uv
from fluidmcp.packages.sources.spec import SourceSpec, write_spec

_VENV: Final = "venv"
_REQUIREMENTS: Final = "requirements.txt"
_LAST_LOWER_BOUND: Final = "3.15"
"""For the question which version is the newest: uv looks only at the lower bound of what a package accepts."""
_PINNED: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)
_HASH: Final = re.compile(r"--hash=(\S+)")
_NOT_THERE: Final = re.compile(
    r"was not found in the package registry|there is no version of|there are no versions of"
    r"|was not found in the provided"
)
_SHEBANG_BYTES: Final = 160
_SETTINGS: Final = {
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    # The cache of uv must not be the same files: what a package does to its own would be done to all.
    "UV_LINK_MODE": "copy",
    # Python never writes them again, so they stay as they were installed.
    "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
}
_COMPILE: Final = ("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet")


def install_pypi(spec: SourceSpec, folder: Path, installation: Installation) -> Installed:
    """Install `spec` into the empty `folder`.

    Raises:
        UnknownPackageError: there is no such package or version.
        InstallError: uv failed.
        ConfigurationError: there is no uv or no interpreter for it, or it has no program that can be chosen.
    """
    return _PyPI(spec, folder, installation).install()


class _PyPI:
    def __init__(self, spec: SourceSpec, folder: Path, installation: Installation) -> None:
        self._spec = spec
        self._folder = folder
        self._installation = installation
        self._uv = find_uv(installation.environ, installation.directory)
        self._environment = {**make_tool_environment(installation.environ), **_SETTINGS}

    def install(self) -> Installed:
        version = self._spec.version or self._find_newest()
        refused: list[str] = []
        accepted = ""
        for interpreter in list_interpreters(self._uv, self._environment, self._installation.python):
            if accepted and not accepts(accepted, interpreter.version):
                refused.append(interpreter.version)
                continue
            ended = self._compile(version, "--generate-hashes", "--python", interpreter.path)
            if ended.code == 0:
                installed, wanted = self._try(interpreter, version, ended.stdout)
                if installed is not None:
                    return installed
            else:
                wanted = read_refusal(ended.stderr)
                if not wanted:
                    raise self._explain(ended, version)
            accepted = accepted or wanted
            refused.append(interpreter.version or interpreter.path)
        minor = suggest_version(accepted)
        install = f"Install one: uv python install {minor}" if minor else "Install one that it accepts"
        raise ConfigurationError(
            f"{self._name(version)} needs another Python: {accepted}",
            why=f"There is {' and '.join(refused)}.",
            hint=f"{install}, then run the command again; --python names one.",
        )

    def _try(self, interpreter: Interpreter, version: str, pinned: str) -> tuple[Installed | None, str]:
        """Install what was resolved; None where the interpreter is too new, which uv does not mind, and what fits."""
        requirements = self._folder / _REQUIREMENTS
        requirements.write_text(pinned, encoding="utf-8")
        self._installation.report(f"Installing {self._name(version)} for Python {interpreter.version}".rstrip())
        venv = self._folder / _VENV
        options = ("--quiet", "--clear", "--no-project", "--relocatable", "--python", interpreter.path)
        self._run("venv", *options, str(venv))
        python = str(venv / "bin" / "python")
        options = ("--quiet", "--require-hashes", "--compile-bytecode", "--python", python)
        self._run("pip", "install", *options, "-r", str(requirements))
        metadata = self._find_metadata(venv)
        accepted = HeaderParser().parsestr((metadata / "METADATA").read_text("utf-8", "replace"))["Requires-Python"]
        there = _read_version(venv) or interpreter.version
        if accepted and not accepts(accepted, there):
            return None, accepted
        program = self._find_program(metadata, venv, version)
        installed = Installed(
            version=version,
            integrity=_read_hashes(pinned).get(self._spec.name, ()),
            tree=f"sha256:{hashlib.sha256(pinned.encode()).hexdigest()}",
            launch=_make_launch(self._folder, program),
            entry_point=program,
            requires=f"python {accepted}"[:200] if accepted else "",
            interpreter=f"python {there}".rstrip(),
        )
        return installed, ""

    def _find_newest(self) -> str:
        """The newest version for any Python: an old one, only because it accepts what is here, would be no good guess.

        It is asked for with the lower bound of a Python that is not there; an interpreter to ask with always is.
        """
        target = ("--python-version", _LAST_LOWER_BOUND, "--python", sys.executable)
        ended = self._compile(self._spec.version, "--no-deps", *target)
        found = _PINNED.search(ended.stdout) if ended.code == 0 else None
        if found is None:
            raise self._explain(ended, "")
        return found["version"]

    def _find_program(self, metadata: Path, venv: Path, version: str) -> str:
        """The program, below the folder: named as the package, or the only one."""
        scripts = sorted({*_read_scripts(metadata), *_read_other_programs(metadata, venv)})
        own = [name for name in scripts if canonicalize_name(name) == self._spec.name]
        name = self._installation.entry or (own or (scripts if len(scripts) == 1 else [""]))[0]
        if name in scripts and os.path.isfile(venv / "bin" / name):
            return f"{_VENV}/bin/{name}"
        shown = self._name(version)
        if not scripts:
            raise ConfigurationError(
                f"{shown} has no program that could be run: it is a library.",
                why="It installs no console script.",
                hint="Look for the package of the server itself; its description says how it is started with uvx.",
            )
        raise ConfigurationError(
            f"{shown} has no program {ascii(name)}." if name else f"{shown} has several programs.",
            why=f"There is {', '.join(map(ascii, scripts))}.",
            hint=f"Name one: fluidmcp install {shown} --entry NAME",
        )

    def _find_metadata(self, venv: Path) -> Path:
        for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
            name = folder.name.removesuffix(".dist-info").rpartition("-")[0]
            if canonicalize_name(name) == self._spec.name:
                return folder
        raise InstallError(f"uv did not install {self._spec}.", why="Its metadata is not there.")

    def _name(self, version: str) -> str:
        return write_spec("pypi", self._spec.name, version, self._spec.extras)

    def _compile(self, version: str, *options: str) -> Ended:
        wanted = self._name(version).removeprefix("pypi:")
        return self._run_any("pip", "compile", *_COMPILE, *options, "-", stdin=f"{wanted}\n")

    def _run(self, *args: str) -> None:
        ended = self._run_any(*args)
        if ended.code != 0:
            raise self._explain(ended, "")

    def _run_any(self, *args: str, stdin: str = "") -> Ended:
        # Away from the working directory, whose pyproject.toml or uv.toml uv would follow.
        return run_tool((self._uv, *args), folder=Path("/"), environment=self._environment, stdin=stdin)

    def _explain(self, ended: Ended, version: str) -> Exception:
        shown = self._name(version or self._spec.version)
        if _NOT_THERE.search(" ".join(ended.stderr.split())) and self._spec.name in ended.stderr:
            return UnknownPackageError(
                f"uv finds no {shown}.",
                why="The index has no package of that name, or no such version.",
                hint="Check the name and the version.",
            )
        return InstallError(
            f"uv could not install {shown}.",
            why=f"It ended with exit code {ended.code}.",
            hint="Read its last lines.",
            output_tail=quote(ended, self._environment),
        )


def _read_hashes(requirements: str) -> Mapping[str, tuple[str, ...]]:
    hashes: dict[str, tuple[str, ...]] = {}
    for block in re.split(r"\n(?=\S)", requirements):
        found = _PINNED.match(block)
        if found is not None:
            name = re.sub(r"[-_.]+", "-", found["name"]).lower()
            hashes[name] = tuple(sorted(_HASH.findall(block)))
    return hashes


def _read_scripts(metadata: Path) -> list[str]:
    """The console scripts (Entry points specification)."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    try:
        parser.read_string((metadata / "entry_points.txt").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return []
    return list(parser["console_scripts"]) if parser.has_section("console_scripts") else []


def _read_other_programs(metadata: Path, venv: Path) -> list[str]:
    """Programs that are no console scripts: binaries that the wheel brings."""
    try:
        lines = (metadata / "RECORD").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    names = [line.partition(",")[0].removeprefix("../../../bin/") for line in lines if line.startswith("../../../bin/")]
    return [name for name in names if "/" not in name and os.access(venv / "bin" / name, os.X_OK)]


def _make_launch(folder: Path, program: str) -> Launch:
    """A script runs with the interpreter of its environment, so that a folder may be moved; a binary by itself."""
    with (folder / program).open("rb") as file:
        start = file.read(_SHEBANG_BYTES)
    # uv writes `#!/bin/sh` and a line that starts the python beside it; to Python that line is a text.
    is_script = start.startswith(b"#!") and b"python" in start
    place = f"${{__dirname}}/{program}"
    return Launch(command=f"${{__dirname}}/{_VENV}/bin/python", args=(place,)) if is_script else Launch(command=place)


def _read_version(venv: Path) -> str:
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    values = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    return values.get("version_info", "")
