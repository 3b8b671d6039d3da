"""A zip archive of a stranger, looked at as a whole before anything of it is written.

What a bundle needs is small: files and folders, stored or deflated, each name once. All else is refused: what leads
out of the folder (zip-slip), links and special files, encryption, and what is larger than it looks (bombs).
"""

import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

MAX_ENTRIES: Final = 20_000
MAX_BYTES: Final = 1024**3
"""Of the archive, and of all that is in it."""
MAX_RATIO: Final = 100
"""Of what is in it to the archive; a bundle of text and programs is below 20. Small ones are let off."""
_UNSUSPICIOUS_BYTES: Final = 32 * 1024**2
_MAX_DIRECTORY_BYTES: Final = 32 * 1024**2
"""Of the list of names, which is read at once."""
_MAX_PATH_BYTES: Final = 1024
_MAX_NAME_BYTES: Final = 255
_MAX_DEPTH: Final = 48
_CHUNK: Final = 256 * 1024

_END: Final = struct.Struct("<4s4H2LH")
"""APPNOTE.TXT 4.3.16, "End of central directory record"."""
_END_SIGN: Final = b"PK\5\6"
_LOCATOR_SIGN: Final = b"PK\6\7"
_LOCATOR_BYTES: Final = 20
_MAX_COMMENT: Final = 0xFFFF
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

_SIGNATURE_BEGIN: Final = b"MCPB_SIG_V1"
_SIGNATURE_END: Final = b"MCPB_SIG_END"
_MAX_SIGNATURE_BYTES: Final = 1024**2


class ArchiveError(Exception):
    """What is wrong with the archive, as a sentence."""


class Archive:
    """The files of an archive that has passed all checks. `file` is read while it is open, and stays the caller's."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises ArchiveError."""
        size = file.seek(0, os.SEEK_END)
        _check_directory(file, size)
        try:
            self._zip = zipfile.ZipFile(file)
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, struct.error):
            raise ArchiveError("It is no zip archive, or a damaged one.") from None
        _check_sizes(infos, size)
        self._infos = _check_names(infos)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._infos)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The content of a file; raises ArchiveError where there is none, or it is larger."""
        info = self._infos.get(name)
        if info is None or info.is_dir():
            raise ArchiveError(f"It holds no {name}.")
        if info.file_size > max_bytes:
            raise ArchiveError(f"{name} is larger than {max_bytes} bytes.")
        content = io.BytesIO()
        for chunk in self._chunks(info):
            content.write(chunk)
        return content.getvalue()

    def extract(self, folder: Path, *, programs: frozenset[str] = frozenset()) -> None:
        """Write everything below `folder`, which is empty and nobody else's. Files become 0644, programs 0755: those
        that the archive marks as such, and `programs`.

        Raises:
            ArchiveError: a file is damaged, or larger than the list of names says.
            OSError: it cannot be written.
        """
        for name, info in self._infos.items():
            path = folder / name
            # Of a name that stands in two folders only the first is made here; a link cannot be in between.
            parent = path if info.is_dir() else path.parent
            parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not info.is_dir():
                is_program = name in programs or bool(_mode(info) & 0o111)
                self._write(info, path, 0o755 if is_program else 0o644)
        for current, _, _ in os.walk(folder):
            os.chmod(current, 0o755)

    def _write(self, info: zipfile.ZipInfo, path: Path, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            for chunk in self._chunks(info):
                file.write(chunk)
            os.fchmod(file.fileno(), mode)

    def _chunks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        left = info.file_size
        try:
            with self._zip.open(info) as file:
                while chunk := file.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        break
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error):
            raise ArchiveError(f"{_show(info.filename)} in it is damaged.") from None
        if left != 0:
            raise ArchiveError(f"{_show(info.filename)} in it is not as large as the archive says.")


def cut_signature(file: IO[bytes]) -> bool:
    """Cut off the signature behind a signed bundle, so that the archive is at the end again; whether there was one.

    It is not verified. Its PKCS#7 block stands between two marks, and may be filled up with zeros.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _MAX_SIGNATURE_BYTES)
    file.seek(start)
    tail = file.read()
    if not tail.endswith(_SIGNATURE_END):
        return False
    begin = tail.rfind(_SIGNATURE_BEGIN)
    if begin < 0:
        return False
    file.truncate(start + begin)
    return True


def _check_directory(file: IO[bytes], size: int) -> None:
    """Whether the list of names is small enough to be read at all."""
    start = max(0, size - _MAX_COMMENT - _END.size - _LOCATOR_BYTES)
    file.seek(start)
    tail = file.read()
    end = len(tail) - _END.size
    if end < 0 or not tail.startswith(_END_SIGN, end) or tail[-2:] != b"\0\0":
        end = tail.rfind(_END_SIGN)
    if end < 0 or len(tail) - end < _END.size:
        raise ArchiveError("It is no zip archive, or a damaged one.")
    entries, directory_bytes = _END.unpack_from(tail, end)[4:6]
    if tail[max(0, end - _LOCATOR_BYTES) : end].startswith(_LOCATOR_SIGN):
        raise ArchiveError("It is a zip archive in the format for more than 4 GB.")
    if entries > MAX_ENTRIES or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise ArchiveError(f"It holds more than {MAX_ENTRIES} files.")


def _check_sizes(infos: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    if len(infos) > MAX_ENTRIES:
        raise ArchiveError(f"It holds more than {MAX_ENTRIES} files.")
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES:
        raise ArchiveError(f"What is in it is larger than {MAX_BYTES // 1024**2} MB.")
    if total > max(_UNSUSPICIOUS_BYTES, archive_bytes * MAX_RATIO):
        raise ArchiveError(f"What is in it is more than {MAX_RATIO} times larger than the archive.")


def _check_names(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """By name, without the `/` behind that of a folder."""
    spelled: dict[str, str] = {}
    files: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        # The name as it stands in the archive: zipfile shortens one that holds a NUL.
        name = info.orig_filename
        _check_name(name)
        _check_kind(info)
        path = PurePosixPath(name)
        for part in (path, *path.parents[:-1]):
            key = unicodedata.normalize("NFC", str(part)).casefold()
            if spelled.setdefault(key, str(part)) != str(part):
                raise ArchiveError(f"{_show(name)} in it differs from another name only in its case or accents.")
        if str(path) in files:
            raise ArchiveError(f"{_show(name)} is in it twice.")
        files[str(path)] = info
    for name in files:
        for parent in PurePosixPath(name).parents:
            if str(parent) in files and not files[str(parent)].is_dir():
                raise ArchiveError(f"{_show(str(parent))} in it is a file and a folder.")
    return files


def _check_name(name: str) -> None:
    shown = _show(name)
    parts = name.removesuffix("/").split("/")
    if "\\" in name or _DRIVE.match(name):
        raise ArchiveError(f"{shown} in it is a name of Windows.")
    if _CONTROL.search(name):
        raise ArchiveError(f"{shown} in it holds control characters.")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ArchiveError(f"{shown} in it leads out of the bundle, or is no path.")
    encoded = name.encode("utf-8", "replace")
    too_long = any(len(part.encode("utf-8", "replace")) > _MAX_NAME_BYTES for part in parts)
    if len(encoded) > _MAX_PATH_BYTES or too_long or len(parts) > _MAX_DEPTH:
        raise ArchiveError(f"{shown} in it is too long, or too deep.")


def _check_kind(info: zipfile.ZipInfo) -> None:
    shown = _show(info.orig_filename)
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{shown} in it is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{shown} in it is compressed in a way that bundles do not use.")
    kind = stat.S_IFMT(_mode(info))
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(f"{shown} in it is a {'link' if kind == stat.S_IFLNK else 'special file'}.")
    if kind and (kind == stat.S_IFDIR) != info.is_dir():
        raise ArchiveError(f"{shown} in it is a file and a folder.")
    if info.is_dir() and info.file_size:
        raise ArchiveError(f"{shown} in it is a folder with content.")


def _mode(info: zipfile.ZipInfo) -> int:
    """The mode of a Unix file; 0 where the archive was written on another system."""
    return info.external_attr >> 16


def _show(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")
