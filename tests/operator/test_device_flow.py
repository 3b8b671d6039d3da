"""The device login (RFC 8628): what the person is shown, and the pace at which the provider is asked."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.errors import LoginError, ProviderAnswerError
from fluidmcp.oauth_client.discovery import configured_provider
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.operator.browser_flow import FinishedLogin
from fluidmcp.operator.device_flow import DeviceAuthorization, log_in_with_device, read_device_authorization
from fluidmcp.operator.token_file import StoredLogin
from tests.providers.fault_making import token_document
from tests.providers.oidc import CLI_CLIENT_ID, running_oidc_provider
from tests.providers.serving import serve

AUTHORIZATION = {
    "device_code": "the-device-code",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example.com/device",
    "expires_in": 600,
    "interval": 5,
}


class Clock:
    """Time that passes only in naps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.naps: list[float] = []

    async def nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.time += seconds


async def log_in(answers: list[Response | str], **changes: Any) -> tuple[FinishedLogin, Clock]:
    """Against a provider that gives these answers (or errors) to the polls, the last one for ever."""
    clock = Clock()
    forms: list[dict[str, str]] = []

    async def token(request: Request) -> Response:
        forms.append({name: str(value) for name, value in (await request.form()).items()})
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return JSONResponse({"error": answer}, status_code=400) if isinstance(answer, str) else answer

    async def device(_request: Request) -> Response:
        return JSONResponse(AUTHORIZATION | changes)

    app = Starlette(routes=[Route("/token", token, methods=["POST"]), Route("/device", device, methods=["POST"])])
    async with serve(app) as url:
        settings = OAuthSettings(device_endpoint=f"{url}/device", token_endpoint=f"{url}/token", client_id="cli")
        finished = await run(settings, show=lambda _authorization: None, clock=clock)
    assert all(form["device_code"] == "the-device-code" and form["client_id"] == "cli" for form in forms)
    return finished, clock


async def run(
    settings: OAuthSettings, *, show: Callable[[DeviceAuthorization], None], clock: Clock | None = None
) -> FinishedLogin:
    stored: list[StoredLogin] = []

    async def store(login: StoredLogin) -> None:
        stored.append(login)

    fetcher = Fetcher()
    clock = Clock() if clock is None else clock
    try:
        finished = await log_in_with_device(
            settings,
            configured_provider(settings),
            fetcher=fetcher,
            show=show,
            store=store,
            now=time.time,
            monotonic=lambda: clock.time,
            sleep=clock.nap,
        )
    finally:
        await fetcher.aclose()
    assert stored == [finished.login]
    return finished


async def test_the_provider_is_asked_at_its_own_pace_until_the_person_is_done() -> None:
    good = JSONResponse(token_document(access_token="at-1"))
    finished, clock = await log_in(
        ["authorization_pending", "slow_down", "authorization_pending", Response(status_code=503), good]
    )
    assert finished.login.access_token.reveal() == "at-1"
    assert clock.naps == [5, 5, 10, 10, 20]


@pytest.mark.parametrize("error", ["expired_token", "authorization_pending"])
async def test_a_code_that_nobody_entered_is_an_authentication_timeout(error: str) -> None:
    with pytest.raises(LoginError) as caught:
        await log_in([error])
    assert caught.value.what == "Authentication timeout"


async def test_somebody_who_says_no_ends_the_login() -> None:
    with pytest.raises(LoginError) as caught:
        await log_in(["access_denied"])
    assert "access_denied" in caught.value.why


async def test_another_refusal_ends_the_login() -> None:
    with pytest.raises(ProviderAnswerError) as caught:
        await log_in(["invalid_client"])
    assert "FMCP_OAUTH_CLIENT_SECRET" in caught.value.hint


def read(status: int = 200, **changes: Any) -> DeviceAuthorization:
    document = {name: value for name, value in (AUTHORIZATION | changes).items() if value is not None}
    return read_device_authorization(
        FetchAnswer(status=status, media_type="application/json", body=json.dumps(document).encode())
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"device_code": None},
        {"device_code": 7},
        {"user_code": ""},
        {"user_code": "\x1b[31m"},
        {"user_code": "x" * 100},
        {"verification_uri": None},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://id.example.com/device"},
        {"error": "unauthorized_client"},
    ],
)
def test_an_answer_that_cannot_be_shown_or_used_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProviderAnswerError):
        read(**changes)


@pytest.mark.parametrize("value", [None, 0, -1, "soon", True, 1e9])
def test_odd_paces_become_sane_ones(value: object) -> None:
    authorization = read(interval=value, expires_in=value)
    assert 1 <= authorization.interval <= 60
    assert 1 <= authorization.expires_in <= 1800


def test_an_address_with_the_code_in_it_is_shown_only_when_it_is_one() -> None:
    assert read(verification_uri_complete="https://id.example.com/device?user_code=W").verification_uri_complete
    assert read(verification_uri_complete="javascript:x").verification_uri_complete is None


@pytest.mark.needs("node", "oidc-provider")
async def test_a_device_login_at_a_real_provider() -> None:
    with running_oidc_provider() as provider:
        settings = OAuthSettings(
            device_endpoint=provider.device_url,
            token_endpoint=provider.token_url,
            client_id=CLI_CLIENT_ID,
            scope="openid email",
        )
        shown: list[DeviceAuthorization] = []
        clock = Clock()

        class Typing(Clock):
            """The person types the code while the command waits for the first time."""

            async def nap(self, seconds: float) -> None:
                await clock.nap(seconds)
                if len(clock.naps) == 2:
                    assert shown[0].verification_uri_complete is not None
                    await enter_code(shown[0].verification_uri_complete)

        finished = await run(settings, show=shown.append, clock=Typing())
        assert await provider.count_token_requests() == 2
    assert finished.login.subject == "alice"
    assert finished.login.refresh_token is not None


async def enter_code(address: str) -> None:
    """Follow the forms of the provider: the code, the login, the consent."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60, follow_redirects=True) as browser:
        page = await browser.get(address)
        for _ in range(8):
            action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
            if action is None:
                break
            fields = dict(re.findall(r'name="([^"]+)"[^>]*value="([^"]*)"', page.text))
            fields |= {"login": "alice", "password": "x"} if fields.get("prompt") == "login" else {}
            page = await browser.post(str(page.url.join(action[1])), data=fields)
        assert page.status_code == 200, page.text
