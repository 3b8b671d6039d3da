"""The gateway's settings: the environment and the command line, read once into frozen values.

This is the only module that reads the environment; everything else is handed a snapshot.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from fluidmcp.config.clients import MAX_FILE_BYTES, ClientRules, parse_clients_file
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.environment import (
    PROXIES_DESCRIPTION,
    TOKEN_DESCRIPTION,
    Environment,
    parse_environment,
    read_token,
)
from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.config.listening.choose import GivenSocket, Listening, ListenOptions, TlsFiles, choose_listening
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.config.logins.read import names_who_is_allowed
from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import is_loopback_host
from fluidmcp.config.variables import TOKEN_VARIABLE_NAME, is_own_variable
from fluidmcp.errors import ConfigurationError
from fluidmcp.observability.logs import LogFormat
from fluidmcp.protocol.forwarded import TrustedProxies, parse_trusted_proxies

MEGABYTE = 1024 * 1024
DENY_LIST_PARTS = (".fluidmcp", "deny-list.json")
"""Below HOME, where FMCP_DENY_LIST is not set."""

GuardKind = Literal["oauth", "secure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """Bounds on server processes. All durations are in seconds."""

    max_processes: int = 128
    max_processes_per_package: int = 64
    max_processes_per_principal: int = 8
    max_concurrent_starts: int = 2
    start_timeout_seconds: float = 60.0
    """For a start in which nothing moves."""
    install_timeout_seconds: float = 600.0
    """For a start that is at work; it never has less than the start timeout."""
    request_timeout_seconds: float = 300.0
    idle_timeout_seconds: float = 600.0
    stop_timeout_seconds: float = 2.0
    start_timeout_name: str = "FMCP_START_TIMEOUT_SECONDS"
    """What to raise, for messages."""
    request_timeout_name: str = "FMCP_REQUEST_TIMEOUT_SECONDS"

    def for_entry(self, entry: ServerEntry) -> "ProcessLimits":
        """These limits with the time-outs that an entry sets for its own package."""
        limits = self
        if entry.start_timeout_seconds is not None:
            limits = replace(
                limits,
                start_timeout_seconds=entry.start_timeout_seconds,
                start_timeout_name=f"start_timeout_seconds of {entry.name}",
            )
        if entry.request_timeout_seconds is not None:
            limits = replace(
                limits,
                request_timeout_seconds=entry.request_timeout_seconds,
                request_timeout_name=f"request_timeout_seconds of {entry.name}",
            )
        return limits


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationSettings:
    """What keeps server processes from one another, and what one of them may use at most."""

    level: IsolationLevel = "auto"
    """For the entries that say nothing."""
    user_ids: range | None = None
    """User ids that belong to server processes alone."""
    allow_none: bool = False
    """Whether processes may be without any isolation although strangers use the gateway."""
    max_memory_bytes: int = 4096 * MEGABYTE
    max_disk_bytes: int = 1024 * MEGABYTE
    """Of the private home and the temporary folder in it."""
    max_tasks: int = 256
    """Processes of one server: its own, and all that it starts."""
    max_open_files: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Bounds on HTTP connections that wait for their clients. All durations are in seconds."""

    max_connections: int = 4096
    max_connections_per_address: int = 1024
    header_seconds: float = 10.0
    """For the head of a request, from its first byte on; for the first one, from the connection on."""
    keep_alive_seconds: float = 75.0
    """Between two requests. Longer than reverse proxies keep their connections: they send again what meets the end."""
    body_seconds: float = 10.0
    """How often a body that arrives is looked at."""
    min_body_rate: int = 500
    """Bytes per second that must have come since the last look."""
    expected_seconds: float = 1.0
    """How long, when the gateway stops, a request may take that may be on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLimits:
    """Bounds on logins; where gateways share a Redis, on those of all of them together."""

    max_waiting: int = 1000
    """Logins that wait for their browser, for ten minutes at most."""
    max_logins: int = 100_000
    """Logins of MCP clients of which something is remembered (that they were renewed or revoked, for 30 days), and as
    many tokens that were handed out."""
    max_per_address: int = 200
    """Logins that one address may begin within ten minutes: it cannot fill the store alone."""
    max_requests_per_address: int = 300
    """Requests of one kind and package in a minute: registrations, token requests, revocations. Hosted clients come
    from few addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Everything the gateway is told before it starts."""

    host: str | None = None
    """None: 127.0.0.1 and, where the machine has IPv6, ::1."""
    port: int = 8099
    alias_port: int | None = None
    """A second loopback port that serves the same app (8090 on a single-package run)."""
    uds: str | None = None
    """The path of the Unix socket that takes the place of host and port; empty for one without a name."""
    is_socket_given: bool = False
    """Whether whoever started the gateway opened its socket; it is not made, and not removed."""
    tls: TlsFiles | None = None
    public_url: str = "http://localhost:8099"
    """What printed addresses and redirect URIs begin with: scheme, host, port and path; no trailing slash.

    A proxy passes the path on, so requests come with it (gateway/front/base_path).
    """
    allow_insecure: bool = False
    guard: GuardKind | None = None
    """What guards the whole gateway: the OAuth provider, one token that is told to everybody, or nothing."""
    secure_token: Secret | None = field(default=None, compare=False)
    """The token of the guard `secure`; None: one is made at start."""
    allowed_env_names: frozenset[str] = frozenset()
    """Names beyond *CLIENT_ID and *CLIENT_SECRET that `client_id_env` and `client_secret_env` may use."""
    allowed_hosts: frozenset[str] = frozenset()
    """Further values of the Host header to answer to (lower case, without port)."""
    allowed_origins: frozenset[str] = frozenset()
    """Further values of the Origin header to accept."""
    trusted_proxies: TrustedProxies = field(default_factory=TrustedProxies)
    """Who may say in X-Forwarded-For whose a request is."""
    max_body_bytes: int = 10 * 1024 * 1024
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    has_front: bool = True
    """Whether common requests are answered in the HTTP protocol class itself (gateway/front)."""
    notice_seconds: float = 0.0
    """How long, after SIGTERM, `/ready` says no before nothing more is accepted."""
    drain_seconds: float = 20.0
    """How long calls in flight may finish after that."""
    allow_private_providers: bool = False
    """Whether the endpoints of `auth` blocks may have addresses of private networks (10.x and the like)."""
    seal_keys: tuple[Secret, ...] = field(default=(), compare=False)
    """Keys for what the gateway seals (crypto/sealing): the first seals, all open; empty: one is made at start."""
    redis_url: Secret | None = field(default=None, compare=False)
    """What several gateways share of logins is there; None: each has it in memory. Needs `seal_keys`."""
    deny_list: Path | None = None
    """The file of people who are shut out, where it is not in Redis; None: in memory."""
    logins: LoginLimits = field(default_factory=LoginLimits)
    client_rules: ClientRules = field(default_factory=ClientRules)
    """Which MCP clients may log in, and those that need not register."""
    replica: str = ""
    """The name of this gateway among several: sessions and suspended calls begin with it."""
    max_sessions_per_principal: int = 50
    max_sessions: int = 1000
    log_level: str = "info"
    log_format: LogFormat = "text"
    access_log: bool = False
    """Whether each call of an MCP client is a line of the log."""
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    isolation: IsolationSettings = field(default_factory=IsolationSettings)


def read_environment() -> Mapping[str, str]:
    """A snapshot of the environment that nobody can change any more."""
    return MappingProxyType(dict(os.environ))


def load_settings(
    environ: Mapping[str, str],
    *,
    host: str | None = None,
    port: int | None = None,
    public_url: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    uds: str | None = None,
    given_socket: GivenSocket | None = None,
    trusted_proxies: str | None = None,
    allow_insecure: bool = False,
    oauth: bool = False,
    secure: bool = False,
    token: str | None = None,
    allow_env: Iterable[str] = (),
    allow_unisolated: bool = False,
    drain_seconds: float | None = None,
    log_format: LogFormat | None = None,
    access_log: bool | None = None,
    single_package: bool = True,
) -> GatewaySettings:
    """Settings from a snapshot of the environment and the options of the command line, which win.

    `single_package` is false for `run all` and for files: they take MCP_CLIENT_SERVER_ALL_PORT instead of
    MCP_CLIENT_SERVER_PORT and have no second port.

    Raises:
        ConfigurationError: names all faults at once.
    """
    environment, faults = parse_environment(environ)
    secure_token = _choose_token(token, environment, oauth=oauth, secure=secure, faults=faults)
    listening = choose_listening(
        ListenOptions(host=host, port=port, public_url=public_url, tls_cert=tls_cert, tls_key=tls_key, uds=uds),
        environment,
        given_socket,
        single_package=single_package,
        allow_others=allow_insecure or oauth or secure,
        faults=faults,
    )
    proxies = _choose_proxies(trusted_proxies, environment, faults=faults)
    allowed_env_names = _check_allowed_names(allow_env, faults=faults)
    if faults:
        raise _not_valid(faults)
    _check_is_sealed(environment)
    settings = _read_settings(environment, listening, allow_unisolated=allow_unisolated)
    return replace(
        settings,
        deny_list=find_deny_list(environ, environment),
        is_socket_given=given_socket is not None,
        allow_insecure=allow_insecure,
        guard="oauth" if oauth else "secure" if secure else None,
        secure_token=secure_token,
        allowed_env_names=allowed_env_names,
        trusted_proxies=proxies,
        drain_seconds=environment.drain_seconds if drain_seconds is None else drain_seconds,
        log_format=log_format or environment.log_format,
        access_log=_choose_access_log(access_log, environment, log_format),
    )


def _read_settings(environment: Environment, listening: Listening, *, allow_unisolated: bool) -> GatewaySettings:
    return GatewaySettings(
        host=listening.host,
        port=listening.port,
        alias_port=listening.alias_port,
        uds=listening.uds,
        tls=listening.tls,
        public_url=listening.public_url,
        allowed_hosts=environment.allowed_hosts,
        allowed_origins=environment.allowed_origins,
        trusted_proxies=environment.trusted_proxies,
        max_body_bytes=environment.max_body_bytes,
        connections=_read_connections(environment),
        has_front=environment.front,
        notice_seconds=environment.notice_seconds,
        allow_private_providers=environment.allow_private_providers,
        seal_keys=environment.seal_keys,
        redis_url=environment.redis_url,
        logins=LoginLimits(
            max_waiting=environment.max_waiting_logins,
            max_logins=environment.max_logins,
            max_per_address=environment.max_logins_per_address,
            max_requests_per_address=environment.max_login_requests_per_address,
        ),
        client_rules=_load_client_rules(environment.clients_file),
        replica=environment.replica,
        max_sessions_per_principal=environment.max_sessions_per_principal,
        max_sessions=environment.max_sessions,
        log_level=environment.log_level,
        limits=_read_limits(environment),
        isolation=_read_isolation(environment, allow_none=allow_unisolated),
    )


def find_deny_list(environ: Mapping[str, str], environment: Environment) -> Path | None:
    """The file of people who are shut out; None: it is in Redis, or there is no place for one."""
    if environment.redis_url is not None:
        return None
    if environment.deny_list is not None:
        return Path(environment.deny_list)
    home = environ.get("HOME", "")
    return Path(home, *DENY_LIST_PARTS) if os.path.isabs(home) else None


def _check_is_sealed(environment: Environment) -> None:
    if environment.redis_url is not None and not environment.seal_keys:
        raise ConfigurationError(
            "FMCP_REDIS_URL needs FMCP_SEAL_KEYS.",
            why="What gateways share is sealed; with a key that each makes at its start, none could read what another "
            "one wrote.",
            hint="Make a key with: openssl rand -base64 32. Give the same FMCP_SEAL_KEYS to all gateways.",
        )


def _read_limits(environment: Environment) -> ProcessLimits:
    return ProcessLimits(
        max_processes=environment.max_processes,
        max_processes_per_package=environment.max_processes_per_package,
        max_processes_per_principal=environment.max_processes_per_principal,
        max_concurrent_starts=environment.max_concurrent_starts,
        start_timeout_seconds=environment.start_timeout_seconds,
        install_timeout_seconds=environment.install_timeout_seconds,
        request_timeout_seconds=environment.request_timeout_seconds,
        idle_timeout_seconds=environment.idle_timeout_seconds,
    )


def _read_connections(environment: Environment) -> ConnectionSettings:
    return ConnectionSettings(
        max_connections=environment.max_connections,
        max_connections_per_address=environment.max_connections_per_address,
        header_seconds=environment.header_seconds,
        keep_alive_seconds=environment.keep_alive_seconds,
        min_body_rate=environment.min_body_rate,
    )


def _read_isolation(environment: Environment, *, allow_none: bool) -> IsolationSettings:
    return IsolationSettings(
        level=environment.isolation,
        user_ids=environment.user_ids,
        allow_none=allow_none,
        max_memory_bytes=environment.max_memory_mb * MEGABYTE,
        max_disk_bytes=environment.max_disk_mb * MEGABYTE,
        max_tasks=environment.max_tasks,
        max_open_files=environment.max_open_files,
    )


def is_exposed(settings: GatewaySettings) -> bool:
    """Whether people beyond this machine can reach the gateway: by its address, or through a proxy in front of it.

    A Unix socket is there for somebody else, who is in front of it and who may be anybody's proxy: it counts as
    exposed, whatever the public address says.
    """
    return bool(_list_exposures(settings))


def _choose_access_log(option: bool | None, environment: Environment, log_format: LogFormat | None) -> bool:
    """At a terminal a line for each call hides what matters; a program that reads objects wants to count calls."""
    if option is not None or environment.access_log is not None:
        return bool(environment.access_log if option is None else option)
    return (log_format or environment.log_format) == "json" or environment.log_level == "debug"


def _list_exposures(settings: GatewaySettings) -> dict[str, str]:
    """Why people beyond this machine can reach the gateway, and by which option each time."""
    if settings.uds is not None:
        return {"--uds": "It listens on a Unix socket, and who is in front of that cannot be known."}
    found: dict[str, str] = {}
    if settings.host is not None and not is_loopback_host(settings.host):
        found["--host"] = f"It listens on {settings.host}, which is not this machine alone."
    if not is_loopback_host(urlsplit(settings.public_url).hostname or ""):
        found["--public-url"] = f"Its public address is {settings.public_url}."
    return found


def check_is_guarded(settings: GatewaySettings, entries: Sequence[ServerEntry]) -> None:
    """A public address means that strangers come: a package that nothing guards must be meant to be open to them.

    Raises:
        ConfigurationError: names the packages without `auth` of a gateway that nothing guards.
    """
    if settings.guard is not None or settings.allow_insecure or not is_exposed(settings):
        return
    open_entries = [entry for entry in entries if entry.auth is None]
    if not open_entries:
        return
    names = ", ".join(entry.name for entry in open_entries)
    raise ConfigurationError(
        f"Nothing guards {names}, and the gateway can be reached from other machines.",
        why=" ".join(_list_exposures(settings).values()),
        hint="Guard the gateway with --oauth or --secure, give each package an auth block, or add --allow-insecure if "
        "everybody may use them.",
    )


def check_who_is_allowed(settings: GatewaySettings, entries: Sequence[ServerEntry]) -> None:
    """A login proves who somebody is, not that they may come in: an exposed gateway must be told who may.

    Raises:
        ConfigurationError: names the packages whose `auth` block does not say.
    """
    exposures = _list_exposures(settings)
    if not exposures:
        return
    reasons, options = " ".join(exposures.values()), " and ".join(exposures)
    open_to_all = [entry for entry in entries if entry.auth is not None and not names_who_is_allowed(entry.auth)]
    keys = [entry for entry in open_to_all if isinstance(entry.auth, KeysBlock)]
    open_to_all = [entry for entry in open_to_all if entry not in keys]
    if open_to_all:
        raise ConfigurationError(
            f"The auth block of {', '.join(entry.name for entry in open_to_all)} does not say who is allowed.",
            why=f"{reasons} So anybody with an account at the provider could log in.",
            hint='Add "allowed_subjects", "allowed_domains" or "allow_any_user": true to the auth block '
            f"({open_to_all[0].source}), or leave out {options}: without, it is for this machine only.",
        )
    if keys and settings.guard is None:
        raise ConfigurationError(
            f"Anybody could type keys for {', '.join(entry.name for entry in keys)}.",
            why=f"{reasons} Keys do not say who somebody is.",
            hint='Guard the gateway with --oauth or --secure, add "allow_any_user": true to the auth block '
            f"({keys[0].source}), or leave out {options}: without, it is for this machine only.",
        )


def _load_client_rules(path: str | None) -> ClientRules:
    """The operator's file of MCP clients. Raises ConfigurationError: it cannot be read, or something in it is wrong."""
    if path is None:
        return ClientRules()
    try:
        with Path(path).expanduser().open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            "The file of FMCP_CLIENTS_FILE cannot be read.",
            why=f"{path}: {error.strerror}.",
            hint="Correct the path, or leave the variable out.",
        ) from error
    return parse_clients_file(text, source=path)


def _not_valid(faults: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        "The settings are not valid.",
        why="; ".join(faults) + ".",
        hint="Correct them and run the command again; fluidmcp run --help lists the options.",
    )


def _choose_token(
    token: str | None, environment: Environment, *, oauth: bool, secure: bool, faults: list[str]
) -> Secret | None:
    """The token of `--secure`, None for one that is made up at start. Its text stays out of the faults."""
    if oauth and secure:
        faults.append("--oauth and --secure cannot be used together: choose one of them")
    if token is None:
        return environment.secure_token if secure else None
    if not secure:
        faults.append("--token belongs to --secure, which is not given")
    try:
        return read_token(token)
    except ValueError:
        faults.append(f"--token must be {TOKEN_DESCRIPTION}")
        return None


def _choose_proxies(option: str | None, environment: Environment, *, faults: list[str]) -> TrustedProxies:
    if option is None:
        return environment.trusted_proxies
    try:
        return parse_trusted_proxies(option)
    except ValueError as error:
        faults.append(f"--trusted-proxies must be {PROXIES_DESCRIPTION}: {error}")
        return TrustedProxies()


def _check_allowed_names(names: Iterable[str], *, faults: list[str]) -> frozenset[str]:
    allowed = frozenset(names)
    for name in sorted(allowed):
        if not TOKEN_VARIABLE_NAME.fullmatch(name) or is_own_variable(name):
            faults.append("--allow-env must name an environment variable (capital letters) that does not begin FMCP_")
            break
    return allowed
