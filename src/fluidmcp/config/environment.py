"""The gateway's environment variables: their names, types, bounds and defaults.

What each variable must be completes the sentence "NAME must be ...", which is what a wrong value is answered with.
Read by hand: every start reads it, and a library for it takes longer to load than all the rest of the command.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import urlsplit

from fluidmcp.config.isolation import LEVELS, IsolationLevel, parse_level, parse_user_ids
from fluidmcp.config.reading import MAX_SECONDS
from fluidmcp.config.secret import Secret
from fluidmcp.config.sharing.redis_address import RedisAddressError, parse_redis_address
from fluidmcp.config.urls import is_host_name
from fluidmcp.observability.logs import LOG_FORMATS, LogFormat
from fluidmcp.protocol.forwarded import TrustedProxies, parse_trusted_proxies

SECURE_TOKEN: Final = "FMCP_SECURE_TOKEN"
"""The variable of the token of `--secure`, also where clients are told to look for it."""
MAX_COUNT = 100_000
MAX_LOGIN_COUNT = 10_000_000
TOKEN_DESCRIPTION = "1 to 8192 characters of printable ASCII without spaces, and not begin with fmcp1."
PROXIES_DESCRIPTION = (
    "addresses and networks of proxies, such as 10.0.0.5 or 10.1.0.0/16, or unix for those of a Unix socket, separated "
    "by commas"
)
SEAL_KEY_BYTES = 32
MAX_SEAL_KEYS = 16
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_REPLICA = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_YES: Final = ("1", "true", "yes", "on", "t", "y")
_NO: Final = ("0", "false", "no", "off", "f", "n")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a variable may hold: `read` turns its text into the value, and raises ValueError for everything else."""

    read: Callable[[str], T]
    must_be: str


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment, and the value without it."""

    name: str
    kind: Kind[Any]
    default: object


def _read_whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if not text.isascii() or not least <= number <= most:
            raise ValueError
        return number

    return read


def _read_seconds(text: str) -> float:
    seconds = float(text)
    if not text.isascii() or not 0 < seconds <= MAX_SECONDS:  # "nan" is not either
        raise ValueError
    return seconds


def _read_pause(text: str) -> float:
    return 0.0 if text.isascii() and float(text) == 0 else _read_seconds(text)


def _read_flag(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise ValueError
    return text.lower() in _YES


def _read_replica(text: str) -> str:
    if not _REPLICA.fullmatch(text):
        raise ValueError
    return text


def _read_log_level(text: str) -> str:
    if text.lower() not in _LOG_LEVELS:
        raise ValueError
    return text.lower()


def _read_log_format(text: str) -> LogFormat:
    for known in LOG_FORMATS:
        if text.lower() == known:
            return known
    raise ValueError


def _split(text: str) -> frozenset[str]:
    return frozenset(item.strip().lower() for item in text.split(",") if item.strip())


def _read_host_names(text: str) -> frozenset[str]:
    names = _split(text)
    if not all(is_host_name(name) for name in names):
        raise ValueError
    return names


def _read_origins(text: str) -> frozenset[str]:
    origins = _split(text)
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
            raise ValueError
        if "@" in parts.netloc or not is_host_name(parts.hostname or "") or parts.port == 0:
            raise ValueError
    return origins


def read_token(text: object) -> Secret:
    """A token that an operator made up. ValueError: it cannot be sent in a header, or looks like one of our own."""
    if not isinstance(text, str) or not _TOKEN.fullmatch(text) or text.startswith("fmcp1."):
        raise ValueError
    return Secret(text)


def decode_seal_key(text: str) -> bytes:
    """The 32 bytes of a key in base64, in either alphabet, padded or not. ValueError: it is something else."""
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    if len(key) != SEAL_KEY_BYTES:
        raise ValueError("the key has another length")
    return key


def read_seal_keys(text: object) -> tuple[Secret, ...]:
    """The keys of a comma-separated list, in order. ValueError: one is not a key, or there are none or too many."""
    keys = [item.strip() for item in text.split(",") if item.strip()] if isinstance(text, str) else []
    if not 1 <= len(keys) <= MAX_SEAL_KEYS:
        raise ValueError
    for key in keys:
        decode_seal_key(key)
    return tuple(Secret(key) for key in keys)


class ExplainedError(ValueError):
    """A value that is wrong; the text completes the sentence "NAME ..." and does not repeat the value."""


def _read_proxies(text: str) -> TrustedProxies:
    try:
        return parse_trusted_proxies(text)
    except ValueError as error:
        raise ExplainedError(f"must be {PROXIES_DESCRIPTION}: {error}") from None


def _read_redis_url(text: str) -> Secret:
    try:
        parse_redis_address(text)
    except RedisAddressError as error:
        raise ExplainedError(str(error)) from None
    return Secret(text)


_TEXT: Final = Kind(str, "text")
_FLAG: Final = Kind(_read_flag, "1 or 0")
_SWITCH: Final = Kind(_read_flag, "on or off")
_RATE: Final = Kind(_read_whole(0, 1 << 20), "bytes per second, between 0 and 1048576")
_PORT: Final = Kind(_read_whole(1, 65535), "a port between 1 and 65535")
_COUNT: Final = Kind(_read_whole(1, MAX_COUNT), f"a whole number between 1 and {MAX_COUNT}")
_LOGINS: Final = Kind(_read_whole(1, MAX_LOGIN_COUNT), f"a whole number between 1 and {MAX_LOGIN_COUNT}")
_SECONDS: Final = Kind(_read_seconds, f"seconds, more than 0 and at most {MAX_SECONDS:.0f}")
_PAUSE: Final = Kind(_read_pause, f"seconds, between 0 and {MAX_SECONDS:.0f}")
_MEGABYTES: Final = Kind(_read_whole(16, 1 << 20), "megabytes, between 16 and 1048576")
_BODY_BYTES: Final = Kind(_read_whole(1024, 1 << 30), "bytes, between 1024 and 1073741824")
_FILES: Final = Kind(_read_whole(64, 1 << 20), "a whole number between 64 and 1048576")
_HOST_NAMES: Final = Kind(_read_host_names, "host names without scheme and port, separated by commas")
_ORIGINS: Final = Kind(_read_origins, "origins such as https://app.example.com, without a path, separated by commas")
_REPLICA_NAME: Final = Kind(_read_replica, "1 to 32 small letters, digits or -, such as gateway-1")
_PROXIES: Final = Kind(_read_proxies, PROXIES_DESCRIPTION)
_LOG_LEVEL: Final = Kind(_read_log_level, "debug, info, warning, error or critical")
_LOG_FORMAT: Final[Kind[LogFormat]] = Kind(_read_log_format, " or ".join(LOG_FORMATS))
_TOKEN_KIND: Final = Kind(read_token, TOKEN_DESCRIPTION)
_SEAL_KEYS: Final = Kind(read_seal_keys, f"1 to {MAX_SEAL_KEYS} keys of 32 random bytes in base64, separated by commas")
_REDIS_URL: Final = Kind(_read_redis_url, "the address of a Redis server")
_LEVEL: Final[Kind[IsolationLevel]] = Kind(lambda text: parse_level(text.lower()), f"one of {', '.join(LEVELS)}")
_USER_IDS: Final = Kind(
    parse_user_ids, "user ids of 1000 or more that nobody else has, FIRST-LAST, such as 200000-200999"
)


def _variable(name: str, kind: Kind[T], default: T) -> T:
    """A field of `Environment`."""
    return field(default=default, metadata={"variable": Variable(name, kind, default)})


def _optional(name: str, kind: Kind[T]) -> T | None:
    """A field of `Environment` that is None without its variable."""
    return field(default=None, metadata={"variable": Variable(name, kind, None)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the environment says; absent and empty variables leave the defaults."""

    public_url: str | None = _optional("FMCP_PUBLIC_URL", _TEXT)
    tls_cert: str | None = _optional("FMCP_TLS_CERT", _TEXT)
    tls_key: str | None = _optional("FMCP_TLS_KEY", _TEXT)
    uds: str | None = _optional("FMCP_UDS", _TEXT)
    allowed_hosts: frozenset[str] = _variable("FMCP_ALLOWED_HOSTS", _HOST_NAMES, frozenset())
    allowed_origins: frozenset[str] = _variable("FMCP_ALLOWED_ORIGINS", _ORIGINS, frozenset())
    trusted_proxies: TrustedProxies = _variable("FMCP_TRUSTED_PROXIES", _PROXIES, TrustedProxies())
    max_body_bytes: int = _variable("FMCP_MAX_BODY_BYTES", _BODY_BYTES, 10 * 1024 * 1024)
    front: bool = _variable("FMCP_FRONT", _SWITCH, True)
    max_connections: int = _variable("FMCP_MAX_CONNECTIONS", _COUNT, 4096)
    max_connections_per_address: int = _variable("FMCP_MAX_CONNECTIONS_PER_ADDRESS", _COUNT, 1024)
    header_seconds: float = _variable("FMCP_HEADER_SECONDS", _SECONDS, 10.0)
    keep_alive_seconds: float = _variable("FMCP_KEEP_ALIVE_SECONDS", _SECONDS, 75.0)
    min_body_rate: int = _variable("FMCP_MIN_BODY_RATE", _RATE, 500)
    notice_seconds: float = _variable("FMCP_NOTICE_SECONDS", _PAUSE, 0.0)
    drain_seconds: float = _variable("FMCP_DRAIN_SECONDS", _PAUSE, 20.0)
    max_processes: int = _variable("FMCP_MAX_PROCESSES", _COUNT, 128)
    max_processes_per_package: int = _variable("FMCP_MAX_PROCESSES_PER_PACKAGE", _COUNT, 64)
    max_processes_per_principal: int = _variable("FMCP_MAX_PROCESSES_PER_PRINCIPAL", _COUNT, 8)
    max_concurrent_starts: int = _variable("FMCP_MAX_CONCURRENT_STARTS", _COUNT, 2)
    start_timeout_seconds: float = _variable("FMCP_START_TIMEOUT_SECONDS", _SECONDS, 60.0)
    install_timeout_seconds: float = _variable("FMCP_INSTALL_TIMEOUT_SECONDS", _SECONDS, 600.0)
    request_timeout_seconds: float = _variable("FMCP_REQUEST_TIMEOUT_SECONDS", _SECONDS, 300.0)
    idle_timeout_seconds: float = _variable("FMCP_IDLE_TIMEOUT_SECONDS", _SECONDS, 600.0)
    isolation: IsolationLevel = _variable("FMCP_ISOLATION", _LEVEL, "auto")
    user_ids: range | None = _optional("FMCP_UID_RANGE", _USER_IDS)
    max_memory_mb: int = _variable("FMCP_MAX_MEMORY_MB", _MEGABYTES, 4096)
    max_disk_mb: int = _variable("FMCP_MAX_DISK_MB", _MEGABYTES, 1024)
    max_tasks: int = _variable("FMCP_MAX_TASKS", _COUNT, 256)
    max_open_files: int = _variable("FMCP_MAX_OPEN_FILES", _FILES, 4096)
    replica: str = _variable("FMCP_REPLICA", _REPLICA_NAME, "")
    max_sessions: int = _variable("FMCP_MAX_SESSIONS", _COUNT, 1000)
    max_sessions_per_principal: int = _variable("FMCP_MAX_SESSIONS_PER_PRINCIPAL", _COUNT, 50)
    max_waiting_logins: int = _variable("FMCP_MAX_WAITING_LOGINS", _LOGINS, 1000)
    max_logins: int = _variable("FMCP_MAX_LOGINS", _LOGINS, 100_000)
    max_logins_per_address: int = _variable("FMCP_MAX_LOGINS_PER_ADDRESS", _LOGINS, 200)
    max_login_requests_per_address: int = _variable("FMCP_MAX_LOGIN_REQUESTS_PER_ADDRESS", _LOGINS, 300)
    allow_private_providers: bool = _variable("FMCP_ALLOW_PRIVATE_PROVIDERS", _FLAG, False)
    secure_token: Secret | None = _optional(SECURE_TOKEN, _TOKEN_KIND)
    seal_keys: tuple[Secret, ...] = _variable("FMCP_SEAL_KEYS", _SEAL_KEYS, ())
    redis_url: Secret | None = _optional("FMCP_REDIS_URL", _REDIS_URL)
    deny_list: str | None = _optional("FMCP_DENY_LIST", _TEXT)
    clients_file: str | None = _optional("FMCP_CLIENTS_FILE", _TEXT)
    log_level: str = _variable("FMCP_LOG_LEVEL", _LOG_LEVEL, "info")
    log_format: LogFormat = _variable("FMCP_LOG_FORMAT", _LOG_FORMAT, "text")
    access_log: bool | None = _optional("FMCP_ACCESS_LOG", _SWITCH)
    single_port: int | None = _optional("MCP_CLIENT_SERVER_PORT", _PORT)
    all_port: int | None = _optional("MCP_CLIENT_SERVER_ALL_PORT", _PORT)


def list_variables() -> dict[str, Variable]:
    """The variables, by the field of `Environment` that each one fills."""
    return {each.name: cast(Variable, each.metadata["variable"]) for each in fields(Environment)}


def parse_environment(environ: Mapping[str, str]) -> tuple[Environment, list[str]]:
    """The settings and one sentence per wrong variable; wrong ones have their default. Values are not repeated."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field_name, variable in list_variables().items():
        text = environ.get(variable.name, "").strip()
        if not text:
            continue
        try:
            values[field_name] = variable.kind.read(text)
        except ExplainedError as error:
            faults.append(f"{variable.name} {error}")
        except ValueError:
            faults.append(f"{variable.name} must be {variable.kind.must_be}")
    return Environment(**values), faults
