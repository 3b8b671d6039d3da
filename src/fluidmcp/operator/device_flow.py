"""A login without a browser on this machine: the device authorization grant (RFC 8628).

The person opens the provider's page anywhere and types a short code; meanwhile the token endpoint is asked at the
pace that the provider sets.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from fluidmcp.config.oauth import DEVICE_ENDPOINT, OAuthSettings
from fluidmcp.config.urls import check_url
from fluidmcp.errors import LoginError, ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.discovery import ProviderMetadata
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.oauth_client.token_endpoint import TokenAnswer, request_token, sanitise_error_code
from fluidmcp.operator.browser_flow import FinishedLogin, clean_text, explain_outage, explain_refusal, finish_login
from fluidmcp.operator.operator_token import build_client
from fluidmcp.operator.token_file import StoredLogin

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL_SECONDS: Final = 5.0
SLOW_DOWN_SECONDS: Final = 5.0
MAX_INTERVAL_SECONDS: Final = 60.0
MAX_LIFE_SECONDS: Final = 1800.0
MAX_USER_CODE_CHARACTERS: Final = 64

_DEVICE_CODE: Final = re.compile(r"[\x20-\x7e]{1,8192}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAuthorization:
    """What the provider wants the person to do, and for how long (seconds) and how often (seconds) we may ask."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    verification_uri: str
    verification_uri_complete: str | None = field(default=None, repr=False)
    expires_in: float = MAX_LIFE_SECONDS
    interval: float = DEFAULT_INTERVAL_SECONDS


async def log_in_with_device(
    settings: OAuthSettings,
    provider: ProviderMetadata,
    *,
    fetcher: Fetcher,
    show: Callable[[DeviceAuthorization], None],
    store: Callable[[StoredLogin], Awaitable[None]],
    now: Callable[[], float],
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> FinishedLogin:
    """Log in by way of a code that the person types at the provider. `provider` has the device and token endpoints.

    Raises:
        LoginError: the person said no, or did not answer while the code was good.
        ProviderAnswerError, ProviderUnavailableError: the provider refused, or cannot be reached to begin with.
    """
    assert provider.device_authorization_endpoint is not None
    client = build_client(settings, provider)
    extra = {} if settings.audience is None else {"audience": settings.audience}
    form, headers = client.authenticate({"scope": settings.scope, **extra})
    # RFC 8628 section 3.1: the client names itself here even where it proves itself otherwise.
    form["client_id"] = client.client_id
    try:
        answer = await fetcher.post_form(provider.device_authorization_endpoint, form, headers=headers)
        authorization = read_device_authorization(answer)
    except ProviderAnswerError as error:
        raise explain_refusal(error, settings) from error
    except ProviderUnavailableError as error:
        raise explain_outage(error) from error
    show(authorization)
    token_answer = await _poll(authorization, settings, provider, fetcher, monotonic=monotonic, sleep=sleep)
    finished = finish_login(token_answer, settings, provider, now=now())
    await store(finished.login)
    return finished


def read_device_authorization(answer: FetchAnswer) -> DeviceAuthorization:
    """The answer of a device authorization endpoint (RFC 8628 section 3.2). Pure.

    Raises:
        ProviderAnswerError: it refused, or the answer is none.
        ProviderUnavailableError: it is broken.
    """
    if answer.status >= 500 or answer.status == 429:
        raise ProviderUnavailableError("The provider is not able to answer", why=f"It answered HTTP {answer.status}.")
    try:
        decoded = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable("it is no JSON") from error
    if not isinstance(decoded, dict):
        raise _unusable("it is no JSON object")
    document = cast("dict[str, object]", decoded)
    if answer.status != 200 or document.get("error"):
        code = sanitise_error_code(document.get("error"))
        raise ProviderAnswerError(
            "The provider refused the device login",
            provider_error=code,
            why=f"It answered {code or 'an error without a readable code'} (HTTP {answer.status}).",
        )
    device_code, user_code = document.get("device_code"), document.get("user_code")
    # An early draft, and Google, call it verification_url.
    uri = document.get("verification_uri") or document.get("verification_url")
    complete = document.get("verification_uri_complete")
    if not isinstance(device_code, str) or not _DEVICE_CODE.fullmatch(device_code):
        raise _unusable("it has no device_code")
    if not isinstance(user_code, str) or not user_code or clean_text(user_code) != user_code:
        raise _unusable("it has no user_code that can be shown")
    if len(user_code) > MAX_USER_CODE_CHARACTERS:
        raise _unusable("its user_code is too long to type")
    if not isinstance(uri, str) or check_url(uri) is not None:
        raise _unusable("its verification_uri is no https address")
    return DeviceAuthorization(
        device_code=device_code,
        user_code=user_code,
        verification_uri=uri,
        verification_uri_complete=complete if isinstance(complete, str) and check_url(complete) is None else None,
        expires_in=_read_seconds(document.get("expires_in"), MAX_LIFE_SECONDS, MAX_LIFE_SECONDS),
        interval=_read_seconds(document.get("interval"), DEFAULT_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS),
    )


async def _poll(
    authorization: DeviceAuthorization,
    settings: OAuthSettings,
    provider: ProviderMetadata,
    fetcher: Fetcher,
    *,
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> TokenAnswer:
    """Ask until there is an answer (RFC 8628 sections 3.4 and 3.5); a provider that fails is asked more slowly."""
    assert provider.token_endpoint is not None
    client = build_client(settings, provider)
    grant = {"grant_type": GRANT_TYPE, "device_code": authorization.device_code}
    interval = authorization.interval
    ends_at = monotonic() + authorization.expires_in
    while monotonic() + interval < ends_at:
        await sleep(interval)
        try:
            return await request_token(fetcher, token_url=provider.token_endpoint, client=client, grant=grant)
        except ProviderUnavailableError:
            interval = min(interval * 2, MAX_INTERVAL_SECONDS)
        except ProviderAnswerError as error:
            if error.provider_error == "slow_down":
                interval = min(interval + SLOW_DOWN_SECONDS, MAX_INTERVAL_SECONDS)
            elif error.provider_error == "access_denied":
                raise LoginError(
                    "The provider did not complete the login",
                    why="It said access_denied.",
                    hint="Run fluidmcp login --device again and allow the access.",
                ) from error
            elif error.provider_error == "expired_token":
                break
            elif error.provider_error != "authorization_pending":
                raise explain_refusal(error, settings) from error
    raise LoginError(
        "Authentication timeout",
        why="The code was not entered at the provider while it was good.",
        hint="Run fluidmcp login --device again.",
    )


def _read_seconds(value: object, default: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return default
    return min(float(value), most)


def _unusable(why: str) -> ProviderAnswerError:
    return ProviderAnswerError(
        "The provider's answer to the device login cannot be used",
        why=f"{why[0].upper()}{why[1:]}.",
        hint=f"Check {DEVICE_ENDPOINT}.",
    )
