"""Telling the provider that a login has ended (RFC 7009). What it says changes nothing on this machine."""

import logging
from typing import Final, Literal

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.discovery import ProviderMetadata, discover, find_provider, guess_issuer
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.token_endpoint import ProviderClient
from fluidmcp.operator.operator_token import build_client, is_foreign
from fluidmcp.operator.token_file import StoredLogin

Outcome = Literal["revoked", "no_endpoint", "other_provider", "unreachable", "refused"]

_NEEDS: Final = ("revocation_endpoint",)

logger = logging.getLogger(__name__)


async def revoke(login: StoredLogin, settings: OAuthSettings, fetcher: Fetcher) -> Outcome:
    """Revoke the refresh token (or the access token, where there is no other) at the provider that gave it.

    Never raises for what the provider does. A token is sent only to the provider that issued it.
    """
    if is_foreign(login, settings):
        return "other_provider"
    try:
        provider = await _find_provider(settings, fetcher)
        return await _revoke(login, provider, build_client(settings, provider), fetcher)
    except (ProviderUnavailableError, ProviderAnswerError) as error:
        return _explain(error)


async def revoke_package_login(login: StoredLogin, fetcher: Fetcher) -> Outcome:
    """Revoke a login of `fluidmcp call` at the authorization server that gave it. Never raises, as `revoke`."""
    if login.issuer is None or login.client_id is None:
        return "no_endpoint"
    try:
        server = await discover(login.issuer, fetcher)
        return await _revoke(login, server, ProviderClient(client_id=login.client_id), fetcher)
    except (ProviderUnavailableError, ProviderAnswerError) as error:
        return _explain(error)


async def _revoke(login: StoredLogin, server: ProviderMetadata, client: ProviderClient, fetcher: Fetcher) -> Outcome:
    if server.revocation_endpoint is None:
        return "no_endpoint"
    if login.token_endpoint is not None and server.token_endpoint not in (None, login.token_endpoint):
        return "other_provider"
    token, hint = login.access_token, "access_token"
    if login.refresh_token is not None:
        # RFC 7009 section 2.1: with the refresh token goes the whole grant.
        token, hint = login.refresh_token, "refresh_token"
    form, headers = client.authenticate({"token": token.reveal(), "token_type_hint": hint})
    answer = await fetcher.post_form(server.revocation_endpoint, form, headers=headers)
    if answer.status >= 500:
        return "unreachable"
    return "revoked" if answer.status == 200 else "refused"


def _explain(error: ProviderUnavailableError | ProviderAnswerError) -> Outcome:
    logger.info("revocation failed: %s", error.why)
    return "unreachable" if isinstance(error, ProviderUnavailableError) else "refused"


async def _find_provider(settings: OAuthSettings, fetcher: Fetcher) -> ProviderMetadata:
    """The provider with its revocation endpoint: configured, discovered, or discovered at a well-known provider."""
    provider = await find_provider(settings, fetcher, needs=_NEEDS)
    issuer = guess_issuer(settings)
    if provider.revocation_endpoint is not None or settings.issuer is not None or issuer is None:
        return provider
    trusted = () if settings.token_endpoint is None else (settings.token_endpoint,)
    discovered = await discover(issuer, fetcher, trusted_endpoints=trusted)
    # Use the guess only if it names the token endpoint of the settings: a guess finds addresses, it decides nothing.
    return discovered if discovered.token_endpoint == settings.token_endpoint else provider
