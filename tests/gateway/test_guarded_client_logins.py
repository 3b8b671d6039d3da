"""Logins by MCP clients where the whole gateway is guarded: at the company, or there and at the package's provider."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fluidmcp.authorization_server.authorization_server import Journey
from fluidmcp.authorization_server.grant import UpstreamGrant
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.config.secret import Secret
from fluidmcp.guards.gateway_auth import GatewayAuth
from fluidmcp.guards.gateway_login import ForeignIssuer, GatewayProvider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.waiting_logins import TakenLogin
from fluidmcp.operator.operator_token import OperatorToken
from fluidmcp.operator.token_file import TokenFile
from tests.authorization_server.sealing_stage import upstream_grant
from tests.gateway.client_login import ENVIRON, KEYS, McpClient, Stage, bearer, client_logins
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_client_logins import whoami
from tests.providers.fault_making import FaultMakingProvider, query_of
from tests.providers.login_gateway import Clock, auth_block
from tests.providers.serving import serve

OPERATORS_TOKEN = "token-of-the-operator"
COMPANY_CLIENT = "company-client"
ISSUER = "https://id.example"


@dataclass(kw_only=True)
class GuardedStage(Stage):
    company: FaultMakingProvider
    settings: OAuthSettings
    home: Path

    def again(self, **changes: Any) -> AbstractAsyncContextManager[RunningGateway]:
        """The gateway after a restart with other settings, at the same address."""
        settings = replace(self.settings, **changes)
        return run_guarded(settings, self.home, self.provider_url, public_url=self.url)


@asynccontextmanager
async def guarded(
    home: Path,
    *,
    foreign_issuer: ForeignIssuer | None = None,
    names_issuer: bool = False,
    entries: Sequence[ServerEntry] = (),
    environ: Mapping[str, str] = ENVIRON,
    **oauth: Any,
) -> AsyncGenerator[GuardedStage]:
    """A gateway with `--oauth`; `tools` has no login of its own, `mail` has; `entries` come beside them.

    `names_issuer`: the company's provider says that its callbacks name it (RFC 9207).
    """
    company, provider = FaultMakingProvider(), FaultMakingProvider()
    company.answer_token = company.name_person("ada")
    async with serve(company.app) as company_url, serve(provider.app) as provider_url:
        settings = OAuthSettings(
            client_id=COMPANY_CLIENT,
            auth_endpoint=f"{company_url}/authorize",
            token_endpoint=f"{company_url}/token",
            introspection_endpoint=f"{company_url}/introspect",
            access_token=Secret(OPERATORS_TOKEN),
            **oauth,
        )
        running_one = run_guarded(
            settings,
            home,
            provider_url,
            foreign_issuer=foreign_issuer,
            names_issuer=names_issuer,
            more_entries=entries,
            environ=environ,
        )
        async with running_one as running:
            yield GuardedStage(running, provider, provider_url, company=company, settings=settings, home=home)


@asynccontextmanager
async def run_guarded(
    settings: OAuthSettings,
    home: Path,
    provider_url: str,
    *,
    foreign_issuer: ForeignIssuer | None = None,
    names_issuer: bool = False,
    more_entries: Sequence[ServerEntry] = (),
    environ: Mapping[str, str] = ENVIRON,
    **options: Any,
) -> AsyncGenerator[RunningGateway]:
    fetcher = Fetcher(allow_private=True)
    operator = OperatorToken(settings, token_file=TokenFile(home), fetcher=fetcher)
    guard = await GatewayAuth.create(
        settings, operator=operator, fetcher=fetcher, digest_key=b"k" * 32, is_exposed=False
    )
    found = await GatewayProvider.find(settings, guard=guard, fetcher=fetcher)
    assert found is not None
    if names_issuer:
        found = replace(found, metadata=replace(found.metadata, issuer=ISSUER, iss_parameter_supported=True))
    block = auth_block(provider_url, env_var_name="GMAIL_ACCESS_TOKEN")
    entries = [stdlib_entry("tools"), stdlib_entry("mail", auth=block), *more_entries]
    try:
        async with running_gateway(
            entries,
            environ,
            guard=guard,
            gateway_provider=None if foreign_issuer else found,
            foreign_issuer=foreign_issuer,
            seal_keys=KEYS,
            **options,
        ) as running:
            yield running
    finally:
        await fetcher.aclose()


async def log_in(stage: GuardedStage, client: McpClient) -> dict[str, str]:
    """Both logins in one trip of the browser; what the client's redirect URI gets."""
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url(), package=client.package)
        assert query_of(location)["client_id"] == COMPANY_CLIENT
        assert query_of(location)["redirect_uri"] == f"{stage.url}/auth/callback"
        following = await browser.come_back(location, path="/auth/callback")
        if client.package == "mail" and "error" not in query_of(following):
            assert query_of(following)["client_id"] == "gateway"
            following = await browser.come_back(following)
        return query_of(following)


async def test_a_package_without_a_login_gets_the_companys(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        refused = await stage.running.rpc("tools", "tools/list")
        document = f"{stage.url}/.well-known/oauth-protected-resource/tools/mcp"
        assert refused.headers["www-authenticate"] == f'Bearer realm="fluidmcp", resource_metadata="{document}"'
        assert (await stage.running.client.get(document)).json()["authorization_servers"] == [f"{stage.url}/tools"]
        client = await stage.client("tools")
        tokens = await client.redeem(await log_in(stage, client))
        assert await stage.running.call("tools", "echo", {"text": "x"}, **bearer(tokens)) == "x"
        assert stage.provider.token_requests == []
        names = await stage.running.call("tools", "env", **bearer(tokens))
        assert "ACCESS_TOKEN" not in names
        renewed = (await client.refresh(tokens["refresh_token"])).json()
        assert stage.company.token_requests[-1]["grant_type"] == "refresh_token"
        counts = [await stage.running.call("tools", "count", **bearer(one)) for one in (tokens, renewed)]
        assert counts == ["1", "2"], "a renewed login keeps its process"
        for path in ("/docs", "/openapi.json"):
            assert (await stage.running.client.get(path, headers=bearer(tokens))).status_code == 401
        assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 401
        assert len(stage.company.introspections) == 0, "a sealed token is never shown to the provider"


async def test_with_both_guards_one_trip_does_both_logins_and_one_token_carries_both(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        client = await stage.client("mail")
        tokens = await client.redeem(await log_in(stage, client))
        assert await stage.running.call("mail", "whoami", **bearer(tokens)) == whoami(
            stage.provider.handed_out[-1]["access_token"]
        )
        renewed = await client.refresh(tokens["refresh_token"])
        assert renewed.status_code == 200
        kinds = [[form["grant_type"] for form in one.token_requests] for one in (stage.company, stage.provider)]
        assert kinds == [["authorization_code", "refresh_token"]] * 2
        assert await stage.running.call("mail", "echo", {"text": "x"}, **bearer(renewed.json())) == "x"


async def end_of_package_login(stage: Stage, client: McpClient, gateway: UpstreamGrant | None) -> str:
    """Where a browser ends that comes back from the package's provider with a journey of other settings."""
    authorization_server = stage.running.gateway.parts.logins.clients.authorization_servers[client.package]
    query = httpx2.URL(client.authorization_url()).params.multi_items()
    request = await authorization_server.read_request(
        query, issuer=authorization_server.issuer, client_address="127.0.0.1"
    )
    journey = Journey(client.package, request, gateway)
    taken = TakenLogin(kind="client", code_verifier=client.code_verifier)
    end = await authorization_server.go_on("package", journey, taken, [("code", "c")], client_address="127.0.0.1")
    assert isinstance(end, str)
    return end


@pytest.mark.parametrize("package", ["mail", "tools"])
async def test_a_journey_that_lacks_a_login_ends_without_a_code(package: str, tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        end = await end_of_package_login(stage, await stage.client(package), None)
        assert query_of(end).keys() == {"error", "error_description", "state", "iss"}
        assert stage.provider.token_requests == stage.company.token_requests == []


async def test_a_journey_with_a_login_that_is_not_asked_for_any_more_ends_without_a_code() -> None:
    async with client_logins() as stage:
        end = await end_of_package_login(stage, await stage.client(), upstream_grant(Clock()))
        assert query_of(end).keys() == {"error", "error_description", "state", "iss"}
        assert stage.provider.token_requests == []


async def test_a_half_done_renewal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        client = await stage.client("mail")
        tokens = await client.redeem(await log_in(stage, client))
        good = stage.provider.answer_token
        stage.provider.answer_token = stage.provider.fail
        failed = await client.refresh(tokens["refresh_token"])
        assert (failed.status_code, failed.json()["error"]) == (503, "temporarily_unavailable")
        stage.provider.answer_token = good
        assert (await client.refresh(tokens["refresh_token"])).status_code == 200
        assert [form["grant_type"] for form in stage.company.token_requests].count("refresh_token") == 1


@pytest.mark.parametrize("package", ["tools", "mail"])
async def test_who_is_not_of_the_company_gets_nothing_of_either(tmp_path: Path, package: str) -> None:
    async with guarded(tmp_path, allowed_subjects=("ada",)) as stage:
        stage.company.answer_token = stage.company.name_person("mallory")
        client = await stage.client(package)
        answer = await log_in(stage, client)
        assert (answer["error"], answer["state"]) == ("access_denied", client.state)
        assert stage.provider.token_requests == []
        assert stage.running.gateway.process_count == 0


async def test_who_leaves_the_company_is_out_at_the_next_renewal(tmp_path: Path) -> None:
    async with guarded(tmp_path, allowed_subjects=("ada",)) as stage:
        client = await stage.client("tools")
        tokens = await client.redeem(await log_in(stage, client))
        stage.company.answer_token = stage.company.refuse_with("invalid_grant")
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
        assert (await stage.running.rpc("tools", "tools/list", **bearer(tokens))).status_code == 401


@pytest.mark.parametrize("package", ["tools", "mail"])
async def test_who_is_allowed_is_asked_at_each_request_also_after_a_restart(tmp_path: Path, package: str) -> None:
    async with guarded(tmp_path, allowed_subjects=("ada",), scope="openid tools.use") as stage:
        stage.company.answer_token = stage.company.name_person("ada", scope="openid")
        client = await stage.client(package)
        tokens = await client.redeem(await log_in(stage, client))
        async with stage.again(allowed_subjects=("ada", "grace")) as wider:
            assert (await wider.rpc(package, "tools/list", **bearer(tokens))).status_code == 200
        async with stage.again(allowed_subjects=("grace",)) as other:
            assert (await other.rpc(package, "tools/list", **bearer(tokens))).status_code == 403
            assert other.gateway.process_count == 0
        async with stage.again(allowed_subjects=("ada",), required_scopes=("tools.use",)) as stricter:
            narrow = await stricter.rpc(package, "tools/list", **bearer(tokens))
            assert narrow.status_code == 403
            assert 'error="insufficient_scope"' in narrow.headers["www-authenticate"]
            assert "resource_metadata=" in narrow.headers["www-authenticate"]


async def test_a_required_scope_is_asked_for_and_its_lack_is_told(tmp_path: Path) -> None:
    async with guarded(tmp_path, required_scopes=("tools.use",)) as stage:
        client = await stage.client("tools")
        async with stage.browser() as browser:
            location = await browser.allow(client.authorization_url(), package="tools")
            assert query_of(location)["scope"] == "openid profile email tools.use"
        stage.company.answer_token = stage.company.name_person("ada", scope="openid")
        assert (await log_in(stage, client))["error"] == "access_denied"


async def test_scripts_send_two_tokens_as_before(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        both = {"x-fluidmcp-authorization": f"Bearer {OPERATORS_TOKEN}"}
        refused = await stage.running.rpc("mail", "tools/list", **both)
        assert refused.status_code == 401
        assert refused.json()["login_url"].endswith("/mail/auth/login")
        assert (await stage.running.rpc("tools", "tools/list", **bearer(OPERATORS_TOKEN))).status_code == 200


async def test_the_companys_callback_is_bound_to_its_browser_and_happens_once(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        client = await stage.client("tools")
        async with stage.browser() as attacker, stage.browser() as victim:
            location = await attacker.allow(client.authorization_url(), package="tools")
            query = {"code": "c", "state": query_of(location)["state"]}
            assert (await victim.get("/auth/callback", params=query)).status_code == 400
            assert stage.company.token_requests == []
            assert (await attacker.get("/auth/callback", params=query)).is_redirect
            assert (await attacker.get("/auth/callback", params=query)).status_code == 400
            # A state of the company's login is none of the package's.
            location = await attacker.allow(client.authorization_url(), package="tools")
            crossed = {"code": "c", "state": query_of(location)["state"]}
            assert (await attacker.get("/mail/auth/callback", params=crossed)).status_code == 400


@pytest.mark.threat("B08")
async def test_b08_a_callback_without_the_issuer_that_was_announced_is_refused(tmp_path: Path) -> None:
    async with guarded(tmp_path, names_issuer=True) as stage:
        client = await stage.client("tools")
        async with stage.browser() as browser:
            for parameters in ({}, {"iss": "https://evil.example"}, {"error": "access_denied"}):
                location = await browser.allow(client.authorization_url(), package="tools")
                query = {"code": "c", "state": query_of(location)["state"], **parameters}
                assert (await browser.get("/auth/callback", params=query)).status_code == 400
            assert stage.company.token_requests == []
            location = await browser.allow(client.authorization_url(), package="tools")
            answer = query_of(await browser.come_back(location, path="/auth/callback", iss=ISSUER))
        assert (await client.redeem(answer))["access_token"]


async def test_where_the_companys_issuer_registers_clients_they_are_sent_there(tmp_path: Path) -> None:
    foreign = ForeignIssuer(issuer="https://login.example/tenant", scopes=("tools.use",))
    async with guarded(tmp_path, foreign_issuer=foreign) as stage:
        http = stage.running.client
        refused = await stage.running.rpc("tools", "tools/list")
        assert 'scope="tools.use"' in refused.headers["www-authenticate"]
        document = (await http.get("/.well-known/oauth-protected-resource/tools/mcp")).json()
        assert document["authorization_servers"] == ["https://login.example/tenant"]
        assert document["resource"] == f"{stage.url}/tools/mcp"
        assert (await http.get("/.well-known/oauth-authorization-server/tools")).status_code == 401
        assert (await http.get("/tools/authorize")).status_code == 401
