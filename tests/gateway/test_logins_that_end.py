"""Several logins of which not all come to their end, or whose end comes later: nothing is left at the providers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from fluidmcp.errors import OAuthError, ProviderAnswerError, ProviderUnavailableError
from fluidmcp.gateway.login.package_login import login_error_answer
from fluidmcp.pages.consent import problem_response
from tests.acceptance.keys import send_keys
from tests.gateway.client_login import KEYS, McpClient, bearer
from tests.gateway.running import running_gateway
from tests.gateway.test_several_logins import ENVIRON, TwoProviders, block, log_in, mark, pass_providers, probe
from tests.providers.fault_making import FaultMakingProvider, query_of
from tests.providers.serving import serve

PLACES = {"ONE": "${auth.one.access_token}", "TWO": "${auth.two.access_token}", "KEY": "${keys.extra}"}


@dataclass(kw_only=True)
class EndingStage(TwoProviders):
    auth: dict[str, Any]


@asynccontextmanager
async def stage_of(**two: Any) -> AsyncGenerator[EndingStage]:
    """Two providers that take tokens back, then keys. `two` are changes to the second login."""
    first, second = FaultMakingProvider(), FaultMakingProvider()
    first.answer_token, second.answer_token = mark("first"), mark("second")
    async with serve(first.app) as first_url, serve(second.app) as second_url:
        auth: dict[str, Any] = {
            "one": block(first_url, "one", revocation_url=f"{first_url}/introspect"),
            "two": block(second_url, "two", revocation_url=f"{second_url}/introspect", **two),
            "typed": {"type": "keys", "keys": {"extra": {}}},
        }
        async with running_gateway([probe(auth, **PLACES)], ENVIRON, seal_keys=KEYS) as running:
            yield EndingStage(running, first, first_url, second=second, auth=auth)


def given_back(provider: FaultMakingProvider) -> list[str]:
    return [form["token"].rpartition("-")[0] for form in provider.introspections]


async def test_who_is_refused_at_the_second_login_leaves_no_token_at_the_first() -> None:
    async with stage_of(scopes=["openid"], allowed_subjects=["bo"]) as stage:
        stage.second.answer_token = stage.second.name_person("ada")
        client = await stage.client("work")
        async with stage.browser() as browser:
            location = await browser.allow(client.authorization_url(), package="work")
            location = await browser.come_back(location, path="/work/auth/callback/one")
            answer = query_of(await browser.come_back(location, path="/work/auth/callback/two"))
    assert answer["error"] == "access_denied"
    assert given_back(stage.provider) == ["first-refresh"]
    assert len(stage.second.introspections) == 1


@pytest.mark.parametrize("is_client", [True, False])
async def test_who_cancels_at_the_keys_leaves_no_token_at_the_providers(is_client: bool) -> None:
    async with stage_of() as stage, stage.browser() as browser:
        if is_client:
            client = await stage.client("work")
            location = await browser.allow(client.authorization_url(), package="work")
        else:
            location = (await browser.get("/work/auth/login")).headers["location"]
        await send_keys(browser, await pass_providers(browser, location), {}, decision="deny")
    assert (given_back(stage.provider), given_back(stage.second)) == (["first-refresh"], ["second-refresh"])


async def test_revoking_gives_all_tokens_back() -> None:
    async with stage_of() as stage:
        client = await stage.client("work")
        tokens = await log_in(stage, client)
        await client.post("revoke", data={"token": tokens["refresh_token"], "client_id": client.client_id})
        others = await log_in(stage, client)
        await client.post("revoke", data={"token": others["access_token"], "client_id": client.client_id})
        for one in (tokens, others):
            assert (await stage.running.rpc("work", "tools/list", **bearer(one))).status_code == 401
    assert given_back(stage.provider) == ["first-refresh", "first-access"]
    assert given_back(stage.second) == ["second-refresh", "second-access"]


async def test_a_scope_that_one_login_lacks_is_asked_for_with_those_of_all() -> None:
    async with stage_of(required_scopes=["two.read"]) as stage:
        stage.second.answer_token = stage.second.name_person("ada", scope="two.less", id_token=None)
        tokens = await log_in(stage, await stage.client("work"))
        refused = await stage.running.rpc("work", "tools/list", **bearer(tokens))
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert 'scope="one.read two.read"' in refused.headers["www-authenticate"]


async def test_where_only_clients_may_log_in_nobody_gets_sealed_tokens_in_the_browser() -> None:
    async with stage_of(accept_provider_tokens=False) as stage:
        for response in (
            await stage.running.client.get("/work/auth/login"),
            await stage.running.client.post("/work/auth/refresh", json={"refresh_token": "r"}),
        ):
            assert response.status_code == 403
            assert f"{stage.url}/work/mcp" in response.json()["hint"]
        await log_in(stage, await stage.client("work"))


async def test_a_login_from_before_the_entry_wanted_more_of_it_is_over() -> None:
    async with stage_of() as stage:
        client = await stage.client("work")
        tokens = await log_in(stage, client)
        for env, status in ((PLACES, 200), ({**PLACES, "PLACE": "${auth.one.extra.instance_url}"}, 401)):
            entries = [probe(stage.auth, **env)]
            async with running_gateway(entries, ENVIRON, seal_keys=KEYS, public_url=stage.url) as again:
                assert (await again.rpc("work", "tools/list", **bearer(tokens))).status_code == status
                renewed = await McpClient(again.url, "work", client.client_id).ask_token(
                    client.refresh_form(tokens["refresh_token"])
                )
                assert renewed.status_code == (200 if status == 200 else 400)


def test_a_failure_has_the_status_that_tells_whose_it_is_and_when_to_try_again() -> None:
    unavailable, bad = ProviderUnavailableError("It is down"), ProviderAnswerError("It makes no sense")
    assert [problem_response(error).status_code for error in (unavailable, bad)] == [503, 502]
    busy = OAuthError("temporarily_unavailable", "Too many.", status=429, retry_after_seconds=59.5)
    answer = login_error_answer(busy)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
