"""Asks Google about a token (`tokeninfo`), and accepts those that were made for our client.

Google's access tokens are opaque, and its userinfo answers for the tokens of every application: `aud` is what tells
ours from theirs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fluidmcp.authentication.identity import read_name, read_subject, read_verified_domain, read_verified_email
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import read_digits, read_object, read_scopes
from fluidmcp.authentication.verifiers.cached import TokenRefusedError, unavailable
from fluidmcp.oauth_client.fetch import Fetcher

TOKENINFO_URL = "https://oauth2.googleapis.com/tokeninfo"
USERINFO_URL = "https://openidconnect.googleapis.com/v1/userinfo"
ISSUER = "https://accounts.google.com"

_REFUSED = frozenset({400, 401, 403})


class GoogleCheck:
    """Accepts tokens whose `aud` or `azp` is our client id.

    `wants_domain`: someone decides by mail domains. Only `hd` tells which organisation an account belongs to, and
    only userinfo says it, so Google is then asked twice.
    """

    def __init__(
        self,
        *,
        client_id: str,
        wants_domain: bool,
        fetcher: Fetcher,
        now: Callable[[], float],
        tokeninfo_url: str = TOKENINFO_URL,
        userinfo_url: str = USERINFO_URL,
    ) -> None:
        self._client_id = client_id
        self._wants_domain = wants_domain
        self._fetcher = fetcher
        self._now = now
        self._tokeninfo_url = tokeninfo_url
        self._userinfo_url = userinfo_url

    async def check(self, token: str, digest: str) -> Principal:
        """Raises as `TokenCheck.check`."""
        # In the header, not in the address: addresses end up in logs.
        headers = {"Authorization": f"Bearer {token}"}
        info = read_object(await self._fetcher.get(self._tokeninfo_url, headers=headers), "tokeninfo", refused=_REFUSED)
        if self._client_id not in (info.get("aud"), info.get("azp")):
            raise TokenRefusedError("Google says that it was made for another client id.")
        expires_at = read_digits(info.get("exp"))
        if expires_at is None:
            raise unavailable("Google's tokeninfo did not say when the token ends.")
        if expires_at <= self._now():
            raise TokenRefusedError("It has expired.")
        subject = read_subject(info)
        principal = Principal(
            issuer=ISSUER,
            subject=subject or f"token:{digest}",
            client_id=self._client_id,
            token_digest=digest,
            scopes=read_scopes(info.get("scope")),
            expires_at=expires_at,
            email_domain=_read_domain(info),
            email=read_verified_email(_normalise(info)),
        )
        if self._wants_domain and principal.email_domain is None and subject is not None:
            answer = await self._fetcher.get(self._userinfo_url, headers=headers)
            person = read_object(answer, "userinfo endpoint", refused=_REFUSED)
            if read_subject(person) == subject:
                email = read_verified_email(_normalise(person))
                return replace(principal, email_domain=_read_domain(person), email=email, name=read_name(person))
        return principal


def _read_domain(info: Mapping[str, object]) -> str | None:
    return read_verified_domain(_normalise(info), ISSUER)


def _normalise(info: Mapping[str, object]) -> Mapping[str, object]:
    """As an ID token has it; tokeninfo writes `email_verified` as a text."""
    return {**info, "email_verified": info.get("email_verified") in (True, "true")}
