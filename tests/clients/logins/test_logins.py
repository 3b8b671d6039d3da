"""Real clients log in by themselves, with nothing but the URL, and stay logged in: through the end of their tokens, and
through a gateway that is killed and started again.

All clients run at once against one gateway and one real provider; each has its own test of what it got.
"""

import asyncio
import base64
import json
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.acceptance.harness import RunningGateway, free_port, start_fluidmcp
from tests.clients.logins.browser import OUR_CONSENT
from tests.clients.logins.driving import CLIENTS, Client, DrivenClient, driven
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_oidc_provider

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("node", "oidc-provider")]

SERVER: Final = Path(__file__).parents[2] / "servers" / "stdlib_server.py"
PROVIDER_TOKEN_SECONDS: Final = 16
"""Ours live for half of it. Before the restart all get long ones: what comes after it waits for no clock."""
LONG_SECONDS: Final = 3600
RENEWAL_LIMIT_SECONDS: Final = 90.0
PEOPLE: Final = ("alice", "bob", "carol")


@dataclass
class Outcome:
    """What a client got: the digest of the provider's token that its process had, at each stage."""

    first: str = ""
    renewed: str = ""
    renewed_again: str = ""
    after_restart: str = ""
    trips: list[list[str]] = field(default_factory=list[list[str]])
    failure: BaseException | None = None


Outcomes = dict[str, Outcome]
Step = Callable[[DrivenClient, Outcome], Awaitable[None]]


def write_config(folder: Path, provider: OidcProvider, **changes: Any) -> Path:
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": provider.authorization_url,
        "token_url": provider.token_url,
        "issuer": provider.issuer,
        "scopes": ["openid", "mail.read"],
        "client_id_env": "MAIL_CLIENT_ID",
        "client_secret_env": "MAIL_CLIENT_SECRET",
        "token_endpoint_auth_method": "basic",
        "env_var_name": "GMAIL_ACCESS_TOKEN",
        **changes,
    }
    server = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"mail": {**server, "auth": auth}, "tools": server}}), encoding="utf-8")
    return path


def build_environ(**more: str) -> dict[str, str]:
    return {
        "MAIL_CLIENT_ID": CLIENT_ID,
        "MAIL_CLIENT_SECRET": CLIENT_SECRET,
        "FMCP_SEAL_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        **more,
    }


def start(config: Path, env: Mapping[str, str], port: int, *options: str) -> Any:
    return start_fluidmcp("run", str(config), "--start-server", *options, env=env, port=port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Outcomes]:
    """Every client through the whole story, at the same time."""
    folder, port = tmp_path_factory.mktemp("logins"), free_port()
    url, env = f"http://localhost:{port}", build_environ()
    seen = {client.id: Outcome() for client in CLIENTS}
    present = [client for client in CLIENTS if client.find_missing() is None]
    with running_oidc_provider(gateway_url=url, access_token_seconds=PROVIDER_TOKEN_SECONDS) as provider:
        config = write_config(folder, provider)
        async with AsyncExitStack() as running:
            clients: dict[str, DrivenClient] = {}
            async with start(config, env, port) as gateway:
                for number, client in enumerate(present):
                    home = folder / client.id
                    home.mkdir()
                    person = PEOPLE[number % len(PEOPLE)]
                    clients[client.id] = await running.enter_async_context(
                        driven(client, f"{url}/mail/mcp", home, gateway_url=url, person=person)
                    )
                await all_do(use, clients, seen)
                await provider.set_access_token_seconds(LONG_SECONDS)
                await all_do(renew_again, clients, seen)
                await kill(gateway)
            async with start(config, env, port):
                await all_do(use_again, clients, seen)
                for name, client in clients.items():
                    seen[name].trips = [trip.pages for trip in client.trips]
                yield seen


async def kill(gateway: RunningGateway) -> None:
    """Without a moment to say goodbye."""
    await gateway.stop(with_signal=signal.SIGKILL)


async def all_do(step: Step, clients: Mapping[str, DrivenClient], outcomes: Outcomes) -> None:
    await asyncio.gather(*(do(step, client, outcomes[name]) for name, client in clients.items()))


async def do(step: Step, client: DrivenClient, outcome: Outcome) -> None:
    """The first failure of a client is for its own test; it does nothing more."""
    if outcome.failure is None:
        try:
            await step(client, outcome)
        except (AssertionError, TimeoutError, OSError) as failure:
            outcome.failure = failure


async def use(client: DrivenClient, outcome: Outcome) -> None:
    """Log in and call, until the process has another one of the provider's tokens."""
    outcome.first = await client.wait_called()
    outcome.renewed = await call_until_not(outcome.first, client)


async def renew_again(client: DrivenClient, outcome: Outcome) -> None:
    outcome.renewed_again = await call_until_not(outcome.renewed, client)


async def use_again(client: DrivenClient, outcome: Outcome) -> None:
    outcome.after_restart = await client.call()


async def call_until_not(before: str, client: DrivenClient) -> str:
    """Another answer than before."""
    async with asyncio.timeout(RENEWAL_LIMIT_SECONDS):
        while (answer := await client.call()) == before:
            await asyncio.sleep(0.05)
        return answer


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
async def test_a_client_logs_in_by_itself_and_stays_logged_in(client: Client, outcomes: Outcomes):
    if missing := client.find_missing():
        pytest.skip(missing)
    outcome = outcomes[client.id]
    if outcome.failure is not None:
        raise outcome.failure
    assert len(outcome.first) == len(outcome.after_restart) == 64, "the digest of the provider's token"
    assert len({outcome.first, outcome.renewed, outcome.renewed_again}) == 3, "the login was renewed twice"
    assert outcome.trips[0] == [OUR_CONSENT, "login", "consent"]
    assert len(outcome.trips) == 1, "the user was asked once, and never again"


async def test_no_two_clients_share_a_process(outcomes: Outcomes):
    firsts = [outcome.first for outcome in outcomes.values() if outcome.first]
    assert len(set(firsts)) == len(firsts)
