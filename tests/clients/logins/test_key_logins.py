"""Real clients log in to a package whose people type keys, with nothing but the URL, and stay so through a restart.

All clients run at once against one gateway, each for another person; each has its own test of what it got.
"""

import hashlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.acceptance.harness import free_port
from tests.acceptance.keys import block, running_key_api
from tests.clients.logins.browser import OUR_CONSENT, OUR_KEYS
from tests.clients.logins.driving import CLIENTS, Client, DrivenClient, driven
from tests.clients.logins.test_logins import SERVER, Outcome, Outcomes, all_do, build_environ, start

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("node")]

KEYS: Final = {client.id: secrets.token_hex(16) for client in CLIENTS}


def write_config(folder: Path, address: str) -> Path:
    entry = {
        "command": sys.executable,
        "args": ["-I", str(SERVER)],
        "env": {"GMAIL_ACCESS_TOKEN": "${keys.api_key}", "OTHER": "${keys.app_key}"},
        "auth": block(address),
    }
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"dog": entry}}), encoding="utf-8")
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Outcomes]:
    """Every client through the whole story, at the same time."""
    folder, port = tmp_path_factory.mktemp("key-logins"), free_port()
    url, env = f"http://localhost:{port}", build_environ()
    seen = {client.id: Outcome() for client in CLIENTS}
    present = [client for client in CLIENTS if client.find_missing() is None]
    async with running_key_api() as (api, address), AsyncExitStack() as running:
        api.good.update(KEYS.values())
        config = write_config(folder, address)
        clients: dict[str, DrivenClient] = {}
        async with start(config, env, port) as gateway:
            for client in present:
                home = folder / client.id
                home.mkdir()
                keys = {"api_key": KEYS[client.id], "app_key": f"of {client.id}"}
                clients[client.id] = await running.enter_async_context(
                    driven(client, f"{url}/dog/mcp", home, gateway_url=url, keys=keys)
                )
            await all_do(use, clients, seen)
            await gateway.stop(with_signal=signal.SIGKILL)
        async with start(config, env, port):
            await all_do(use_again, clients, seen)
            for name, client in clients.items():
                seen[name].trips = [trip.pages for trip in client.trips]
            yield seen


async def use(client: DrivenClient, outcome: Outcome) -> None:
    outcome.first = await client.wait_called()


async def use_again(client: DrivenClient, outcome: Outcome) -> None:
    outcome.after_restart = await client.call()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
async def test_a_client_logs_in_by_itself_and_stays_logged_in(client: Client, outcomes: Outcomes):
    if missing := client.find_missing():
        pytest.skip(missing)
    outcome = outcomes[client.id]
    if outcome.failure is not None:
        raise outcome.failure
    typed = hashlib.sha256(KEYS[client.id].encode()).hexdigest()
    assert (outcome.first, outcome.after_restart) == (typed, typed)
    assert outcome.trips == [[OUR_CONSENT, OUR_KEYS]]
