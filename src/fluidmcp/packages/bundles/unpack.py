"""`.mcpb` and `.dxt` files: checked as a whole, then unpacked into a folder of the caller's.

The signature of a signed bundle is not verified.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.bundles.archive import MAX_BYTES, Archive, ArchiveError, cut_signature
from fluidmcp.packages.bundles.metadata import build_metadata, name_package
from fluidmcp.packages.formats.manifest import Needs, read_manifest, read_needs
from fluidmcp.packages.formats.shapes import ReadFile
from fluidmcp.packages.spec import NAME, VERSION

MANIFEST: Final = "manifest.json"
_OWN_FILES: Final = ("metadata.json", "contents.json")
_MAX_MANIFEST_BYTES: Final = 4 * 1024**2
_OWN_FOLDER: Final = "${__dirname}/"
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A bundle whose files lie in a folder of the caller's; its metadata.json is not written yet."""

    name: str
    version: str
    digest: str
    """Of the file as it was given: `sha256:` and hexadecimal digits."""
    metadata: Mapping[str, object]
    """What belongs into metadata.json."""
    is_signed: bool
    needs: Needs


def digest_bundle(path: Path) -> str:
    """The digest of the file, as `Extracted.digest`. Raises ConfigurationError where it cannot be read."""
    try:
        with _open(path) as given:
            return f"sha256:{_copy(given, None)}"
    except ArchiveError as error:
        raise _refuse(path, str(error), "Name the file of a bundle.") from None
    except OSError as error:
        raise _refuse_by_system(path, error) from None


def extract_bundle(path: Path, folder: Path) -> Extracted:
    """Write the files of the bundle at `path` into `folder`, which is made, and gone again after a failure.

    Nothing is written before the whole archive has passed its checks.

    Raises:
        ConfigurationError: it cannot be read, is not safe to unpack, or is not for this system.
    """
    try:
        with (
            _open(path) as given,
            tempfile.TemporaryFile(dir=folder.parent) as copy,
        ):
            # A copy, so that what is unpacked is what was hashed.
            digest = _copy(given, copy)
            is_signed = cut_signature(copy)
            archive = Archive(copy)
            bundle = _read_bundle(archive, path)
            folder.mkdir(mode=0o755)
            try:
                archive.extract(folder, programs=_find_programs(bundle.read))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except ArchiveError as error:
        raise _refuse(path, str(error), "Get the bundle again from who makes it, and tell them.") from None
    except OSError as error:
        raise _refuse_by_system(path, error) from None
    return Extracted(
        name=bundle.name,
        version=bundle.version,
        digest=f"sha256:{digest}",
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


def _open(path: Path) -> IO[bytes]:
    # Not waiting: a FIFO would hang whoever opens it.
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")


def _copy(given: IO[bytes], copy: IO[bytes] | None) -> str:
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
        if copy is not None:
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
    taken = {name.casefold() for name in archive.names}
    faults += [f"it holds {own}, which is a name of FluidMCP's own files" for own in _OWN_FILES if own in taken]
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


def _refuse(path: Path, why: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"The bundle {path} cannot be installed.", why=why, hint=hint)


def _refuse_by_system(path: Path, error: OSError) -> ConfigurationError:
    return _refuse(path, f"The system says: {error.strerror}.", "Check the path, the permissions and the free space.")
