"""Real clients at a gateway with `--oauth`: one trip of the browser does the company's login and the package's."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.acceptance.harness import free_port
from tests.clients.logins.browser import OUR_CONSENT
from tests.clients.logins.driving import CLIENTS, Client, driven
from tests.clients.logins.test_logins import build_environ, start, write_config
from tests.providers.oidc import CLIENT_SECRET, OTHER_CLIENT_ID, running_oidc_provider

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("node", "oidc-provider")]

SOME: Final = [client for client in CLIENTS if client.id in ("python-sdk-2-auto", "typescript-sdk-1", "mcp-remote")]
LOGIN: Final = ["login", "consent"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    url = f"http://localhost:{port}"
    with running_oidc_provider(gateway_url=url) as company, running_oidc_provider(gateway_url=url) as provider:
        env = build_environ(
            HOME=str(folder),
            FMCP_OAUTH_ISSUER=company.issuer,
            FMCP_OAUTH_CLIENT_ID=OTHER_CLIENT_ID,
            FMCP_OAUTH_CLIENT_SECRET=CLIENT_SECRET,
            FMCP_OAUTH_SCOPE="openid email",
            FMCP_OAUTH_ALLOWED_SUBJECTS="alice",
        )
        async with start(write_config(folder, provider), env, port, "--oauth") as gateway:
            await gateway.stdout.wait_for(f"provider of the gateway: {url}/auth/callback")
            yield url


@pytest.mark.parametrize("client", SOME, ids=lambda client: client.id)
@pytest.mark.parametrize(("package", "logins"), [("tools", LOGIN), ("mail", LOGIN + LOGIN)])
async def test_a_client_needs_one_trip_of_the_browser(
    client: Client, package: str, logins: list[str], url: str, tmp_path: Path
):
    if missing := client.find_missing():
        pytest.skip(missing)
    async with driven(client, f"{url}/{package}/mcp", tmp_path, gateway_url=url) as running:
        assert len(await running.wait_called()) == 64, running.report()
        assert len(await running.call()) == 64
        assert [trip.pages for trip in running.trips] == [[OUR_CONSENT, *logins]]
