"""The start is spared by collections, and what comes after it is collected as ever."""

import gc
from collections.abc import Iterator

import pytest

from fluidmcp.gateway.garbage import YOUNG_OBJECTS, spare_the_start, spare_what_was_loaded


class Node:
    """Refers to itself: only a collection ends it, which is noted in `ended`."""

    def __init__(self, ended: list[None]) -> None:
        self.itself = self
        self._ended = ended

    def __del__(self) -> None:
        self._ended.append(None)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_no_collection_looks_at_what_the_start_made() -> None:
    made = [Node([]) for _ in range(1000)]
    assert gc.is_tracked(made)
    spare_the_start()
    assert gc.get_freeze_count() > len(made)
    looked_at = {id(each) for each in gc.get_objects()}
    assert looked_at.isdisjoint(map(id, made))


def test_cycles_that_are_made_later_go_away_by_themselves() -> None:
    spare_the_start()
    ended: list[None] = []
    for _ in range(100_000):
        Node(ended)
    assert 100_000 - len(ended) <= YOUNG_OBJECTS


def test_what_is_loaded_later_is_spared_where_the_start_was() -> None:
    spare_what_was_loaded()
    assert gc.get_freeze_count() == 0
    spare_the_start()
    made = [Node([]) for _ in range(1000)]
    before = gc.get_freeze_count()
    spare_what_was_loaded()
    assert gc.get_freeze_count() >= before + len(made)
