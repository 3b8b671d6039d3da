"""Asks GitHub whether a token was issued to our OAuth app ("check a token").

`GET /user` would answer for any GitHub token, personal ones included; this endpoint knows those of our app only, and
wants our client id and secret.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from fluidmcp.authentication.identity import read_name
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import read_object, read_scopes
from fluidmcp.authentication.verifiers.cached import TokenRefusedError, unavailable
from fluidmcp.config.secret import Secret
from fluidmcp.oauth_client.fetch import Fetcher

API_URL = "https://api.github.com"
ISSUER = "https://github.com"

_REFUSED = frozenset({404, 422})


class GitHubCheck:
    """Accepts the tokens of our OAuth app. A person is the number of the account; login names can change hands."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: Secret,
        fetcher: Fetcher,
        now: Callable[[], float],
        api_url: str = API_URL,
        issuer: str = ISSUER,
    ) -> None:
        """`api_url` and `issuer` are others at a GitHub Enterprise."""
        self._client_id = client_id
        self._client_secret = client_secret
        self._fetcher = fetcher
        self._now = now
        self._issuer = issuer
        self._url = f"{api_url}/applications/{client_id}/token"

    async def check(self, token: str, digest: str) -> Principal:
        """Raises as `TokenCheck.check`."""
        pair = f"{self._client_id}:{self._client_secret.reveal()}".encode()
        headers = {
            "Authorization": "Basic " + base64.b64encode(pair).decode("ascii"),
            "Accept": "application/vnd.github+json",
        }
        answer = await self._fetcher.post_json(self._url, {"access_token": token}, headers=headers)
        if answer.status == 401:
            raise unavailable(
                "GitHub does not accept our client id and secret.", hint="Check them in the environment of the gateway."
            )
        document = read_object(answer, "token endpoint of GitHub", refused=_REFUSED)
        app = document.get("app")
        if isinstance(app, dict) and cast("dict[str, object]", app).get("client_id") != self._client_id:
            raise TokenRefusedError("GitHub says that it was made for another app.")
        expires_at = _read_end(document.get("expires_at"))
        if expires_at is not None and expires_at <= self._now():
            raise TokenRefusedError("It has expired.")
        return Principal(
            issuer=self._issuer,
            subject=str(_read_account(document.get("user"))),
            client_id=self._client_id,
            token_digest=digest,
            scopes=read_scopes(document.get("scopes")),
            expires_at=expires_at,
            name=_read_login_name(document.get("user")),
        )


def _read_account(user: object) -> int:
    account = cast("dict[str, object]", user).get("id") if isinstance(user, dict) else None
    if not isinstance(account, int) or isinstance(account, bool) or account <= 0:
        raise unavailable("GitHub did not say whose token it is.")
    return account


def _read_login_name(user: object) -> str | None:
    """To show: it can change hands."""
    return read_name({"name": cast("dict[str, object]", user).get("login")}) if isinstance(user, dict) else None


def _read_end(value: object) -> float | None:
    """The end of an expiring token (an ISO 8601 time), None for one without."""
    if value is None:
        return None
    try:
        end = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        end = None
    if end is None:
        raise unavailable("GitHub gave an end of the token that is no time.")
    return (end if end.tzinfo is not None else end.replace(tzinfo=UTC)).timestamp()
