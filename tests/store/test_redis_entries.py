"""Names and seals of what is in Redis, without a server."""

import pytest

from fluidmcp.crypto.sealing import Sealer
from fluidmcp.store.redis_entries import SKEW_SECONDS, Entries
from tests.authorization_server.sealing_stage import seal_key
from tests.providers.login_gateway import Clock

CLOCK = Clock()


def entries(store: str = "grants", *keys: str, url: str = "https://a.example", now: Clock = CLOCK) -> Entries:
    return Entries(store, Sealer([seal_key(key) for key in keys or ("one",)]), public_url=url, now=now)


def test_names_tell_the_store_and_nothing_of_the_key_and_are_the_same_everywhere() -> None:
    (name,) = entries().name("value", "a guessed key")
    assert name.startswith("fmcp1:{grants}:")
    assert "guessed" not in name
    assert entries().name("value", "a guessed key") == [name]
    others = [
        entries("codes").name("value", "a guessed key"),
        entries("grants", "two").name("value", "a guessed key"),
        entries(url="https://b.example").name("value", "a guessed key"),
        entries().name("count", "a guessed key"),
        entries().name("lock", "a guessed key"),
        entries().name("value", "another key"),
    ]
    assert len({name, *(one for (one,) in others)}) == 7


@pytest.mark.threat("D16")
def test_d16_a_value_opens_only_under_its_own_key_in_its_own_store_whole() -> None:
    sealed = entries().seal("k", b"a secret value", ttl_seconds=60)
    assert b"secret" not in sealed
    assert entries().open("k", sealed) == b"a secret value"
    assert entries().open("other", sealed) is None
    assert entries("codes").open("k", sealed) is None
    assert entries(url="https://b.example").open("k", sealed) is None
    assert entries("grants", "two").open("k", sealed) is None
    for forged in (
        sealed[:-1],
        sealed[1:],
        sealed + b"A",
        b"",
        b"revoked",
        b"\xff\x00",
        sealed.replace(b"fmcp1", b"fmcp2"),
    ):
        assert entries().open("k", forged) is None


@pytest.mark.threat("D16")
def test_d16_a_value_that_is_brought_back_ends_when_it_would_have_ended() -> None:
    now = Clock()
    sealed = entries(now=now).seal("k", b"v", ttl_seconds=60)
    now.time += 60 + SKEW_SECONDS
    assert entries(now=now).open("k", sealed) == b"v"
    now.time += 0.01
    assert entries(now=now).open("k", sealed) is None


def test_every_step_of_a_change_of_keys_shares_a_name_with_the_steps_beside_it() -> None:
    steps = [("old",), ("old", "new"), ("new", "old"), ("new",)]
    names = [entries("grants", *step).name("value", "k") for step in steps]
    assert names[1][0] == names[0][0]
    assert set(names[1]) == set(names[2])
    assert names[2][0] == names[3][0]
    sealed = entries("grants", "old").seal("k", b"v", ttl_seconds=60)
    assert [entries("grants", *step).open("k", sealed) for step in steps] == [b"v", b"v", b"v", None]
