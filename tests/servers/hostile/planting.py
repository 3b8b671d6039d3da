"""What a careless server does: its person's token lies in every place that a program can leave something in."""

import ctypes
import errno
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import system

SHM_FOLDER: Final = Path("/dev/shm")
_IPC_CREAT: Final = 0o1000
_IPC_RMID: Final = 0
_KEY_SPEC_USER_KEYRING: Final = -4
_MAX_MESSAGES: Final = 8


class Planted:
    """Everything that has to stay open, alive or mapped for as long as the server lives."""

    def __init__(self, token: bytes, label: str, *, lasting: bool = False) -> None:
        self._token = token
        self._label = label
        self._lasting = lasting
        self._home = Path(os.path.expanduser("~"))
        self._folder = Path(tempfile.gettempdir())
        self._kept: list[object] = [bytearray(token)]
        self.told: dict[str, Any] = {"pid": os.getpid(), "home": str(self._home), "tmp": str(self._folder)}

    def plant(self) -> dict[str, Any]:
        """All of it; where the system refuses a place, the error is told for it."""
        places: dict[str, Callable[[], object]] = {
            "files": self._files,
            "open_file": self._open_file,
            "memfd": self._memory_file,
            "shm_file": self._shared_file,
            "sysv_shm": self._shared_segment,
            "queue": self._queue,
            "key": self._key,
            "abstract": self._abstract_socket,
            "path_socket": self._path_socket,
        }
        for name, place in places.items():
            try:
                self.told[name] = place()
            except (OSError, system.NotHereError) as error:
                self.told[name] = f"failed: {error}"
        return self.told

    def _files(self) -> str:
        for folder in (self._home, self._folder):
            path = folder / "token.txt"
            path.write_bytes(self._token)
            path.chmod(0o600)
        (self._home / "spare.txt").write_bytes(self._token)
        (self._home / "run.sh").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        os.chdir(self._home)
        link = self._home / "link"
        if not link.is_symlink():
            link.symlink_to(os.fsdecode(self._token))
        os.setxattr(self._home / "token.txt", "user.token", self._token)
        return "ok"

    def _open_file(self) -> str:
        """A file that is open and has no name any more."""
        file = tempfile.TemporaryFile()
        file.write(self._token)
        file.flush()
        self._kept.append(file)
        return "ok"

    def _memory_file(self) -> str:
        descriptor = os.memfd_create("secret")
        os.write(descriptor, self._token)
        return str(descriptor)

    def _shared_file(self) -> str:
        """What `shm_open` makes; the test deletes it."""
        path = SHM_FOLDER / self._label
        path.write_bytes(self._token)
        path.chmod(0o600)
        return str(path)

    def _shared_segment(self) -> int:
        """Deleted already, so that it ends with this process; who knows the number can still attach it.

        One that lasts stays on the machine. The test deletes it.
        """
        number = system.call(system.SHMGET, 0, 4096, _IPC_CREAT | 0o600)
        place = system.call(system.SHMAT, number, 0, 0)
        ctypes.memmove(place, self._token, len(self._token))
        if not self._lasting:
            system.call(system.SHMCTL, number, _IPC_RMID, 0)
        return number

    def _queue(self) -> str:
        """A POSIX message queue that is full of it; the test deletes it."""
        attributes = (ctypes.c_long * 8)(0, _MAX_MESSAGES, 256, 0)
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK
        descriptor = system.call(system.MQ_OPEN, self._label.encode() + b"\0", flags, 0o600, system.address(attributes))
        self._kept.append(descriptor)
        try:
            while True:
                system.call(system.MQ_TIMEDSEND, descriptor, self._token, len(self._token), 0, 0)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
        return self._label

    def _key(self) -> int:
        return system.call(
            system.ADD_KEY, b"user", self._label.encode(), self._token, len(self._token), _KEY_SPEC_USER_KEYRING
        )

    def _abstract_socket(self) -> str:
        return self._serve("\0" + self._label)

    def _path_socket(self) -> str:
        return self._serve(str(self._folder / "socket"))

    def _serve(self, address: str) -> str:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        threading.Thread(target=self._answer, args=(listener,), daemon=True).start()
        return address.replace("\0", "@")

    def _answer(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(self._token)
