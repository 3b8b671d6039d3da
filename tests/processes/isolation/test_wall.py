"""What each level of isolation means on each kind of machine, and what is said where it cannot be had."""

import pwd
from itertools import pairwise, product

import pytest

from fluidmcp.config.isolation import LEVELS, IsolationLevel, parse_level
from fluidmcp.errors import ConfigurationError
from fluidmcp.processes.isolation.wall import NO_MACHINE, UserIds, Wall, choose_wall, refuse_accounts, refuse_none
from fluidmcp.processes.starter_child.landlock import SCOPES_ABI
from fluidmcp.processes.starter_child.order import Machine

IDS = range(200_000, 200_010)
WHOLE = Machine(landlock_abi=SCOPES_ABI, no_landlock="", no_namespaces="", no_user_ids="")
NO_LANDLOCK = WHOLE._replace(landlock_abi=0, no_landlock="Function not implemented")
NO_NAMESPACES = WHOLE._replace(no_namespaces="clone: Operation not permitted")
NO_USER_IDS = WHOLE._replace(no_user_ids="it has no CAP_SETUID")
OLD = WHOLE._replace(landlock_abi=SCOPES_ABI - 1)


@pytest.mark.parametrize(
    ("level", "machine", "user_ids", "described"),
    [
        ("auto", WHOLE, IDS, "landlock+uid+namespace"),
        ("auto", WHOLE, None, "landlock+namespace"),
        ("auto", NO_NAMESPACES, IDS, "landlock+uid"),
        ("auto", NO_USER_IDS, IDS, "landlock+namespace"),
        ("auto", NO_NAMESPACES, None, "landlock"),
        # Without Landlock the others are no wall between people.
        ("auto", NO_LANDLOCK, IDS, "none"),
        ("auto", NO_MACHINE, IDS, "none"),
        ("landlock", WHOLE, IDS, "landlock"),
        ("landlock", NO_NAMESPACES._replace(no_user_ids="no"), None, "landlock"),
        ("uid", WHOLE, IDS, "landlock+uid"),
        ("uid", NO_NAMESPACES, IDS, "landlock+uid"),
        ("namespace", WHOLE, IDS, "landlock+uid+namespace"),
        ("namespace", WHOLE, None, "landlock+namespace"),
        ("namespace", NO_USER_IDS, IDS, "landlock+namespace"),
        ("none", WHOLE, IDS, "none"),
        ("none", NO_MACHINE, None, "none"),
    ],
)
def test_a_level_means_what_the_machine_has_of_it(
    level: IsolationLevel, machine: Machine, user_ids: range | None, described: str
):
    wall = choose_wall(level, machine, user_ids)
    assert wall.describe() == described
    assert wall.is_none == (described == "none")


@pytest.mark.threat("E06")
@pytest.mark.parametrize(
    ("level", "machine", "user_ids", "why", "hint"),
    [
        ("landlock", NO_LANDLOCK, IDS, "landlock is missing: Function not implemented.", "lsm=landlock"),
        ("landlock", NO_MACHINE, None, "landlock is missing: it needs Linux on x86_64 or aarch64.", "Linux 5.13"),
        ("uid", NO_LANDLOCK, IDS, "landlock is missing: Function not implemented.", "lsm=landlock"),
        ("uid", NO_USER_IDS, IDS, "uid is missing: it has no CAP_SETUID.", "CAP_SETUID"),
        ("uid", WHOLE, None, "uid is missing: FMCP_UID_RANGE is not set.", "FMCP_UID_RANGE=200000-200999"),
        ("namespace", NO_LANDLOCK, IDS, "landlock is missing: Function not implemented.", "lsm=landlock"),
        ("namespace", NO_NAMESPACES, IDS, "namespace is missing: clone: Operation not permitted.", "CAP_SYS_ADMIN"),
    ],
)
def test_a_level_that_was_asked_for_by_its_name_is_never_silently_less(
    level: IsolationLevel, machine: Machine, user_ids: range | None, why: str, hint: str
):
    with pytest.raises(ConfigurationError) as caught:
        choose_wall(level, machine, user_ids)
    assert caught.value.what == f"The isolation `{level}` cannot be had on this machine."
    assert caught.value.why == why
    assert hint in caught.value.hint
    assert "FMCP_ISOLATION" in caught.value.hint


@pytest.mark.threat("E06")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("user_ids", [IDS, None], ids=["ids", "no-ids"])
def test_every_level_on_every_machine_has_what_its_name_says_or_is_refused(level: str, user_ids: range | None):
    for lacks in product(("", "no"), repeat=3):
        machine = Machine(0 if lacks[0] else SCOPES_ABI, *lacks)
        try:
            wall = choose_wall(parse_level(level), machine, user_ids)
        except ConfigurationError:
            assert level not in ("auto", "none")
            continue
        assert not wall.has_landlock or not lacks[0]
        assert not wall.has_namespaces or not lacks[1]
        assert not wall.has_user_ids or (not lacks[2] and user_ids is not None)
        assert wall.has_landlock or not (wall.has_user_ids or wall.has_namespaces)
        assert level in ("auto", "none") or level in wall.describe().split("+")
        assert level != "none" or wall == Wall()


@pytest.mark.parametrize(
    ("level", "machine", "weakness"),
    [
        ("auto", WHOLE, ""),
        ("auto", WHOLE._replace(landlock_abi=SCOPES_ABI + 1), ""),
        ("auto", NO_LANDLOCK, "Landlock: Function not implemented"),
        ("auto", OLD, "Landlock ABI 5: signals and abstract sockets are not kept inside before Linux 6.12"),
        ("namespace", OLD, "Landlock ABI 5: signals and abstract sockets are not kept inside before Linux 6.12"),
        ("none", OLD, ""),
    ],
)
def test_what_a_wall_lacks_on_this_machine_is_told(level: IsolationLevel, machine: Machine, weakness: str):
    assert choose_wall(level, machine, None).weakness == weakness


@pytest.mark.threat("E06")
def test_who_chose_none_hears_what_that_means_for_others():
    error = refuse_none("mail", choose_wall("none", WHOLE, None), "none")
    assert error.what == "The server processes of 'mail' would not be isolated."
    assert error.why.startswith("Its isolation is `none`, and others than you use this gateway")
    assert "--allow-unisolated" in error.hint
    assert "auto" in error.hint


@pytest.mark.threat("E06")
def test_who_has_nothing_to_isolate_with_hears_what_is_missing():
    error = refuse_none("mail", choose_wall("auto", NO_LANDLOCK, None), "auto")
    assert error.what == "The server processes of 'mail' would not be isolated."
    assert "this machine has nothing to isolate with: Landlock: Function not implemented." in error.why
    assert "landlock_create_ruleset" in error.hint
    assert "--allow-unisolated" in error.hint


def test_a_user_id_belongs_to_one_process_at_a_time_and_the_longest_unused_is_next():
    ids = UserIds(range(1000, 1003))
    assert [ids.take() for _ in range(4)] == [1000, 1001, 1002, None]
    ids.give_back(1001)
    ids.give_back(1000)
    assert [ids.take(), ids.take(), ids.take()] == [1001, 1000, None]


def test_a_user_id_rests_as_long_as_the_range_allows():
    ids = UserIds(IDS)
    taken: list[int] = []
    for _ in range(3 * len(IDS)):
        user_id = ids.take()
        assert user_id is not None
        ids.give_back(user_id)
        taken.append(user_id)
    assert taken == [*IDS] * 3
    assert all(before != after for before, after in pairwise(taken))


def test_without_a_range_there_is_no_user_id():
    assert UserIds(None).take() is None


@pytest.mark.parametrize(
    ("wall", "described"),
    [
        (Wall(), "none"),
        (Wall(has_landlock=True), "landlock"),
        (Wall(has_landlock=True, has_namespaces=True), "landlock+namespace"),
        (Wall(has_landlock=True, has_user_ids=True, has_namespaces=True, weakness="old"), "landlock+uid+namespace"),
    ],
)
def test_a_wall_is_described_by_its_parts(wall: Wall, described: str):
    assert wall.describe() == described


def test_ids_that_have_an_account_are_refused() -> None:
    account = max(pwd.getpwall(), key=lambda account: account.pw_uid)
    refuse_accounts(range(account.pw_uid + 1, account.pw_uid + 10))
    with pytest.raises(ConfigurationError) as raised:
        refuse_accounts(range(account.pw_uid - 5, account.pw_uid + 1))
    assert f"{account.pw_uid} is the account `{account.pw_name}`" in str(raised.value.why)
