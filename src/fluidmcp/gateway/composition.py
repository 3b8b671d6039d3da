"""Everything of a gateway, built from its settings: one small builder a part. Nothing is started here.

`lifecycle` starts and closes what is built; `app` is what an HTTP server calls; `web` is built from the same parts,
when it is needed.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.authorization_server.authorization_server import ClientPolicy
from fluidmcp.authorization_server.cimd import ClientDocuments
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.client_subscriptions import Subscriptions
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.bridge.session import SessionTable
from fluidmcp.bridge.stateless_calls import StatelessBridge
from fluidmcp.bridge.suspended import SuspendedCalls
from fluidmcp.bridge.tool_header_rules import ToolHeaders
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.config.urls import split_public_url
from fluidmcp.crypto.digest import PersonDigest
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.gateway.calls.access_log import AccessLog
from fluidmcp.gateway.calls.observer import CallObserver
from fluidmcp.gateway.core import Core, MountedPackage
from fluidmcp.gateway.guard import RequestGuard
from fluidmcp.gateway.health import ServiceState
from fluidmcp.gateway.http import KEEP_ALIVE_SECONDS, OpenStreams
from fluidmcp.gateway.login.client_logins import ClientLogins
from fluidmcp.gateway.mcp.endpoint import McpEndpoint
from fluidmcp.gateway.mcp.pending import Patience, build_patience
from fluidmcp.gateway.mcp.stateless_endpoint import StatelessEndpoint
from fluidmcp.gateway.mcp.subscription_endpoint import SubscriptionEndpoint
from fluidmcp.gateway.remembered import Memory
from fluidmcp.guards.gateway_auth import GatewayGuard
from fluidmcp.guards.gateway_login import ForeignIssuer, GatewayLogin, GatewayProvider
from fluidmcp.guards.package_guard import PackageGuard
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.processes.isolation.confinement import Confinement
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.watchdog import Watchdog
from fluidmcp.store.deny_list import DenyList, DenyPlace, MemoryPlace
from fluidmcp.store.deny_places import FilePlace, build_shared_place
from fluidmcp.store.memory import MemoryStore, Store
from fluidmcp.store.redis import RedisStore
from fluidmcp.store.redis_entries import Entries
from fluidmcp.store.redis_server import RedisServer

MAX_CODES: Final = 20_000
"""Authorization codes of the last minutes. Kept apart from the grants, so many grants keep nobody from logging in."""

CLIENT_DOCUMENT_SECONDS: Final = 5.0
"""How long fetching the document of an MCP client may take; anybody can make us fetch one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What a gateway gets besides its settings and packages.

    `guard` decides who may use the gateway at all; None: everybody whom the packages let in. `gateway_provider` is
    where people log in to a guarded gateway, `foreign_issuer` where MCP clients do without us. `client_fetcher`
    fetches the documents by which MCP clients introduce themselves, which anybody can name. `grants` is the store of
    their logins, for several gateways with the same keys (tests; `FMCP_REDIS_URL` otherwise).
    """

    guard: GatewayGuard | None = None
    gateway_provider: GatewayProvider | None = None
    foreign_issuer: ForeignIssuer | None = None
    client_fetcher: Fetcher | None = None
    grants: Store | None = None
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginParts:
    """Who may come in, and how people and clients log in."""

    services: LoginServices
    shared: RedisServer | None
    """Where several gateways share the stores of `services`; None: they are in memory."""
    client_fetcher: Fetcher
    auths: Mapping[str, PackageGuard | None]
    """By package; None where it has no `auth` block."""
    clients: ClientLogins
    request_guard: RequestGuard | None
    """The guard of the whole gateway, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessParts:
    """What runs server processes."""

    watchdog: Watchdog
    confinement: Confinement
    pool: Pool[Channel]
    servers: Mapping[str, PackageServers]
    """By package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallParts:
    """What calls of MCP clients leave behind while they go on."""

    sessions: SessionTable
    suspended: SuspendedCalls
    """Calls that wait for the answers of a person."""
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    streams: OpenStreams
    """The event streams that are being sent."""
    observer: CallObserver | None = None
    """Who is told when a call has ended."""
    patience: Patience
    """Requests whose clients take an event stream when the answer does not come soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """One gateway, ready to be started."""

    settings: GatewaySettings
    entries: tuple[ServerEntry, ...]
    """What is served, in the order of the file."""
    logins: LoginParts
    processes: ProcessParts
    calls: CallParts
    core: Core
    """Answers MCP requests."""
    state: ServiceState = field(default_factory=ServiceState)


def compose(
    settings: GatewaySettings, entries: Sequence[ServerEntry], environ: Mapping[str, str], options: GatewayOptions
) -> GatewayParts:
    """Build every part. `environ` is what packages' logins and server processes may be given from."""
    sealer = Sealer(settings.seal_keys)
    logins = _build_logins(settings, entries, environ, options, sealer)
    processes = _build_processes(settings, entries, environ)
    # Where others share the logins, a balancer has to find what lives here alone.
    replica = settings.replica or ("" if settings.redis_url is None else f"gateway-{secrets.token_hex(4)}")
    calls = CallParts(
        sessions=SessionTable(
            max_sessions=settings.max_sessions,
            max_sessions_per_principal=settings.max_sessions_per_principal,
            idle_seconds=settings.limits.idle_timeout_seconds,
            replica=replica,
        ),
        suspended=SuspendedCalls(sealer, replica=replica),
        streams=OpenStreams(keep_alive_seconds=options.keep_alive_seconds),
        observer=AccessLog(PersonDigest(sealer.derive("people in the log", ())[0])) if settings.access_log else None,
        patience=build_patience(options.keep_alive_seconds),
    )
    mounted = {name: _mount(name, servers, settings, logins, calls) for name, servers in processes.servers.items()}
    return GatewayParts(
        settings=settings,
        entries=tuple(entries),
        logins=logins,
        processes=processes,
        calls=calls,
        core=Core(
            mounted,
            memory=_build_memory(logins.services),
            deny_list=logins.services.deny_list,
            request_guard=logins.request_guard,
        ),
    )


def _build_logins(
    settings: GatewaySettings,
    entries: Sequence[ServerEntry],
    environ: Mapping[str, str],
    options: GatewayOptions,
    sealer: Sealer,
) -> LoginParts:
    shared = None if settings.redis_url is None else RedisServer(settings.redis_url)
    services = _build_services(settings, options, sealer, shared)
    client_fetcher = options.client_fetcher or Fetcher(
        allow_loopback=False, total_timeout_seconds=CLIENT_DOCUMENT_SECONDS
    )
    auths = {entry.name: None if entry.auth is None else PackageGuard(entry, environ, services) for entry in entries}
    provider = options.gateway_provider
    clients = ClientLogins(
        auths,
        gateway_login=None if provider is None else GatewayLogin(provider, services),
        foreign_issuer=options.foreign_issuer,
        services=services,
        clients=ClientPolicy(documents=ClientDocuments(client_fetcher, now=time.time), rules=settings.client_rules),
    )
    if clients.authorization_servers:
        services.fetcher.prepare()
        client_fetcher.prepare()
    return LoginParts(
        services=services,
        shared=shared,
        client_fetcher=client_fetcher,
        auths=auths,
        clients=clients,
        request_guard=None if options.guard is None else _build_request_guard(options.guard, auths, clients),
    )


def _build_services(
    settings: GatewaySettings, options: GatewayOptions, sealer: Sealer, shared: RedisServer | None
) -> LoginServices:
    url = settings.public_url

    def build_store(name: str, max_entries: int, *, unreadable: bytes | None = None) -> Store:
        if shared is None:
            return MemoryStore(max_entries=max_entries)
        entries = Entries(name, sealer, public_url=url, now=time.time)
        return RedisStore(shared, entries, max_entries=max_entries, unreadable=unreadable)

    return LoginServices(
        public_url=url,
        # Digests are keys of the stores: where these are shared, all gateways need the same.
        digest_key=secrets.token_bytes(32) if shared is None else sealer.derive("digest key", (url,))[0],
        sealer=sealer,
        fetcher=Fetcher(allow_private=settings.allow_private_providers),
        pending_auth_states=build_store("pending_auth_states", settings.logins.max_waiting),
        handed_out=build_store("handed_out", settings.logins.max_logins),
        # What somebody else wrote there must not pass for "nothing is known of this grant".
        grants=build_store("grants", settings.logins.max_logins, unreadable=b"")
        if options.grants is None
        else options.grants,
        codes=build_store("codes", MAX_CODES),
        limits=settings.logins,
        deny_list=DenyList(_choose_deny_place(settings, shared, sealer)),
    )


def _choose_deny_place(settings: GatewaySettings, shared: RedisServer | None, sealer: Sealer) -> DenyPlace:
    if shared is not None:
        return build_shared_place(shared, sealer)
    return MemoryPlace() if settings.deny_list is None else FilePlace(settings.deny_list)


def _build_request_guard(
    guard: GatewayGuard, auths: Mapping[str, PackageGuard | None], clients: ClientLogins
) -> RequestGuard:
    guards = {name: auth for name, auth in auths.items() if auth is not None}
    return RequestGuard(guard, packages_with_login=[*guards], public_routes=clients.list_public_routes(guards))


def _build_processes(
    settings: GatewaySettings, entries: Sequence[ServerEntry], environ: Mapping[str, str]
) -> ProcessParts:
    limits = settings.limits
    watchdog = Watchdog()
    confinement = Confinement(settings.isolation, operator_home=environ.get("HOME", ""))
    pool: Pool[Channel] = Pool(limits)
    launcher = ColdLauncher(
        watchdog,
        confinement=confinement,
        stop_timeout_seconds=limits.stop_timeout_seconds,
        install_timeout_seconds=max(limits.install_timeout_seconds, limits.start_timeout_seconds),
    )
    level = settings.isolation.level
    servers = {
        entry.name: PackageServers(entry, environ, pool=pool, launcher=launcher, limits=limits, isolation=level)
        for entry in entries
    }
    return ProcessParts(watchdog=watchdog, confinement=confinement, pool=pool, servers=servers)


def _build_memory(services: LoginServices) -> Memory:
    return Memory((services.grants, services.handed_out), services.deny_list, now=services.now)


def _mount(
    name: str, servers: PackageServers, settings: GatewaySettings, logins: LoginParts, calls: CallParts
) -> MountedPackage:
    hub = calls.subscriptions.hub
    bridge = StatelessBridge(servers, calls.suspended, hub.publish)
    stateless = StatelessEndpoint(
        bridge,
        ToolHeaders(servers, hub, bridge.attach),
        SubscriptionEndpoint(servers, calls.subscriptions, bridge.attach),
        calls.patience,
    )
    clients = logins.clients
    return MountedPackage(
        name,
        McpEndpoint(name, servers, calls.sessions, stateless, calls.patience, split_public_url(settings.public_url)[1]),
        logins.auths[name],
        authorization_server=clients.authorization_servers.get(name),
        resource_metadata_of=settings.public_url if clients.has_document(name) else "",
        scopes=clients.scopes_of(name),
    )
