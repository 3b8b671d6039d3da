"""What all asking verifiers share: the caches, one call for many requests, and the budget for unknown tokens."""

import asyncio
import logging

import pytest

from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.cached import (
    BURST_OF_UNKNOWN_TOKENS,
    UNKNOWN_TOKENS_PER_SECOND,
    CachedVerifier,
    CallBudget,
    TokenRefusedError,
)
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from tests.providers.login_gateway import Clock


class CountingCheck:
    """Knows the tokens in `good`; counts how often it is asked, and can be made to fail or to wait."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.asked: list[str] = []
        self.fails = False
        self.gate: asyncio.Event | None = None
        self.expires_at: float | None = None

    async def check(self, token: str, digest: str) -> Principal:
        self.asked.append(token)
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise ProviderAnswerError("broken", why="It answered a riddle.")
        if token not in self.good:
            raise TokenRefusedError("Unknown.")
        return Principal(issuer="i", subject=token, client_id="c", token_digest=digest, expires_at=self.expires_at)


def verifier_of(check: CountingCheck, clock: Clock, *, asks: bool = True) -> CachedVerifier:
    budget = CallBudget(clock) if asks else None
    return CachedVerifier(check, digest=lambda token: f"d:{token}", now=clock, budget=budget)


@pytest.mark.threat("D11")
async def test_d11_garbage_costs_the_provider_little_and_good_users_go_on() -> None:
    clock, check = Clock(), CountingCheck("good")
    verifier = verifier_of(check, clock)
    assert await verifier.verify("good") is not None
    refused = held_up = 0
    for number in range(10_000):
        try:
            assert await verifier.verify(f"garbage-{number}") is None
            refused += 1
        except ProviderUnavailableError:
            held_up += 1
        if number % 500 == 0:
            clock.time += 61
        if number % 500 == 400:
            # Its answer is out of the cache and the budget is used up: the known token has calls of its own.
            assert await verifier.verify("good") is not None
    calls = len(check.asked) - check.asked.count("good")
    assert calls <= BURST_OF_UNKNOWN_TOKENS + 20 * 61 * UNKNOWN_TOKENS_PER_SECOND
    assert refused + held_up == 10_000
    assert held_up > 0
    assert check.asked.count("good") == 21


@pytest.mark.threat("D11")
async def test_d11_known_tokens_do_not_wait_behind_unknown_ones() -> None:
    clock, check = Clock(), CountingCheck("good")
    verifier = verifier_of(check, clock)
    assert await verifier.verify("good") is not None
    check.gate = asyncio.Event()
    clock.time += 61
    flood = [asyncio.create_task(verifier.verify(f"garbage-{number}")) for number in range(100)]
    await asyncio.sleep(0)
    asking = asyncio.create_task(verifier.verify("good"))
    async with asyncio.timeout(60):
        while "good" not in check.asked[1:]:
            await asyncio.sleep(0)
        check.gate.set()
        assert await asking is not None
        await asyncio.gather(*flood)


async def test_the_budget_fills_up_again() -> None:
    clock, check = Clock(), CountingCheck()
    verifier = verifier_of(check, clock)
    for number in range(BURST_OF_UNKNOWN_TOKENS):
        await verifier.verify(f"a-{number}")
    with pytest.raises(ProviderUnavailableError):
        await verifier.verify("b")
    # What was asked about already costs nothing.
    assert await verifier.verify("a-0") is None
    clock.time += 1 / UNKNOWN_TOKENS_PER_SECOND
    assert await verifier.verify("b") is None
    with pytest.raises(ProviderUnavailableError):
        await verifier.verify("c")


@pytest.mark.threat("V14")
async def test_v14_a_failure_is_no_answer_and_is_not_remembered() -> None:
    clock, check = Clock(), CountingCheck("good")
    verifier = verifier_of(check, clock)
    check.fails = True
    with pytest.raises(ProviderUnavailableError) as caught:
        await verifier.verify("good")
    assert caught.value.why == "It answered a riddle."
    check.fails = False
    assert await verifier.verify("good") is not None


@pytest.mark.threat("V14")
async def test_v14_a_revoked_token_is_refused_within_a_minute_and_is_then_unknown() -> None:
    clock, check = Clock(), CountingCheck("good")
    verifier = verifier_of(check, clock)
    assert await verifier.verify("good") is not None
    check.good.clear()
    clock.time += 59
    assert await verifier.verify("good") is not None
    clock.time += 1
    assert await verifier.verify("good") is None
    assert check.asked == ["good", "good"]


async def test_a_good_answer_ends_with_its_token() -> None:
    clock, check = Clock(), CountingCheck("good")
    check.expires_at = clock.time + 10
    verifier = verifier_of(check, clock)
    assert await verifier.verify("good") is not None
    check.good.clear()
    clock.time += 10
    assert await verifier.verify("good") is None


async def test_a_check_that_computes_has_no_budget_and_its_refusals_are_not_remembered() -> None:
    clock, check = Clock(), CountingCheck()
    verifier = verifier_of(check, clock, asks=False)
    for number in range(BURST_OF_UNKNOWN_TOKENS * 2):
        assert await verifier.verify(f"a-{number}") is None
    check.good.add("a-0")
    assert await verifier.verify("a-0") is not None


async def test_the_reason_of_a_refusal_goes_to_the_log_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    verifier = verifier_of(CountingCheck(), Clock())
    with caplog.at_level(logging.DEBUG):
        await verifier.verify("canary-token")
        assert await verifier.explain("canary-token") == "Unknown."
    assert "Unknown." in caplog.text
    assert "canary" not in caplog.text
