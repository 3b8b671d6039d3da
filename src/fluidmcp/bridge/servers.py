"""The server processes of one package: who may share one, and how one is started. Decided here and nowhere else.

Nobody is known (no `auth`, no guard): callers without a session share processes that were told of no capabilities; a
session has a process to itself. Somebody is known: a process per token, and per session where there is one, unless
the entry says `"shared": true`: then callers without a session share one as if nobody were known.

A stateless request may share a process with others of its group (everybody, or one token) as long as whatever the
server says names its request. Questions to the user and log lines do not on stdio. So a request that allows them to a
handshake-era server, and one that asks for log lines of either, uses a process alone: processes of such a group are
numbered lanes, and each request takes the first free one, or waits for one where no further process may be started.
All other requests share the lane 0.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

from fluidmcp.authentication.person import Held
from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.channel import Channel, Era
from fluidmcp.bridge.start import NO_CAPABILITIES, ChannelStarter, build_initialize_params
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.config.variables import sounds_secret
from fluidmcp.errors import CapacityError, ServerStartError, ServerTimeoutError, WouldWaitError, hide_values
from fluidmcp.processes.launch.credentials import read_credentials
from fluidmcp.processes.launch.environment import build_environment
from fluidmcp.processes.launch.launcher import Launcher
from fluidmcp.processes.launch.personal import fill_in
from fluidmcp.processes.launch.runners import name_runner
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.pool.pool import CAPACITY_WAIT_SECONDS, CHECK_WAIT_SECONDS, Lease, Pool
from fluidmcp.processes.pool.slots import WorkerKey
from fluidmcp.processes.pool.starts import StartProgress, StartReport
from fluidmcp.protocol.jsonrpc import Json
from fluidmcp.undo import undo_on_failure

MIN_SECRET_LENGTH: Final = 6
"""Shorter values are left alone: redacting "1" or "true" would make every line unreadable."""

LANE_SECONDS: Final = 30.0
"""How long a call waits for a process of its group where no further one may be started."""

MAX_FAILURES: Final = 5
"""How many failed starts of a package are kept for the operator to see."""

STATELESS: Final = "stateless"
"""The group of processes that were asked for the stateless era first."""

ServersState: TypeAlias = Literal["ok", "starting", "installing", "failed"]

ChannelLease: TypeAlias = Lease[Channel]
"""The right to use a channel, its `worker`, until `release`."""


@dataclass(frozen=True, slots=True)
class StartFailure:
    """A start that failed, for the operator. `at` is in seconds since the epoch; the texts are redacted.

    Not the error itself: with it would go on living what its call had in hand.
    """

    at: float
    what: str
    why: str
    hint: str
    stderr_tail: tuple[str, ...]
    is_personal: bool
    """Whether it was a start for one person."""


class PackageServers:
    """Hands out channels to the processes of one package."""

    def __init__(
        self,
        entry: ServerEntry,
        environ: Mapping[str, str],
        *,
        pool: Pool[Channel],
        launcher: Launcher,
        limits: ProcessLimits,
        isolation: IsolationLevel = "none",
    ) -> None:
        """`isolation` is the gateway's, for an entry that names none."""
        self._isolation: IsolationLevel = entry.isolation or isolation
        self._entry = entry
        self._environ = environ
        self._pool = pool
        self._limits = limits.for_entry(entry)
        self._starter = ChannelStarter(launcher, self._limits, tools=entry.tools)
        self._has_failed = False
        """Whether the last start did."""
        self._start_seconds = 0.0
        """How long the last start took that did not fail, since it got its place."""
        self.failures: deque[StartFailure] = deque(maxlen=MAX_FAILURES)
        """Of the last starts, oldest first."""
        self._runner = name_runner(entry.command, entry.args)
        self._everybody = WorkerKey(entry.name)
        """The key of callers whom nobody knows."""
        self._busy_lanes: dict[WorkerKey, set[WorkerKey]] = {}
        """The lanes in use, by the key of their group."""
        self._lane_waiters: dict[WorkerKey, list[asyncio.Future[None]]] = {}

    @property
    def package(self) -> str:
        return self._entry.name

    def is_shared(self, principal: Principal | None) -> bool:
        """Whether callers without a session meet other people's requests in their process."""
        return principal is None or (self._entry.shared and self._entry.auth is None)

    def build_key(self, principal: Principal | None, session_id: str | None = None, variant: str = "") -> WorkerKey:
        digest = None if principal is None or self.is_shared(principal) else principal.token_digest
        return WorkerKey(self._entry.name, digest, session_id, variant)

    async def acquire(
        self,
        principal: Principal | None,
        held: Held,
        *,
        session_id: str | None = None,
        initialize_params: Json | None = None,
        can_wait: bool = True,
    ) -> ChannelLease:
        """A running server process for a caller of the handshake era, or without any, started if there is none.

        `initialize_params` is what the session's client said; callers without a session have none. The channel is of
        the stateless era where the server speaks nothing else.

        Raises:
            ServerStartError, ServerTimeoutError: it did not start.
            ServerBackingOffError, CapacityError: it may not be started now.
            WouldWaitError: none is ready, and the caller cannot wait.
        """
        key = self._choose_key(principal, session_id)
        lease = self._pool.acquire_ready(key)
        if lease is None:
            if not can_wait:
                raise WouldWaitError
            params = build_initialize_params() if initialize_params is None else initialize_params
            lease = await self._acquire(key, principal, held, "handshake", params)
        return lease

    def _choose_key(self, principal: Principal | None, session_id: str | None) -> WorkerKey:
        only_stateless = session_id is None and self._starter.known.handshake is False
        return self.build_key(principal, session_id, STATELESS if only_stateless else "")

    async def check(self, principal: Principal | None) -> float:
        """Start a process as for this caller, but without any token, to see whether it starts; the seconds it took.

        A process that everybody shares keeps running; one for a known person alone is ended again. Raises like
        `acquire`; a failure does not delay the next start.
        """
        key = self.build_key(principal)
        lease = await self._acquire(key, principal, (), "handshake", build_initialize_params(), is_check=True)
        lease.release()
        if not self.is_shared(principal):
            await self._pool.discard(key)
        return self._start_seconds

    async def acquire_stateless(
        self,
        principal: Principal | None,
        held: Held,
        *,
        capabilities: Json,
        wants_logs: bool,
        is_alone: bool,
        can_wait: bool = True,
    ) -> ChannelLease:
        """A running server process for a stateless request.

        `capabilities` holds those by which a server could ask something, as canonical text. `is_alone`: this request
        may be asked questions, so nobody else's may be in flight where that matters. Raises like `acquire`.
        """
        known = self._starter.known
        if known.stateless is not False:
            lease = await self._acquire_in_lane(
                principal, held, STATELESS, "stateless", NO_CAPABILITIES, is_alone=wants_logs, can_wait=can_wait
            )
            if lease.worker.era == "stateless":
                return lease
            # It was only asked which era it speaks. What serves it from here on is told of this caller's capabilities.
            lease.release()
            self._pool.retire(self.build_key(principal, None, STATELESS))
        group = "" if capabilities == NO_CAPABILITIES and not wants_logs else _name_group(capabilities)
        needs_lane = bool(group) and (is_alone or wants_logs)
        return await self._acquire_in_lane(
            principal, held, group, "handshake", capabilities, is_alone=needs_lane, can_wait=can_wait
        )

    async def _acquire_in_lane(
        self,
        principal: Principal | None,
        held: Held,
        group: str,
        era: Era,
        capabilities: Json,
        *,
        is_alone: bool,
        can_wait: bool,
    ) -> ChannelLease:
        lanes = self.build_key(principal, None, group)
        if not is_alone:
            lease = self._pool.acquire_ready(lanes)
            if lease is not None:
                return lease
        if not can_wait:
            raise WouldWaitError
        if not is_alone:
            return await self._acquire_lane(lanes, principal, held, era, capabilities)
        deadline = asyncio.get_running_loop().time() + LANE_SECONDS
        while True:
            key = self._claim_lane(lanes)
            # Where the group has other lanes, one of them will be free again: wait for that, and not for room.
            wait_seconds = CAPACITY_WAIT_SECONDS if self._busy_lanes[lanes] == {key} else 0.0
            try:
                with undo_on_failure(partial(self._free_lane, lanes, key)):
                    lease = await self._acquire_lane(key, principal, held, era, capabilities, wait_seconds=wait_seconds)
            except CapacityError:
                if not await self._wait_for_lane(lanes, deadline):
                    raise
                continue
            lease.before_release = partial(self._free_lane, lanes, key)
            return lease

    async def _acquire_lane(
        self,
        key: WorkerKey,
        principal: Principal | None,
        held: Held,
        era: Era,
        capabilities: Json,
        *,
        wait_seconds: float = CAPACITY_WAIT_SECONDS,
    ) -> Lease[Channel]:
        lease = self._pool.acquire_ready(key)
        if lease is not None:
            return lease
        params = build_initialize_params(capabilities)
        return await self._acquire(key, principal, held, era, params, wait_seconds=wait_seconds)

    def _claim_lane(self, lanes: WorkerKey) -> WorkerKey:
        """The first lane that nobody uses; the lane 0 has the group's own key."""
        busy = self._busy_lanes.setdefault(lanes, set())
        key, number = lanes, 0
        while key in busy:
            number += 1
            key = lanes._replace(variant=f"{lanes.variant}/{number}")
        busy.add(key)
        return key

    def _free_lane(self, lanes: WorkerKey, key: WorkerKey) -> None:
        busy = self._busy_lanes[lanes]
        busy.discard(key)
        if not busy:
            del self._busy_lanes[lanes]
        for waiter in self._lane_waiters.pop(lanes, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _wait_for_lane(self, lanes: WorkerKey, deadline: float) -> bool:
        """Whether a lane of the group has become free in time; there is nothing to wait for where none is in use."""
        if lanes not in self._busy_lanes:
            return False
        waiter = asyncio.get_running_loop().create_future()
        self._lane_waiters.setdefault(lanes, []).append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            return False
        return True

    async def _acquire(
        self,
        key: WorkerKey,
        principal: Principal | None,
        held: Held,
        wanted: Era,
        initialize_params: Json,
        *,
        wait_seconds: float = CAPACITY_WAIT_SECONDS,
        is_check: bool = False,
    ) -> Lease[Channel]:
        async def start(report: StartReport) -> Channel:
            report.runner = self._runner
            began_at = asyncio.get_running_loop().time()
            spec = self._build_spec(principal, held)
            channel = await self._starter.start(spec, wanted=wanted, initialize_params=initialize_params, report=report)
            self._start_seconds = asyncio.get_running_loop().time() - began_at
            return channel

        is_personal = not self.is_shared(principal)
        # A process that others use too does not count as this caller's, and does not end with this caller's token.
        is_own = is_personal or key.session_id is not None
        try:
            lease = await self._pool.acquire(
                key,
                start,
                principal=principal.owner if principal is not None and is_own and not is_check else None,
                expires_at=principal.expires_at if principal is not None and is_personal else None,
                wait_seconds=CHECK_WAIT_SECONDS if is_check else wait_seconds,
                is_check=is_check,
                limits=self._limits,
                people=principal.people if principal is not None and is_own and not is_check else (),
            )
        except (ServerStartError, ServerTimeoutError) as error:
            hide_values(error, (secret.reveal() for secret in self._entry.hidden))
            # Without the token that its login brings, a failure says nothing yet.
            self._has_failed = not (is_check and self._entry.auth is not None)
            if self._has_failed:
                told = (error.what, error.why, error.hint, tuple(error.stderr_tail))
                self.failures.append(StartFailure(time.time(), *told, is_personal))
            raise
        self._has_failed = False
        return lease

    def acquire_ready(self, principal: Principal | None, session_id: str | None = None) -> ChannelLease | None:
        """The running process of `acquire`, or None; starts nothing."""
        if session_id is not None:
            key = self.build_key(principal, session_id)
        elif principal is None and self._starter.known.handshake is not False:
            key = self._everybody
        else:
            key = self._choose_key(principal, session_id)
        return self._pool.acquire_ready(key)

    def describe_starts(self) -> StartProgress | None:
        """How far the start is that goes on longest, whoever waits for it; None where nothing starts."""
        now = asyncio.get_running_loop().time()
        starts = [report.describe(now) for _, report in self._pool.list_starts(self._entry.name)]
        return max(starts, key=lambda start: start.seconds, default=None)

    @property
    def state(self) -> ServersState:
        """What goes on, else how the last start ended; `ok` also before the first one."""
        progress = self.describe_starts()
        if progress is not None:
            return "installing" if progress.state == "installing" else "starting"
        return "failed" if self._has_failed else "ok"

    def describe_own_start(self, principal: Principal | None) -> StartProgress | None:
        """The same of those that this caller may be waiting for."""
        now = asyncio.get_running_loop().time()
        digest = self.build_key(principal).token_digest
        starts = self._pool.list_starts(self._entry.name)
        own = [report.describe(now) for key, report in starts if key.token_digest == digest]
        return max(own, key=lambda start: start.seconds, default=None)

    def retire(self, key: WorkerKey) -> None:
        """Let a process finish its calls and end."""
        self._pool.retire(key)

    async def discard(self, key: WorkerKey) -> None:
        """Stop a process now; its calls fail."""
        await self._pool.discard(key)

    def _build_spec(self, principal: Principal | None, held: Held) -> LaunchSpec:
        is_personal = not self.is_shared(principal)
        entry = self._entry
        credentials = None
        if is_personal and entry.auth is not None and held:
            credentials = read_credentials(entry.auth, held, self._environ)
        personal = fill_in(entry, credentials)
        environment = build_environment(entry, self._environ, personal=personal.variables, person_known=is_personal)
        return LaunchSpec(
            package=entry.name,
            command=entry.command,
            args=entry.args,
            environment=environment,
            directory=entry.directory,
            private_home=is_personal,
            personal_variables=entry.personal_variables,
            personal_args=personal.args,
            files=personal.files if is_personal else (),
            isolation=self._isolation,
            paths=entry.paths,
            # Never what a person's value names: it would choose what the process may read.
            named=tuple(environment[name] for name in self._list_own_variables() if name in environment),
            owns_directory=entry.owns_directory,
            default_directory=entry.default_directory,
            source=entry.source,
            secrets=self._list_secrets(environment, personal.secrets),
        )

    def _list_own_variables(self) -> list[str]:
        """The variables of the entry that hold nothing of the person."""
        personal = self._entry.personal_variables
        return [name for name, _ in self._entry.env if name not in personal]

    def _list_secrets(self, environment: Mapping[str, str], personal: frozenset[str]) -> tuple[Secret, ...]:
        """What must not show in the process's stderr: the person's, and variables of the entry that sound like keys."""
        named = [environment.get(name, "") for name in self._list_own_variables() if sounds_secret(name)]
        filled_in = [secret.reveal() for secret in self._entry.hidden]
        values = {value for value in (*personal, *named, *filled_in) if len(value) >= MIN_SECRET_LENGTH}
        return tuple(Secret(value) for value in values)


def _name_group(capabilities: Json) -> str:
    """Processes that were told of the same capabilities; a digest, because a client may write long ones."""
    return hashlib.sha256(capabilities).hexdigest()[:16]
