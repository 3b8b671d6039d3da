import pytest

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.session import SESSION_SECONDS, SWEEP_SECONDS, SessionTable
from fluidmcp.errors import CapacityError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def principal(subject: str, *scopes: str, client_id: str = "c", digest: str = "d") -> Principal:
    return Principal(
        issuer="https://as.example",
        subject=subject,
        client_id=client_id,
        token_digest=digest,
        scopes=frozenset(scopes),
    )


def table(clock: Clock | None = None, *, in_all: int = 10, each: int = 3) -> SessionTable:
    return SessionTable(max_sessions=in_all, max_sessions_per_principal=each, idle_seconds=60, now=clock or Clock())


def test_a_session_is_found_by_its_owner_with_any_of_the_owners_tokens() -> None:
    sessions = table()
    session = sessions.open("mail", principal("ada", "read", digest="1"), b"{}")
    assert sessions.find(session.session_id, "mail", principal("ada", "read", digest="2")) is session
    assert len(session.session_id) >= 43


@pytest.mark.threat("B32")
@pytest.mark.parametrize("stranger", [principal("grace", "read"), None])
def test_b32_for_everybody_else_a_session_does_not_exist(stranger: Principal | None) -> None:
    sessions = table()
    session = sessions.open("mail", principal("ada", "read"), b"{}")
    assert sessions.find(session.session_id, "mail", stranger) is None
    assert sessions.find(session.session_id, "calendar", principal("ada", "read")) is None


@pytest.mark.threat("D06")
@pytest.mark.parametrize("weaker", [principal("ada", "read"), principal("ada", "read", "send", client_id="other")])
def test_d06_a_token_with_fewer_scopes_or_of_another_client_does_not_find_the_session(weaker: Principal) -> None:
    sessions = table()
    session = sessions.open("mail", principal("ada", "read", "send"), b"{}")
    assert sessions.find(session.session_id, "mail", weaker) is None
    assert sessions.find(session.session_id, "mail", principal("ada", "read", "send", "all")) is session


@pytest.mark.threat("D12")
def test_d12_a_quota_refuses_its_owner_and_nobody_else() -> None:
    sessions = table(each=3)
    for _ in range(3):
        sessions.open("mail", principal("ada"), b"{}")
    with pytest.raises(CapacityError) as caught:
        sessions.open("mail", principal("ada"), b"{}")
    assert caught.value.retry_after_seconds > 0
    sessions.open("mail", principal("grace"), b"{}")


def test_at_its_quota_an_owners_longest_unused_session_makes_room_once_it_is_idle() -> None:
    clock = Clock()
    sessions = table(clock, each=2)
    first, second = (sessions.open("mail", principal("ada"), b"{}") for _ in range(2))
    clock.now += 61
    assert sessions.find(first.session_id, "mail", principal("ada")) is first
    third = sessions.open("mail", principal("ada"), b"{}")
    assert sessions.find(second.session_id, "mail", principal("ada")) is None
    assert sessions.find(first.session_id, "mail", principal("ada")) is first
    assert sessions.find(third.session_id, "mail", principal("ada")) is third


def test_where_the_gateway_is_full_nobody_loses_a_session_to_somebody_else() -> None:
    clock = Clock()
    sessions = table(clock, in_all=2)
    kept = [sessions.open("mail", principal("ada"), b"{}") for _ in range(2)]
    clock.now += 61
    with pytest.raises(CapacityError):
        sessions.open("mail", principal("grace"), b"{}")
    assert all(sessions.find(session.session_id, "mail", principal("ada")) for session in kept)


def test_closed_sessions_leave_nothing() -> None:
    sessions = table()
    session = sessions.open("mail", principal("ada"), b"{}")
    sessions.close(session)
    sessions.close(session)
    assert len(sessions) == 0
    assert sessions.find(session.session_id, "mail", principal("ada")) is None


async def test_a_session_that_nobody_uses_for_a_day_ends() -> None:
    clock = Clock()
    sessions = table(clock)
    forgotten, used, listening, busy = (sessions.open("mail", principal(name), b"{}") for name in ("a", "b", "c", "d"))
    reader = listening.streams.general.read()
    busy.in_flight[b"1"] = Exchange(1, "tools/call", client_token=None, wants_notifications=False)
    clock.now += SESSION_SECONDS - 1
    assert sessions.find(used.session_id, "mail", principal("b")) is used
    clock.now += 1
    sessions.open("mail", principal("e"), b"{}")
    assert len(sessions) == 4
    assert sessions.find(forgotten.session_id, "mail", principal("a")) is None
    reader.leave()
    clock.now += 1
    sessions.open("mail", principal("f"), b"{}")
    assert len(sessions) == 5, "looked for again too soon"
    clock.now += SWEEP_SECONDS
    sessions.open("mail", principal("g"), b"{}")
    assert sessions.find(listening.session_id, "mail", principal("c")) is None
    assert sessions.find(busy.session_id, "mail", principal("d")) is busy
