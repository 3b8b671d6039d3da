"""Where the deny list is kept: a file that the gateways of one user read, or the Redis that several gateways share."""

import contextlib
import logging
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

import msgspec

from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import ConfigurationError, StoreUnavailableError
from fluidmcp.file_locks import hold
from fluidmcp.store.deny_list import Denials
from fluidmcp.store.memory import Fence, LockLostError, Store, StoreFullError
from fluidmcp.store.redis import RedisStore
from fluidmcp.store.redis_entries import Entries
from fluidmcp.store.redis_server import RedisServer
from fluidmcp.undo import undo_on_failure

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
LOCK_SECONDS: Final = 10.0
KEPT_SECONDS: Final = 10 * 365 * 24 * 3600
"""How long a list stays in Redis that nobody changes."""

_PEOPLE: Final = "people"
_VERSION: Final = "version"
_MAX_ENTRIES: Final = 10

logger = logging.getLogger(__name__)


class FilePlace:
    """A file, replaced as a whole at each change; where there is none, nobody is shut out.

    It has to belong to the user who runs the gateway, or to root, and others may not write to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        self._mark: tuple[int, ...] | None = None
        self._has_read = False

    async def read(self) -> Denials | None:
        mark = self._find_mark()
        if self._has_read and mark == self._mark:
            return None
        denials = self._load()
        # Only now: what could not be read this time is read the next time.
        self._mark, self._has_read = mark, True
        return denials

    async def change(self, change: Callable[[Denials], Denials]) -> Denials:
        async with self._locked():
            denials = change(self._load())
            self._replace(msgspec.json.format(msgspec.json.encode(denials), indent=2) + b"\n")
            self._mark, self._has_read = self._find_mark(), True
        return denials

    def _find_mark(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(f"cannot be looked at ({error.strerror})") from error
        return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)

    def _load(self) -> Denials:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return Denials()
        except OSError as error:
            raise self._unusable(f"is a link or cannot be read ({error.strerror})") from error
        with undo_on_failure(lambda: os.close(descriptor)):
            self._check(os.fstat(descriptor))
        try:
            with open(descriptor, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise self._unusable(f"cannot be read ({error.strerror})") from error
        try:
            if len(content) > MAX_FILE_BYTES:
                raise ValueError("too large")
            return msgspec.json.decode(content, type=Denials)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise self._unusable("is no deny list") from error

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is no file")
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise self._unusable("belongs to another user, or others may write to it")

    def _replace(self, content: bytes) -> None:
        temporary = self.path.with_name(f".{self.path.name}-{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.rename(temporary, self.path)
            _sync(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise self._unusable(f"cannot be written ({error.strerror})") from error

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncGenerator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(f"cannot be written ({error.strerror})") from error
        try:
            async with hold(descriptor, wait_seconds=LOCK_SECONDS):
                yield
        except TimeoutError:
            raise self._unusable("is being changed by somebody else all the time") from None

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"The deny list {self.path} cannot be used.",
            why=f"It {why}.",
            hint="Correct that, or name another file with FMCP_DENY_LIST.",
        )


class SharedPlace:
    """A store that several gateways share."""

    def __init__(self, store: Store) -> None:
        self.where = "the Redis of FMCP_REDIS_URL"
        self._store = store
        self._version: bytes | None = None
        self._has_read = False

    async def read(self) -> Denials | None:
        version = await self._store.get(_VERSION)
        if self._has_read and version == self._version:
            return None
        # Asked for after the version: it is that one or a later one, which will have another version.
        stored = await self._load()
        if not self._has_read and stored.people:
            with contextlib.suppress(StoreUnavailableError):
                # Written again, so that it is sealed with the key that is first now.
                return await self.change(lambda found: found)
        self._version, self._has_read = version, True
        return stored

    async def change(self, change: Callable[[Denials], Denials]) -> Denials:
        version = secrets.token_hex(8).encode()
        try:
            async with self._store.lock(_PEOPLE, ttl_seconds=LOCK_SECONDS, wait_seconds=LOCK_SECONDS) as fence:
                denials = change(await self._load())
                await self._put(_PEOPLE, msgspec.json.encode(denials), fence)
                await self._put(_VERSION, version, fence)
        except (LockLostError, StoreFullError) as error:
            raise StoreUnavailableError("The deny list cannot be changed now", hint="Try again in a moment.") from error
        self._version, self._has_read = version, True
        return denials

    async def _load(self) -> Denials:
        found = await self._store.get(_PEOPLE)
        try:
            return Denials() if found is None else msgspec.json.decode(found, type=Denials)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                "The deny list in Redis cannot be used.",
                why="It does not open: it was written with other keys, by another version, or by somebody else.",
                hint="Use the keys of the other gateways, or delete the entries that begin with fmcp1:{deny_list}.",
            ) from error

    async def _put(self, key: str, value: bytes, fence: Fence) -> None:
        await self._store.put(key, value, ttl_seconds=KEPT_SECONDS, fence=fence)


def build_shared_place(server: RedisServer, sealer: Sealer) -> SharedPlace:
    """That of all gateways with one Redis and the same keys, whatever their public address: who denies knows none."""
    entries = Entries("deny_list", sealer, public_url="", now=time.time)
    # What somebody else wrote there must not pass for "nobody is shut out".
    return SharedPlace(RedisStore(server, entries, max_entries=_MAX_ENTRIES, unreadable=b""))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
