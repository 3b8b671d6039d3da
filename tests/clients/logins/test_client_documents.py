"""Real clients that introduce themselves with a document of their own (CIMD) log in without registering."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from fluidmcp.config.entries import AuthBlock
from tests.acceptance.harness import free_port
from tests.clients.logins.browser import OUR_CONSENT
from tests.clients.logins.driving import CLIENTS, Client, driven
from tests.gateway.client_login import KEYS
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.providers.client_documents import Documents, client_documents
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, running_oidc_provider

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("node", "oidc-provider")]

WITH_DOCUMENTS: Final = [client for client in CLIENTS if client.id != "mcp-remote"]


@dataclass
class Stage:
    running: RunningGateway
    url: str
    documents: Documents


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running_oidc_provider(gateway_url=url) as provider:
        block = AuthBlock(
            authorization_url=provider.authorization_url,
            token_url=provider.token_url,
            issuer=provider.issuer,
            scopes=("openid", "mail.read"),
            client_id_env="MAIL_CLIENT_ID",
            client_secret_env="MAIL_CLIENT_SECRET",
            token_endpoint_auth_method="basic",
            env_var_name="GMAIL_ACCESS_TOKEN",
        )
        environ = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}
        async with client_documents(tmp_path_factory.mktemp("documents")) as documents:
            running = running_gateway(
                [stdlib_entry("mail", auth=block)],
                environ,
                port=port,
                seal_keys=KEYS,
                client_fetcher=documents.fetcher,
            )
            async with running as gateway:
                yield Stage(gateway, url, documents)


@pytest.mark.parametrize("client", WITH_DOCUMENTS, ids=lambda client: client.id)
async def test_a_client_with_a_document_logs_in_without_registering(client: Client, stage: Stage, tmp_path: Path):
    if missing := client.find_missing():
        pytest.skip(missing)
    path = f"/{client.id}.json"
    redirect_uris = ["http://localhost/callback", "http://127.0.0.1/oauth/callback"]
    document = stage.documents.put(path, client_name=client.id, redirect_uris=redirect_uris)
    driver = driven(client, f"{stage.url}/mail/mcp", tmp_path, gateway_url=stage.url, client_metadata_url=document)
    async with driver as running:
        assert len(await running.wait_called()) == 64, running.report()
        assert len(await running.call()) == 64
        assert [trip.pages for trip in running.trips] == [[OUR_CONSENT, "login", "consent"]]
    assert path in stage.documents.requested
