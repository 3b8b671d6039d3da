"""Which servers a gateway starts with, and what is told of the others; the address is never shown whole."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError
from fluidmcp.store import deferred
from fluidmcp.store.redis_server import RedisServer
from tests.known_servers.certificate import write_certificate
from tests.store.running_redis import LIMIT_SECONDS, Replicas, RunningRedis, running_redis

pytestmark = pytest.mark.needs("redis-server")

PASSWORD = "correct-horse"


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[RedisServer]:
    server = RedisServer(Secret(url))
    try:
        yield server
    finally:
        await server.aclose()


async def refusal(url: str) -> ConfigurationError:
    async with connected(url) as server:
        with pytest.raises(ConfigurationError) as caught:
            await server.check()
    told = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert PASSWORD not in told and PASSWORD not in repr(server)
    return caught.value


async def test_a_good_server_is_taken_without_a_word(redis: RunningRedis, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(redis.url.reveal()) as server:
        await server.check()
        assert repr(server) == f"RedisServer(127.0.0.1:{redis.port})"
    assert not caplog.records


@pytest.mark.threat("E16")
async def test_e16_a_server_that_is_not_there_or_keeps_us_out_is_told_at_start(tmp_path: Path) -> None:
    with running_redis(tmp_path, requirepass=PASSWORD) as running:
        async with connected(running.url.reveal()) as server:
            await server.check()
        for wrong, why in (
            ("", "wants a password"),
            (":wrong@", "this password"),
            ("somebody:wrong@", "this password"),
        ):
            refused = await refusal(f"redis://{wrong}127.0.0.1:{running.port}")
            assert "does not let the gateway in" in refused.what and why in refused.why
        url = running.url.reveal()
        # It waits for the rest of what it takes for a command.
        assert "rediss:// is for servers with TLS" in (await refusal(url.replace("redis://", "rediss://"))).hint
        other_kind = url.replace("redis://", "redis+cluster://").removesuffix("/0")
        assert "a single server, for which the address begins with redis://" in (await refusal(other_kind)).why
    for gone in (url, url.replace("127.0.0.1", "localhost"), url.replace("redis://", "redis+cluster://")):
        refused = await refusal(gone)
        assert "cannot be reached" in refused.what and "Nothing listens there" in refused.why
    assert "not known to DNS" in (await refusal("redis://no-such-host.invalid")).why
    assert "A file of certificates" in (await refusal("rediss://127.0.0.1?ssl_ca_certs=/nowhere")).why


async def test_a_server_that_does_not_answer_is_not_waited_for(redis: RunningRedis) -> None:
    with redis.stopped():
        async with asyncio.timeout(LIMIT_SECONDS):
            refused = await refusal(redis.url.reveal())
            assert "cannot be reached" in refused.what and "did not answer in time" in refused.why


async def test_a_server_that_throws_entries_away_when_it_is_full_is_refused(
    redis: RunningRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis.client() as operator:
        await operator.config_set("maxmemory-policy", "allkeys-lru")
        async with connected(redis.url.reveal()) as server:
            await server.check()
        assert "allkeys-lru" in caplog.text
        await operator.config_set("maxmemory", "100mb")
    refused = await refusal(redis.url.reveal())
    assert "allkeys-lru" in refused.why and "noeviction" in refused.hint


async def test_a_replica_is_refused(redis: RunningRedis) -> None:
    async with redis.client() as operator:
        await operator.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert "takes no writes" in (await refusal(redis.url.reveal())).what


async def test_a_user_who_may_not_even_ask_whether_it_is_there_is_told_what_is_missing(redis: RunningRedis) -> None:
    async with redis.client() as operator:
        await operator.execute_command("ACL", "SETUSER", "few", "on", f">{PASSWORD}", "~fmcp1:*", "+info", "+select")
    refused = await refusal(redis.url.reveal().replace("://:", f"://few:{PASSWORD}"))
    assert "does not let the gateway in" in refused.what and "may not use ping" in refused.why


async def test_a_user_with_the_documented_rights_is_enough(
    redis: RunningRedis, replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    page = Path("docs/scaling.md").read_text(encoding="utf-8")
    (rights,) = [line for line in page.splitlines() if line.startswith("ACL SETUSER")]
    async with redis.client() as operator:
        await operator.execute_command(*rights.replace("PASSWORD", PASSWORD).split())
        await operator.execute_command("ACL", "SETUSER", "default", "off")
        redis.user, redis.password = "fluidmcp", PASSWORD
        async with connected(redis.url.reveal()) as server:
            await server.check()
        store = replicas.store()
        async with store.lock("k", ttl_seconds=60, wait_seconds=LIMIT_SECONDS) as fence:
            await store.put("k", b"v", ttl_seconds=60, fence=fence)
        got = [await store.get("k"), await store.take("k"), await store.count("k", window_seconds=60)]
        assert got == [b"v", b"v", 1]
        assert not caplog.records
        assert await operator.acl_log() == [], "nothing was refused on the way either"


async def test_a_server_with_tls_is_checked_by_its_certificate(redis: RunningRedis, tmp_path: Path) -> None:
    authority, certificate = write_certificate(tmp_path, ["redis.example"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", redis.port)
        await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as tls:
        port = tls.sockets[0].getsockname()[1]
        async with connected(f"rediss://localhost:{port}/0?ssl_ca_certs={authority}") as server:
            await server.check()
        for wrong, why in (
            (f"rediss://localhost:{port}", "signed by nobody whom this machine trusts"),
            (f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}", "is for another address"),
            (f"redis://localhost:{port}", "servers with TLS want rediss://"),
        ):
            assert why in (await refusal(wrong)).why


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while read := await reader.read(65536):
            writer.write(read)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> object:
        raise ModuleNotFoundError("No module named 'redis'")

    monkeypatch.setattr(deferred, "__getattr__", missing)
    with pytest.raises(ConfigurationError) as caught:
        RedisServer(Secret(f"redis://:{PASSWORD}@127.0.0.1"))
    assert ".[redis]" in caught.value.hint
