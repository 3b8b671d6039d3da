"""Which headers go with which tool of a package (`Mcp-Param-*`), as its own `tools/list` says.

The list is asked for once per group of processes, kept while it holds, and asked for again before a request is
refused because of it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.authentication.person import Held
from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.changes import ChangeHub, GroupKey
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.client_subscriptions import Attach
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.bridge.start import GATEWAY_INFO
from fluidmcp.errors import FluidMCPError, WouldWaitError
from fluidmcp.protocol.input_required import list_interactive_capabilities
from fluidmcp.protocol.jsonrpc import Envelope, Json
from fluidmcp.protocol.objects import read_text
from fluidmcp.protocol.stateless import StatelessError, StatelessRequest
from fluidmcp.protocol.tool_headers import HeaderRule, check_tool_headers, read_header_rules
from fluidmcp.protocol.translate import with_stateless_meta
from fluidmcp.protocol.versions import STATELESS_VERSIONS

logger = logging.getLogger(__name__)

MAX_PAGES: Final = 100
MAX_GROUPS: Final = 1000
"""Lists that are kept per package; the one that was asked for longest ago goes first."""

LIST_SECONDS: Final = 30.0
"""How long all pages of a list may take; a call waits for it."""

KEPT_SECONDS: Final = 60.0
"""How long a list holds when its server does not say; changes that a server tells of end it before."""

MAX_KEPT_SECONDS: Final = 300.0

REFRESH_SECONDS: Final = 1.0
"""A list younger than this is never asked for again: neither when its server says that it holds for less, nor for a
tool that it does not hold, nor for a wrong header."""

Rules: TypeAlias = dict[str, tuple[HeaderRule, ...]]
_Key: TypeAlias = tuple[str | None, Json]
"""The digest of a token, where people are known, and the capabilities by which a server may ask something."""


@dataclass(slots=True)
class _KnownTools:
    fetched_at: float
    kept_seconds: float = KEPT_SECONDS
    is_complete: bool = True
    """False for the part of a list that was read before the rest failed: asking again soon would teach nothing."""
    rules: Rules = field(default_factory=Rules)


class _ToolsPage(msgspec.Struct, rename="camel"):
    tools: list[Raw] = field(default_factory=list[Raw])
    next_cursor: str | None = None
    ttl_ms: Raw | UnsetType = UNSET


class _ToolName(msgspec.Struct):
    name: str


_decode_page = msgspec.json.Decoder(_ToolsPage).decode
_decode_name = msgspec.json.Decoder(_ToolName).decode


class _ListFailedError(FluidMCPError):
    """The tools of a server cannot be listed."""

    code = "tools_not_listed"


class ToolHeaders:
    """The header rules of one package's tools."""

    def __init__(
        self,
        servers: PackageServers,
        hub: ChangeHub,
        attach: Attach,
        *,
        list_seconds: float = LIST_SECONDS,
        max_groups: int = MAX_GROUPS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._attach = attach
        self._list_seconds = list_seconds
        self._max_groups = max_groups
        self._now = now
        self._known: dict[_Key, _KnownTools] = {}
        self._fetching: dict[_Key, asyncio.Task[_KnownTools]] = {}
        self._is_failing = False
        hub.watch_tools(self._forget)

    async def check(
        self,
        request: StatelessRequest,
        principal: Principal | None,
        held: Held,
        headers: Mapping[str, str],
        *,
        can_wait: bool = True,
    ) -> None:
        """Compare the headers of a `tools/call` with its arguments. Without a list of tools nothing is refused.

        Raises:
            StatelessError: -32020 with 400.
            ServerProcessError: no server process can be had for the list of tools.
            WouldWaitError: the list has to be asked for, and the caller cannot wait.
        """
        name = read_text(request.members.get("name"))
        if name is None:
            return
        arguments = request.members.get("arguments")
        key = (self._servers.build_key(principal).token_digest, list_interactive_capabilities(request.capabilities))
        known = self._known.get(key)
        if known is not None:
            age_seconds = self._now() - known.fetched_at
            may_have_changed = known.is_complete and age_seconds > REFRESH_SECONDS
            if age_seconds <= known.kept_seconds and (name in known.rules or not may_have_changed):
                try:
                    check_tool_headers(known.rules.get(name, ()), arguments, headers)
                    return
                except StatelessError:
                    if not may_have_changed:
                        raise
        if not can_wait:
            raise WouldWaitError
        known = await self._fetch_once(key, principal, held)
        check_tool_headers(known.rules.get(name, ()), arguments, headers)

    async def _fetch_once(self, key: _Key, principal: Principal | None, held: Held) -> _KnownTools:
        """All who need the same list at the same time wait for one answer."""
        task = self._fetching.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(key, principal, held))
            self._fetching[key] = task
        return await asyncio.shield(task)

    async def _fetch(self, key: _Key, principal: Principal | None, held: Held) -> _KnownTools:
        try:
            lease = await self._servers.acquire_stateless(
                principal, held, capabilities=key[1], wants_logs=False, is_alone=False
            )
            try:
                self._attach(lease.worker, principal)
                known = await self._list_tools(lease.worker, key[1])
            finally:
                lease.release()
            if self._is_current(key):
                self._keep(key, known)
            return known
        finally:
            if self._is_current(key):
                del self._fetching[key]

    def _is_current(self, key: _Key) -> bool:
        """False when the list changed while this task asked for it."""
        return self._fetching.get(key) is asyncio.current_task()

    async def _list_tools(self, channel: Channel, capabilities: Json) -> _KnownTools:
        known = _KnownTools(self._now())
        try:
            async with asyncio.timeout(self._list_seconds):
                await _read_pages(channel, capabilities, known)
            self._is_failing = False
        except (FluidMCPError, TimeoutError) as error:
            known.is_complete = False
            known.kept_seconds = KEPT_SECONDS
            if not self._is_failing:
                why = error.what if isinstance(error, FluidMCPError) else "it takes too long"
                logger.warning("the tools of %s cannot be listed: %s", self._servers.package, why)
            self._is_failing = True
        known.fetched_at = self._now()
        return known

    def _keep(self, key: _Key, known: _KnownTools) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > self._max_groups:
            del self._known[next(iter(self._known))]

    def _forget(self, group: GroupKey) -> None:
        """The tools of a group may have changed; what is being read of them may be old already."""
        if group[0] == self._servers.package:
            for table in (self._known, self._fetching):
                for key in [key for key in table if key[0] == group[1]]:
                    del table[key]


async def _read_pages(channel: Channel, capabilities: Json, known: _KnownTools) -> None:
    """Read the whole list into `known`.

    Raises:
        FluidMCPError: the list cannot be read to its end.
    """
    cursor: str | None = None
    known.kept_seconds = MAX_KEPT_SECONDS
    for _ in range(MAX_PAGES):
        params: Json = b"{}" if cursor is None else msgspec.json.encode({"cursor": cursor})
        if channel.era == "stateless":
            params = with_stateless_meta(
                params, version=STATELESS_VERSIONS[-1], capabilities=capabilities, client_info=GATEWAY_INFO
            )
        answer = await _ask(channel, params)
        if answer.result is UNSET:
            raise _ListFailedError("It answers with an error.")
        try:
            page = _decode_page(answer.result)
            known.rules.update((_decode_name(tool).name, read_header_rules(tool)) for tool in page.tools)
        except (msgspec.DecodeError, RecursionError):
            raise _ListFailedError("The list has another form.") from None
        known.kept_seconds = max(min(known.kept_seconds, _read_ttl(page.ttl_ms)), REFRESH_SECONDS)
        cursor = page.next_cursor
        if not cursor:
            return
    raise _ListFailedError(f"It has more than {MAX_PAGES} pages.")


async def _ask(channel: Channel, params: Json) -> Envelope:
    exchange = channel.send_request("tools/list", params)
    try:
        return await exchange.answer()
    finally:
        if not exchange.is_done:
            channel.cancel(exchange)


def _read_ttl(ttl_ms: Raw | UnsetType) -> float:
    """How long a page holds, in seconds ("Caching")."""
    try:
        return KEPT_SECONDS if ttl_ms is UNSET else msgspec.json.decode(ttl_ms, type=float) / 1000
    except msgspec.DecodeError:
        return KEPT_SECONDS
