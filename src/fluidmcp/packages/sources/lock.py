"""`fluidmcp.lock`: which packages of registries, and which bundles, are installed, and what they were when they were.

It names versions and digests, and no addresses: the file is the same wherever a registry or its mirror stands.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.sources.spec import Source, make_slug, write_spec

LOCK_FILE: Final = "fluidmcp.lock"
HOLD_SECONDS: Final = 900.0
"""How long an installation waits for another one."""
_HELD_FILE: Final = ".installing"
_LOOK_AGAIN_SECONDS: Final = 0.2
_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One version of a package, as it was installed."""

    source: Source
    name: str
    version: str
    wanted: str = ""
    """The version or tag that was asked for; empty: the newest."""
    extras: tuple[str, ...] = ()
    integrity: tuple[str, ...]
    """Digests of the package itself as its registry tells them: `sha512-...` of npm, `sha256:...` of PyPI; that of the
    file of a bundle (`sha256:...`).
    """
    tree: str
    """One digest over the names, versions and digests of everything that was installed for it."""
    entry_point: str
    """The program, below the folder of the package."""
    requires: str = ""
    """What the package says of its interpreter: `node >=20`."""
    interpreter: str = ""
    """What it was installed with: `python 3.11.7`."""
    skipped_scripts: tuple[str, ...] = ()
    """Packages of npm that wanted to run a script when they were installed and did not."""
    contents: str
    """The digest of the list of its files (contents.py)."""

    @property
    def slug(self) -> str:
        return make_slug(self.name)

    @property
    def spec(self) -> str:
        return write_spec(self.source, self.name, self.version, self.extras)

    @property
    def install_command(self) -> str:
        """What to type to install it again."""
        return f"fluidmcp install {self.spec if self.source != 'mcpb' else 'FILE.mcpb'}"

    def find_folder(self, directory: Path) -> Path:
        return directory / self.source / self.slug / self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All that is installed, by `npm:name@version`, `pypi:name==version` and `mcpb:name@version`."""

    packages: Mapping[str, LockedPackage] = field(default_factory=dict[str, LockedPackage])

    def find(self, source: str, slug: str, version: str) -> LockedPackage | None:
        """The package whose folder is `<source>/<slug>/<version>`."""
        locked = (p for p in self.packages.values() if (p.source, p.slug, p.version) == (source, slug, version))
        return next(locked, None)

    def find_bundle(self, digest: str) -> LockedPackage | None:
        """The package that was unpacked from the file with this digest."""
        locked = (p for p in self.packages.values() if p.source == "mcpb" and p.integrity == (digest,))
        return next(locked, None)

    def with_package(self, package: LockedPackage) -> "Lock":
        return Lock(packages={**self.packages, _make_key(package): package})

    def without(self, package: LockedPackage) -> "Lock":
        return Lock(packages={key: each for key, each in self.packages.items() if key != _make_key(package)})


class _File(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    lock_version: Literal[1]
    packages: dict[str, LockedPackage]


def _make_key(package: LockedPackage) -> str:
    """A package of PyPI is in one place, whatever its extras."""
    return write_spec(package.source, package.name, package.version)


def read_lock(directory: Path) -> Lock:
    """The lock of an installation directory; an empty one where there is none.

    Raises:
        ConfigurationError: it cannot be read, or is none of ours.
    """
    path = directory / LOCK_FILE
    if not os.path.lexists(path):
        return Lock()
    text = read_regular(path, shown=str(path), max_bytes=_MAX_BYTES)
    try:
        file = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read.",
            why="It is not a lock of this version of FluidMCP, or was changed by hand.",
            hint="Remove it and install the packages again.",
        ) from error
    for key, package in file.packages.items():
        is_plain = not any(part in ("", ".", "..") or "/" in part for part in (package.slug, package.version))
        if key != _make_key(package) or not is_plain:
            raise ConfigurationError(
                f"{path} cannot be read.",
                why=f"What it says of {ascii(key[:80])} does not fit together.",
                hint="Remove it and install the packages again.",
            )
    return Lock(packages=file.packages)


def write_lock(directory: Path, lock: Lock) -> None:
    """Replace the lock in one step. Raises OSError."""
    file = _File(lock_version=1, packages=dict(sorted(lock.packages.items())))
    text = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
    path = directory / f".{LOCK_FILE}.{secrets.token_hex(8)}"
    try:
        with path.open("xb") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        path.replace(directory / LOCK_FILE)
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def hold_directory(
    directory: Path, *, on_wait: Callable[[], None], limit_seconds: float = HOLD_SECONDS
) -> Generator[None]:
    """Keep other installations out of the directory, which is made; wait for one that is under way.

    Raises:
        ConfigurationError: the directory cannot be written, or the other one takes longer than `limit_seconds`.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Not through a link, which would make a file wherever it leads.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        held = os.fdopen(os.open(directory / _HELD_FILE, flags, 0o600), "r+b")
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can be installed in {directory}.",
            why=f"The system says: {error.strerror}.",
            hint="Check its permissions, or set MCP_INSTALLATION_DIR to another directory.",
        ) from error
    with held:
        until = time.monotonic() + limit_seconds
        is_told = False
        while not _try_to_hold(held.fileno()):
            if time.monotonic() > until:
                raise ConfigurationError(
                    f"Another installation in {directory} is not done after {limit_seconds:g} seconds.",
                    why="One at a time may change what is installed.",
                    hint="Look for another `fluidmcp install`, wait for it or end it.",
                )
            if not is_told:
                on_wait()
                is_told = True
            time.sleep(_LOOK_AGAIN_SECONDS)
        yield


def _try_to_hold(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
