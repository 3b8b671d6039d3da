"""The deny list: people whom the operator shut out, of all packages or of one, until they are let in again.

Whoever was let in again logs in anew: what was given to them before stays dead, because somebody else may have it. The
list is kept at a place that all gateways it is for can read (store/deny_places), and asked for each request in memory.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from fluidmcp.errors import ConfigurationError, ForbiddenError, StoreUnavailableError, UnauthorizedError, UserError

POLL_SECONDS: Final = 0.5
FRESH_SECONDS: Final = 1.5
"""How old what is known of a place may be; then somebody asks it, and nobody gets through until it answers."""
MAX_DENIALS: Final = 10_000
FORGOTTEN_SECONDS: Final = 31 * 24 * 3600
"""How long it is remembered that somebody was let in again: longer than any token of before could be renewed."""
MAX_NAME_CHARACTERS: Final = 1000
GATEWAY_ISSUER: Final = "fluidmcp"
"""That of the operator, who cannot be shut out."""

PersonName: TypeAlias = tuple[str, str]
"""Issuer and subject."""

logger = logging.getLogger(__name__)


class Denial(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person who is shut out, or was."""

    who: str
    """`SUB`, whoever vouches for it, or `ISSUER|SUB`."""
    since: float
    """Seconds since the epoch. Nothing that began before is good."""
    package: str | None = None
    """None: all of them."""
    is_over: bool = False
    """Whether they were let in again, at `since`."""


class Denials(msgspec.Struct, frozen=True):
    """A deny list at one time."""

    people: tuple[Denial, ...] = ()

    def with_denial(self, denial: Denial, *, now: float) -> "Denials":
        """With this in the place of what was said of that person and package. Raises UserError: the list is full."""
        kept = [
            one
            for one in self.people
            if (one.who, one.package) != (denial.who, denial.package)
            and not (one.is_over and one.since + FORGOTTEN_SECONDS < now)
        ]
        if len(kept) >= MAX_DENIALS:
            raise UserError(
                f"The deny list is full: {MAX_DENIALS} people, with those who were let in again within a month.",
                hint="Take people out of the provider, or of the rule about who is allowed, in place of denying them.",
            )
        return Denials((*kept, denial))

    def merged(self, other: "Denials") -> "Denials":
        """What both say: of each person and package the later word."""
        latest: dict[tuple[str, str | None], Denial] = {}
        for one in sorted((*self.people, *other.people), key=lambda denial: denial.since):
            latest[one.who, one.package] = one
        return Denials(tuple(latest.values()))


class DenyPlace(Protocol):
    """Where the list is kept. `where` says it, in words for the operator."""

    where: str

    async def read(self) -> Denials | None:
        """The list as it is now; None: it is as it was the last time.

        Raises:
            StoreUnavailableError: the place does not answer.
            ConfigurationError: what stands there is no deny list, or cannot be trusted.
        """
        ...

    async def change(self, change: Callable[[Denials], Denials]) -> Denials:
        """The list after a change that no other one comes in between of. Raises as `read`."""
        ...


class MemoryPlace:
    """For one gateway, until it ends."""

    where = "the memory of this gateway"

    def __init__(self) -> None:
        self._denials = Denials()

    async def read(self) -> Denials | None:
        return self._denials

    async def change(self, change: Callable[[Denials], Denials]) -> Denials:
        self._denials = change(self._denials)
        return self._denials


class DenyList:
    """The list as one gateway knows it. `now` gives seconds since the epoch, `clock` is monotonic.

    Whom a gateway knows to be out, and of whom the place says nothing any more, or something older, is put back there:
    a place that was emptied, or came back from an old copy, forgets nobody as long as a gateway runs that remembers.
    """

    def __init__(
        self,
        place: DenyPlace,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.change_count = 0
        """How often the list was another one than before."""
        self.on_denied: Callable[[], None] = lambda: None
        """Ends what those have open who are shut out: called after each change, and twice a second while there are any.
        """
        self._place = place
        self._now = now
        self._clock = clock
        self._denials = Denials()
        self._by_name: dict[str, list[Denial]] = {}
        self.has_active = False
        """Whether anybody is shut out, as far as is known."""
        self._fresh_until = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        """A look that began before a change must not end after it."""
        self._is_lost = False
        """Whether the place lacks something that is known here, and did not take it yet."""
        self._just_over: frozenset[Denial] = frozenset()
        """Who was let in again since the last look, and may have been out in between without anybody noticing."""
        self._told = ""
        """What is wrong with the place, as the log says already."""

    @property
    def where(self) -> str:
        return self._place.where

    @property
    def people(self) -> tuple[Denial, ...]:
        """Who is shut out, as far as is known."""
        return tuple(denial for denial in self._denials.people if not denial.is_over)

    async def begin(self) -> None:
        """Read the list for the first time. Raises as `DenyPlace.read`."""
        await self._look(is_first=True)

    async def check(self, package: str | None, people: Sequence[PersonName], *, begun_at: float | None = None) -> None:
        """Let only those go on who are not shut out of the package; None stands for what belongs to no package.

        `begun_at` is when the login began from which a token is, in seconds since the epoch, where that is known.

        Raises:
            ForbiddenError: one of them is shut out.
            UnauthorizedError: the token is from before that; a new login helps.
            StoreUnavailableError: nobody can tell now.
        """
        if people and self._clock() >= self._fresh_until:
            await self.refresh()
        self.check_known(package, people, begun_at=begun_at)

    def check_known(self, package: str | None, people: Sequence[PersonName], *, begun_at: float | None = None) -> None:
        """As `check`, by what was known a moment ago."""
        if not self._by_name:
            return
        for denial in self._find(package, people):
            if not denial.is_over:
                raise ForbiddenError(
                    "This account is shut out here",
                    why="The operator of the gateway has revoked its access.",
                    hint="Ask the operator to allow it again.",
                )
            if begun_at is not None and begun_at < denial.since:
                raise UnauthorizedError(
                    "The access token is not good here",
                    reason="invalid_token",
                    why="It was given before the operator revoked the access of this account.",
                    hint="Log in again.",
                )

    def shuts_out(self, package: str, people: Sequence[PersonName]) -> bool:
        """Whether one of them is shut out, by what was known a moment ago."""
        if not self.has_active and not self._just_over:
            return False
        return any(not denial.is_over or denial in self._just_over for denial in self._find(package, people))

    async def revoke(self, who: str, package: str | None = None) -> bool:
        """Shut somebody out; whether they were not already.

        Raises:
            UserError: this is no name of a person, or the list is full.
        Otherwise as `DenyPlace.read`.
        """
        check_name(who)
        denial = Denial(who, self._now(), package)
        is_changed = False

        def change(denials: Denials) -> Denials:
            nonlocal is_changed
            is_changed = not any((one.who, one.package, one.is_over) == (who, package, False) for one in denials.people)
            return denials.with_denial(denial, now=self._now()) if is_changed else denials

        await self._change(change)
        return is_changed

    async def allow(self, who: str, package: str | None = None) -> bool:
        """Let somebody in again: of one package, or with None of all; whether they were shut out.

        Raises:
            UserError: they are shut out of all packages, and one is named.
        Otherwise as `DenyPlace.read`.
        """
        check_name(who)
        is_changed = False

        def change(denials: Denials) -> Denials:
            nonlocal is_changed
            active = [one for one in denials.people if one.who == who and not one.is_over]
            if package is not None and any(one.package is None for one in active):
                raise UserError(
                    "This account is shut out of all packages.",
                    why=f"It cannot be let in to {package} alone.",
                    hint="Leave --package out, then revoke it for the packages that it shall not use.",
                )
            for one in active:
                if package is None or one.package == package:
                    is_changed = True
                    over = Denial(one.who, self._now(), one.package, is_over=True)
                    denials = denials.with_denial(over, now=self._now())
            return denials

        await self._change(change)
        return is_changed

    async def refresh(self) -> None:
        """Look at the place; all who ask at the same time share one look. Raises StoreUnavailableError."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._forget_look)
        looking = self._looking
        await asyncio.wait({looking})
        looking.result()

    async def watch(self) -> None:
        """Look at the place again and again, and have ended what people have open who are shut out."""
        is_told = False
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh()
                is_told = False
            except StoreUnavailableError as error:
                if not is_told:
                    logger.warning("the deny list cannot be read: %s %s", error.what, error.why)
                is_told = True
            if self.has_active:
                self.on_denied()

    async def _change(self, change: Callable[[Denials], Denials]) -> None:
        async with self._turn:
            self._take(await self._place.change(change))
        self.on_denied()

    async def _look(self, *, is_first: bool = False) -> None:
        asked_at = self._clock()
        try:
            async with self._turn:
                self._take(await self._read(), is_first=is_first)
        except ConfigurationError as error:
            # At work, what was known holds on: a file that is broken lets nobody in who was shut out.
            if is_first:
                raise
            if error.why != self._told:
                logger.error("the deny list stays as it was: %s %s", error.what, error.why)
            self._told = error.why
        else:
            self._told = ""
        self._fresh_until = asked_at + FRESH_SECONDS

    async def _read(self) -> Denials:
        stored = await self._place.read()
        if stored is None and not self._is_lost:
            return self._denials
        merged = self._denials if stored is None else self._denials.merged(stored)
        if stored is not None and set(merged.people) <= set(stored.people):
            self._is_lost = False
            return stored
        if not self._is_lost:
            logger.warning("%s has lost part of the deny list that this gateway knows; it is put back", self.where)
        self._is_lost = True
        try:
            denials = await self._place.change(merged.merged)
        except (StoreUnavailableError, ConfigurationError):
            # Tried again at the next look; what is known here holds.
            return merged
        self._is_lost = False
        return denials

    def _forget_look(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        if not task.cancelled():
            # All who asked may be gone by now; a failure counts as seen.
            task.exception()

    def _take(self, denials: Denials, *, is_first: bool = False) -> None:
        if denials == self._denials:
            return
        new = set(denials.people) - set(self._denials.people)
        self._denials = denials
        self._by_name = {}
        for denial in denials.people:
            self._by_name.setdefault(denial.who, []).append(denial)
        self.has_active = bool(self.people)
        self.change_count += 1
        if not is_first:
            self._just_over = frozenset(denial for denial in new if denial.is_over)
        if self._just_over:
            self.on_denied()
            self._just_over = frozenset()

    def _find(self, package: str | None, people: Sequence[PersonName]) -> Iterable[Denial]:
        for issuer, subject in people:
            if issuer == GATEWAY_ISSUER:
                continue
            for name in (subject, f"{issuer}|{subject}"):
                for denial in self._by_name.get(name, ()):
                    if denial.package is None or denial.package == package:
                        yield denial


def check_name(who: str) -> None:
    """Raises UserError: this is no name of a person."""
    if not who.strip() or len(who) > MAX_NAME_CHARACTERS or not who.isprintable():
        raise UserError(
            "This is no subject of a person.",
            why=f"It has up to {MAX_NAME_CHARACTERS} characters that can be printed.",
            hint="Give the subject (sub) that the provider knows the person by, or ISSUER|SUBJECT.",
        )
