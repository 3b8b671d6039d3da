"""The one strict client of token endpoints (RFC 6749 sections 4.1.3, 5 and 6).

It reads what real providers send (form-encoded answers, HTTP 200 with an error, Slack's `ok: false` and
`authed_user`, lifetimes as digit strings) and refuses what no client may use: an answer without a usable access
token, control characters, unknown token types, lifetimes that are no lifetimes.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl, quote

import msgspec

from fluidmcp.config.entries import TokenEndpointAuthMethod
from fluidmcp.config.reading import show_plain
from fluidmcp.config.secret import Secret
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher

MAX_TOKEN_CHARACTERS = 8 * 1024
MAX_ID_TOKEN_CHARACTERS = 32 * 1024
MAX_SCOPE_CHARACTERS = 16 * 1024
MAX_EXPIRES_IN_SECONDS = 100 * 365 * 24 * 3600

_TOKEN = re.compile(r"[\x21-\x7e]+")
_SCOPE = re.compile(r"[\x20-\x7e]*")
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Slack calls its bearer tokens by the kind of their holder.
_BEARER_TYPES = frozenset({"bearer", "bot", "user"})
# What providers say instead of `invalid_grant`.
_INVALID_GRANT = frozenset(
    {"invalid_grant", "bad_verification_code", "bad_refresh_token", "invalid_code", "code_already_used"}
    | {"invalid_refresh_token", "token_expired"}
)

_TOKEN_MEMBERS = frozenset({"access_token", "refresh_token", "expires_in", "token_type", "scope", "id_token"})

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderClient:
    """Who we are at the provider. `auth_method` is how the secret is sent; without a secret none is."""

    client_id: str
    client_secret: Secret | None = None
    auth_method: TokenEndpointAuthMethod | None = None
    sends_json: bool = False
    """The provider wants JSON instead of a form at the endpoints that clients call."""

    def authenticate(self, form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The form and the headers of a call with our client authentication added (RFC 6749 section 2.3.1)."""
        if not self.client_secret or self.auth_method == "none":
            return {**form, "client_id": self.client_id}, {}
        secret = self.client_secret.reveal()
        if self.auth_method == "basic":
            # Id and secret are form-encoded before they are joined: they may hold a colon. A space as %20, which form
            # decoding reads as well, and servers that only undo percent signs (Authlib) read too.
            pair = f"{quote(self.client_id, safe='')}:{quote(secret, safe='')}"
            return dict(form), {"Authorization": "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")}
        return {**form, "client_id": self.client_id, "client_secret": secret}, {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A successful answer of a token endpoint. `expires_in` is in seconds; None stands for what was not sent."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in: int | None = None
    token_type: str = "Bearer"
    """Always `Bearer`: however the provider spells it, this is how the token is sent to the gateway."""
    scope: str | None = None
    id_token: str | None = field(default=None, repr=False)
    extra: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Every other member that is a text, a number or a boolean, as text."""

    def as_token_data(self) -> dict[str, str | int | None]:
        """The documented `token_data`: always these five keys, null where the provider sent nothing."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "expires_in": self.expires_in,
            "token_type": self.token_type,
            "scope": self.scope,
        }


def is_token_text(text: str) -> bool:
    """Whether a text can be a token at all: printable ASCII without spaces, at most 8192 characters."""
    return len(text) <= MAX_TOKEN_CHARACTERS and _TOKEN.fullmatch(text) is not None


def authorization_code_grant(*, code: str, code_verifier: str | None, redirect_uri: str) -> dict[str, str]:
    """The parameters that redeem a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5); None: no PKCE."""
    grant = {"grant_type": "authorization_code", "code": code}
    if code_verifier is not None:
        grant["code_verifier"] = code_verifier
    return {**grant, "redirect_uri": redirect_uri}


def refresh_token_grant(refresh_token: str, *, redirect_uri: str | None = None) -> dict[str, str]:
    """The parameters that use a refresh token (RFC 6749 section 6); some providers want the `redirect_uri` again."""
    grant = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return grant if redirect_uri is None else {**grant, "redirect_uri": redirect_uri}


async def call_as_client(
    fetcher: Fetcher, url: str, client: ProviderClient, parameters: Mapping[str, str]
) -> FetchAnswer:
    """POST parameters with our client authentication, in the form that the provider wants. Raises as `post_form`."""
    form, headers = client.authenticate(parameters)
    if client.sends_json:
        return await fetcher.post_json(url, form, headers=headers)
    return await fetcher.post_form(url, form, headers=headers)


async def request_token(
    fetcher: Fetcher, *, token_url: str, client: ProviderClient, grant: Mapping[str, str]
) -> TokenAnswer:
    """Send a grant to the token endpoint and read the answer.

    Raises:
        ProviderAnswerError: the provider refused (`provider_error` is its code; `invalid_grant` whatever it calls
            that) or its answer is not a usable token.
        ProviderUnavailableError: the provider cannot be reached, is broken, or wants fewer calls.
    """
    return read_token_answer(await call_as_client(fetcher, token_url, client, grant))


def read_token_answer(answer: FetchAnswer) -> TokenAnswer:
    """Read the answer of a token endpoint; raises as `request_token`."""
    if answer.status >= 500 or answer.status == 429:
        raise ProviderUnavailableError(
            "The provider is not able to answer", why=f"It answered with HTTP {answer.status}.", hint="Try again later."
        )
    document = _read_document(answer)
    error = document.get("error")
    if error or document.get("ok") is False or answer.status >= 400:
        raise _refusal(error, answer.status)
    if answer.status != 200:
        raise _unusable(f"HTTP {answer.status} is no answer to a token request")
    if "access_token" not in document and isinstance(document.get("authed_user"), dict):
        # Slack: the token of the person, where the app asked for no bot.
        document = cast(JsonObject, document["authed_user"])
    token_type = document.get("token_type")
    if token_type is not None and (not isinstance(token_type, str) or token_type.lower() not in _BEARER_TYPES):
        raise _unusable("its token_type is not Bearer")
    access_token = _read_token(document, "access_token")
    if access_token is None:
        raise _unusable("it has no access_token")
    return TokenAnswer(
        access_token=access_token,
        refresh_token=_read_token(document, "refresh_token"),
        expires_in=_read_expires_in(document.get("expires_in")),
        scope=_read_scope(document.get("scope")),
        id_token=_read_token(document, "id_token", max_characters=MAX_ID_TOKEN_CHARACTERS),
        extra=_read_extra(document),
    )


def sanitise_error_code(error: object) -> str:
    """An OAuth error code that is safe to show, or the empty string: nothing else of a provider's text is shown."""
    return error if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else ""


def _read_document(answer: FetchAnswer) -> JsonObject:
    """The JSON object or the form (GitHub) of an answer."""
    is_form = answer.media_type in ("application/x-www-form-urlencoded", "text/plain")
    if is_form and not answer.body.lstrip().startswith(b"{"):
        return _read_form(answer.body)
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(f"HTTP {answer.status} with something that is neither JSON nor a form") from error
    if not isinstance(document, dict):
        raise _unusable("it is no JSON object")
    return cast(JsonObject, document)


def _read_form(body: bytes) -> JsonObject:
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=True, max_num_fields=64)
    except ValueError as error:
        raise _unusable("it is neither JSON nor a form") from error
    form: JsonObject = dict(pairs)
    if len(form) != len(pairs):
        raise _unusable("it has a field twice")
    return form


def _refusal(error: object, status: int) -> ProviderAnswerError:
    code = sanitise_error_code(error)
    if code in _INVALID_GRANT:
        return ProviderAnswerError(
            "The provider does not accept the code or refresh token",
            provider_error="invalid_grant",
            why=f"It answered {code}: the grant is wrong, expired, revoked or already used.",
            hint="Log in again.",
        )
    hint = ""
    if code in ("invalid_client", "unauthorized_client", "incorrect_client_credentials", "bad_client_secret"):
        hint = "Check the client id and the client secret in the environment of the gateway."
    return ProviderAnswerError(
        "The provider refused the token request",
        provider_error=code,
        why=f"It answered {code or 'an error without a readable code'} (HTTP {status}).",
        hint=hint,
    )


def _unusable(why: str) -> ProviderAnswerError:
    return ProviderAnswerError(
        "The provider's token answer cannot be used",
        why=f"{why[0].upper()}{why[1:]}.",
        hint="Check token_url in the auth block of the package.",
    )


def _read_token(document: JsonObject, name: str, *, max_characters: int = MAX_TOKEN_CHARACTERS) -> str | None:
    value = document.get(name)
    if value is None or (value == "" and name != "access_token"):
        return None
    if not isinstance(value, str) or len(value) > max_characters or not _TOKEN.fullmatch(value):
        raise _unusable(f"its {name} is not printable text of a token's length")
    return value


def _read_extra(document: JsonObject) -> dict[str, str]:
    extra: dict[str, str] = {}
    for name, value in document.items():
        text = value if isinstance(value, str) else show_plain(value)
        if name not in _TOKEN_MEMBERS and text is not None and len(text) <= MAX_TOKEN_CHARACTERS:
            extra[name] = text
    return extra


def _read_expires_in(value: object) -> int | None:
    """Seconds as an integer, as a whole float or as digits; null and the empty string are unknown."""
    if value is None or value == "":
        return None
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and len(value) <= 12 and value.isascii() and value.isdigit():
        seconds = int(value)
    if seconds is None or not 0 < seconds <= MAX_EXPIRES_IN_SECONDS or seconds != int(seconds):
        raise _unusable("its expires_in is no lifetime in seconds")
    return int(seconds)


def _read_scope(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        parts = cast(list[object], value)
        value = " ".join(part for part in parts if isinstance(part, str))
    if not isinstance(value, str) or len(value) > MAX_SCOPE_CHARACTERS or not _SCOPE.fullmatch(value):
        raise _unusable("its scope is not printable text")
    return value
