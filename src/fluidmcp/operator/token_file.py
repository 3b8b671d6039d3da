"""`~/.fluidmcp/oauth/tokens.json`: the login of the person at this machine, and the lock between processes around it.

The directory is 0700 and the file 0600 from its first byte; it is replaced as a whole, never changed in place. What
somebody else could have planted (a symbolic link, a file or directory of another user, one that others may write to)
is refused. What cannot be understood counts as no login and is left as it is.
"""

import contextlib
import logging
import os
import pwd
import re
import secrets
import stat
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import msgspec

from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError
from fluidmcp.file_locks import hold

DIRECTORY_PARTS: Final = (".fluidmcp", "oauth")
FILE_NAME: Final = "tokens.json"
LOCK_NAME: Final = "tokens.lock"
MAX_FILE_BYTES: Final = 64 * 1024
LOCK_WAIT_SECONDS: Final = 45.0
"""Longer than anybody holds the lock (`operator.REFRESH_LIMIT_SECONDS`)."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_MAX_TEXT_CHARACTERS: Final = 16 * 1024
_TEMPORARY: Final = re.compile(r"\.tokens-[0-9a-f]{16}\.tmp", re.ASCII)
_OPENING: Final = os.O_NOFOLLOW | os.O_CLOEXEC

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLogin:
    """What the file holds. Times are in seconds since the epoch; None stands for what is not known.

    Beyond the three documented fields there is what a refresh needs (for whom and from where the refresh token is, so
    that it goes nowhere else; when the tokens came, so that a short life is not mistaken for one that ends) and what
    `fluidmcp status` shows.
    """

    access_token: Secret
    refresh_token: Secret | None = None
    expires_at: float | None = None
    obtained_at: float | None = None
    scope: str | None = None
    token_endpoint: str | None = None
    client_id: str | None = None
    issuer: str | None = None
    """With `subject`: whom the provider says this is, from the ID token of the login."""
    subject: str | None = None
    email: str | None = None
    """For the eyes of the person only."""
    is_refresh_refused: bool = field(default=False)
    """The provider said that the refresh token is dead: nobody asks again with it, so it is not kept either."""


class TokenFile:
    """The file of one user. All calls are short and synchronous, except waiting for the lock."""

    def __init__(self, home: Path, *, user_id: int | None = None, name: str = FILE_NAME) -> None:
        self._home = home
        self._name = name
        self._user_id = os.geteuid() if user_id is None else user_id
        self.path = home.joinpath(*DIRECTORY_PARTS, name)

    def load(self) -> StoredLogin | None:
        """The stored login; None when there is none that can be understood.

        Raises:
            ConfigurationError: the file or a directory above it could have been planted by somebody else.
        """
        with self._open_directory(create=False) as directory:
            if directory is None:
                return None
            content = self._read(directory)
        return None if content is None else parse_login(content)

    def save(self, login: StoredLogin) -> None:
        """Replace the file. Call it inside `locked()`.

        Raises:
            ConfigurationError: as `load`; or the file cannot be written.
        """
        with self._open_directory(create=True) as directory:
            assert directory is not None
            self._remove_leftovers(directory)
            self._replace(directory, render_login(login))

    def remove(self) -> bool:
        """Delete the file and what interrupted writers left; whether there was one. A link is deleted, not followed.

        Raises:
            ConfigurationError: a directory above it belongs to somebody else, or it cannot be deleted.
        """
        with self._open_directory(create=False) as directory:
            if directory is None:
                return False
            self._remove_leftovers(directory)
            try:
                os.unlink(self._name, dir_fd=directory)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise self._unusable(f"{self.path} cannot be deleted ({_name_errno(error)})") from error
            os.fsync(directory)
            return True

    def list_beside(self, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """The names of files in the same directory that match. Raises as `load`."""
        with self._open_directory(create=False) as directory:
            names = [] if directory is None else os.listdir(directory)
        return tuple(sorted(name for name in names if pattern.fullmatch(name)))

    def change_mark(self) -> tuple[int, ...] | None:
        """Something that differs after each change of the file; None while there is no file. Costs one system call."""
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return None
        return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)

    @contextlib.asynccontextmanager
    async def locked(self, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> AsyncGenerator[None]:
        """Hold the lock that all processes of this user respect; the system frees it when a process dies.

        Raises:
            TimeoutError: somebody else held it all the time.
            ConfigurationError: as `save`.
        """
        with self._open_directory(create=True) as directory:
            assert directory is not None
            descriptor = self._open_lock(directory)
        async with hold(descriptor, wait_seconds=wait_seconds):
            yield

    @contextlib.contextmanager
    def _open_directory(self, *, create: bool) -> Generator[int | None]:
        """A descriptor of the directory; None when it is not there."""
        descriptor = self._descend(create=create)
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _descend(self, *, create: bool) -> int | None:
        """Go down from the home directory: make what is missing, open without following links, check each step."""
        path = self._home
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(f"{path} is not a directory that can be read ({_name_errno(error)})") from error
        for name in DIRECTORY_PARTS:
            path /= name
            try:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=descriptor)
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _OPENING, dir_fd=descriptor)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not create:
                    return None
                raise self._unusable(f"{path} is not a directory of yours ({_name_errno(error)})") from error
            finally:
                os.close(descriptor)
            descriptor = below
            try:
                self._check_directory(descriptor, path)
            except ConfigurationError:
                os.close(descriptor)
                raise
        return descriptor

    def _check_directory(self, descriptor: int, path: Path) -> None:
        status = os.fstat(descriptor)
        if status.st_uid != self._user_id:
            raise self._unusable(f"{path} belongs to another user")
        if status.st_mode & 0o022:
            raise self._unusable(f"{path} can be written to by other users", hint=f"Run: chmod go-w {path}")
        if path == self.path.parent and stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)

    def _read(self, directory: int) -> bytes | None:
        try:
            # Without O_NONBLOCK, a named pipe in its place would let us wait for ever.
            descriptor = os.open(self._name, os.O_RDONLY | os.O_NONBLOCK | _OPENING, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(f"{self.path} is a link or cannot be read ({_name_errno(error)})") from error
        try:
            status = os.fstat(descriptor)
            self._check_file(descriptor, status)
            if status.st_size > MAX_FILE_BYTES:
                logger.warning("%s is larger than %d bytes; it counts as no login", self.path, MAX_FILE_BYTES)
                return None
            return _read_bounded(descriptor)
        finally:
            os.close(descriptor)

    def _check_file(self, descriptor: int, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable(f"{self.path} is not a file")
        if status.st_uid != self._user_id:
            raise self._unusable(f"{self.path} belongs to another user")
        if status.st_mode & 0o022:
            raise self._unusable(f"{self.path} can be written to by other users")
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
            logger.warning("%s could be read by other users; it is private now, but log in again to be safe", self.path)

    def _replace(self, directory: int, content: bytes) -> None:
        name = f".tokens-{secrets.token_hex(8)}.tmp"
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPENING, 0o600, dir_fd=directory)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(name, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise self._unusable(f"{self.path} cannot be written ({_name_errno(error)})") from error

    def _remove_leftovers(self, directory: int) -> None:
        """Files of writers that were killed hold tokens, too."""
        for name in os.listdir(directory):
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=directory)

    def _open_lock(self, directory: int) -> int:
        try:
            descriptor = os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | _OPENING, 0o600, dir_fd=directory)
        except OSError as error:
            path = self.path.with_name(LOCK_NAME)
            raise self._unusable(f"{path} is a link or cannot be opened ({_name_errno(error)})") from error
        return descriptor

    def _unusable(self, why: str, *, hint: str = "") -> ConfigurationError:
        return ConfigurationError(
            "The place of the login on this machine cannot be trusted.",
            why=f"{why}.",
            hint=hint or f"Look at it, remove it, and run fluidmcp login; the login belongs in {self.path}.",
        )


def find_token_file(environ: Mapping[str, str], *, name: str = FILE_NAME) -> TokenFile:
    """The file below HOME (a snapshot of the environment), or below the home directory of the user without one.

    `name` is that of another login of the same person, which is kept under the same rules beside it.
    """
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            raise ConfigurationError(
                "There is no home directory.",
                why="HOME is not set, and this user is not known to the system.",
                hint="Set HOME to the directory below which the login is kept.",
            ) from None
    return TokenFile(Path(home), name=name)


def render_login(login: StoredLogin) -> bytes:
    """The content of the file: JSON, times in ISO 8601, UTC with offset."""
    document: dict[str, object] = {
        "access_token": login.access_token.reveal(),
        "refresh_token": None if login.refresh_token is None else login.refresh_token.reveal(),
        "expires_at": _render_time(login.expires_at),
    }
    optional: dict[str, object] = {
        "obtained_at": _render_time(login.obtained_at),
        "scope": login.scope,
        "token_endpoint": login.token_endpoint,
        "client_id": login.client_id,
        "issuer": login.issuer,
        "subject": login.subject,
        "email": login.email,
        "is_refresh_refused": login.is_refresh_refused or None,
    }
    document |= {name: value for name, value in optional.items() if value is not None}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def parse_login(content: bytes) -> StoredLogin | None:
    """The login in the content of the file; None for whatever is not one. Total: no content raises."""
    try:
        decoded = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        logger.warning("the token file cannot be read; it counts as no login")
        return None
    document = cast("dict[str, object]", decoded)
    try:
        access_token = _read_text(document, "access_token", token=True)
        if access_token is None:
            raise ValueError
        refresh_token = _read_text(document, "refresh_token", token=True)
        return StoredLogin(
            access_token=Secret(access_token),
            refresh_token=None if refresh_token is None else Secret(refresh_token),
            expires_at=_read_time(document, "expires_at"),
            obtained_at=_read_time(document, "obtained_at"),
            scope=_read_text(document, "scope"),
            token_endpoint=_read_text(document, "token_endpoint"),
            client_id=_read_text(document, "client_id"),
            issuer=_read_text(document, "issuer"),
            subject=_read_text(document, "subject"),
            email=_read_text(document, "email"),
            is_refresh_refused=document.get("is_refresh_refused") is True,
        )
    except ValueError:
        logger.warning("the token file holds something else than a login; it counts as no login")
        return None


def _read_text(document: Mapping[str, object], name: str, *, token: bool = False) -> str | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_TEXT_CHARACTERS or not value.isprintable():
        raise ValueError
    if token and not _TOKEN.fullmatch(value):
        raise ValueError
    return value


def _read_time(document: Mapping[str, object], name: str) -> float | None:
    """Seconds since the epoch. Files of old versions have no offset: their times are local."""
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError
    try:
        return datetime.fromisoformat(value).timestamp()
    except OverflowError as error:
        raise ValueError from error


def _render_time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _read_bounded(descriptor: int) -> bytes:
    content = b""
    while len(content) <= MAX_FILE_BYTES:
        chunk = os.read(descriptor, MAX_FILE_BYTES + 1 - len(content))
        if not chunk:
            break
        content += chunk
    return content


def _name_errno(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
