"""An MCPB bundle as a package that the lock holds: unpacked, and compared with what it needs of the machine."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from fluidmcp.packages.bundles.ranges import is_met
from fluidmcp.packages.bundles.unpack import Extracted, extract_bundle
from fluidmcp.packages.sources.installer import Installed, Launch
from fluidmcp.packages.sources.runtimes import Runtime, add_runtimes, ask_version
from fluidmcp.packages.sources.spec import SourceSpec

_PROGRAMS: Final[Mapping[str, Runtime]] = {"node": "node", "npx": "node", "npm": "node", "uv": "uv", "uvx": "uv"}
_ASKED: Final[Mapping[str, str]] = {"node": "node", "python": "python3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledBundle:
    """A bundle whose files are in their folder, but for its metadata.json."""

    spec: SourceSpec
    installed: Installed
    metadata: Mapping[str, object]
    runtime: Runtime | None
    """What its server is started with, where FluidMCP can fetch that."""
    notes: tuple[str, ...]
    """What whoever installs it should know, a sentence each."""


def install_bundle(path: Path, folder: Path, *, environ: Mapping[str, str], directory: Path) -> InstalledBundle:
    """Unpack a bundle into `folder`, which is made; `directory` is the installation directory.

    Raises:
        ConfigurationError: it cannot be read, is not safe to unpack, or is not for this system.
    """
    extracted = extract_bundle(path, folder)
    entry = cast("Mapping[str, Mapping[str, object]]", extracted.metadata["mcpServers"])[extracted.name]
    command, args = str(entry["command"]), tuple(cast("list[str]", entry.get("args", [])))
    needs = extracted.needs.runtimes
    return InstalledBundle(
        spec=SourceSpec(source="mcpb", name=extracted.name, version=extracted.version),
        installed=Installed(
            version=extracted.version,
            integrity=(extracted.digest,),
            tree=extracted.digest,
            launch=Launch(command=command, args=args),
            entry_point=command,
            requires=", ".join(f"{name} {wanted}" for name, wanted in needs.items()),
        ),
        metadata=extracted.metadata,
        runtime=_PROGRAMS.get(command),
        notes=tuple(_list_notes(extracted, add_runtimes(environ, directory))),
    )


def _list_notes(extracted: Extracted, environ: Mapping[str, str]) -> Iterator[str]:
    if extracted.is_signed:
        yield "the signature of the bundle was not verified; it is installed as if it had none."
    for name, wanted in extracted.needs.runtimes.items():
        version = _find_version(_ASKED[name], environ) if name in _ASKED else ""
        if version and not is_met(name, wanted, version):
            yield f"the bundle asks for {name} {wanted[:40]}, and here is {version}."


def _find_version(program: str, environ: Mapping[str, str]) -> str:
    path = shutil.which(program, path=environ.get("PATH"))
    return "" if path is None else ask_version(path)
