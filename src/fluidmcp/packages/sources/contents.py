"""The files of an installed package: listed when it is installed, compared before it runs (threat E14).

The list lies in the folder of the package, and the lock has its digest. What a server writes beside its code (data,
logs, `__pycache__`) is no fault. Code that was not there before is one: Python and Node would find it first.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.files import read_regular

CONTENTS_FILE: Final = "contents.json"
_MAX_LIST_BYTES: Final = 256 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
_THREADS: Final = min(4, os.cpu_count() or 1)
_CODE: Final = (".py", ".pyc", ".pyd", ".pth", ".so", ".js", ".mjs", ".cjs", ".node", ".wasm")
_CODE_FOLDERS: Final = frozenset({"node_modules", "venv"})
_MAY_GROW: Final = frozenset({"__pycache__", ".cache", ".venv"})
"""`.venv` is what `uv run` makes in a bundle."""
_LINK: Final = "link to "


class ChangedError(Exception):
    """The files are not those that were installed; the text says which."""


def write_contents(folder: Path) -> str:
    """List what is in the folder of a package; the digest of the list.

    Raises:
        OSError: a file cannot be read.
        ConfigurationError: there is something that is neither file, folder nor link.
    """
    found = dict(_walk(folder))
    special = next((path for path, mode in found.items() if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode))), None)
    if special is not None:
        raise ConfigurationError(
            f"The package holds something that is no file: {ascii(special)}",
            why="Pipes, sockets and devices are no part of a package.",
            hint="Do not use this package.",
        )
    try:
        text = msgspec.json.encode(dict(sorted(_describe(folder, found).items())))
    except UnicodeEncodeError:
        raise ConfigurationError(
            "The package holds a file whose name is no text.",
            why="Such a name cannot be written down.",
            hint="Do not use this package.",
        ) from None
    (folder / CONTENTS_FILE).write_bytes(text)
    return _digest(text)


def check_contents(folder: Path, digest: str, *, is_all_code: bool = False) -> None:
    """Compare the files with the list whose digest is `digest`.

    `is_all_code`: whether code may lie in every folder, as in a bundle, and not below `node_modules` and `venv` alone.

    Raises:
        ChangedError: they differ, or the list does.
        OSError, ConfigurationError: something cannot be read.
    """
    text = read_regular(folder / CONTENTS_FILE, shown=CONTENTS_FILE, max_bytes=_MAX_LIST_BYTES, within=folder)
    if _digest(text) != digest:
        raise ChangedError(f"{CONTENTS_FILE} is not the list that was made when it was installed")
    listed = msgspec.json.decode(text, type=dict[str, str])
    found = dict(_walk(folder))
    missing = next((path for path in listed if path not in found), None)
    if missing is not None:
        raise ChangedError(f"{ascii(missing)} is gone")
    # In the order of the folder, which is that of the disk.
    described = _describe(folder, {path: mode for path, mode in found.items() if path in listed})
    for path, value in listed.items():
        if described[path] != value:
            raise ChangedError(f"{ascii(path)} was changed")
    added = next(
        (path for path, mode in found.items() if path not in listed and _is_code(path, mode, is_all_code)), None
    )
    if added is not None:
        raise ChangedError(f"{ascii(added)} was added")


def _is_code(path: str, mode: int, is_all_code: bool) -> bool:
    """Whether an interpreter may take what is new at `path` for a part of the program."""
    *folders, name = path.split("/")
    if not (is_all_code or _CODE_FOLDERS.intersection(folders[:1])) or _MAY_GROW.intersection(folders):
        return False
    return not stat.S_ISREG(mode) or name.endswith(_CODE) or name in ("package.json", "pyvenv.cfg")


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Everything below the folder but folders, with its mode; no link is followed. Names that are no text are kept."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif path != CONTENTS_FILE:
                    yield path, entry.stat(follow_symlinks=False).st_mode


def _describe(folder: Path, found: Mapping[str, int]) -> dict[str, str]:
    """What is at each path: the digest of a file, or where a link leads."""
    files = [path for path, mode in found.items() if stat.S_ISREG(mode)]
    described = {path: f"{_LINK}{os.readlink(folder / path)}" for path, mode in found.items() if stat.S_ISLNK(mode)}
    # Digests are made without the interpreter's lock: two threads on two processors take half the time.
    with ThreadPoolExecutor(_THREADS) as threads:
        described.update(zip(files, threads.map(_hash_file, [folder / path for path in files]), strict=True))
    return {path: described.get(path, "something else") for path in found}


def _hash_file(path: Path) -> str:
    hasher = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, _CHUNK):
            hasher.update(chunk)
    finally:
        os.close(descriptor)
    return hasher.hexdigest()


def _digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"
