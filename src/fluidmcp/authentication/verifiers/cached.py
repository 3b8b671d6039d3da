"""What all verifiers share whose check takes effort: a call to the provider, or a signature check.

Answers are kept under a keyed digest of the token: good ones at most 60 seconds and never past the token's end, bad
ones 30 seconds. Of several requests with one unknown token only the first one asks. Tokens that nobody has vouched for
yet share a budget of calls, so that a flood of garbage costs the provider little; a token that was good a moment ago
has calls of its own and is not held up by the flood.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fluidmcp.authentication.principal import Principal
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError

POSITIVE_CACHE_SECONDS = 60.0
NEGATIVE_CACHE_SECONDS = 30.0
MAX_CACHED_ANSWERS = 10_000
KNOWN_SECONDS = 3600.0
"""How long a token that was good counts as known."""
MAX_CONCURRENT_CALLS = 16
"""Calls to the provider at the same time; as many again for known tokens."""
BURST_OF_UNKNOWN_TOKENS = 120
UNKNOWN_TOKENS_PER_SECOND = 2.0

logger = logging.getLogger(__name__)


class TokenRefusedError(Exception):
    """The token is not good for this verifier; `why` is one sentence without a value of the token."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TokenCheck(Protocol):
    """One way to find out whose a token is."""

    async def check(self, token: str, digest: str) -> Principal:
        """The principal of a token whose keyed digest is `digest`.

        Raises:
            TokenRefusedError: it is not good here.
            ProviderUnavailableError, ProviderAnswerError: nobody can tell now.
        """
        ...


class CallBudget:
    """How many unknown tokens a provider is asked about: a burst, then a few per second. Shared by its verifiers."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        burst: int = BURST_OF_UNKNOWN_TOKENS,
        per_second: float = UNKNOWN_TOKENS_PER_SECOND,
    ) -> None:
        self._now = now
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._counted_at = now()
        self.for_unknown = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
        self.for_known = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    def take(self) -> None:
        """Raises ProviderUnavailableError when the budget is used up."""
        now = self._now()
        self._left = min(self._burst, self._left + max(0.0, now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._left < 1:
            raise ProviderUnavailableError(
                "The token cannot be checked now",
                why="Too many unknown tokens arrive, and the provider is not asked about all of them.",
                hint="Try again in a moment.",
            )
        self._left -= 1


class _BoundedCache:
    """Answers with an end each; the oldest goes first when there are too many."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._answers: dict[str, tuple[float, Principal | None]] = {}

    def get(self, key: str) -> tuple[float, Principal | None] | None:
        answer = self._answers.get(key)
        return None if answer is None or answer[0] <= self._now() else answer

    def put(self, key: str, principal: Principal | None, *, ends_at: float) -> None:
        self._answers.pop(key, None)
        if len(self._answers) >= MAX_CACHED_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = (ends_at, principal)

    def drop(self, key: str) -> None:
        self._answers.pop(key, None)


class CachedVerifier:
    """A `TokenVerifier` that remembers the answers of a `TokenCheck`.

    Without a `budget` the check asks nobody about a single token (it computes): its refusals are not remembered.
    """

    def __init__(
        self,
        check: TokenCheck,
        *,
        digest: Callable[[str], str],
        now: Callable[[], float],
        budget: CallBudget | None,
    ) -> None:
        self._check = check
        self._digest = digest
        self._now = now
        self._budget = budget
        # Apart, so that a flood of garbage cannot push good tokens out.
        self._accepted = _BoundedCache(now)
        self._refused = _BoundedCache(now)
        self._known = _BoundedCache(now)
        self._asking: dict[str, asyncio.Task[Principal | None]] = {}

    async def verify(self, token: str) -> Principal | None:
        """The principal of a token, at most 60 seconds old; None when it is not good, at most 30 seconds old.

        Raises:
            ProviderUnavailableError: the provider cannot be asked or makes no sense, or too many unknown tokens come.
        """
        key = self._digest(token)
        known = self._accepted.get(key) or self._refused.get(key)
        if known is not None:
            return known[1]
        asking = self._asking.get(key)
        if asking is None:
            if self._budget is not None and self._known.get(key) is None:
                self._budget.take()
            asking = asyncio.create_task(self._ask(key, token))
            self._asking[key] = asking
            asking.add_done_callback(lambda task: self._asked(key, task))
        # A caller that goes away does not take the answer from the others.
        return await asyncio.shield(asking)

    async def explain(self, token: str) -> str:
        """Why the token is refused; empty when it is good. Asks without a look at the cache or the budget.

        Raises:
            ProviderUnavailableError: as `verify`.
        """
        try:
            await self._check_strictly(self._digest(token), token)
        except TokenRefusedError as refusal:
            return refusal.why
        return ""

    def _asked(self, key: str, task: asyncio.Task[Principal | None]) -> None:
        del self._asking[key]
        if not task.cancelled():
            # Every waiter may be gone by now; a failure counts as seen.
            task.exception()

    async def _ask(self, key: str, token: str) -> Principal | None:
        try:
            if self._budget is None:
                principal = await self._check_strictly(key, token)
            else:
                is_known = self._known.get(key) is not None
                async with self._budget.for_known if is_known else self._budget.for_unknown:
                    principal = await self._check_strictly(key, token)
        except TokenRefusedError as refusal:
            logger.debug("a token is refused: %s", refusal.why)
            self._known.drop(key)
            if self._budget is not None:
                self._refused.put(key, None, ends_at=self._now() + NEGATIVE_CACHE_SECONDS)
            return None
        now = self._now()
        ends_at = now + POSITIVE_CACHE_SECONDS
        if principal.expires_at is not None:
            ends_at = min(ends_at, principal.expires_at)
        self._accepted.put(key, principal, ends_at=ends_at)
        self._known.put(key, None, ends_at=now + KNOWN_SECONDS)
        return principal

    async def _check_strictly(self, key: str, token: str) -> Principal:
        try:
            return await self._check.check(token, key)
        except ProviderAnswerError as error:
            raise unavailable(error.why or error.what) from error


def unavailable(why: str, *, hint: str = "") -> ProviderUnavailableError:
    """The failure of a check for which the provider is to blame; `why` is one sentence without its text."""
    logger.warning("a token cannot be checked: %s", why)
    return ProviderUnavailableError(
        "The token cannot be checked now",
        why=why,
        hint=hint or "Try again in a moment; if it stays, tell the operator.",
    )
