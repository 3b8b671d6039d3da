"""Which process serves whom: one start per key, limits, idle time-outs, back-off; what a worker is, it does not know.

Invariants. All state changes are synchronous: between two awaits of this module every one of these holds.

- A slot is in `_slots` from its admission until its process is known to be gone, and in `_current` under its key while
  new leases may go to it. At most one slot per key is current; a slot that left `_current` never returns.
- A slot counts toward the limits unless it is *claimed*: it is being stopped to make room for one named start, and that
  start does not begin before the claimed one is gone. Hence the number of processes never exceeds a limit.
- `users` is the number of leases and of callers who wait for the start. A slot with users is never stopped for want of
  room or for idleness.
- A slot has exactly one start task, and at most one stop task.
"""

import asyncio
import contextlib
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Generic, TypeAlias

from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import (
    CapacityError,
    FluidMCPError,
    ServerBackingOffError,
    ServerExitedError,
    ServerProcessError,
    UserError,
)
from fluidmcp.processes.pool.backoff import Backoff
from fluidmcp.processes.pool.slots import Slot, W, WorkerKey, choose_victims
from fluidmcp.processes.pool.start_clock import StartClock
from fluidmcp.processes.pool.starts import Measure, StartGate, StartReport
from fluidmcp.processes.pool.usage import processor_seconds
from fluidmcp.processes.pool.waiting import WaitingLine

logger = logging.getLogger(__name__)

EARLY_EXIT_SECONDS = 5.0
"""A worker that ends sooner than this after its start counts as a failed start."""
CAPACITY_WAIT_SECONDS = 10.0
"""How long a caller waits for room where a limit is reached: what is in use now may be idle in a moment."""
CHECK_WAIT_SECONDS = 600.0
"""How long a check waits for room: nobody waits for its end."""
STOP_MARGIN_SECONDS = 15.0
"""What a stop may take beyond three stop timeouts before its slot is given up."""
_MAX_TIMER_SECONDS = 24 * 3600.0
_CHECKS = "start checks"
"""The owner of all checks (no package has such a name): all together they delay others as one person does."""


Start: TypeAlias = Callable[[StartReport], Awaitable[W]]
"""Launches a process and makes it ready; when it is cancelled (time-out, shutdown) it stops what it launched."""


class Lease(Generic[W]):
    """The right to use a worker until `release`; a context manager."""

    __slots__ = ("_release", "_slot", "before_release", "worker")

    def __init__(self, slot: Slot[W], worker: W, release: Callable[[Slot[W]], None]) -> None:
        self.worker = worker
        self.before_release: Callable[[], None] | None = None
        """Called once, just before the worker is given back."""
        self._slot: Slot[W] | None = slot
        self._release = release

    def release(self) -> None:
        """Give the worker back. A second call does nothing."""
        slot = self._slot
        if slot is not None:
            self._slot = None
            if self.before_release is not None:
                self.before_release()
            self._release(slot)

    def __enter__(self) -> "Lease[W]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Pool(Generic[W]):
    """Workers by key. For one event loop; `now` is monotonic, `wall_now` is seconds since the epoch."""

    def __init__(
        self,
        limits: ProcessLimits,
        *,
        now: Callable[[], float] = time.monotonic,
        wall_now: Callable[[], float] = time.time,
        random: Callable[[], float] = random_module.random,
        measure: Measure = processor_seconds,
    ) -> None:
        self._limits = limits
        self._now = now
        self._wall_now = wall_now
        self._backoff = Backoff(now=now, random=random)
        self._current: dict[WorkerKey, Slot[W]] = {}
        self._slots: dict[Slot[W], None] = {}
        self._start_gate = StartGate(limits.max_concurrent_starts, now=now, measure=measure)
        self._start_clock = StartClock(now=now, measure=measure)
        self._line = WaitingLine[Slot[W]]()
        self._use_number = 0
        self._is_closed = False

    def __len__(self) -> int:
        """Processes that exist or are about to: starting, in use, idle, and stopping."""
        return len(self._slots)

    @property
    def workers(self) -> list[W]:
        """Those that run and are not being stopped."""
        return [slot.worker for slot in self._slots if slot.worker is not None and slot.stop_task is None]

    @property
    def slots(self) -> list[Slot[W]]:
        """All that `len` counts, oldest first; to look at."""
        return list(self._slots)

    @property
    def starting_count(self) -> int:
        return sum(1 for slot in self._slots if slot.worker is None and slot.stop_task is None)

    @property
    def idle_count(self) -> int:
        return sum(1 for slot in self._slots if slot.is_idle)

    @property
    def busy_count(self) -> int:
        return sum(1 for slot in self._slots if slot.worker is not None and slot.stop_task is None and slot.users)

    @property
    def stopping_count(self) -> int:
        return sum(1 for slot in self._slots if slot.stop_task is not None)

    def acquire_ready(self, key: WorkerKey) -> Lease[W] | None:
        """A lease on the live worker of `key`, or None when one has to be started or waited for: use `acquire` then."""
        slot = self._current.get(key)
        if slot is None:
            return None
        worker = slot.worker
        if worker is None:
            return None
        if (slot.expires_at is not None or not worker.is_alive) and not self._is_usable(slot, worker):
            return None
        slot.users += 1
        return Lease(slot, worker, self._release)

    async def acquire(
        self,
        key: WorkerKey,
        start: Start[W],
        *,
        principal: Hashable | None = None,
        expires_at: float | None = None,
        wait_seconds: float = CAPACITY_WAIT_SECONDS,
        is_check: bool = False,
        limits: ProcessLimits | None = None,
        people: tuple[tuple[str, str], ...] = (),
    ) -> Lease[W]:
        """A lease on the worker of `key`; `start` makes one if there is none.

        All who ask at the same time share one start and its failure. `principal` owns the worker: quotas count by it.
        At `expires_at` (seconds since the epoch) the worker gets no new lease and ends after its last one.
        `is_check`: it is only tried whether it starts; a failure is for the caller to tell, and delays no later start.
        `limits`: those of the package, whose time-outs may differ from the pool's. `people`: as `Slot.people`.

        Raises:
            CapacityError: a limit is reached and nothing idle can make room, nor does within `wait_seconds`.
            ServerBackingOffError: the last starts failed; not before `retry_after_seconds`.
            ServerTimeoutError: nothing moved for the start timeout, or the start took longer than the install timeout.
            ServerExitedError: the worker was stopped while it started, or the pool is closed.
        Whatever `start` raises is raised to all who waited for it.
        """

        def enter() -> Slot[W]:
            slot = self._current.get(key)
            if slot is None:
                slot = self._admit(key, start, principal, expires_at, is_check, limits or self._limits)
                slot.people = people
            elif slot.is_check and not is_check:
                # Now somebody waits for it.
                slot.is_check = False
                self._start_gate.change_owner(slot.report, _owner(slot.key, slot.principal))
            slot.users += 1
            return slot

        while True:
            lease = self.acquire_ready(key)
            if lease is not None:
                return lease
            owner = _CHECKS if is_check else _owner(key, principal)
            slot = await self._line.get(owner, enter, self._release, seconds=wait_seconds)
            with contextlib.ExitStack() as unless_leased:
                unless_leased.callback(self._release, slot)
                # Not `await task`: a caller who is cancelled must not cancel the start of the others.
                await asyncio.wait({slot.start_task})
                worker = self._started_worker(slot)
                if worker.is_alive and slot.stop_task is None:
                    unless_leased.pop_all()
                    return Lease(slot, worker, self._release)
            # It died in the moment between its start and this one; the back-off bounds the number of turns.

    def list_starts(self, package: str) -> list[tuple[WorkerKey, StartReport]]:
        """The starts of a package that go on or wait for their turn, the oldest first."""
        return [
            (slot.key, slot.report)
            for slot in self._slots
            if slot.key.package == package and slot.worker is None and slot.stop_task is None
        ]

    def retire(self, key: WorkerKey) -> None:
        """The worker of `key` gets no new lease and is stopped after its last one; the next acquire starts another."""
        slot = self._current.get(key)
        if slot is not None:
            self._retire(slot)

    def stop_those(self, is_meant: Callable[[str, tuple[tuple[str, str], ...]], bool]) -> None:
        """Stop the workers of whoever is meant, by package and people, now and whatever they do."""
        for slot in [one for one in self._slots if one.people and is_meant(one.key.package, one.people)]:
            self._begin_stop(slot)

    async def discard(self, key: WorkerKey) -> None:
        """Stop the worker of `key` now, whoever uses it, and wait until it is gone."""
        slot = self._current.get(key)
        if slot is not None:
            await asyncio.wait({self._begin_stop(slot)})

    async def close(self) -> None:
        """Refuse new leases and stop all workers at once. Bounded by the time one stop may take."""
        self._is_closed = True
        self._line.notice()
        tasks = {self._begin_stop(slot) for slot in list(self._slots)}
        if tasks:
            await asyncio.wait(tasks)

    # -- admission ---------------------------------------------------------------------------------------------------

    def _admit(
        self,
        key: WorkerKey,
        start: Start[W],
        principal: Hashable | None,
        expires_at: float | None,
        is_check: bool,
        limits: ProcessLimits,
    ) -> Slot[W]:
        if self._is_closed:
            raise _closed()
        remaining_seconds, reason = self._backoff.remaining_seconds(_backoff_key(key))
        if remaining_seconds > 0:
            raise ServerBackingOffError(
                f"The server of '{key.package}' failed repeatedly and is not started again yet.",
                why=reason,
                hint="Start it by hand to see what is wrong, or look at the gateway's log at level debug.",
                retry_after_seconds=remaining_seconds,
            )
        victims = choose_victims(self._slots, key, principal, self._limits)
        slot = Slot[W](key=key, principal=principal, expires_at=expires_at, limits=limits, is_check=is_check)
        stops: set[asyncio.Task[None]] = set()
        for victim in victims:
            victim.is_claimed = True
            stops.add(self._begin_stop(victim))
        self._touch(slot)
        self._slots[slot] = None
        self._current[key] = slot
        slot.start_task = asyncio.get_running_loop().create_task(self._start(slot, start, stops))
        slot.start_task.add_done_callback(lambda _: self._on_started(slot))
        return slot

    # -- start -------------------------------------------------------------------------------------------------------

    async def _start(self, slot: Slot[W], start: Start[W], stops: set[asyncio.Task[None]]) -> W:
        if stops:
            await asyncio.wait(stops)
        owner = _CHECKS if slot.is_check else _owner(slot.key, slot.principal)
        async with self._start_gate.place(owner, slot.key.package, slot.report):
            # Counts from here: the time in the queue says nothing about the server.
            async with self._start_clock.limit(
                slot.key.package,
                slot.report,
                quiet_seconds=slot.limits.start_timeout_seconds,
                total_seconds=slot.limits.install_timeout_seconds,
                setting=slot.limits.start_timeout_name,
            ):
                return await start(slot.report)

    def _on_started(self, slot: Slot[W]) -> None:
        """The start task has ended, one way or another; runs before those who wait for it go on."""
        self._line.notice()
        task = slot.start_task
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            self._drop_current(slot)
            if slot.stop_task is None:
                if error is not None:
                    self._record_failed_start(slot, error)
                self._forget(slot)
            return
        slot.worker = task.result()
        slot.started_at = self._now()
        self._touch(slot)
        slot.worker.add_exit_callback(lambda: self._on_exit(slot))
        if slot.stop_task is not None:
            return
        if not slot.worker.is_alive:
            self._on_exit(slot)
        elif self._current.get(slot.key) is not slot:
            self._stop_when_unused(slot)
        else:
            slot.idle_timer = asyncio.get_running_loop().call_later(
                self._limits.idle_timeout_seconds, self._check_idle, slot
            )
            self._check_expiry(slot)

    def _record_failed_start(self, slot: Slot[W], error: BaseException) -> None:
        if slot.is_check or isinstance(error, (UserError, CapacityError)):
            # Those two errors started nothing; everything else may have cost a process.
            return
        what, why = (error.what, error.why) if isinstance(error, FluidMCPError) else ("It could not be started.", "")
        tail = error.stderr_tail if isinstance(error, ServerProcessError) else ()
        quoted = "".join(f"\n  | {line}" for line in tail)
        logger.warning("start of a server process of %s failed: %s %s%s", slot.key.package, what, why, quoted)
        self._backoff.record_failure(_backoff_key(slot.key), what)

    def _started_worker(self, slot: Slot[W]) -> W:
        if slot.start_task.cancelled():
            raise ServerExitedError(
                f"The server of '{slot.key.package}' was stopped while it started.",
                why="The gateway is shutting down." if self._is_closed else "",
            )
        return slot.start_task.result()

    # -- use ---------------------------------------------------------------------------------------------------------

    def _is_usable(self, slot: Slot[W], worker: W) -> bool:
        if not worker.is_alive:
            # Noticed before the loop got round to say so.
            self._on_exit(slot)
            return False
        if slot.expires_at is not None and self._wall_now() >= slot.expires_at:
            self._retire(slot)
            return False
        return True

    def _release(self, slot: Slot[W]) -> None:
        slot.users -= 1
        self._use_number = slot.use_number = self._use_number + 1
        slot.last_used_at = self._now()
        if self._line:
            self._line.notice()
        if slot.users == 0 and self._current.get(slot.key) is not slot:
            self._stop_when_unused(slot)

    def _touch(self, slot: Slot[W]) -> None:
        self._use_number += 1
        slot.use_number = self._use_number
        slot.last_used_at = self._now()

    # -- end ---------------------------------------------------------------------------------------------------------

    def _check_idle(self, slot: Slot[W]) -> None:
        """One timer per worker, moved on only when it rings: a lease costs no timer."""
        remaining_seconds = slot.last_used_at + self._limits.idle_timeout_seconds - self._now()
        if slot.users:
            remaining_seconds = self._limits.idle_timeout_seconds
        if remaining_seconds <= 0:
            self._begin_stop(slot)
            return
        # Not less than the resolution of uvloop's timers, or this would turn in place.
        slot.idle_timer = asyncio.get_running_loop().call_later(max(remaining_seconds, 0.002), self._check_idle, slot)

    def _check_expiry(self, slot: Slot[W]) -> None:
        if slot.expires_at is None:
            return
        remaining_seconds = slot.expires_at - self._wall_now()
        if remaining_seconds <= 0:
            self._retire(slot)
            return
        # The wall clock may be set; looking again once a day costs nothing.
        delay = min(max(remaining_seconds, 0.002), _MAX_TIMER_SECONDS)
        slot.end_timer = asyncio.get_running_loop().call_later(delay, self._check_expiry, slot)

    def _retire(self, slot: Slot[W]) -> None:
        self._drop_current(slot)
        self._stop_when_unused(slot)

    def _stop_when_unused(self, slot: Slot[W]) -> None:
        if slot.stop_task is not None or slot.worker is None:
            # A start that nobody may use any more is looked at again when it has ended.
            return
        if slot.users == 0:
            self._begin_stop(slot)
            return
        if slot.end_timer is not None:
            slot.end_timer.cancel()
        slot.end_timer = asyncio.get_running_loop().call_later(
            slot.limits.request_timeout_seconds, self._begin_stop, slot
        )

    def _on_exit(self, slot: Slot[W]) -> None:
        if slot.has_exited:
            return
        slot.has_exited = True
        if slot.stop_task is None and self._now() - slot.started_at < EARLY_EXIT_SECONDS:
            self._backoff.record_failure(_backoff_key(slot.key), "It ended right after its start.")
        # It is dead already; this cleans up behind it.
        self._begin_stop(slot)

    def _begin_stop(self, slot: Slot[W]) -> asyncio.Task[None]:
        """Take the slot out of use and stop its worker; the task ends when the process is gone."""
        self._drop_current(slot)
        self._line.notice()
        if slot.stop_task is None:
            for timer in (slot.idle_timer, slot.end_timer):
                if timer is not None:
                    timer.cancel()
            if slot.worker is not None and self._now() - slot.started_at >= EARLY_EXIT_SECONDS:
                self._backoff.record_success(_backoff_key(slot.key))
            slot.stop_task = asyncio.get_running_loop().create_task(self._stop(slot))
            slot.stop_task.add_done_callback(lambda task: self._on_stopped(slot, task))
        return slot.stop_task

    async def _stop(self, slot: Slot[W]) -> None:
        limit_seconds = 3 * self._limits.stop_timeout_seconds + STOP_MARGIN_SECONDS
        try:
            async with asyncio.timeout(limit_seconds):
                if not slot.start_task.done():
                    slot.start_task.cancel()
                    await asyncio.wait({slot.start_task})
                if slot.worker is not None:
                    await slot.worker.stop()
        except TimeoutError:
            logger.error("a server process of %s did not stop within %g s", slot.key.package, limit_seconds)

    def _on_stopped(self, slot: Slot[W], task: asyncio.Task[None]) -> None:
        self._forget(slot)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("stopping a server process of %s failed", slot.key.package, exc_info=error)

    def _drop_current(self, slot: Slot[W]) -> None:
        if self._current.get(slot.key) is slot:
            del self._current[slot.key]

    def _forget(self, slot: Slot[W]) -> None:
        self._slots.pop(slot, None)


def _owner(key: WorkerKey, principal: Hashable | None) -> Hashable:
    """Who waits, for a turn or for room: a person, or the package where nobody is known."""
    return key.package if principal is None else principal


def _closed() -> ServerExitedError:
    return ServerExitedError("The gateway is shutting down.", hint="Try again when it is up.")


def _backoff_key(key: WorkerKey) -> tuple[str, str | None]:
    """A session that comes back with a new id does not begin from nothing."""
    return (key.package, key.token_digest)
