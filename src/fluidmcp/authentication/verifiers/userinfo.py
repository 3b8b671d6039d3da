"""Asks the provider who the holder of a token is: OpenID Connect's userinfo, and what Slack and Atlassian have instead.

Such an answer proves a person, and not that the token was meant for us: any other application of the provider could
bring the tokens of its users. The user of this check decides whose tokens it may let in.
"""

from collections.abc import Mapping

from fluidmcp.authentication.identity import read_name, read_subject, read_verified_domain, read_verified_email
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import read_object, read_text
from fluidmcp.authentication.verifiers.cached import TokenRefusedError, unavailable
from fluidmcp.config.known_providers import UserinfoEndpoint
from fluidmcp.oauth_client.fetch import Fetcher

_REFUSED = frozenset({400, 401, 403})
# Slack answers everything with HTTP 200; these of its errors speak of the token, all others of Slack.
_SLACK_REFUSALS = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission"}
    | {"not_allowed_token_type", "access_denied", "missing_scope"}
)


class UserinfoCheck:
    """Accepts every token for which the provider names a person."""

    def __init__(self, *, endpoint: UserinfoEndpoint, issuer: str, fetcher: Fetcher) -> None:
        self._endpoint = endpoint
        self._issuer = issuer
        self._fetcher = fetcher

    async def check(self, token: str, digest: str) -> Principal:
        """Raises as `TokenCheck.check`. The principal has no scopes, no end and no client: nothing is said of them."""
        headers = {"Authorization": f"Bearer {token}"}
        if self._endpoint.dialect == "slack":
            answer = await self._fetcher.post_form(self._endpoint.url, {}, headers=headers)
        else:
            answer = await self._fetcher.get(self._endpoint.url, headers=headers)
        document = read_object(answer, "userinfo endpoint", refused=_REFUSED)
        subject = self._read_subject(document)
        return Principal(
            issuer=self._issuer,
            subject=subject,
            client_id="",
            token_digest=digest,
            email_domain=read_verified_domain(document, self._issuer) if self._endpoint.dialect == "oidc" else None,
            email=read_verified_email(document) if self._endpoint.dialect == "oidc" else None,
            name=read_name(document),
        )

    def _read_subject(self, document: Mapping[str, object]) -> str:
        match self._endpoint.dialect:
            case "slack":
                subject = _read_slack(document)
            case "atlassian":
                subject = read_subject({"sub": document.get("account_id")})
            case "oidc":
                subject = read_subject(document)
        if subject is None:
            raise unavailable("The userinfo endpoint named nobody.")
        return subject


def _read_slack(document: Mapping[str, object]) -> str | None:
    """A person at Slack is a user of a workspace: `team_id.user_id`."""
    if document.get("ok") is not True:
        if document.get("error") in _SLACK_REFUSALS:
            raise TokenRefusedError("Slack does not accept it.")
        raise unavailable("Slack could not check the token.")
    team, user = read_text(document, "team_id"), read_text(document, "user_id")
    return None if team is None or user is None else read_subject({"sub": f"{team}.{user}"})
