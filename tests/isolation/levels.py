"""Levels and users under which every attack is made, and what is expected of it there."""

import os
from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.isolation.rows import Row
from tests.isolation.world import User, World

USERS: Final[Sequence[User]] = ("root", "ordinary") if os.geteuid() == 0 else ("ordinary",)
"""Who is not root can be nobody else: then the other half is not tried."""
LEVELS: Final[dict[str, tuple[User, ...]]] = {
    "none": ("root", "ordinary"),
    "landlock": ("root", "ordinary"),
    "uid": ("root",),
    "namespace": ("root", "ordinary"),
    "auto": ("root",),
}
"""Users of their own are given out by root alone; for an ordinary user `auto` is `namespace`."""
WORLDS: Final = [(level, user) for level, users in LEVELS.items() for user in users if user in USERS]

WALLS: Final = [
    world
    for world in WORLDS
    if world in (("landlock", "ordinary"), ("uid", "root"), ("namespace", "ordinary"), ("auto", "root"))
]
"""One of each kind, where root and an ordinary user make no difference."""


def world_id(world: tuple[str, User]) -> str:
    return "-".join(world)


def expect(row: Row, world: World, told: dict[str, Any]) -> None:
    """Found exactly where the table says so, and never anything else on the way."""
    if "not on this machine" in told["detail"]:
        pytest.skip(told["detail"])
    if row.works(world.level, world.user):
        assert told["outcome"] == "found", told
        assert not row.seeks or row.seeks in told["markers"], told
    else:
        assert told["outcome"] in ("refused", "absent"), told
        assert told["markers"] == []
