"""The places that workers have in a pool, and which of them has to go when there are no more."""

import asyncio
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import CapacityError
from fluidmcp.processes.pool.starts import StartReport

CAPACITY_RETRY_SECONDS: Final = 5.0


SlotState: TypeAlias = Literal["starting", "busy", "idle", "stopping"]


class Worker(Protocol):
    """What the pool holds: something with a process of its own."""

    @property
    def is_alive(self) -> bool: ...

    async def stop(self) -> None:
        """End the process; bounded, may be called more than once."""
        ...

    def add_exit_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` once from the event loop when the process is gone; soon, if it is gone already."""
        ...


W = TypeVar("W", bound=Worker)


class WorkerKey(NamedTuple):
    """Whom a worker serves: a package, one token of it, one session of that; `variant` tells equal ones apart."""

    package: str
    token_digest: str | None = None
    session_id: str | None = None
    variant: str = ""


@dataclass(slots=True, eq=False)
class Slot(Generic[W]):
    key: WorkerKey
    principal: Hashable | None
    expires_at: float | None
    limits: ProcessLimits
    """Its time-outs: those of its package."""
    is_check: bool = False
    """Whether it is only tried, for nobody."""
    people: tuple[tuple[str, str], ...] = ()
    """Issuer and subject of its owner at each of their logins."""
    report: StartReport = field(default_factory=StartReport)
    start_task: "asyncio.Task[W]" = field(init=False)
    worker: W | None = None
    users: int = 0
    started_at: float = 0.0
    last_used_at: float = 0.0
    use_number: int = 0
    """Orders slots by their last use, also where the clock does not move."""
    is_claimed: bool = False
    has_exited: bool = False
    idle_timer: asyncio.TimerHandle | None = None
    end_timer: asyncio.TimerHandle | None = None
    stop_task: "asyncio.Task[None] | None" = None

    @property
    def is_idle(self) -> bool:
        return self.worker is not None and self.users == 0 and self.stop_task is None

    @property
    def state(self) -> SlotState:
        if self.stop_task is not None:
            return "stopping"
        if self.worker is None:
            return "starting"
        return "busy" if self.users else "idle"

    def may_go_for(self, principal: Hashable | None) -> bool:
        """Whether it makes room for something that this person starts."""
        if self.stop_task is not None:
            return True
        if not self.is_idle:
            return False
        # A session's process holds its state: nobody loses a session because somebody else needs room.
        return self.key.session_id is None or self.principal == principal


def choose_victims(
    slots: Collection[Slot[W]], key: WorkerKey, principal: Hashable | None, limits: ProcessLimits
) -> list[Slot[W]]:
    """The slots that have to go before one more of `key` may start; changes nothing.

    Raises:
        CapacityError: a limit is reached, and none that counts toward it may go.
    """
    victims: list[Slot[W]] = []
    checks: list[tuple[int, str, Callable[[Slot[W]], bool]]] = [
        (limits.max_processes_per_package, f"'{key.package}' has", lambda slot: slot.key.package == key.package),
        (limits.max_processes, "The gateway has", lambda slot: True),
    ]
    if principal is not None:
        # First: an owner at a limit of its own gives up a worker of its own.
        checks.insert(0, (limits.max_processes_per_principal, "You have", lambda slot: slot.principal == principal))
    for limit, who, is_counted in checks:
        counted = [slot for slot in slots if not slot.is_claimed and slot not in victims and is_counted(slot)]
        if len(counted) < limit:
            continue
        candidates = [slot for slot in counted if slot.may_go_for(principal)]
        if not candidates:
            raise CapacityError(
                f"{who} as many server processes as allowed ({limit}).",
                why="All of them are in use.",
                hint="Wait until a call has ended or a process has been idle for a while.",
                retry_after_seconds=CAPACITY_RETRY_SECONDS,
            )
        # One that is being stopped anyhow makes room without cost to anybody.
        victims.append(min(candidates, key=lambda slot: (slot.stop_task is None, slot.use_number)))
    return victims
