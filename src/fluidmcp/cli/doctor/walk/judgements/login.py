"""What the pages and redirects of a login say, as far as nobody has to log in. Pure module."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from fluidmcp.cli.doctor.walk.address import Address, split_address
from fluidmcp.cli.doctor.walk.clients import ClientProfile
from fluidmcp.cli.doctor.walk.report import Diagnosis, Step
from fluidmcp.cli.doctor.walk.seen import Answer, texts_of
from fluidmcp.oauth_client.token_endpoint import sanitise_error_code
from fluidmcp.operator.browser_flow import clean_text

OFFLINE: Final = "offline_access"

_FIELD: Final = re.compile(r'<input[^>]*name="request"[^>]*value="([^"]*)"')
_ACTION: Final = re.compile(r'<form[^>]*method="post"[^>]*action="([^"]*)"')
_PROVIDER_SAID: Final = re.compile(r"answered ([a-z_]+)")
# What a provider says to `prompt=none` when nobody is signed in: the request itself was in order.
_NOBODY_SIGNED_IN: Final = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)
_PROVIDER_ERRORS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "invalid_scope": (
            "provider_scope",
            "Correct scopes: the provider has to know each, and allow it for this client.",
        ),
        "unauthorized_client": (
            "provider_client",
            "Allow the authorization code grant for this client at the provider.",
        ),
        "invalid_client": ("provider_client", "Check the client id in the variable of client_id_env."),
        "redirect_uri_mismatch": ("redirect_not_registered", "Register the redirect URI letter by letter."),
        "invalid_redirect_uri": ("redirect_not_registered", "Register the redirect URI letter by letter."),
        "invalid_target": ("provider_audience", "Correct the audience: the provider does not know it."),
    }
)


@dataclass(frozen=True, slots=True)
class ConsentForm:
    """The form of the page that asks: where it goes, and its sealed field."""

    action: str
    request: str = field(repr=False)


def read_consent(answer: Answer) -> ConsentForm | None:
    """The form of our own page that asks; None for any other page."""
    request, action = _FIELD.search(answer.text), _ACTION.search(answer.text)
    if request is None or action is None or 'name="decision"' not in answer.text:
        return None
    return ConsentForm(html.unescape(action[1]), html.unescape(request[1]))


def judge_authorize(answer: Answer, client: ClientProfile, *, by_document: bool) -> Diagnosis | None:
    """The answer of the authorization endpoint to a browser."""
    step: Step = "authorize"
    if answer.status < 400:
        error = _error_in(answer.header("location"), client.redirect_uri)
        if error is None:
            return None
        cause = f"The login that {client.name} begins is refused: {error}"
        return Diagnosis(code="authorize_refused", step=step, cause=cause, remedy="See the log of the gateway.")
    said = answer.title or f"HTTP {answer.status}"
    if by_document:
        return Diagnosis(
            code="client_document_unread",
            step=step,
            cause=f"The gateway does not accept the document by which {client.name} says who it is "
            f"({client.document_url}): {said}",
            remedy="Let the gateway reach that address over https, and see whether its host stands under denied in "
            "FMCP_CLIENTS_FILE.",
        )
    if answer.status in (502, 503, 504) and not answer.title.strip():
        said = f"HTTP {answer.status}"
    return Diagnosis(
        code="authorize_refused",
        step=step,
        cause=f"The page that asks for consent does not come: {said}",
        remedy="Let the proxy pass all paths of the gateway on, and see the log of the gateway.",
    )


def _error_in(location: str, redirect_uri: str) -> str | None:
    """What a redirect back to the client says went wrong; None for any other redirect."""
    if not location.startswith(f"{redirect_uri}?"):
        return None
    query = dict(parse_qsl(split_address(location).query))
    if "error" not in query:
        return None
    return clean_text(query.get("error_description", "")) or sanitise_error_code(query["error"])


def judge_consent(answer: Answer, client: ClientProfile) -> Diagnosis | None:
    """The answer to the form: on to the provider, or why not."""
    step: Step = "provider"
    error = _error_in(answer.header("location"), client.redirect_uri)
    if answer.status < 400 and error is None:
        return None
    said = error or clean_text(answer.title) or f"HTTP {answer.status}"
    if answer.status == 403:
        return Diagnosis(
            code="form_refused",
            step=step,
            cause="The gateway refuses its own form: the proxy changes Origin, or its public URL is another one.",
            remedy="Pass Origin and Host on as they came, and set --public-url to the address that browsers use.",
        )
    return Diagnosis(
        code="login_unconfigured",
        step=step,
        cause=f"The gateway cannot begin the login at the provider: {said}",
        remedy="Run: fluidmcp doctor FILE where the gateway runs. It names variables that are not set.",
    )


def judge_request_to_provider(location: str, address: Address) -> Diagnosis | None:
    """What the gateway asks the provider for, as it stands in the address of the login page."""
    query = dict(parse_qsl(split_address(location).query))
    redirect_uri = query.get("redirect_uri", "")
    if not redirect_uri.startswith(f"{address.base}/"):
        return Diagnosis(
            code="redirect_elsewhere_than_here",
            step="provider",
            cause=f"The provider will send browsers to {redirect_uri}, which is not below {address.base}.",
            remedy=f"Start the gateway with --public-url {address.base}, and register that address at the provider.",
        )
    return None


def judge_provider_page(answer: Answer, location: str) -> Diagnosis | None:
    """The provider's answer to the login request with `prompt=none` (OpenID Connect Core section 3.1.2.1)."""
    asked = dict(parse_qsl(split_address(location).query))
    redirect_uri, provider = asked.get("redirect_uri", ""), split_address(location).netloc
    if answer.status < 400:
        if not answer.header("location").startswith(f"{redirect_uri}?"):
            return None
        error = sanitise_error_code(dict(parse_qsl(split_address(answer.header("location")).query)).get("error"))
        if not error or error in _NOBODY_SIGNED_IN:
            return None
        code, remedy = _PROVIDER_ERRORS.get(
            error, ("provider_refuses", "Compare the client at the provider with its page in docs/providers.")
        )
        return _of_provider(code, f"{provider} refuses the login request: {error}.", remedy)
    if answer.status >= 500:
        return _of_provider("provider_down", f"{provider} answers HTTP {answer.status}.", "Try again later.")
    text = answer.text.lower()
    if "redirect" in text:
        return _of_provider(
            "redirect_not_registered",
            f"{provider} does not know the redirect URI {redirect_uri} for this client.",
            f"Register {redirect_uri} there, letter by letter.",
        )
    if "client" in text:
        return _of_provider(
            "provider_client",
            f"{provider} does not know the client id of the gateway.",
            "Check the client id in the variable of client_id_env, and that it is one of this provider.",
        )
    if answer.status in (403, 405, 429):
        return None
    return _of_provider(
        "provider_refuses",
        f"{provider} answers the login request with HTTP {answer.status}.",
        f"Register {redirect_uri} letter by letter; check client id and authorization_url.",
    )


def judge_provider_scopes(location: str, provider: Mapping[str, object]) -> Diagnosis | None:
    """Whether the login will be renewed: most providers that know `offline_access` give no refresh token without."""
    asked = dict(parse_qsl(split_address(location).query))
    scopes = asked.get("scope", "").replace(",", " ").split()
    if OFFLINE in scopes or asked.get("access_type") == "offline":
        return None
    if OFFLINE not in texts_of(provider, "scopes_supported"):
        return None
    return Diagnosis(
        code="offline_access_missing",
        step="provider",
        level="warning",
        cause=f"The gateway does not ask the provider for {OFFLINE}, which it knows: most then give no refresh token, "
        "and everybody logs in again when the first token ends.",
        remedy=f'Add "{OFFLINE}" to scopes of the auth block (FMCP_OAUTH_SCOPE for the gateway\'s own login).',
    )


def judge_redeemed(answer: Answer, client: ClientProfile) -> Diagnosis | None:
    """What became of a code that is none: the provider knows the gateway by then, or refuses it."""
    said = _error_in(answer.header("location"), client.redirect_uri) or ""
    found = _PROVIDER_SAID.search(said)
    error = found[1] if found else ""
    if error in ("invalid_client", "unauthorized_client"):
        return _of_token(
            "client_secret_wrong",
            "The provider does not accept the client secret of the gateway.",
            "Set the variable of client_secret_env to the present secret of this client (some providers let secrets "
            "end), or correct token_endpoint_auth_method.",
        )
    if answer.status >= 500 or "cannot be reached" in said or "did not answer" in said:
        return _of_token(
            "provider_unreachable_inside",
            f"The gateway does not reach the token endpoint of the provider: {said or f'HTTP {answer.status}'}",
            "Check token_url, and the way out of the gateway's machine (firewall, DNS, clock for TLS).",
        )
    if answer.status == 404:
        return _of_token(
            "callback_unreachable",
            "The address to which the provider sends browsers does not come to the gateway.",
            "Let the proxy pass all paths of the gateway on.",
        )
    return None


def _of_provider(code: str, cause: str, remedy: str) -> Diagnosis:
    return Diagnosis(code=code, step="provider", cause=cause, remedy=remedy)


def _of_token(code: str, cause: str, remedy: str) -> Diagnosis:
    return Diagnosis(code=code, step="token", cause=cause, remedy=remedy)
