"""The gateway's environment variables: their names, types, bounds and defaults.

The description of each field completes the sentence "NAME must be ...", which is what a wrong value is answered with.
"""

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fluidmcp.config.isolation import LEVELS, IsolationLevel, parse_level, parse_user_ids
from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import is_host_name

MAX_SECONDS = 86_400.0
MAX_COUNT = 100_000
TOKEN_DESCRIPTION = "1 to 8192 characters of printable ASCII without spaces, and not begin with fmcp1."
SEAL_KEY_BYTES = 32
MAX_SEAL_KEYS = 16
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return frozenset(item.strip().lower() for item in value.split(",") if item.strip())


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _check_host_names(names: frozenset[str]) -> frozenset[str]:
    if not all(is_host_name(name) for name in names):
        raise ValueError
    return names


def _check_origins(origins: frozenset[str]) -> frozenset[str]:
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


_Port = Annotated[int | None, Field(ge=1, le=65535, description="a port between 1 and 65535")]
_Count = Annotated[int, Field(ge=1, le=MAX_COUNT, description=f"a whole number between 1 and {MAX_COUNT}")]
_Seconds = Annotated[
    float,
    Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False, description=f"seconds, more than 0 and at most {MAX_SECONDS:.0f}"),
]
_HostNames = Annotated[
    frozenset[str],
    BeforeValidator(_split),
    AfterValidator(_check_host_names),
    Field(description="host names without scheme and port, separated by commas"),
]
_Origins = Annotated[
    frozenset[str],
    BeforeValidator(_split),
    AfterValidator(_check_origins),
    Field(description="origins such as https://app.example.com, without a path, separated by commas"),
]
_LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(_lower),
    Field(description="debug, info, warning, error or critical"),
]
_Token = Annotated[Secret | None, PlainValidator(read_token), Field(description=TOKEN_DESCRIPTION)]
_SealKeys = Annotated[
    tuple[Secret, ...],
    PlainValidator(read_seal_keys),
    Field(description=f"1 to {MAX_SEAL_KEYS} keys of 32 random bytes in base64, separated by commas"),
]
_Megabytes = Annotated[int, Field(ge=16, le=1 << 20, description="megabytes, between 16 and 1048576")]
_Level = Annotated[
    IsolationLevel,
    BeforeValidator(parse_level),
    BeforeValidator(_lower),  # the last one is called first
    Field(description=f"one of {', '.join(LEVELS)}"),
]
_UserIds = Annotated[
    range | None,
    PlainValidator(parse_user_ids),
    Field(description="user ids of 1000 or more that nobody else has, FIRST-LAST, such as 200000-200999"),
]
_Flag = Annotated[bool, Field(description="1 or 0")]
_Switch = Annotated[bool, Field(description="on or off")]
_Text = Annotated[str | None, Field(description="text")]


class Environment(BaseSettings):
    """What the environment says; absent and empty variables leave the defaults."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    public_url: _Text = Field(None, validation_alias="FMCP_PUBLIC_URL")
    allowed_hosts: _HostNames = Field(frozenset(), validation_alias="FMCP_ALLOWED_HOSTS")
    allowed_origins: _Origins = Field(frozenset(), validation_alias="FMCP_ALLOWED_ORIGINS")
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30, description="bytes, between 1024 and 1073741824")] = (
        Field(10 * 1024 * 1024, validation_alias="FMCP_MAX_BODY_BYTES")
    )
    front: _Switch = Field(True, validation_alias="FMCP_FRONT")
    max_connections: _Count = Field(4096, validation_alias="FMCP_MAX_CONNECTIONS")
    max_connections_per_address: _Count = Field(1024, validation_alias="FMCP_MAX_CONNECTIONS_PER_ADDRESS")
    header_seconds: _Seconds = Field(10.0, validation_alias="FMCP_HEADER_SECONDS")
    keep_alive_seconds: _Seconds = Field(75.0, validation_alias="FMCP_KEEP_ALIVE_SECONDS")
    min_body_rate: Annotated[int, Field(ge=0, le=1 << 20, description="bytes per second, between 0 and 1048576")] = (
        Field(500, validation_alias="FMCP_MIN_BODY_RATE")
    )
    max_processes: _Count = Field(128, validation_alias="FMCP_MAX_PROCESSES")
    max_processes_per_package: _Count = Field(64, validation_alias="FMCP_MAX_PROCESSES_PER_PACKAGE")
    max_processes_per_principal: _Count = Field(8, validation_alias="FMCP_MAX_PROCESSES_PER_PRINCIPAL")
    max_concurrent_starts: _Count = Field(2, validation_alias="FMCP_MAX_CONCURRENT_STARTS")
    start_timeout_seconds: _Seconds = Field(60.0, validation_alias="FMCP_START_TIMEOUT_SECONDS")
    request_timeout_seconds: _Seconds = Field(300.0, validation_alias="FMCP_REQUEST_TIMEOUT_SECONDS")
    idle_timeout_seconds: _Seconds = Field(600.0, validation_alias="FMCP_IDLE_TIMEOUT_SECONDS")
    isolation: _Level = Field("auto", validation_alias="FMCP_ISOLATION")
    user_ids: _UserIds = Field(None, validate_default=False, validation_alias="FMCP_UID_RANGE")
    max_memory_mb: _Megabytes = Field(4096, validation_alias="FMCP_MAX_MEMORY_MB")
    max_disk_mb: _Megabytes = Field(1024, validation_alias="FMCP_MAX_DISK_MB")
    max_tasks: _Count = Field(256, validation_alias="FMCP_MAX_TASKS")
    max_open_files: Annotated[int, Field(ge=64, le=1 << 20, description="a whole number between 64 and 1048576")] = (
        Field(4096, validation_alias="FMCP_MAX_OPEN_FILES")
    )
    max_sessions: _Count = Field(1000, validation_alias="FMCP_MAX_SESSIONS")
    max_sessions_per_principal: _Count = Field(50, validation_alias="FMCP_MAX_SESSIONS_PER_PRINCIPAL")
    allow_private_providers: _Flag = Field(False, validation_alias="FMCP_ALLOW_PRIVATE_PROVIDERS")
    secure_token: _Token = Field(None, validate_default=False, validation_alias="FMCP_SECURE_TOKEN")
    seal_keys: _SealKeys = Field((), validate_default=False, validation_alias="FMCP_SEAL_KEYS")
    clients_file: _Text = Field(None, validation_alias="FMCP_CLIENTS_FILE")
    log_level: _LogLevel = Field("info", validation_alias="FMCP_LOG_LEVEL")
    single_port: _Port = Field(None, validation_alias="MCP_CLIENT_SERVER_PORT")
    all_port: _Port = Field(None, validation_alias="MCP_CLIENT_SERVER_ALL_PORT")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Only the snapshot that we are handed: the live environment and files of the machine are not read again.
        return (init_settings,)


def parse_environment(environ: Mapping[str, str]) -> tuple[Environment, list[str]]:
    """The settings and one sentence per wrong variable; wrong ones have their default. Values are not repeated."""
    descriptions = {
        str(field.validation_alias): field.description or "valid" for field in Environment.model_fields.values()
    }
    values = {name: environ[name].strip() for name in descriptions if environ.get(name, "").strip()}
    faults: list[str] = []
    try:
        return Environment.model_validate(values), faults
    except ValidationError as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors(include_url=False, include_input=False)}
    faults.extend(f"{name} must be {descriptions[name]}" for name in descriptions if name in wrong)
    kept = {name: value for name, value in values.items() if name not in wrong}
    return Environment.model_validate(kept), faults
