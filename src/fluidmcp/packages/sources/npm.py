"""Installs one package of npm into a folder, with npm itself."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from fluidmcp.errors import ConfigurationError, InstallError, UnknownPackageError
from fluidmcp.packages.npm_programs import choose_program
from fluidmcp.packages.sources.installer import Installation, Installed, Launch
from fluidmcp.packages.sources.programs import Ended, make_tool_environment, quote, run_tool
from fluidmcp.packages.sources.runtimes import find_node
from fluidmcp.packages.sources.spec import SourceSpec

_OPTIONS: Final = (
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=5000",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
    "--omit=dev",
    "--loglevel=warn",
    # No address of a registry in the files that are left behind.
    "--omit-lockfile-registry-resolved",
    # Whatever the operator's own npmrc says: these decide what is installed where.
    "--package-lock=true",
    "--package-lock-only=false",
    "--dry-run=false",
    "--global=false",
    "--workspaces=false",
    "--install-strategy=hoisted",
    "--bin-links=true",
)
_MAX_MANIFEST: Final = 64 * 1024 * 1024
_UNREACHABLE: Final = re.compile(
    r"\b(?:ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT)\b"
)
_NOT_THERE: Final = re.compile(r"\bcode (E404|ETARGET|ENOVERSIONS)\b")
_ENGINE: Final = re.compile(
    r"EBADENGINE\s+package: '(?P<package>[^']+)',?\s+npm \w+ EBADENGINE\s+required: \{(?P<required>[^}]*)\}"
)


def install_npm(spec: SourceSpec, folder: Path, installation: Installation) -> Installed:
    """Install `spec` into the empty `folder`.

    Raises:
        UnknownPackageError: there is no such package or version.
        InstallError: npm failed.
        ConfigurationError: there is no npm, or the package has no program that can be chosen.
    """
    node = find_node(installation.environ, installation.directory)
    environment = make_tool_environment(installation.environ)
    environment["PATH"] = os.pathsep.join(filter(None, (environment.get("PATH", ""), *node.folders)))
    manifest = {"name": "fluidmcp-package", "private": True, "dependencies": {spec.name: spec.version or "latest"}}
    (folder / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
    scripts = f"--ignore-scripts={'false' if installation.allow_scripts else 'true'}"
    command = [*node.npm, "install", f"--prefix={folder}", scripts, *_OPTIONS]
    ended = run_tool(command, folder=folder, environment=environment)
    if ended.code != 0:
        raise _explain(spec, ended, environment)
    resolved = _read_object(folder / "package-lock.json").get("packages")
    packages = cast("dict[str, dict[str, Any]]", resolved if isinstance(resolved, dict) else {})
    root = packages.get(f"node_modules/{spec.name}", {})
    version, integrity = root.get("version"), root.get("integrity")
    if not isinstance(version, str) or not isinstance(integrity, str):
        raise InstallError(
            f"npm did not say what it installed for {spec}.",
            why="Its package-lock.json has no version or no integrity of the package.",
            hint="Look at the settings of npm (npm config list).",
        )
    for needs in _find_wrong_engines(ended, spec.name):
        installation.report(f"Warning: {spec.name} asks for {needs}, which is not the one that is here")
    package = _read_object(folder / "node_modules" / spec.name / "package.json")
    engines = package.get("engines")
    node_range = cast("dict[str, object]", engines).get("node") if isinstance(engines, dict) else None
    program = _find_program(spec, folder, package, installation)
    return Installed(
        version=version,
        integrity=tuple(sorted(integrity.split())),
        tree=_digest_tree(packages),
        launch=_make_launch(folder, program),
        entry_point=program,
        requires=f"node {node_range}"[:200] if isinstance(node_range, str) else "",
        interpreter=f"node {node.version}" if node.version else "",
        skipped_scripts=() if installation.allow_scripts else tuple(_find_scripts(packages)),
    )


def _find_program(spec: SourceSpec, folder: Path, package: Mapping[str, object], installation: Installation) -> str:
    """The file of the program, below `folder`."""
    bins = package.get("bin")
    programs = {spec.name.rpartition("/")[2]: bins} if isinstance(bins, str) else bins
    named = cast("dict[str, object]", programs) if isinstance(programs, dict) else {}
    if not named:
        raise ConfigurationError(
            f"{spec} has no program that could be run: it is a library.",
            why="Its package.json names nothing under `bin`.",
            hint="Look for the package of the server itself; its description says how it is started with npx.",
        )
    name = installation.entry or choose_program(spec.name, bins)
    if name is None or name not in named:
        listed = ", ".join(sorted(map(ascii, named)))
        raise ConfigurationError(
            f"{spec} has no program {name}." if name is not None else f"{spec} has several programs.",
            why=f"There is {listed}.",
            hint=f"Name one: fluidmcp install {spec} --entry NAME",
        )
    root = folder / "node_modules" / spec.name
    path = os.path.normpath(root / str(named[name]))
    is_inside = os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)
    if not is_inside or not os.path.isfile(path):
        raise ConfigurationError(
            f"The program {name} of {spec} is not there.",
            why=f"Its package.json names {ascii(str(named[name]))}, which is no file of the package.",
            hint="The package is broken; try another version.",
        )
    return os.path.relpath(path, folder)


def _make_launch(folder: Path, program: str) -> Launch:
    """Node runs what is JavaScript; anything else runs by itself, as its first line says."""
    with (folder / program).open("rb") as file:
        first = file.read(512).partition(b"\n")[0]
    place = f"${{__dirname}}/{program}"
    if not first.startswith(b"#!"):
        is_binary = b"\0" in first or first.startswith(b"\x7fELF")
        return Launch(command=place) if is_binary else Launch(command="node", args=(place,))
    words = _split_shebang(first)
    names = [word.rpartition("/")[2] for word in words]
    if names[:1] == ["env"]:
        words, names = [w for w in words[1:] if w != "-S"], [n for n in names[1:] if n != "-S"]
    if names[:1] in (["node"], ["nodejs"]):
        return Launch(command="node", args=(*words[1:], place))
    (folder / program).chmod(0o755)
    return Launch(command=place)


def _split_shebang(line: bytes) -> list[str]:
    try:
        return shlex.split(line[2:].decode(errors="replace"))
    except ValueError:
        return line[2:].decode(errors="replace").split()


def _find_scripts(packages: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    for path, package in sorted(packages.items()):
        if package.get("hasInstallScript") is True:
            yield f"{path.rpartition('node_modules/')[2]}@{package.get('version')}"


def _digest_tree(packages: Mapping[str, Mapping[str, object]]) -> str:
    lines = [f"{path} {p.get('version')} {p.get('integrity')}" for path, p in sorted(packages.items()) if path]
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def _find_wrong_engines(ended: Ended, name: str) -> Sequence[str]:
    found = _ENGINE.finditer(ended.stderr)
    return [" ".join(m["required"].split()).replace("'", "") for m in found if m["package"].rpartition("@")[0] == name]


def _explain(spec: SourceSpec, ended: Ended, environment: Mapping[str, str]) -> Exception:
    if _NOT_THERE.search(ended.stderr) and spec.name in ended.stderr:
        return UnknownPackageError(
            f"npm knows no {spec}.",
            why="Its registry has no package of that name, or no such version.",
            hint="Check the name and the version.",
        )
    unreachable = _UNREACHABLE.search(ended.stderr)
    return InstallError(
        f"npm could not install {spec}.",
        why=f"It could not reach its registry ({unreachable[0]})."
        if unreachable is not None
        else f"It ended with exit code {ended.code}.",
        hint="Look at the network and the proxy of this machine, and at npm's own settings."
        if unreachable is not None
        else "Read its last lines.",
        output_tail=quote(ended, environment),
    )


def _read_object(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            value: object = json.loads(file.read(_MAX_MANIFEST))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
