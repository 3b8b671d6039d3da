"""Asks GitLab which application a token was issued to (`/oauth/token/info`), and accepts those of ours."""

from collections.abc import Callable
from typing import cast

from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import read_object, read_scopes, read_time
from fluidmcp.authentication.verifiers.cached import TokenRefusedError, unavailable
from fluidmcp.oauth_client.fetch import Fetcher

_REFUSED = frozenset({400, 401, 403})


class GitLabCheck:
    """Accepts tokens whose application is our client id. A person is the number of the account."""

    def __init__(self, *, instance_url: str, client_id: str, fetcher: Fetcher, now: Callable[[], float]) -> None:
        self._issuer = instance_url
        self._client_id = client_id
        self._fetcher = fetcher
        self._now = now

    async def check(self, token: str, digest: str) -> Principal:
        """Raises as `TokenCheck.check`."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self._fetcher.get(f"{self._issuer}/oauth/token/info", headers=headers)
        info = read_object(answer, "token info of GitLab", refused=_REFUSED)
        application = info.get("application")
        if not isinstance(application, dict) or cast("dict[str, object]", application).get("uid") != self._client_id:
            raise TokenRefusedError("GitLab says that it was made for another application.")
        left = read_time(info.get("expires_in"))
        if left is None and info.get("expires_in") is not None:
            raise unavailable("GitLab gave a life of the token that is no time.")
        if left is not None and left <= 0:
            raise TokenRefusedError("It has expired.")
        account = info.get("resource_owner_id")
        is_person = isinstance(account, int) and not isinstance(account, bool) and account > 0
        return Principal(
            issuer=self._issuer,
            subject=str(account) if is_person else f"token:{digest}",
            client_id=self._client_id,
            token_digest=digest,
            scopes=read_scopes(info.get("scope")),
            expires_at=None if left is None else self._now() + left,
        )
