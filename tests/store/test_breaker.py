"""Nobody waits for what has just been waited for in vain."""

from fluidmcp.store.breaker import PAUSE_SECONDS, Breaker
from tests.providers.login_gateway import Clock

LONGEST_SECONDS = 2.0


def test_one_tries_after_the_pause_and_the_next_after_the_longest_try() -> None:
    clock = Clock()
    breaker = Breaker(longest_seconds=LONGEST_SECONDS, now=clock)
    began_at = breaker.begin()
    assert began_at is not None and breaker.begin() is not None
    breaker.time_out(began_at)
    assert breaker.begin() is None
    clock.time += PAUSE_SECONDS
    assert breaker.begin() is not None
    assert breaker.begin() is None
    clock.time += LONGEST_SECONDS
    assert breaker.begin() is not None, "the one who tried was called off, and told nobody"


def test_an_answer_says_more_than_who_had_asked_before_it() -> None:
    clock = Clock()
    breaker = Breaker(longest_seconds=LONGEST_SECONDS, now=clock)
    early = breaker.begin()
    assert early is not None
    clock.time += 1
    breaker.answer()
    breaker.time_out(early)
    assert breaker.begin() is not None
    breaker.time_out(clock.time)
    assert breaker.begin() is None
    breaker.answer()
    assert breaker.begin() is not None
