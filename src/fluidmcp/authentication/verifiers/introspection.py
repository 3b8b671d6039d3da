"""Asks the provider's introspection endpoint (RFC 7662) whether a token is active, and was made for our client."""

from collections.abc import Callable, Mapping

from fluidmcp.authentication.identity import read_name, read_subject, read_verified_domain, read_verified_email
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import holds, read_object, read_scopes, read_text, read_time
from fluidmcp.authentication.verifiers.cached import TokenRefusedError, unavailable
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.oauth_client.token_endpoint import ProviderClient, call_as_client

_ACCESS_TOKEN_KINDS = frozenset({"bearer", "at+jwt", "access_token", "access"})


class IntrospectionCheck:
    """Accepts every token that the provider calls active and that is bound to our client.

    Bound means: `client_id` is ours, or `aud` contains our client id or our audience. Endpoints call refresh tokens
    active as well. An answer that names the kind of the token (`token_type`, `typ` or `token_use`) must name an access
    token. One that names none (section 2.2: optional) is good at an endpoint that never names any; one that has named
    access tokens leaves the kind out because it is another.
    """

    def __init__(
        self,
        *,
        introspection_url: str,
        client: ProviderClient,
        audience: str | None,
        issuer: str,
        fetcher: Fetcher,
        now: Callable[[], float],
    ) -> None:
        self._introspection_url = introspection_url
        self._client = client
        self._audience = audience
        self._issuer = issuer
        self._fetcher = fetcher
        self._now = now
        self._names_access_tokens = False
        """Whether this endpoint has named the kind of an access token."""

    async def check(self, token: str, digest: str) -> Principal:
        """Raises as `TokenCheck.check`; an answer that is not as RFC 7662 says is a failure of the provider."""
        parameters = {"token": token}
        if not self._client.sends_json:
            parameters["token_type_hint"] = "access_token"
        return self._read(
            digest, await call_as_client(self._fetcher, self._introspection_url, self._client, parameters)
        )

    def _read(self, digest: str, answer: FetchAnswer) -> Principal:
        """The principal of an answer (RFC 7662 section 2.2)."""
        claims = read_object(answer, "introspection endpoint")
        if not isinstance(claims.get("active"), bool):
            raise unavailable("The introspection endpoint did not say whether the token is active.")
        expires_at = read_time(claims.get("exp"))
        if expires_at is None and claims.get("exp") is not None:
            raise unavailable("The introspection endpoint gave an end that is no time.")
        if claims["active"] is not True or (expires_at is not None and expires_at <= self._now()):
            raise TokenRefusedError("The provider says that it is not active.")
        if not self._is_ours(claims):
            raise TokenRefusedError("The provider says that it was made for another client or audience.")
        kinds = _read_kinds(claims)
        if not kinds <= _ACCESS_TOKEN_KINDS:
            raise TokenRefusedError("The provider says that it is no access token.")
        if not kinds and self._names_access_tokens:
            raise TokenRefusedError("The provider does not say that it is an access token, as it does of others.")
        self._names_access_tokens = self._names_access_tokens or bool(kinds)
        issuer = read_text(claims, "iss") or self._issuer
        return Principal(
            issuer=issuer,
            # A token without a person stands for itself.
            subject=read_subject(claims) or f"token:{digest}",
            client_id=self._client.client_id,
            token_digest=digest,
            scopes=read_scopes(claims.get("scope")),
            expires_at=expires_at,
            email_domain=read_verified_domain(claims, issuer),
            email=read_verified_email(claims),
            name=read_name(claims),
        )

    def _is_ours(self, claims: Mapping[str, object]) -> bool:
        if claims.get("client_id") == self._client.client_id:
            return True
        ours = (self._client.client_id, self._audience)
        return any(name is not None and holds(claims.get("aud"), name) for name in ours)


def _read_kinds(claims: Mapping[str, object]) -> frozenset[str]:
    """What the answer calls the token, in small letters; what is no text is a kind of its own."""
    named = (claims.get(name) for name in ("token_type", "typ", "token_use"))
    return frozenset(kind.lower() if isinstance(kind, str) else "?" for kind in named if kind is not None)
