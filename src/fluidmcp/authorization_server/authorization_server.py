"""The login that standard MCP clients find by themselves: we are the authorization server of one package.

The client is asked about once, on our own page; the person then logs in at the providers (the gateway's, the
package's, or both in one trip of the browser), and the client gets tokens that hold what the providers gave, sealed.
Kept here are the states of grants, codes of a minute, and counts of requests; everything else travels sealed.
"""

import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fluidmcp.authentication.person import Person
from fluidmcp.authentication.principal import Principal
from fluidmcp.authorization_server import metadata
from fluidmcp.authorization_server.authorize import AuthorizationRequest, RequestRules, read_authorization_request
from fluidmcp.authorization_server.cimd import ClientDocuments
from fluidmcp.authorization_server.client_ids import ClientIds
from fluidmcp.authorization_server.clients import ClientDirectory
from fluidmcp.authorization_server.codes import CODE_SECONDS, AuthorizationCodes, CodeGrant
from fluidmcp.authorization_server.consent import Consents
from fluidmcp.authorization_server.grant import Grants, UpstreamGrant, UpstreamName
from fluidmcp.authorization_server.grant_states import GrantStates
from fluidmcp.authorization_server.page_client import build_page_client
from fluidmcp.authorization_server.register import Registrar
from fluidmcp.authorization_server.sealed_tokens import GRANT_ID_BYTES, IssuedTokens, SealedAccess, TokenSealer
from fluidmcp.authorization_server.token_requests import TokenEndpoint, Upstreams
from fluidmcp.config.clients import ClientRules
from fluidmcp.config.urls import split_public_url
from fluidmcp.errors import (
    FluidMCPError,
    ForbiddenError,
    LoginError,
    OAuthError,
    ProviderAnswerError,
    ProviderUnavailableError,
    StoreUnavailableError,
)
from fluidmcp.oauth_client.pending_login import LoginStart
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.oauth_client.waiting_logins import TakenLogin, asks_too_often

CONSENT_SECONDS: Final = 600
"""How long a consent page may stand open."""

BROWSER: Final = "browser"
"""The client of tokens that a person gets in the browser. No MCP client can have this id."""
_ENCODER: Final = msgspec.msgpack.Encoder()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """Which MCP clients may introduce themselves, and how; the same for all packages of a gateway."""

    documents: ClientDocuments | None
    """Where the documents of clients come from; None: nobody introduces themselves by one."""
    rules: ClientRules


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginStep:
    """A login at a provider that the browser is sent to next."""

    start: LoginStart
    cookie_path: str


class Journey(msgspec.Struct, frozen=True, array_like=True):
    """What the browser carries through the logins, encrypted under its cookie."""

    package: str
    request: AuthorizationRequest | None
    """Of the MCP client; None: the person wants the tokens in the browser."""
    gateway: UpstreamGrant | None = None
    logins: dict[str, UpstreamGrant] = {}
    """What is done of the package's logins."""

    @property
    def done(self) -> Grants:
        return Grants(self.gateway, self.logins)

    def __repr__(self) -> str:
        return f"Journey(package={self.package!r})"


class AuthorizationServer:
    """The authorization server of one package. `scopes` are those that its clients may ask for."""

    def __init__(
        self, package: str, upstreams: Upstreams, scopes: Sequence[str], services: LoginServices, clients: ClientPolicy
    ) -> None:
        self.package = package
        self.upstreams = upstreams
        self.scopes = tuple(scopes)
        self.issuer = f"{services.public_url}/{package}"
        self.path = split_public_url(self.issuer)[1]
        """That of the issuer, for links and forms of pages."""
        self.resources = {
            endpoint: metadata.resource_url(services.public_url, package, endpoint) for endpoint in metadata.ENDPOINTS
        }
        self._services = services
        self._rules = clients.rules
        # When any of this changes, earlier tokens no longer open.
        fingerprints = ["" if upstreams.gateway is None else upstreams.gateway.fingerprint]
        for name, upstream in upstreams.package.items():
            fingerprints += [name, upstream.fingerprint]
        self._context = (package, services.public_url, *fingerprints)
        client_ids = ClientIds(services.sealer, package=package, public_url=services.public_url, now=services.now)
        self.directory = ClientDirectory(
            client_ids=client_ids,
            documents=clients.documents,
            rules=clients.rules,
            own=build_page_client(services.public_url),
        )
        self._registrar = Registrar(client_ids, clients.rules)
        self.consents = Consents(
            services.sealer,
            self._context,
            is_secure=services.public_url.startswith("https:"),
            now=services.now,
            random_bytes=services.random_bytes,
        )
        # Begun once: starting an HMAC costs more than finishing it.
        self._begun_digest = hmac.new(services.digest_key, f"sealed access {package} ".encode(), "sha256")
        self._tokens = TokenSealer(services.sealer, self._context, now=services.now)
        self._codes = AuthorizationCodes(
            services.codes, self._context, now=services.now, random_bytes=services.random_bytes
        )
        self.states = GrantStates(services.grants, services.sealer, now=services.now)
        self._endpoint = TokenEndpoint(
            tokens=self._tokens,
            codes=self._codes,
            states=self.states,
            upstreams=upstreams,
            directory=self.directory,
            resources=frozenset(self.resources.values()),
            package=package,
            deny_list=services.deny_list,
            now=services.now,
            random_bytes=services.random_bytes,
        )

    def describe_resource(self, endpoint: str) -> dict[str, object]:
        """The RFC 9728 document of `/{package}/{endpoint}`."""
        return metadata.protected_resource(
            self.resources[endpoint], authorization_server=self.issuer, scopes=self.scopes, name=self.package
        )

    def describe_server(self, *, issuer: str | None = None) -> dict[str, object]:
        """The RFC 8414 document, for our issuer or for the public URL itself."""
        return metadata.authorization_server(
            issuer or self.issuer,
            package_url=self.issuer,
            scopes=self.scopes,
            resources=list(self.resources.values()),
            can_register=self._rules.dynamic_registration,
        )

    async def register(self, body: bytes, *, client_address: str) -> dict[str, object]:
        """The answer to a registration (RFC 7591 section 3.2.1). Raises OAuthError."""
        await self._count("register", client_address)
        return self._registrar.register(body)

    async def read_request(
        self, query: Sequence[tuple[str, str]], *, issuer: str, client_address: str
    ) -> AuthorizationRequest:
        """The authorization request of a client.

        Raises:
            OAuthError: for the person's eyes.
            ReturnError: back to the client.
        """
        return await read_authorization_request(
            query,
            issuer=issuer,
            rules=RequestRules(
                resources=frozenset(self.resources.values()), scopes=self.scopes, life_seconds=CONSENT_SECONDS
            ),
            directory=self.directory,
            client_address=client_address,
            now=self._services.now(),
        )

    async def begin(self, request: AuthorizationRequest | None, *, client_address: str) -> LoginStep:
        """The first login: of a client, after the consent, or of a person who wants the tokens. Raises LoginError."""
        return await self._begin_next(Journey(self.package, request), client_address=client_address)

    async def go_on(
        self,
        name: UpstreamName,
        journey: Journey,
        taken: TakenLogin,
        query: Sequence[tuple[str, str]],
        *,
        client_address: str,
    ) -> LoginStep | str | IssuedTokens:
        """After a login: the next one, or where the client waits for its code or its error, or what the person wants.

        Raises:
            FluidMCPError: no client waits, and the login cannot be finished.
        """
        request = journey.request
        if request is None:
            return await self._go_on(name, journey, taken, query, client_address=client_address)
        try:
            return await self._go_on(name, journey, taken, query, client_address=client_address)
        except ForbiddenError as error:
            return request.answer_error("access_denied", f"{error.what}. {error.why}")
        except (ProviderUnavailableError, StoreUnavailableError) as error:
            return request.answer_error("temporarily_unavailable", error.what)
        except ProviderAnswerError as error:
            logger.warning("a login to %s cannot be finished: %s. %s", self.package, error.what, error.why)
            return request.answer_error("server_error", f"{error.what}. {error.why}")
        except LoginError as error:
            code = "access_denied" if error.status < 500 else "temporarily_unavailable"
            return request.answer_error(code, f"{error.what}. {error.why}")
        except OAuthError as error:
            return request.answer_error(error.error, f"{error.what} {error.why}")

    async def give_back(self, journey: Journey) -> None:
        """Revoke what the logins before this one gave, where a person does not come to the end."""
        await self._endpoint.give_back(journey.done)

    async def answer_token_request(
        self, form: Mapping[str, str], *, resources: tuple[str, ...], client_address: str
    ) -> IssuedTokens:
        """Raises OAuthError."""
        await self._count("token", client_address)
        return await self._endpoint.answer(form, resources=resources)

    async def refresh_for_browser(self, refresh_token: str, *, client_address: str) -> IssuedTokens:
        """New tokens for those that a person got in the browser. Raises OAuthError."""
        await self._count("token", client_address)
        return await self._endpoint.refresh(refresh_token, client_id=BROWSER)

    async def revoke(self, form: Mapping[str, str], *, client_address: str) -> None:
        """Raises OAuthError."""
        await self._count("revoke", client_address)
        await self._endpoint.revoke(form)

    async def open(self, token: str) -> SealedAccess | None:
        """What an access token of this package holds; None for one that is not good here."""
        access = self._tokens.open_access(token)
        if access is None or not await self.states.may_pass(access.grant_id):
            return None
        return access

    async def admit_to_gateway(self, access: SealedAccess) -> Principal | None:
        """Whom an access token stands for at the gateway's own provider; None where it holds nobody there.

        Raises:
            ForbiddenError: this person is not allowed any more.
        """
        person, upstream = access.gateway, self.upstreams.gateway
        if person is None or upstream is None:
            return None
        await upstream.admit(person)
        return self._principal(person, access)

    async def admit(self, access: SealedAccess) -> Principal | None:
        """Whom an access token stands for: the person of the package's first login; None where it holds none.

        Raises:
            ForbiddenError: this person is not allowed any more, by one of the logins.
        """
        if not access.package:
            return None
        for held in access.package:
            upstream = self.upstreams.find(held.name)
            if upstream is None:
                return None
            try:
                await upstream.admit(held.person)
            except ForbiddenError as error:
                # A client that asks for the scopes of one login alone would lose those of the others.
                error.scope = error.scope and " ".join(self.scopes)
                raise
        ends = [held.expires_at for held in access.package if held.expires_at is not None]
        return self._principal(access.package[0].person, access, expires_at=min(ends, default=None))

    def _principal(self, person: Person, access: SealedAccess, *, expires_at: int | None = None) -> Principal:
        return Principal(
            issuer=person.issuer,
            subject=person.subject,
            client_id=access.client,
            token_digest=self._digest(access),
            scopes=frozenset(person.scopes),
            expires_at=expires_at,
            email_domain=person.email_domain,
            name=person.name,
            also=_list_others(person, access),
        )

    async def _begin_next(self, journey: Journey, *, client_address: str) -> LoginStep:
        following = self.upstreams.find_next(journey.done)
        if following is None:
            raise _not_served()
        name, upstream = following
        request = journey.request
        start = await upstream.begin_login(
            client_address=client_address,
            kind="client",
            scopes=None if request is None or name is None else _list_both(request.scopes, upstream.scopes),
            carried=msgspec.msgpack.encode(journey),
        )
        return LoginStep(start=start, cookie_path=upstream.cookie_path)

    async def _go_on(
        self,
        name: UpstreamName,
        journey: Journey,
        taken: TakenLogin,
        query: Sequence[tuple[str, str]],
        *,
        client_address: str,
    ) -> LoginStep | str | IssuedTokens:
        following = self.upstreams.find_next(journey.done)
        if following is None or following[0] != name:
            # A code needs exactly the logins that today's settings ask for: all of them, in their order, and no other.
            raise _not_served()
        upstream = following[1]
        asked = upstream.scopes if journey.request is None else _list_both(journey.request.scopes, upstream.scopes)
        try:
            grant = await upstream.redeem_for_client(taken, query, scopes=asked if name is not None else ())
        except FluidMCPError:
            await self.give_back(journey)
            raise
        if name is None:
            journey = msgspec.structs.replace(journey, gateway=grant)
        else:
            journey = msgspec.structs.replace(journey, logins={**journey.logins, name: grant})
        try:
            await self._endpoint.check_denied(journey.done)
        except FluidMCPError:
            await self.give_back(journey)
            raise
        if self.upstreams.find_next(journey.done) is not None:
            return await self._begin_next(journey, client_address=client_address)
        if not self.upstreams.are_done(journey.done):
            raise _not_served()
        if journey.request is None:
            return self._endpoint.issue(journey.done, client_id=BROWSER, scopes=journey.done.scopes)
        return await self._answer(journey, journey.request)

    async def _answer(self, journey: Journey, request: AuthorizationRequest) -> str:
        code = await self._codes.issue(
            CodeGrant(
                client_id=request.client_id,
                redirect_uri=request.redirect_uri,
                is_redirect_required=request.is_redirect_required,
                code_challenge=request.code_challenge,
                scopes=journey.done.scopes if journey.logins else request.scopes,
                expires_at=self._services.now() + CODE_SECONDS,
                grant_id=self._services.random_bytes(GRANT_ID_BYTES),
                gateway=journey.gateway,
                package=journey.logins,
            )
        )
        return request.answer(code=code)

    def _digest(self, access: SealedAccess) -> str:
        """Which process serves a token: the same one as long as the grant, what logins gave and scopes are the same."""
        digest = self._begun_digest.copy()
        gateway = () if access.gateway is None else access.gateway.scopes
        digest.update(_ENCODER.encode((access.grant_id, access.gateway is None, gateway, access.package)))
        return digest.hexdigest()

    async def _count(self, purpose: str, client_address: str) -> None:
        most = self._services.limits.max_requests_per_address
        if await asks_too_often(self._services.codes, f"{purpose} {self.package}", client_address, most=most):
            raise OAuthError(
                "temporarily_unavailable",
                "Too many requests from this address.",
                status=429,
                why=f"One address may send {most} in a minute (FMCP_MAX_LOGIN_REQUESTS_PER_ADDRESS).",
                hint="Try again in a minute.",
                retry_after_seconds=60,
            )


def _list_others(person: Person, access: SealedAccess) -> tuple[tuple[str, str], ...]:
    """Who else the holder of a token is."""
    if access.gateway is None and len(access.package) < 2:
        return ()
    gateway = () if access.gateway is None else (access.gateway,)
    people = (*gateway, *(held.person for held in access.package))
    return tuple((other.issuer, other.subject) for other in people if other is not person)


def _list_both(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """What a client asks for of what one of the logins knows."""
    return [scope for scope in asked if scope in known]


def read_journey(taken: TakenLogin) -> Journey:
    """What the browser carried. Only text that was encrypted here, under this login's cookie, gets this far."""
    return msgspec.msgpack.decode(taken.carried, type=Journey)


def _not_served() -> LoginError:
    return LoginError("This login is not served any more", why="The settings of the gateway changed.")
