"""Giving tokens back to the provider they came from (RFC 7009)."""

import logging

from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.token_endpoint import ProviderClient, call_as_client

logger = logging.getLogger(__name__)


async def give_tokens_back(
    url: str, client: ProviderClient, *, access_token: str, refresh_token: str | None, fetcher: Fetcher
) -> None:
    """Revoke the refresh token, with which the whole grant goes (section 2.1), or else the access token.

    What the provider answers changes nothing; failures are logged.
    """
    kind = "access_token" if refresh_token is None else "refresh_token"
    parameters = {"token": refresh_token or access_token}
    if not client.sends_json:
        # Optional, and not shown by Notion, which wants JSON and checks its members.
        parameters["token_type_hint"] = kind
    try:
        await call_as_client(fetcher, url, client, parameters)
    except (ProviderUnavailableError, ProviderAnswerError) as error:
        logger.warning("tokens are not given back to the provider: %s", error.why)
