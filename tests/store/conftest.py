"""Stores in a real server, for each test a new one with nothing in it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.store.running_redis import Replicas, RunningRedis, running_redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RunningRedis]:
    with running_redis(tmp_path) as running:
        yield running


@pytest.fixture
async def replicas(redis: RunningRedis) -> AsyncIterator[Replicas]:
    replicas = Replicas(redis)
    yield replicas
    await replicas.aclose()
