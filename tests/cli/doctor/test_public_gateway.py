"""A gateway with a public name: clients that have a document of their own show that, and services reach it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from fluidmcp.cli.doctor.walk.address import parse_address
from fluidmcp.cli.doctor.walk.calls import Caller, build_context
from fluidmcp.cli.doctor.walk.clients import CLAUDE, VS_CODE, ClientProfile
from fluidmcp.cli.doctor.walk.report import Report
from fluidmcp.cli.doctor.walk.walk import walk
from tests.cli.doctor.stage import Fault, Stage, codes, staged
from tests.cli.doctor.wrong_certificates import write_wrong
from tests.providers.client_documents import Documents, client_documents
from tests.timing import limit_of_running_time

HOST: Final = "gateway.example"
LIMIT_SECONDS: Final = 15.0

pytestmark = pytest.mark.needs("nginx", "node", "oidc-provider")


class NearCaller(Caller):
    """Finds every host on this machine."""

    async def _find_addresses(self, url: str) -> Sequence[str]:
        return ("127.0.0.1",)


@dataclass
class PublicStage:
    stage: Stage
    documents: Documents
    authority: Path

    async def examine(self) -> Report:
        address = parse_address(f"https://{HOST}:{self.stage.port}/tools/mail/mcp")
        caller = NearCaller(typed_host=HOST, context=build_context(self.authority))
        try:
            async with limit_of_running_time(LIMIT_SECONDS):
                return await walk(address, caller)
        finally:
            await caller.aclose()

    def publish(self, client: ClientProfile) -> None:
        assert client.document_url is not None
        path = "/" + client.document_url.split("/", 3)[3]
        redirect_uris = [client.redirect_uri, "http://127.0.0.1/"]
        self.documents.put(path, client_id=client.document_url, redirect_uris=redirect_uris)


@asynccontextmanager
async def public_stage(folder: Path) -> AsyncGenerator[PublicStage]:
    async with AsyncExitStack() as running:
        stage = running.enter_context(staged(HOST))
        hosts = ["claude.ai", "vscode.dev"]
        documents = await running.enter_async_context(client_documents(folder, hosts=hosts))
        fault = Fault(code="", gateway={"client_fetcher": documents.fetcher})
        pair = write_wrong(folder, None, good_host=HOST)
        authority = await running.enter_async_context(stage.running(folder, fault, pair=pair))
        yield PublicStage(stage, documents, authority)


async def test_clients_with_a_document_show_it_and_the_others_register(tmp_path: Path) -> None:
    async with public_stage(tmp_path) as public:
        public.publish(CLAUDE)
        public.publish(VS_CODE)
        report = await public.examine()
        assert codes(report) == {}
        assert sorted(public.documents.requested) == ["/oauth/client-metadata.json", "/oauth/mcp-oauth-client-metadata"]
        for track in report.tracks:
            assert [track.level(step) for step in ("registration", "authorize", "token")] == ["ok"] * 3


async def test_a_document_that_the_gateway_does_not_get_is_told_of_that_client(tmp_path: Path) -> None:
    async with public_stage(tmp_path) as public:
        public.publish(CLAUDE)
        report = await public.examine()
        assert set(codes(report)) == {"client_document_unread"}
        (finding,) = report.findings
        assert finding.clients == ("VS Code",)
        assert "https://vscode.dev/oauth/client-metadata.json" in finding.diagnosis.cause
