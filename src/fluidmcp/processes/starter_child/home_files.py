"""Files that are in a private home before its process starts."""

import contextlib
import os
from collections.abc import Iterable
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_files(home: str, files: Iterable[tuple[str, str]]) -> list[str]:
    """Write files (0600), each a path below `home` and a text, and their folders (0700).

    The answer is what was made, folders before what is in them. Each step goes from an open directory to one name in
    it, and no link is followed: wherever a name may lead, the file lies below `home`.

    Raises:
        OSError: one is there already, or cannot be made.
    """
    return [path for target, text in files for path in _write_file(home, target, text)]


def _write_file(home: str, target: str, text: str) -> list[str]:
    *folders, name = target.split("/")
    made: list[str] = []
    path = home
    directory = os.open(home, _DIRECTORY)
    try:
        for folder in folders:
            if folder == "..":
                raise FileNotFoundError(target)
            path = f"{path}/{folder}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700, dir_fd=directory)
                made.append(path)
            inner = os.open(folder, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = inner
        with open(os.open(name, _NEW_FILE, 0o600, dir_fd=directory), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text.encode())
    finally:
        os.close(directory)
    return [*made, f"{path}/{name}"]
