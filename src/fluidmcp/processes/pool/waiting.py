"""Those who wait for something that is all in use: first come, first served, for a limited time.

What is waited for is not known here: each waiter has an attempt that gives it or raises `CapacityError`. Whoever cannot
be served yet (because of a limit of their own, say) blocks nobody behind them.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from fluidmcp.errors import CapacityError, FluidMCPError

MAX_WAITERS: Final = 128
MAX_WAITERS_PER_OWNER: Final = 32
"""Nobody fills the line alone. An owner is a person, or a package whose callers nobody knows."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Waiter(Generic[T]):
    owner: Hashable
    attempt: Callable[[], T]
    refusal: CapacityError
    """Why it has to wait; the answer if nothing changes in time."""
    answer: asyncio.Future[T]


class WaitingLine(Generic[T]):
    """For one event loop. Whoever changes what an attempt depends on calls `notice`."""

    def __init__(self) -> None:
        self._waiters: dict[_Waiter[T], None] = {}
        self._is_noticed = False

    def __len__(self) -> int:
        return len(self._waiters)

    async def get(
        self, owner: Hashable, attempt: Callable[[], T], give_back: Callable[[T], None], *, seconds: float
    ) -> T:
        """What `attempt` gives, now or within `seconds`; `give_back` takes it when the caller went away meanwhile.

        Raises:
            CapacityError: the last one of `attempt`; at once where `seconds` is 0 or the line is full.
        Whatever else `attempt` raises is raised.
        """
        self._serve()  # whoever came before
        try:
            return attempt()
        except CapacityError as refusal:
            if seconds <= 0 or not self._has_room(owner):
                raise
            waiter = _Waiter[T](owner, attempt, refusal, asyncio.get_running_loop().create_future())
        self._waiters[waiter] = None
        try:
            await asyncio.wait({waiter.answer}, timeout=seconds)
        except asyncio.CancelledError:
            if waiter.answer.done() and waiter.answer.exception() is None:
                give_back(waiter.answer.result())
            raise
        finally:
            self._waiters.pop(waiter, None)
        if not waiter.answer.done():
            raise waiter.refusal
        return waiter.answer.result()

    def notice(self) -> None:
        """Something has changed: soon, and once for all changes of this turn, see who can be served."""
        if self._waiters and not self._is_noticed:
            self._is_noticed = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _has_room(self, owner: Hashable) -> bool:
        of_owner = sum(1 for waiter in self._waiters if waiter.owner == owner)
        return len(self._waiters) < MAX_WAITERS and of_owner < MAX_WAITERS_PER_OWNER

    def _serve(self) -> None:
        self._is_noticed = False
        for waiter in list(self._waiters):
            if waiter.answer.done():
                continue
            try:
                answer = waiter.attempt()
            except CapacityError as refusal:
                waiter.refusal = refusal
            except FluidMCPError as error:
                waiter.answer.set_exception(error)
            else:
                waiter.answer.set_result(answer)
