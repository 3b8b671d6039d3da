"""For how long "who is this?" is answered from memory: a second, the token's life, and until anything changes."""

import pytest

from fluidmcp.authentication.person import HeldLogin, Person
from fluidmcp.authentication.principal import Principal
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.remembered import REMEMBERED_SECONDS, Memory
from fluidmcp.store.deny_list import DenyList, MemoryPlace
from fluidmcp.store.memory import Fence, MemoryStore, Store


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class ForeignStore:
    """A store that others write to as well: nothing tells when they do."""

    lock = MemoryStore(max_entries=1).lock

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None: ...
    async def get(self, key: str) -> bytes | None: ...
    async def take(self, key: str) -> bytes | None: ...
    async def count(self, key: str, *, window_seconds: float) -> int:
        return 1


HELD = (HeldLogin("", Person("i", "s"), "t"),)


def somebody(expires_at: float | None = None) -> Principal:
    return Principal(issuer="i", subject="s", client_id="c", token_digest="d", expires_at=expires_at)


@pytest.mark.parametrize(
    ("caller", "seconds"),
    [
        (Caller(somebody(), HELD), REMEMBERED_SECONDS),
        (Caller(somebody(expires_at=1000.25), HELD), 0.25),
        (Caller(somebody(expires_at=1000.5), HELD, good_until=1000.125), 0.125),
        (Caller(None), REMEMBERED_SECONDS),
    ],
)
def test_a_caller_is_remembered_for_a_second_and_not_beyond_the_token(caller: Caller, seconds: float) -> None:
    clock = Clock()
    memory = Memory((), DenyList(MemoryPlace()), now=clock)
    remembered = memory.remember(caller)
    assert memory.find(remembered) is caller
    clock.seconds += seconds
    assert memory.find(remembered) is None


@pytest.mark.parametrize("change", ["put", "take", "removal"])
async def test_any_change_of_what_is_known_of_tokens_ends_what_is_remembered(change: str) -> None:
    stores = MemoryStore(max_entries=9), MemoryStore(max_entries=9)
    memory = Memory(stores, DenyList(MemoryPlace()), now=Clock())
    remembered = memory.remember(Caller(somebody(), HELD))
    assert memory.find(remembered) is not None
    if change == "take":
        await stores[1].take("grant")
    else:
        await stores[1].put("grant", b"revoked", ttl_seconds=9 if change == "put" else 0)
    assert memory.find(remembered) is None


def test_where_others_write_too_nothing_is_remembered() -> None:
    stores: tuple[Store, ...] = (MemoryStore(max_entries=9), ForeignStore())
    memory = Memory(stores, DenyList(MemoryPlace()), now=Clock())
    assert memory.remember(Caller(somebody(), HELD)) is None
    assert memory.find(None) is None


async def test_whoever_is_shut_out_is_asked_for_again() -> None:
    denied = DenyList(MemoryPlace())
    memory = Memory((), denied, now=Clock())
    remembered = memory.remember(Caller(somebody()))
    assert memory.find(remembered) is not None
    await denied.revoke("somebody else")
    assert memory.find(remembered) is None
