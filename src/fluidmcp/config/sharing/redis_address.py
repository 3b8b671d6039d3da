"""The address of what gateways share: one Redis server, one that Sentinels name, or a cluster. Pure.

`redis://[[user]:password@]host[:port][/database]`, and the forms for several hosts that clients of Redis share:
`redis+sentinel://...host[:port],host[:port]/name of the primary[/database]` and `redis+cluster://...host[:port],...`.
With `rediss` in front everything is reached over TLS; certificates stand in the query.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import is_host_name

Kind = Literal["server", "sentinel", "cluster"]

_URL: Final = re.compile(
    r"(?P<scheme>[a-z+-]+)://((?P<user>[^/?#@]*)@)?(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?",
    re.ASCII | re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"redis(?P<tls>s?)([+-](?P<kind>sentinel|cluster))?")
_HOST: Final = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_PATHS: Final[Mapping[Kind, tuple[str, str]]] = {
    "server": (r"/?|/(?P<database>[0-9]{1,4})", "must have no path but the number of a database, such as /0"),
    "sentinel": (
        r"/(?P<primary>[A-Za-z0-9._-]{1,100})(/(?P<database>[0-9]{1,4})?)?",
        "must have a path with the name that the Sentinels have for the primary server, such as /mymaster/0",
    ),
    "cluster": (r"/?|/0", "must have no path: a cluster has database 0 only"),
}
_ESCAPES: Final = "in a user or password, / ? # @ % : are written %2F %3F %23 %40 %25 %3A"
_CERTIFICATES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""What the query may hold. Nothing turns the check of certificates off."""
_OF_SENTINELS: Final = ("sentinel_password", "sentinel_username")


class RedisAddressError(ValueError):
    """An address that is none; the text completes the sentence "NAME ..." and does not repeat the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """`hosts` are the server, the Sentinels, or some nodes of the cluster. Texts that are empty were not given."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    is_tls: bool
    user: str
    password: Secret = field(repr=False, compare=False)
    database: int
    primary: str
    """What the Sentinels call the server that takes writes."""
    certificates: Mapping[str, str]
    """Files, by the names that the client library has for them."""
    sentinel_user: str
    sentinel_password: Secret = field(repr=False, compare=False)

    def describe(self) -> str:
        """All of it that may be shown: hosts and ports."""
        return ", ".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.hosts)


def parse_redis_address(url: str) -> RedisAddress:
    """What the URL says. Raises RedisAddressError."""
    scheme = _SCHEME.fullmatch(url.partition("://")[0].lower())
    if scheme is None or "://" not in url:
        raise RedisAddressError(
            "must begin with redis://, redis+sentinel:// or redis+cluster://, or with rediss in place of redis for TLS"
        )
    parts = _URL.fullmatch(url)
    if parts is None or "@" in f"{parts['path']}{parts['query']}":
        raise RedisAddressError(
            "is not a valid URL: in a user or password, / ? # @ % : are written %2F %3F %23 %40 %25 %3A"
        )
    kind: Kind = "server"
    if scheme["kind"]:
        kind = "sentinel" if scheme["kind"] == "sentinel" else "cluster"
    pattern, fault = _PATHS[kind]
    path = re.fullmatch(pattern, parts["path"] or "", re.ASCII)
    hosts = _parse_hosts(parts["hosts"], kind)
    if path is None:
        raise RedisAddressError(fault)
    given = path.groupdict()
    parameters = _parse_query(parts["query"] or "", kind, is_tls=bool(scheme["tls"]))
    user, _, password = (parts["user"] or "").partition(":")
    return RedisAddress(
        kind=kind,
        hosts=hosts,
        is_tls=bool(scheme["tls"]),
        user=unquote(user),
        password=Secret(unquote(password)),
        database=int(given.get("database") or 0),
        primary=given.get("primary") or "",
        certificates={name: value for name, value in parameters.items() if name in _CERTIFICATES},
        sentinel_user=parameters.get("sentinel_username", ""),
        sentinel_password=Secret(parameters.get("sentinel_password", "")),
    )


def _parse_hosts(text: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    default_port = 26379 if kind == "sentinel" else 6379
    hosts: list[tuple[str, int]] = []
    for one in text.lower().split(","):
        match = _HOST.fullmatch(one.strip())
        host = "" if match is None else match["address"] or match["name"]
        port = default_port if match is None or match["port"] is None else int(match["port"])
        if not is_host_name(host) or not 1 <= port <= 65535:
            raise RedisAddressError(
                "must name one host, with or without a port" if kind == "server" else "must name hosts"
            )
        hosts.append((host, port))
    if kind == "server" and len(hosts) > 1:
        raise RedisAddressError("must name one host: several are for redis+sentinel:// and redis+cluster://")
    return tuple(hosts)


def _parse_query(text: str, kind: Kind, *, is_tls: bool) -> dict[str, str]:
    try:
        parameters = dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        raise RedisAddressError("is not a valid URL") from None
    known = sorted([*_CERTIFICATES, *(_OF_SENTINELS if kind == "sentinel" else ())])
    unknown = sorted(set(parameters) - set(known))
    if unknown and re.fullmatch(r"[a-z_]{1,40}", unknown[0], re.ASCII):
        raise RedisAddressError(f"must not have the parameter {unknown[0]}; {', '.join(known)} are known")
    if unknown:
        raise RedisAddressError("has a parameter that is not known")
    if not is_tls and not parameters.keys().isdisjoint(_CERTIFICATES):
        raise RedisAddressError("must begin with rediss where it names certificates")
    return parameters
