"""A store on several real servers: behind Sentinels, and in a cluster."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError, StoreUnavailableError
from fluidmcp.store.redis_server import RedisServer
from tests.store.running_group import WatchedRedis, running_cluster, until_whole, watched_redis
from tests.store.running_redis import LIMIT_SECONDS, Replicas, RunningRedis

pytestmark = pytest.mark.needs("redis-server")

PASSWORD = "the-password-of-the-servers"
SENTINEL_PASSWORD = "the-password-of-the-sentinels"
STORES = ("pending_auth_states", "handed_out", "grants", "codes")


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[WatchedRedis]:
    async with watched_redis(tmp_path, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD) as running:
        yield running


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[list[RunningRedis]]:
    async with running_cluster(tmp_path) as nodes:
        yield nodes


async def checked(url: Secret) -> None:
    server = RedisServer(url, command_seconds=LIMIT_SECONDS)
    try:
        await server.check()
    finally:
        await server.aclose()


async def refusal(url: Secret) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await checked(url)
    told = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert PASSWORD not in told
    return told


@pytest.mark.threat("E16")
async def test_e16_a_replica_in_the_place_of_its_primary_gives_each_value_once_more_at_most(
    watched: WatchedRedis,
) -> None:
    replicas = Replicas(watched.primary)
    url = watched.url()
    await checked(url)
    store, other = replicas.store(url=url), replicas.store(url=url)
    await store.put("code", b"c", ttl_seconds=6000)
    await store.put("used", b"u", ttl_seconds=6000)
    assert await other.take("used") == b"u"
    assert await store.count("address", window_seconds=6000) == 1
    await watched.fail_over()
    assert [await store.take("used"), await store.count("address", window_seconds=6000)] == [None, 2]
    taken = await asyncio.gather(*(one.take("code") for one in (store, other) * 5))
    assert [value for value in taken if value is not None] == [b"c"]
    async with store.lock("k", ttl_seconds=60, wait_seconds=LIMIT_SECONDS) as fence:
        await store.put("k", b"v", ttl_seconds=6000, fence=fence)
    assert await other.get("k") == b"v"
    await replicas.aclose()


@pytest.mark.threat("E16")
async def test_e16_while_no_replica_has_taken_over_it_is_told(watched: WatchedRedis) -> None:
    replicas = Replicas(watched.primary)
    store = replicas.store(url=watched.url())
    await store.put("k", b"v", ttl_seconds=6000)
    watched.replica.kill()
    watched.primary.kill()
    with pytest.raises(StoreUnavailableError):
        await store.get("k")
    await replicas.aclose()


async def test_sentinels_that_do_not_help_are_told_at_start(watched: WatchedRedis) -> None:
    assert "No Sentinel that answers knows a primary server of that name" in await refusal(watched.url(name="other"))
    assert "The Sentinels want another password" in await refusal(watched.url(password="wrong"))
    nobody = Secret("redis+sentinel://127.0.0.1:1/mymaster")
    assert "No Sentinel that answers" in await refusal(nobody)


async def test_a_cluster_serves_each_store_from_one_of_its_nodes(cluster: list[RunningRedis]) -> None:
    replicas = Replicas(cluster[0])
    url = Secret(f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster[1].port}")
    await checked(url)
    for name in STORES:
        store, other = replicas.store(name, "old", "new", url=url), replicas.store(name, "new", "old", url=url)
        await store.put("k", b"v", ttl_seconds=6000)
        assert [await other.get("k"), await other.take("k"), await store.take("k")] == [b"v", b"v", None]
        assert [await one.count("k", window_seconds=6000) for one in (store, other)] == [1, 2]
        async with store.lock("k", ttl_seconds=60, wait_seconds=LIMIT_SECONDS) as fence:
            await store.put("k", b"w", ttl_seconds=6000, fence=fence)
        taken = await asyncio.gather(*(one.take("k") for one in (store, other) * 10))
        assert [value for value in taken if value is not None] == [b"w"]
    used = 0
    for node in cluster:
        async with node.client() as reader:
            used += bool(await reader.dbsize())
    assert used > 1, "they are not all in one place"
    await replicas.aclose()


async def test_a_user_with_the_documented_rights_is_enough_for_a_cluster(cluster: list[RunningRedis]) -> None:
    page = Path("docs/scaling.md").read_text(encoding="utf-8")
    (rights,) = [line for line in page.splitlines() if line.startswith("ACL SETUSER")]
    (more,) = re.findall(r"in a cluster also `([^`]+)`", page)
    for node in cluster:
        async with node.client() as operator:
            await operator.execute_command(*f"{rights} {more}".replace("PASSWORD", PASSWORD).split())
            await operator.execute_command("ACL", "SETUSER", "default", "off")
        node.user, node.password = "fluidmcp", PASSWORD
    replicas = Replicas(cluster[0])
    url = Secret(f"redis+cluster://fluidmcp:{PASSWORD}@127.0.0.1:{cluster[0].port}")
    await checked(url)
    store = replicas.store(url=url)
    await store.put("k", b"v", ttl_seconds=60)
    assert [await store.get("k"), await store.take("k"), await store.count("k", window_seconds=60)] == [b"v", b"v", 1]
    await replicas.aclose()


@pytest.mark.threat("E16")
async def test_e16_a_node_that_is_away_is_told_and_comes_back_by_itself(cluster: list[RunningRedis]) -> None:
    replicas = Replicas(cluster[0])
    store = replicas.store(url=Secret(f"redis+cluster://127.0.0.1:{cluster[0].port}"))
    await store.put("k", b"v", ttl_seconds=6000)
    for node in cluster:
        node.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.get("k")
    for node in cluster:
        node.start()
    for node in cluster:
        await until_whole(node)
    await store.put("k", b"w", ttl_seconds=6000)
    assert await store.take("k") == b"w"
    await replicas.aclose()
