"""Address, port, Unix socket and certificate: what the options and variables say, and what does not go together."""

import os.path
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.environment import Environment
from fluidmcp.config.urls import is_host_name, is_loopback_host, parse_public_url

DEFAULT_PORT: Final = 8099
ALIAS_PORT: Final = 8090
MAX_SOCKET_PATH_BYTES: Final = 107
"""unix(7): `sun_path` has 108 bytes, the last of them 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The paths of a certificate with its chain, and of its key; both PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSocket:
    """A socket that whoever started the gateway opened for it (sd_listen_fds(3)): an address and a port, or a path."""

    host: str | None = None
    port: int = 0
    path: str | None = None
    """Of a Unix socket; empty for one without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What the command line says; it wins over the environment."""

    host: str | None = None
    port: int | None = None
    public_url: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    uds: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What was chosen. `uds` is None for ports."""

    host: str | None
    port: int
    alias_port: int | None
    public_url: str
    tls: TlsFiles | None
    uds: str | None


def choose_listening(
    options: ListenOptions,
    environment: Environment,
    given: GivenSocket | None,
    *,
    single_package: bool,
    allow_others: bool,
    faults: list[str],
) -> Listening:
    """Where to listen. `given` is the socket that is there already; it wins over what the environment says of ports."""
    tls = _choose_tls(options, environment, faults=faults)
    uds = _choose_uds(options, environment, given, faults=faults)
    if given is not None and (options.host is not None or options.port is not None):
        faults.append("--host and --port do not go together with a socket that is handed over (LISTEN_FDS)")
    host, port, alias_port = None, DEFAULT_PORT, None
    if given is not None:
        host, port = given.host, given.port
        if host is not None and not is_loopback_host(host) and not allow_others:
            faults.append(
                f"the socket that is handed over (LISTEN_FDS) lets other machines in ({host}), and nothing guards the "
                "gateway; guard it with --oauth or --secure, or add --allow-insecure if that is what you want"
            )
    elif uds is None:
        host = _check_host(options.host, allow_others=allow_others, faults=faults)
        port, alias_port = _choose_ports(options.port, environment, single_package=single_package, faults=faults)
    url = _choose_public_url(options, environment, port=port, tls=tls, uds=uds, faults=faults)
    return Listening(host=host, port=port, alias_port=alias_port, public_url=url, tls=tls, uds=uds)


def _choose_tls(options: ListenOptions, environment: Environment, *, faults: list[str]) -> TlsFiles | None:
    certificate = options.tls_cert or environment.tls_cert
    key = options.tls_key or environment.tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, missing = ("--tls-key", "--tls-cert") if certificate is None else ("--tls-cert", "--tls-key")
        faults.append(f"{given} needs {missing} as well (or {_variable(missing)})")
        return None
    return TlsFiles(certificate=os.path.expanduser(certificate), key=os.path.expanduser(key))


def _variable(option: str) -> str:
    return "FMCP_" + option.removeprefix("--").replace("-", "_").upper()


def _choose_uds(
    options: ListenOptions, environment: Environment, given: GivenSocket | None, *, faults: list[str]
) -> str | None:
    if given is not None:
        if options.uds is not None:
            faults.append("--uds does not go together with a socket that is handed over (LISTEN_FDS)")
        return given.path
    path = options.uds
    if path is None and options.host is None and options.port is None:  # options win over variables
        path = environment.uds
    if path is None:
        return None
    path = os.path.abspath(os.path.expanduser(path))
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        faults.append(f"--uds must be a path of at most {MAX_SOCKET_PATH_BYTES} bytes")
    if options.uds is not None and (options.host is not None or options.port is not None):
        faults.append("--uds does not go together with --host and --port")
    return path


def _check_host(host: str | None, *, allow_others: bool, faults: list[str]) -> str | None:
    if host is None:
        return None
    name = host.lower().removeprefix("[").removesuffix("]")
    if not is_host_name(name):
        faults.append("--host must be a name or an IP address of this machine, without a port")
    elif not is_loopback_host(name) and not allow_others:
        faults.append(
            f"--host {name} lets other machines in, and nothing guards the gateway; "
            "guard it with --oauth or --secure, or add --allow-insecure if that is what you want"
        )
    return name


def _choose_ports(
    port: int | None, environment: Environment, *, single_package: bool, faults: list[str]
) -> tuple[int, int | None]:
    """The port, and the alias port: only where nobody chose a port do the documented addresses both answer."""
    if port is not None:
        if not 1 <= port <= 65535:
            faults.append("--port must be between 1 and 65535")
        return port, None
    from_environment = environment.single_port if single_package else environment.all_port
    if from_environment is not None:
        return from_environment, None
    return DEFAULT_PORT, ALIAS_PORT if single_package and environment.all_port is None else None


def _choose_public_url(
    options: ListenOptions,
    environment: Environment,
    *,
    port: int,
    tls: TlsFiles | None,
    uds: str | None,
    faults: list[str],
) -> str:
    given, name = options.public_url, "--public-url"
    if given is None:
        given, name = environment.public_url, "FMCP_PUBLIC_URL"
    scheme = "http" if tls is None else "https"
    if given is None:
        if uds is not None:
            faults.append("a Unix socket needs --public-url: its path does not say how clients reach the gateway")
        return f"{scheme}://localhost:{port}"
    url, fault = parse_public_url(given)
    if fault is not None:
        faults.append(f"{name} {fault}")
    elif tls is not None and not url.startswith("https:"):
        faults.append(f"{name} must begin with https://, because --tls-cert is given")
    return url
