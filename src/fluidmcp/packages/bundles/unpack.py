"""`.mcpb` and `.dxt` files: unpacked below the installation directory, as the package `mcpb/NAME@VERSION`.

All happens in a folder of its own beside the packages, which is renamed into its place at the end: what fails leaves
nothing behind. The signature of a signed bundle is not verified.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.bundles.archive import MAX_BYTES, Archive, ArchiveError, cut_signature
from fluidmcp.packages.bundles.metadata import build_metadata, name_package
from fluidmcp.packages.formats.manifest import Needs, read_manifest, read_needs
from fluidmcp.packages.formats.shapes import ReadFile
from fluidmcp.packages.spec import NAME, VERSION

AUTHOR: Final = "mcpb"
MANIFEST: Final = "manifest.json"
_METADATA: Final = "metadata.json"
_MAX_MANIFEST_BYTES: Final = 4 * 1024**2
_STAGING: Final = ".staging-"
"""No name of a package begins so."""
_OWN_FOLDER: Final = "${__dirname}/"
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A bundle in its place."""

    name: str
    """The package name, made from the manifest's."""
    version: str
    folder: Path
    digest: str
    """Of the file as it was given: `sha256-` and hexadecimal digits."""
    is_signed: bool = False
    """Whether there was a signature, which nobody has verified."""
    needs: Needs = field(default_factory=Needs)

    @property
    def spec(self) -> str:
        return f"{AUTHOR}/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A bundle whose files lie in a folder of the caller's; its metadata.json is not written yet."""

    name: str
    version: str
    digest: str
    metadata: Mapping[str, object]
    """What belongs into metadata.json."""
    is_signed: bool
    needs: Needs


def unpack_bundle(path: Path, *, into: Path, replaces: bool = False, sha256: str = "") -> Unpacked:
    """Unpack the bundle at `path` below `into`, the installation directory; blocks while it reads and writes.

    A version that is there already is kept and refused, unless the new one `replaces` it. `sha256`, in hexadecimal
    digits, is what the file must have, if somebody said so.

    Raises:
        ConfigurationError: it cannot be read, is not safe to unpack, is not for this system, is there already, or
            there is no place for it.
    """
    home = into / AUTHOR
    made = [folder for folder in (home, into) if not folder.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=home))
        try:
            extracted = extract_bundle(path, staging / "new", sha256=sha256)
            target = home / extracted.name / extracted.version
            if os.path.lexists(target) and not replaces:
                why = f"{AUTHOR}/{extracted.name}@{extracted.version} is installed already."
                raise _refuse(path, why, "Uninstall that first, or say that it is to be replaced.")
            text = json.dumps(extracted.metadata, indent=2, ensure_ascii=False)
            (staging / "new" / _METADATA).write_text(f"{text}\n", encoding="utf-8")
            _put_in_place(staging / "new", target, old=staging / "old")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()  # only where nothing is in it
    except OSError as error:
        raise _refuse_by_system(path, error) from None
    return Unpacked(
        name=extracted.name,
        version=extracted.version,
        folder=target,
        digest=extracted.digest,
        is_signed=extracted.is_signed,
        needs=extracted.needs,
    )


def extract_bundle(path: Path, folder: Path, *, sha256: str = "") -> Extracted:
    """Write the files of the bundle at `path` into `folder`, which is made, and is the caller's to remove.

    Nothing is written before the whole archive has passed its checks. `sha256` as for `unpack_bundle`.

    Raises:
        ConfigurationError: it cannot be read, is not safe to unpack, or is not for this system.
    """
    try:
        with (
            open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as given,
            tempfile.TemporaryFile(dir=folder.parent) as copy,
        ):
            # A copy, so that what is unpacked is what was hashed.
            digest = _copy(given, copy)
            if sha256 and sha256.lower() != digest:
                raise ArchiveError("Its SHA-256 is not the one that was announced.")
            is_signed = cut_signature(copy)
            archive = Archive(copy)
            bundle = _read_bundle(archive, path)
            folder.mkdir(mode=0o755)
            archive.extract(folder, programs=_find_programs(bundle.read))
    except ArchiveError as error:
        raise _refuse(path, str(error), "Get the bundle again from who makes it, and tell them.") from None
    except OSError as error:
        raise _refuse_by_system(path, error) from None
    return Extracted(
        name=bundle.name,
        version=bundle.version,
        digest=f"sha256-{digest}",
        metadata=build_metadata(bundle.read, name=bundle.name),
        is_signed=is_signed,
        needs=bundle.needs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    name: str
    version: str
    read: ReadFile
    needs: Needs


def _copy(given: IO[bytes], copy: IO[bytes]) -> str:
    status = os.fstat(given.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ArchiveError("It is not a file.")
    if status.st_size > MAX_BYTES:
        raise ArchiveError(f"It is larger than {MAX_BYTES // 1024**2} MB.")
    digest = hashlib.sha256()
    left = MAX_BYTES
    while chunk := given.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise ArchiveError("It grows while it is read.")
        digest.update(chunk)
        copy.write(chunk)
    return digest.hexdigest()


def _read_bundle(archive: Archive, path: Path) -> _Bundle:
    document = _decode(archive.read(MANIFEST, max_bytes=_MAX_MANIFEST_BYTES))
    read = read_manifest(document)
    if read is None:
        raise ArchiveError(f"Its {MANIFEST} has no server, or no manifest_version.")
    faults = [*read.entries[0].faults]
    name, version = name_package(read.entries[0].name), document.get("version")
    if not NAME.fullmatch(name):
        faults.append("manifest.name cannot be a package name")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        faults.append("manifest.version is missing, or cannot be one")
        version = ""
    if any(taken.casefold() == _METADATA for taken in archive.names):
        faults.append(f"it holds a file {_METADATA}, which is where FluidMCP writes how it is run")
    if faults:
        raise _refuse(path, "; ".join(faults) + ".", "Get a bundle for this system, or tell who makes it.")
    return _Bundle(name=name, version=version, read=read, needs=read_needs(document))


def _decode(content: bytes) -> Mapping[str, object]:
    try:
        document: object = json.loads(content.decode("utf-8-sig"))
        json.dumps(document, ensure_ascii=False).encode()  # no halves of characters in it
    except (ValueError, RecursionError):
        raise ArchiveError(f"Its {MANIFEST} is not JSON.") from None
    if not isinstance(document, dict):
        raise ArchiveError(f"Its {MANIFEST} is not an object.")
    return cast("dict[str, object]", document)


def _find_programs(read: ReadFile) -> frozenset[str]:
    """The program of the bundle itself: archives that were written on Windows do not mark it."""
    command = cast("Mapping[str, object]", read.entries[0].value).get("command")
    if isinstance(command, str) and command.startswith(_OWN_FOLDER):
        return frozenset({os.path.normpath(command.removeprefix(_OWN_FOLDER))})
    return frozenset()


def _put_in_place(folder: Path, target: Path, *, old: Path) -> None:
    target.parent.mkdir(mode=0o755, exist_ok=True)
    try:
        if os.path.lexists(target):
            target.rename(old)
        folder.rename(target)
    except OSError:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        with suppress(OSError):
            target.parent.rmdir()  # only where nothing is in it
        raise


def _refuse(path: Path, why: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"The bundle {path} cannot be installed.", why=why, hint=hint)


def _refuse_by_system(path: Path, error: OSError) -> ConfigurationError:
    return _refuse(path, f"The system says: {error.strerror}.", "Check the path, the permissions and the free space.")
