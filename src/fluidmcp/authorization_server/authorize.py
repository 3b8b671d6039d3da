"""The authorization request of an MCP client (OAuth 2.1 section 4.1.1), read strictly. Pure but for the client lookup.

A fault in the client or its redirect URI is shown to the person and sent nowhere; every other one goes back to the
client, with its `state` and our `iss` (RFC 9207).
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from fluidmcp.authentication.challenge import quotable
from fluidmcp.authorization_server.clients import Client, ClientDirectory
from fluidmcp.errors import OAuthError

MAX_STATE_CHARACTERS: Final = 4096
MAX_CLIENT_ID_CHARACTERS: Final = 2048
MAX_SCOPE_CHARACTERS: Final = 4096
MAX_DESCRIPTION_CHARACTERS: Final = 300
ALWAYS_ASKED_SCOPES: Final = frozenset({"openid", "profile", "email", "offline_access"})
"""Scopes that tell who somebody is and let a login last: asked for with every choice, where the package has them."""

_CODE_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class AuthorizationRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that is in order, as it travels through the browser: always sealed."""

    issuer: str
    """Ours, by the endpoint that the request came through; it becomes `iss`."""
    client_id: str
    client_name: str
    client_host: str | None
    client_digest: str
    redirect_uri: str
    is_redirect_required: bool
    state: str | None
    scopes: tuple[str, ...]
    code_challenge: str
    must_ask: bool
    """`prompt=consent`: the person is asked, whatever was remembered."""
    ends_at: int

    def __repr__(self) -> str:
        return f"AuthorizationRequest(client_name={self.client_name!r})"

    def answer(self, **parameters: str) -> str:
        """The redirect URI with an answer (RFC 6749 section 4.1.2)."""
        return build_answer(self.redirect_uri, issuer=self.issuer, state=self.state, **parameters)

    def answer_error(self, error: str, description: str) -> str:
        """The redirect URI with an error (RFC 6749 section 4.1.2.1)."""
        shown = quotable(description)[:MAX_DESCRIPTION_CHARACTERS]
        return self.answer(error=error, error_description=shown)


class ReturnError(Exception):
    """The request goes back to the client with an error: `location` is where that is, `description` what is wrong."""

    def __init__(self, location: str, description: str) -> None:
        super().__init__("an authorization request is refused")
        self.location = location
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """What the requests of one package have to say."""

    resources: Collection[str]
    """The addresses of the package, which are one audience (RFC 8707)."""
    scopes: Sequence[str]
    life_seconds: int


def build_answer(redirect_uri: str, *, issuer: str, state: str | None, **parameters: str) -> str:
    answer = {**parameters, **({} if state is None else {"state": state}), "iss": issuer}
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(answer)}"


async def read_authorization_request(
    query: Sequence[tuple[str, str]],
    *,
    issuer: str,
    rules: RequestRules,
    directory: ClientDirectory,
    client_address: str,
    now: float,
) -> AuthorizationRequest:
    """The request in a query.

    Raises:
        OAuthError: the client or its redirect URI is not good; for the person's eyes.
        ReturnError: anything else is not good; for the client.
    """
    client_id = _single(query, "client_id")
    if client_id is None or len(client_id) > MAX_CLIENT_ID_CHARACTERS:
        raise OAuthError(
            "invalid_request",
            "The program did not say who it is.",
            why="The address needs one client_id.",
            hint="Start again from the program that sent you here.",
        )
    client = await directory.find(client_id, client_address=client_address)
    presented = _single(query, "redirect_uri")
    redirect_uri = client.find_redirect(presented)
    state = _single_state(query)
    try:
        return _read_rest(query, client, redirect_uri, presented is not None, state, issuer, rules, now)
    except OAuthError as error:
        shown = quotable(" ".join(part for part in (error.what, error.why) if part))[:MAX_DESCRIPTION_CHARACTERS]
        answer = build_answer(redirect_uri, issuer=issuer, state=state, error=error.error, error_description=shown)
        raise ReturnError(answer, shown) from error


def _read_rest(
    query: Sequence[tuple[str, str]],
    client: Client,
    redirect_uri: str,
    is_redirect_required: bool,
    state: str | None,
    issuer: str,
    rules: RequestRules,
    now: float,
) -> AuthorizationRequest:
    names = [name for name, _ in query if name != "resource"]
    if len(names) != len(set(names)):
        raise OAuthError("invalid_request", "A parameter came twice.")
    parameters = dict(query)
    if len(parameters.get("state", "")) > MAX_STATE_CHARACTERS:
        raise OAuthError("invalid_request", f"The state has more than {MAX_STATE_CHARACTERS} characters.")
    if "request" in parameters or "request_uri" in parameters:
        raise OAuthError("request_not_supported", "Request objects are not supported.")
    if parameters.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "Only response_type=code is supported.")
    if parameters.get("response_mode", "query") != "query":
        raise OAuthError("invalid_request", "Only response_mode=query is supported.")
    # A missing method would mean "plain" (RFC 7636 section 4.3), which OAuth 2.1 does without.
    challenge = parameters.get("code_challenge", "")
    if parameters.get("code_challenge_method") != "S256" or not _CODE_CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "PKCE with code_challenge_method=S256 is required.")
    check_resources([value for name, value in query if name == "resource"], rules.resources)
    prompts = parameters.get("prompt", "").split()
    if "none" in prompts:
        raise OAuthError("interaction_required", "The person has to see the login.")
    return AuthorizationRequest(
        issuer=issuer,
        client_id=client.client_id,
        client_name=client.name,
        client_host=client.host,
        client_digest=client.digest,
        redirect_uri=redirect_uri,
        is_redirect_required=is_redirect_required,
        state=state,
        scopes=choose_scopes(parameters.get("scope", ""), rules.scopes),
        code_challenge=challenge,
        must_ask="consent" in prompts,
        ends_at=int(now) + rules.life_seconds,
    )


def check_resources(given: Sequence[str], own: Collection[str]) -> None:
    """Every `resource` must be an address of the package. None at all means the package: the issuer has no other.

    Raises:
        OAuthError: `invalid_target` (RFC 8707 section 2).
    """
    if any(_normalise(resource) not in own for resource in given):
        raise OAuthError(
            "invalid_target",
            "The resource is not one of this authorization server.",
            why="It gives tokens for one package only.",
        )


def choose_scopes(asked: str, own: Sequence[str]) -> tuple[str, ...]:
    """Those of the package's scopes that the client asks for; all of them where it names none that we know.

    RFC 6749 section 3.3 lets the server choose; the token response says what was chosen.
    """
    if len(asked) > MAX_SCOPE_CHARACTERS:
        raise OAuthError("invalid_scope", "The scope is too long.")
    named = set(asked.split())
    wanted = tuple(scope for scope in own if scope in named)
    if not wanted:
        return tuple(own)
    return tuple(scope for scope in own if scope in named or scope in ALWAYS_ASKED_SCOPES)


def _normalise(resource: str) -> str:
    """Scheme and host in lower case, which RFC 3986 section 6.2.2.1 calls equal; the rest as it is."""
    try:
        parts = urlsplit(resource)
    except ValueError:
        return ""
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()).geturl()


def _single(query: Sequence[tuple[str, str]], name: str) -> str | None:
    """The value of a parameter, None where there is none. Raises OAuthError when there are two."""
    values = [value for key, value in query if key == name]
    if len(values) > 1:
        raise OAuthError(
            "invalid_request",
            f"The address has {name} twice.",
            hint="Start again from the program that sent you here.",
        )
    return values[0] if values and values[0] else None


def _single_state(query: Sequence[tuple[str, str]]) -> str | None:
    """The state to repeat; a doubled or oversized state is not repeated."""
    values = [value for key, value in query if key == "state"]
    return values[0] if len(values) == 1 and len(values[0]) <= MAX_STATE_CHARACTERS else None
