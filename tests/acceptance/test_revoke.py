"""`fluidmcp revoke` and `allow` by the executables: on the machine, in Redis, and from somewhere else."""

import asyncio
import base64
import json
import secrets
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.harness import RunningGateway, run_fluidmcp, start_fluidmcp
from tests.acceptance.persons import ENVIRONMENT, LIMIT_SECONDS, ask, running_persons, token
from tests.store.running_redis import RunningRedis, running_redis

SERVER: Final = Path(__file__).parent.parent / "servers" / "stdlib_server.py"
TOKEN: Final = "token-of-everybody-0123456789"


def write_config(folder: Path, auth: dict[str, Any] | None = None) -> str:
    entry = {"command": sys.executable, "args": ["-I", str(SERVER)], **({} if auth is None else {"auth": auth})}
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"mail": entry}}), encoding="utf-8")
    return str(path)


async def is_let_in(gateway: RunningGateway, person: str) -> bool:
    answer = await ask(gateway, "mail", token=token(person))
    assert "result" in answer or answer["error"] == "forbidden", answer
    return "result" in answer


async def wait_until(gateway: RunningGateway, person: str, *, is_in: bool) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while await is_let_in(gateway, person) is not is_in:
            pass


async def read_all(redis: RunningRedis) -> bytes:
    """The values of the deny list as somebody who reads Redis sees them."""
    async with redis.client() as client:
        names = [name for name in await client.keys("fmcp1:*deny_list*") if await client.type(name) == b"string"]
        return b" ".join([await client.get(name) for name in names])


@pytest.mark.threat("E21")
async def test_e21_a_person_is_out_until_allowed_and_a_restart_changes_nothing(tmp_path: Path) -> None:
    env = {**ENVIRONMENT, "HOME": str(tmp_path)}
    async with running_persons() as auth:
        config = write_config(tmp_path, auth)
        async with start_fluidmcp("run", config, "--start-server", env=env, cwd=tmp_path) as gateway:
            assert await is_let_in(gateway, "ada") and await is_let_in(gateway, "bo")
            revoked = await run_fluidmcp("revoke", "ada", env=env)
            assert (revoked.code, revoked.stdout) == (0, "ada is shut out of all packages.\n"), revoked.stderr
            assert "deny-list.json" in revoked.stderr
            await wait_until(gateway, "ada", is_in=False)
            assert await is_let_in(gateway, "bo")
            assert await gateway.stop() == 0
        async with start_fluidmcp("run", config, "--start-server", env=env, cwd=tmp_path) as gateway:
            assert not await is_let_in(gateway, "ada")
            listed = await run_fluidmcp("revoke", "--list", env=env)
            assert "ada      (all)" in listed.stdout
            allowed = await run_fluidmcp("allow", "ada", env=env)
            assert allowed.stdout == "ada may log in again to all packages.\n"
            await wait_until(gateway, "ada", is_in=True)
    assert (
        await run_fluidmcp("allow", "ada", env=env)
    ).stdout == "Nothing changed: no entry shuts ada out of all packages.\n"
    assert (await run_fluidmcp("revoke", "--list", env=env)).stdout == "Nobody is shut out.\n"


async def test_a_broken_list_keeps_a_gateway_from_starting(tmp_path: Path) -> None:
    deny_list = tmp_path / "people.json"
    deny_list.write_text("nonsense")
    env = {"FMCP_DENY_LIST": str(deny_list)}
    refused = await run_fluidmcp("run", write_config(tmp_path), "--start-server", env=env, cwd=tmp_path)
    assert refused.code == 2
    assert "deny list" in refused.stderr and "FMCP_DENY_LIST" in refused.stderr


@pytest.mark.needs("redis-server")
@pytest.mark.threat("E21")
async def test_e21_the_list_of_gateways_with_a_redis_is_there(tmp_path: Path) -> None:
    keys = base64.b64encode(secrets.token_bytes(32)).decode()
    with running_redis(tmp_path) as redis:
        shared = {"FMCP_REDIS_URL": redis.url.reveal(), "FMCP_SEAL_KEYS": keys, "HOME": str(tmp_path)}
        env = {**ENVIRONMENT, **shared}
        async with running_persons() as auth:
            config = write_config(tmp_path, auth)
            async with start_fluidmcp("run", config, "--start-server", env=env, cwd=tmp_path) as gateway:
                assert await is_let_in(gateway, "ada")
                assert (await run_fluidmcp("revoke", "ada", "--package", "mail", env=shared)).code == 0
                await wait_until(gateway, "ada", is_in=False)
                without = {name: value for name, value in shared.items() if name != "FMCP_SEAL_KEYS"}
                assert "FMCP_SEAL_KEYS" in (await run_fluidmcp("revoke", "ada", env=without)).stderr
        dump = await read_all(redis)
        assert dump and b"ada" not in dump
    assert not (tmp_path / ".fluidmcp" / "deny-list.json").exists()


async def test_from_somewhere_else_with_the_operators_token(tmp_path: Path) -> None:
    env = {"FMCP_SECURE_TOKEN": TOKEN, "HOME": str(tmp_path)}
    command = ("run", write_config(tmp_path), "--start-server", "--secure")
    async with start_fluidmcp(*command, env=env, cwd=tmp_path) as gateway:
        done = await run_fluidmcp("revoke", "ada", "--url", gateway.url, env=env)
        assert (done.code, done.stdout) == (0, "ada is shut out of all packages.\n"), done.stderr
        listed = await run_fluidmcp("revoke", "--list", "--url", gateway.url, env=env)
        assert "ada" in listed.stdout
        refused = await run_fluidmcp("revoke", "ada", "--url", gateway.url, env={"FMCP_SECURE_TOKEN": TOKEN + "x"})
        assert refused.code == 2
        assert TOKEN not in refused.stderr + listed.stderr + done.stderr
        nobody = await run_fluidmcp("revoke", "ada", "--url", gateway.url, env={"HOME": str(tmp_path)})
        assert nobody.code != 0
    gone = await run_fluidmcp("revoke", "ada", "--url", gateway.url, env=env)
    assert (gone.code, "does not answer" in gone.stderr) == (1, True)
