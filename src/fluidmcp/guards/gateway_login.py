"""The login that the gateway as a whole asks for (`run --oauth`), for MCP clients that can send one token only.

We are an OAuth client of the provider that the FMCP_OAUTH_ variables name, with `{public_url}/auth/callback` as
redirect URI. Who may come in is the guard's decision, at the login and again at each request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fluidmcp.authentication.identity import Identity, read_id_token
from fluidmcp.authentication.person import Person
from fluidmcp.authorization_server.grant import UpstreamGrant, build_grant
from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.config.urls import split_public_url
from fluidmcp.crypto.digest import PackageDigest, fingerprint
from fluidmcp.errors import ForbiddenError, ProviderAnswerError
from fluidmcp.guards.gateway_auth import GatewayAuth
from fluidmcp.oauth_client.discovery import ProviderMetadata, find_provider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.pending_login import LoginEndpoints, LoginFlow, LoginStart
from fluidmcp.oauth_client.revocation import give_tokens_back
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.oauth_client.token_endpoint import ProviderClient, TokenAnswer
from fluidmcp.oauth_client.waiting_logins import LoginKind, TakenLogin, cookie_name
from fluidmcp.operator.operator_token import build_client

CALLBACK_PATH: Final = "/auth/callback"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProvider:
    """The provider of the gateway's own login, with the guard that says who may come in."""

    settings: OAuthSettings
    metadata: ProviderMetadata
    client: ProviderClient
    guard: GatewayAuth
    fetcher: Fetcher

    @classmethod
    async def find(cls, settings: OAuthSettings, *, guard: GatewayAuth, fetcher: Fetcher) -> "GatewayProvider | None":
        """The provider; None where the settings do not say where people log in, or who we are there.

        Raises:
            ProviderUnavailableError, ProviderAnswerError: discovery is needed and fails.
        """
        if settings.client_id is None:
            return None
        needs = ("authorization_endpoint", "token_endpoint")
        provider = await find_provider(settings, fetcher, needs=needs)
        if provider.authorization_endpoint is None or provider.token_endpoint is None:
            return None
        return cls(
            settings=settings,
            metadata=provider,
            client=build_client(settings, provider),
            guard=guard,
            fetcher=fetcher,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignIssuer:
    """A provider that registers MCP clients itself, so they need no login of ours; and the scopes they ask for."""

    issuer: str
    scopes: tuple[str, ...] = ()


class GatewayLogin:
    """An `Upstream`: the first login on the way to every package of a guarded gateway."""

    def __init__(
        self,
        provider: GatewayProvider,
        services: LoginServices,
    ) -> None:
        self._provider = provider
        self._now = services.now
        endpoints = _endpoints(provider)
        self.redirect_uri = services.public_url + CALLBACK_PATH
        self.sign_in_host = urlsplit(endpoints.authorization_url).netloc
        self.cookie_path = split_public_url(services.public_url)[1] + "/auth"
        self.fingerprint = fingerprint(endpoints, provider.client.client_id)
        self.scopes = endpoints.scopes
        self._login = LoginFlow(
            package="",
            endpoints=endpoints,
            client=provider.client,
            redirect_uri=self.redirect_uri,
            login_url="the MCP client again",
            digest=PackageDigest(services.digest_key, package="", block=endpoints, client_id=provider.client.client_id),
            pending_auth_states=services.pending_auth_states,
            max_per_address=services.limits.max_per_address,
            fetcher=provider.fetcher,
            now=services.now,
            random_bytes=services.random_bytes,
        )

    async def begin_login(
        self,
        *,
        client_address: str,
        kind: LoginKind = "client",
        scopes: Sequence[str] | None = None,
        carried: bytes = b"",
    ) -> LoginStart:
        """As `Upstream.begin_login`."""
        return await self._login.begin(client_address=client_address, kind=kind, scopes=scopes, carried=carried)

    async def take_login(self, query: Sequence[tuple[str, str]], cookies: Mapping[str, str]) -> TakenLogin:
        """The login that a callback belongs to. Raises LoginError: there is none, or not of this browser."""
        return await self._login.take(query, cookies)

    def login_cookie_name(self, state: str) -> str:
        """The name of the cookie that belongs to a `state`."""
        return cookie_name(state, is_secure=self.redirect_uri.startswith("https:"))

    async def redeem_for_client(
        self, taken: TakenLogin, query: Sequence[tuple[str, str]], *, scopes: Sequence[str]
    ) -> UpstreamGrant:
        """As `Upstream.redeem_for_client`."""
        answer = await self._login.redeem(taken, query)
        grant = build_grant(answer, await self._identify(answer), asked=self.scopes, now=self._now())
        try:
            await self.admit(grant.person)
        except ForbiddenError:
            await self.give_back(grant)
            raise
        return grant

    async def renew(self, grant: UpstreamGrant) -> UpstreamGrant:
        """As `Upstream.renew`."""
        person = grant.person
        known = Identity(
            issuer=person.issuer, subject=person.subject, email_domain=person.email_domain, name=person.name
        )
        await self.admit(person)
        if grant.refresh_token is None:
            if grant.expires_at is not None or await self._provider.guard.identify(grant.access_token) is None:
                raise ProviderAnswerError("The provider's token is over", provider_error="invalid_grant")
            return grant
        answer = await self._login.refresh(grant.refresh_token)
        identity = known if answer.id_token is None else self._read_id_token(answer.id_token)
        if (identity.issuer, identity.subject) != (known.issuer, known.subject):
            raise ProviderAnswerError("The refreshed token is somebody else's", provider_error="invalid_grant")
        renewed = build_grant(answer, identity, asked=person.scopes, now=self._now())
        await self.admit(renewed.person)
        return renewed

    async def give_back(self, grant: UpstreamGrant) -> None:
        """As `Upstream.give_back`."""
        endpoint = self._provider.metadata.revocation_endpoint
        if endpoint is not None:
            await give_tokens_back(
                endpoint,
                self._provider.client,
                access_token=grant.access_token,
                refresh_token=grant.refresh_token,
                fetcher=self._provider.fetcher,
            )

    async def admit(self, person: Person) -> None:
        """As `Upstream.admit`."""
        await self._provider.guard.check_person(
            issuer=person.issuer,
            subject=person.subject,
            email_domain=person.email_domain,
            scopes=frozenset(person.scopes),
        )

    async def _identify(self, answer: TokenAnswer) -> Identity:
        """Who logged in: the ID token says it, or one of the guard's ways to check tokens.

        Raises:
            ProviderAnswerError: neither names a person, so nobody can be let in.
            ProviderUnavailableError: the provider would have to be asked and cannot answer.
        """
        if answer.id_token is not None:
            return self._read_id_token(answer.id_token)
        principal = await self._provider.guard.identify(answer.access_token)
        if principal is None or principal.subject.startswith("token:"):
            raise ProviderAnswerError(
                "The provider does not say who logged in",
                why="Its answer has no ID token, and nothing else names a person.",
                hint="Add openid to FMCP_OAUTH_SCOPE, or set FMCP_OAUTH_USERINFO_ENDPOINT.",
            )
        return Identity(
            issuer=principal.issuer,
            subject=principal.subject,
            email_domain=principal.email_domain,
            name=principal.name,
        )

    def _read_id_token(self, id_token: str) -> Identity:
        return read_id_token(
            id_token,
            client_id=self._provider.client.client_id,
            issuer=self._provider.metadata.issuer,
            now=self._now(),
        )


def _endpoints(provider: GatewayProvider) -> LoginEndpoints:
    settings, metadata = provider.settings, provider.metadata
    audience = () if settings.audience is None else (("audience", settings.audience),)
    extra = dict((*audience, *settings.extra_auth_params))
    return LoginEndpoints(
        authorization_url=metadata.authorization_endpoint or "",
        token_url=metadata.token_endpoint or "",
        # With a tenant template, a token names its own tenant, but a callback names the alias that was asked.
        issuer=None if metadata.is_tenant_template else metadata.issuer,
        names_issuer=metadata.iss_parameter_supported,
        scopes=tuple(dict.fromkeys((*settings.scope.split(), *settings.required_scopes))),
        extra_params=tuple(extra.items()),
    )
