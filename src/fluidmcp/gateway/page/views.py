"""From the parts of a gateway to what the page says to one visitor."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from fluidmcp.authentication.principal import Principal
from fluidmcp.authorization_server.consent import RememberedConsent
from fluidmcp.authorization_server.page_client import CALLBACK_PATH, PAGE_CLIENT_ID
from fluidmcp.bridge.channel import Channel
from fluidmcp.config.environment import SECURE_TOKEN
from fluidmcp.config.redirects import describe_redirect
from fluidmcp.config.urls import split_public_url
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.page.access import PageAccess, Visitor
from fluidmcp.gateway.page.offers import list_offers
from fluidmcp.packages.clients.endpoint import Endpoint, make_endpoint, tell_apart
from fluidmcp.packages.clients.snippets import describe_clients
from fluidmcp.pages.home import (
    DenialView,
    FailureView,
    HomeView,
    OperatorView,
    PackageState,
    PackageView,
    PersonView,
    ProcessCount,
    ProcessView,
    ToolView,
)
from fluidmcp.pages.render import RememberedItem
from fluidmcp.processes.pool.slots import Slot
from fluidmcp.store.deny_list import Denial

MAX_WITH_SNIPPETS: Final = 12
"""Packages of a page that says how to connect to each: it is a few kilobytes a package."""
MAX_ROWS: Final = 200
"""Processes and people that the operator's part lists."""
_MINUTE: Final = 60
_HOUR: Final = 3600


class PageViews:
    """Builds the views of one gateway."""

    def __init__(self, parts: GatewayParts, access: PageAccess) -> None:
        self._parts = parts
        self._access = access
        self._url = parts.settings.public_url
        self._root = split_public_url(self._url)[1]

    async def build(self, visitor: Visitor, cookies: Mapping[str, str], *, now: float, only: str = "") -> HomeView:
        """What this visitor sees: of the package `only`, or of all. `now` is the event loop's time."""
        names = self._list_names(visitor, only)
        core = self._parts.core
        can_ask = self._parts.logins.request_guard is None
        open_packages = {name: core.packages[name] for name in names if can_ask and core.packages[name].auth is None}
        offers = await list_offers(open_packages)
        running = {slot.key.package for slot in self._parts.processes.pool.slots if slot.worker is not None}
        login = self._parts.logins.clients.page
        endpoints = self._list_endpoints(self._list_names(visitor, "") or names)
        return HomeView(
            gateway=urlsplit(self._url).netloc,
            root=self._root,
            is_stranger=visitor.is_stranger,
            is_guarded=self._access.is_guarded,
            who="" if visitor.principal is None else _name(visitor.principal),
            only="" if visitor.is_stranger else only,
            packages=[
                self._build_package(
                    name,
                    endpoints[name],
                    offers.get(name),
                    cookies,
                    is_running=name in running,
                    has_snippets=len(names) <= MAX_WITH_SNIPPETS,
                )
                for name in names
            ],
            are_names_hidden=not visitor.is_stranger and not visitor.sees_names and not only,
            operator=self._build_operator(visitor, now) if visitor.is_operator and not only else None,
            client_id=PAGE_CLIENT_ID,
            redirect_uri=self._url + CALLBACK_PATH,
            login_issuer="" if login is None else login.issuer,
        )

    def _list_names(self, visitor: Visitor, only: str) -> list[str]:
        if visitor.is_stranger:
            return []
        served = [entry.name for entry in self._parts.entries]
        if only:
            # Whoever knows a name is told what the endpoint tells everybody: that it is there.
            return [only] if only in served else []
        return served if visitor.sees_names else []

    def _list_endpoints(self, names: Sequence[str]) -> dict[str, Endpoint]:
        logins = self._parts.logins
        needing = {name: logins.request_guard is not None or logins.auths[name] is not None for name in names}
        # Where a package has a login of its own too, two headers are needed, and no client's file leads to that.
        is_secure = self._parts.settings.guard == "secure"
        variables = {name: SECURE_TOKEN for name in names if is_secure and logins.auths[name] is None}
        endpoints = [
            make_endpoint(
                self._url,
                name,
                needs_login=needs and name not in variables,
                token_variable=variables.get(name, ""),
            )
            for name, needs in needing.items()
        ]
        return dict(zip(names, tell_apart(endpoints), strict=True))

    def _build_package(
        self,
        name: str,
        endpoint: Endpoint,
        tools: tuple[ToolView, ...] | None,
        cookies: Mapping[str, str],
        *,
        is_running: bool,
        has_snippets: bool,
    ) -> PackageView:
        logins = self._parts.logins
        authorization_server = logins.clients.authorization_servers.get(name)
        remembered = () if authorization_server is None else authorization_server.consents.list_remembered(cookies)
        path = f"{self._root}/{name}"
        has_login = logins.auths[name] is not None
        state = self._parts.processes.servers[name].state
        return PackageView(
            name=name,
            endpoint=endpoint.url,
            path=path,
            state=("running" if is_running else "waiting") if state == "ok" else cast(PackageState, state),
            login="browser" if authorization_server is not None else "header" if has_login else "none",
            issuer="" if authorization_server is None else authorization_server.issuer,
            has_own_login=has_login,
            tools=tools,
            snippets=describe_clients([endpoint]) if has_snippets else (),
            remembered=tuple(_describe_remembered(one) for one in remembered),
            remembered_action=f"{path}/consent/remembered",
        )

    def _build_operator(self, visitor: Visitor, now: float) -> OperatorView:
        slots = self._parts.processes.pool.slots
        limits = self._parts.settings.limits
        people = Counter(slot.principal for slot in slots if slot.principal is not None)
        denied = self._parts.logins.services.deny_list.people if visitor.sees_people else ()
        failures = self._list_failures(visitor)
        return OperatorView(
            counts=_count_processes(slots) if len(slots) > MAX_ROWS else (),
            processes=tuple(_describe_process(slot, visitor, now) for slot in slots[:MAX_ROWS]),
            more_processes=max(len(slots) - MAX_ROWS, 0),
            people=tuple(_describe_person(owner, count) for owner, count in people.most_common(MAX_ROWS))
            if visitor.sees_people
            else None,
            more_people=max(len(people) - MAX_ROWS, 0),
            denied=tuple(map(_describe_denial, denied[:MAX_ROWS])),
            more_denied=max(len(denied) - MAX_ROWS, 0),
            failures=failures[:MAX_ROWS],
            more_failures=max(len(failures) - MAX_ROWS, 0),
            limits=(
                ("Server processes", f"{len(slots)} of at most {limits.max_processes}"),
                ("of one package", f"at most {limits.max_processes_per_package}"),
                ("of one person", f"at most {limits.max_processes_per_principal}"),
                ("A start may take", f"{limits.start_timeout_seconds:g} s without a sign of life"),
                ("A request may take", f"{limits.request_timeout_seconds:g} s"),
                ("A process ends after", f"{limits.idle_timeout_seconds:g} s without a call"),
            ),
        )

    def _list_failures(self, visitor: Visitor) -> tuple[FailureView, ...]:
        found = [
            (name, failure)
            for name, servers in self._parts.processes.servers.items()
            for failure in servers.failures
            if visitor.sees_people or not failure.is_personal
        ]
        found.sort(key=lambda one: one[1].at, reverse=True)
        return tuple(
            FailureView(
                package=name,
                at=_describe_time(failure.at),
                what=failure.what,
                why=failure.why,
                hint=failure.hint,
                stderr=failure.stderr_tail,
            )
            for name, failure in found
        )


def _name(principal: Principal) -> str:
    """The best name there is, for the person themselves."""
    return principal.name or principal.email or principal.subject


def _describe_remembered(one: RememberedConsent) -> RememberedItem:
    return RememberedItem(
        id=one.cookie_name,
        client_name=one.client_name,
        redirect=describe_redirect(one.redirect_uri),
        scopes=one.scopes,
        until=datetime.datetime.fromtimestamp(one.ends_at, datetime.UTC).date().isoformat(),
    )


def _count_processes(slots: Sequence[Slot[Channel]]) -> tuple[ProcessCount, ...]:
    states: dict[str, Counter[str]] = {}
    for slot in slots:
        states.setdefault(slot.key.package, Counter())[slot.state] += 1
    counts = [
        ProcessCount(
            package=package,
            count=counted.total(),
            states=", ".join(f"{count} {state}" for state, count in counted.most_common()),
        )
        for package, counted in states.items()
    ]
    return tuple(sorted(counts, key=lambda one: (-one.count, one.package)))


def _describe_denial(one: Denial) -> DenialView:
    return DenialView(who=one.who, package=one.package or "", since=_describe_time(one.since))


def _describe_process(slot: Slot[Channel], visitor: Visitor, now: float) -> ProcessView:
    """Whose a person's process is, and what it wrote, is for the holder of the operator's credential alone."""
    is_personal = slot.key.token_digest is not None
    may_see = visitor.sees_people or not is_personal
    whose = "everybody" if slot.key.session_id is None else "one session"
    if is_personal:
        whose = _read_owner(slot.principal)[1] if visitor.sees_people and slot.principal is not None else "one person"
    return ProcessView(
        package=slot.key.package,
        state=slot.state,
        whose="a check at start" if slot.is_check else whose,
        users=slot.users,
        age="" if slot.worker is None else _describe_age(now - slot.started_at),
        stderr=slot.worker.stderr_tail if slot.worker is not None and may_see else (),
    )


def _read_owner(owner: object) -> tuple[str, str]:
    """The issuer and the subject of `Principal.owner`."""
    issuer, subject, _ = cast("tuple[str, str, str]", owner)
    return issuer, subject


def _describe_person(owner: object, processes: int) -> PersonView:
    issuer, subject = _read_owner(owner)
    return PersonView(issuer=issuer, subject=subject, processes=processes)


def _describe_time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _describe_age(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{int(seconds)} s"
    return f"{int(seconds // _MINUTE)} min" if seconds < _HOUR else f"{int(seconds // _HOUR)} h"
