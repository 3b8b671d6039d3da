"""Everything about tokens and logins of one package: the login flow, the verifiers, and who is let in."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

import msgspec

from fluidmcp.authentication.allowed import AllowRule
from fluidmcp.authentication.identity import Identity, read_id_token
from fluidmcp.authentication.person import Person
from fluidmcp.authentication.principal import Principal, TokenVerifier
from fluidmcp.authentication.verifiers.choose import build_verifiers
from fluidmcp.authentication.verifiers.issued_here import IssuedHereVerifier
from fluidmcp.authorization_server.grant import UpstreamGrant, build_grant
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.logins.read import list_logins
from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import split_public_url
from fluidmcp.crypto.digest import PackageDigest, fingerprint
from fluidmcp.crypto.sealing import PREFIX
from fluidmcp.errors import (
    FluidMCPError,
    ForbiddenError,
    LoginError,
    ProviderAnswerError,
    ProviderUnavailableError,
    UnauthorizedError,
)
from fluidmcp.guards.package_checks import accepting_kinds, choose_package_checks
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from fluidmcp.oauth_client.pending_login import LoginEndpoints, LoginFlow, LoginStart
from fluidmcp.oauth_client.revocation import give_tokens_back
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.oauth_client.token_endpoint import ProviderClient, TokenAnswer, is_token_text
from fluidmcp.oauth_client.waiting_logins import LoginKind, TakenLogin, asks_too_often, cookie_name

MAX_REFRESHES_PER_MINUTE = 120
"""Refreshes that one address may ask for in a minute, per package."""

logger = logging.getLogger(__name__)


class PackageAuth:
    """One login of a package at a provider: an auth block at work.

    `missing_variables` names what the environment lacks: the client id, and the client secret where the block says
    how to send one (`token_endpoint_auth_method` basic or post). Where it does not, an unset secret means a public
    client: no secret is sent, and the provider decides. If a variable is missing, no login begins and no token is good.
    """

    def __init__(
        self,
        entry: ServerEntry,
        environ: Mapping[str, str],
        services: LoginServices,
        *,
        login: str = "",
    ) -> None:
        """`login` is its name, where the package has several. Raises ValueError: there is no such auth block."""
        block = dict(list_logins(entry.auth)).get(login)
        if not isinstance(block, AuthBlock):
            raise ValueError("the entry has no such auth block")
        self._services = services
        self.package = entry.name
        self.login_url = f"{services.public_url}/{entry.name}/auth/login"
        self.redirect_uri = f"{services.public_url}/{entry.name}/auth/callback{login and '/'}{login}"
        self.resource_url = f"{services.public_url}/{entry.name}/mcp"
        self._block = block
        self._wanted = entry.list_wanted(login)
        self._client, self.missing_variables = _read_client(block, environ)
        self._issuer = block.issuer or _origin(block.token_url)
        digest = PackageDigest(services.digest_key, package=entry.name, block=block, client_id=self._client.client_id)
        # A token that was sealed before the entry wanted more of the login lacks it.
        self.fingerprint = " ".join((fingerprint(block, self._client.client_id), *self._wanted))
        self.sign_in_host = urlsplit(block.authorization_url).netloc
        self.cookie_path = split_public_url(services.public_url)[1] + f"/{entry.name}/auth"
        self.scopes = block.scopes
        self.scope_descriptions = dict(block.scope_descriptions)
        self.gives_more = bool(login or self._wanted)
        """A token alone is not enough: there are other logins, or processes get what else the provider said."""
        self.hands_out_tokens = block.accept_provider_tokens
        """Whether people get tokens in the browser; else only MCP clients do."""
        self.accepts_provider_tokens = block.accept_provider_tokens and not self.gives_more
        self._login = self._build_login(digest)
        self._issued_here = IssuedHereVerifier(
            client_id=self._client.client_id, digest=digest, handed_out=services.handed_out, now=services.now
        )
        self._rule = AllowRule(
            subjects=frozenset(block.allowed_subjects),
            domains=frozenset(domain.lower() for domain in block.allowed_domains),
            anybody=block.allow_any_user,
            has_several_tenants=ExpectedIssuer.of(self._issuer).has_several_tenants,
        )
        checks = choose_package_checks(block, self._client, issuer=self._issuer, fetcher=services.fetcher)
        asking = build_verifiers(
            checks, digest=partial(digest.of, "access_token"), fetcher=services.fetcher, now=services.now
        )
        accepting = accepting_kinds(block)
        # Tokens handed out here first: nobody has to be asked about them.
        self._verifiers: list[TokenVerifier] = [
            self._issued_here,
            *(verifier for kind, verifier in asking.items() if kind in accepting),
        ]
        # Any of these may name the owner of a token that came straight from the provider.
        self._identifiers: Sequence[TokenVerifier] = tuple(asking.values())

    def _build_login(self, digest: PackageDigest) -> LoginFlow:
        return LoginFlow(
            package=self.package,
            endpoints=_endpoints(self._block),
            client=self._client,
            redirect_uri=self.redirect_uri,
            login_url=self.login_url,
            digest=digest,
            pending_auth_states=self._services.pending_auth_states,
            max_per_address=self._services.limits.max_per_address,
            fetcher=self._services.fetcher,
            now=self._services.now,
            random_bytes=self._services.random_bytes,
        )

    async def authenticate(self, token: str) -> Principal:
        """Whom a bearer token of an MCP request stands for. Called for each of them.

        Raises:
            UnauthorizedError: `invalid_token`, whatever is wrong with it.
            ForbiddenError: a good token of somebody who is not allowed here.
            ProviderUnavailableError: the provider would have to be asked and cannot answer.
        """
        failure: ProviderUnavailableError | None = None
        # Sealed tokens are opened elsewhere: no provider is ever asked about them.
        is_foreign = is_token_text(token) and not token.startswith(PREFIX)
        if not self.missing_variables and is_foreign and self.accepts_provider_tokens:
            for verifier in self._verifiers:
                try:
                    principal = await verifier.verify(token)
                except ProviderUnavailableError as error:
                    # Another verifier may still know the token; if none does, nobody gets through.
                    failure = error
                    continue
                if principal is not None:
                    self._check_allowed(principal)
                    self._check_scopes(principal.scopes)
                    return principal
        if failure is not None:
            raise failure
        raise UnauthorizedError(
            "The access token is not good here",
            reason="invalid_token",
            why="It is unknown, expired, or was made for something else.",
            hint=f"Open {self.login_url} to log in again.",
        )

    async def begin_login(
        self,
        *,
        client_address: str,
        kind: LoginKind = "json",
        scopes: Sequence[str] | None = None,
        carried: bytes = b"",
    ) -> LoginStart:
        """Begin a login; raises LoginError, also when a variable is missing (503)."""
        self.require_variables()
        return await self._login.begin(client_address=client_address, kind=kind, scopes=scopes, carried=carried)

    async def take_login(self, query: Sequence[tuple[str, str]], cookies: Mapping[str, str]) -> TakenLogin:
        """The login that a callback belongs to. Raises LoginError: there is none, or not of this browser."""
        self.require_variables()
        return await self._login.take(query, cookies)

    async def redeem(self, taken: TakenLogin, query: Sequence[tuple[str, str]]) -> TokenAnswer:
        """Redeem a callback, find out who logged in, and accept the provider's token from now on.

        Raises:
            LoginError, ProviderAnswerError, ProviderUnavailableError: the login cannot be finished.
            ForbiddenError: the person is not allowed; the token is neither accepted nor handed out.
        """
        answer, identity = await self._redeem(taken, query)
        # RFC 6749 section 5.1: an answer without `scope` gave what was asked for.
        await self._accept(answer, identity)
        logger.info("login finished for package %s", self.package)
        return answer

    async def redeem_for_client(
        self, taken: TakenLogin, query: Sequence[tuple[str, str]], *, scopes: Sequence[str]
    ) -> UpstreamGrant:
        """As `Upstream.redeem_for_client`: the provider's token is not accepted by itself, nobody gets it."""
        answer, identity = await self._redeem(taken, query)
        logger.info("login of an MCP client finished for package %s", self.package)
        return build_grant(answer, identity, asked=scopes, now=self._services.now(), wanted=self._wanted)

    async def renew(self, grant: UpstreamGrant) -> UpstreamGrant:
        """As `Upstream.renew`."""
        person = grant.person
        known = Identity(
            issuer=person.issuer, subject=person.subject, email_domain=person.email_domain, name=person.name
        )
        self._check_allowed(known)
        if grant.refresh_token is None:
            await self._check_still_good(grant)
            return grant
        answer = await self._refresh(grant.refresh_token)
        identity = await self._identify(answer, known=known)
        if (identity.issuer, identity.subject) != (known.issuer, known.subject):
            raise ProviderAnswerError("The refreshed token is somebody else's", provider_error="invalid_grant")
        self._check_allowed(identity)
        renewed = build_grant(answer, identity, asked=person.scopes, now=self._services.now(), wanted=self._wanted)
        # What the answer does not repeat still holds.
        return msgspec.structs.replace(renewed, values={**grant.values, **renewed.values})

    async def give_back(self, grant: UpstreamGrant) -> None:
        """As `Upstream.give_back`."""
        await self._give_back(grant.access_token, grant.refresh_token)

    async def admit(self, person: Person) -> None:
        """As `Upstream.admit`."""
        self._check_allowed(person)
        self._check_scopes(person.scopes)

    async def refresh(self, refresh_token: str, *, client_address: str) -> TokenAnswer:
        """Exchange a refresh token at the provider and accept the new token from now on.

        Raises as `finish_login`, and LoginError 429 when this address asked too often.
        """
        self.require_variables()
        await self._count_refresh(client_address)
        if not is_token_text(refresh_token):
            raise LoginError("The refresh_token is not a token", hint="Send the one that the login handed out.")
        known = await self._issued_here.find_by_refresh_token(refresh_token)
        answer = await self._refresh(refresh_token)
        await self._accept(answer, await self._identify(answer, known=known))
        return answer

    def login_cookie_name(self, state: str) -> str:
        """The name of the cookie that belongs to a `state`."""
        return cookie_name(state, is_secure=self.redirect_uri.startswith("https:"))

    def require_variables(self) -> None:
        """Raises LoginError 503 naming the variables that are missing, never a value."""
        if not self.missing_variables:
            return
        is_id = not self._client.client_id
        names = " and ".join(self.missing_variables)
        raise LoginError(
            "client_id not found" if is_id else "client_secret not found",
            status=503,
            why=f"Package {self.package} needs {names} in the environment of the gateway.",
            hint=f'Example: export {self.missing_variables[0]}="...", then start the gateway again.',
        )

    async def _redeem(self, taken: TakenLogin, query: Sequence[tuple[str, str]]) -> tuple[TokenAnswer, Identity]:
        try:
            answer = await self._login.redeem(taken, query)
        except ProviderAnswerError as error:
            raise self._explained(error) from error
        identity = await self._identify(answer, known=None)
        try:
            self._check_allowed(identity)
        except ForbiddenError:
            await self._give_back(answer.access_token, answer.refresh_token)
            raise
        return answer, identity

    async def _give_back(self, access_token: str, refresh_token: str | None) -> None:
        if self._block.revocation_url is not None:
            await give_tokens_back(
                self._block.revocation_url,
                self._client,
                access_token=access_token,
                refresh_token=refresh_token,
                fetcher=self._services.fetcher,
            )

    async def _refresh(self, refresh_token: str) -> TokenAnswer:
        try:
            return await self._login.refresh(refresh_token)
        except ProviderAnswerError as error:
            raise self._explained(error) from error

    async def _check_still_good(self, grant: UpstreamGrant) -> None:
        """Ask the verifiers, if there are any, whether a token without an end of its own is still good.

        Raises:
            ProviderAnswerError: `invalid_grant`, the token is not good, or it had an end.
            ProviderUnavailableError: nobody can tell now.
        """
        verifiers = self._identifiers if grant.expires_at is None else ()
        for verifier in verifiers:
            if await verifier.verify(grant.access_token) is not None:
                return
        if verifiers or grant.expires_at is not None:
            raise ProviderAnswerError("The provider's token is over", provider_error="invalid_grant")

    async def _identify(self, answer: TokenAnswer, *, known: Identity | None) -> Identity:
        """Whose this answer is, by its ID token, the login it continues, or the provider; else a made-up subject."""
        if answer.id_token is not None:
            identity = read_id_token(
                answer.id_token, client_id=self._client.client_id, issuer=self._block.issuer, now=self._services.now()
            )
            return await self._with_email(identity, answer)
        if known is not None:
            return known
        failure: ProviderUnavailableError | None = None
        for verifier in self._identifiers:
            try:
                principal = await verifier.verify(answer.access_token)
            except ProviderUnavailableError as error:
                failure = error
                continue
            if principal is not None and not principal.subject.startswith("token:"):
                return _identity_of(principal)
        if failure is not None:
            # Not a made-up name in place of the real one: whoever is shut out would come in under it.
            raise failure
        return Identity(issuer=self._issuer, subject=f"login:{self._services.random_bytes(16).hex()}")

    async def _with_email(self, identity: Identity, answer: TokenAnswer) -> Identity:
        """With the verified address, where the entry wants it and the ID token does not tell."""
        if identity.email is not None or "email" not in self._wanted:
            return identity
        for verifier in self._identifiers:
            principal = await verifier.verify(answer.access_token)
            if principal is not None and principal.subject == identity.subject and principal.email is not None:
                return replace(identity, email=principal.email)
        return identity

    async def _accept(self, answer: TokenAnswer, identity: Identity) -> None:
        self._check_allowed(identity)
        try:
            await self._services.deny_list.check(self.package, [(identity.issuer, identity.subject)])
        except FluidMCPError:
            await self._give_back(answer.access_token, answer.refresh_token)
            raise
        # RFC 6749 section 5.1: an answer without `scope` gave what was asked for. GitHub joins scopes with commas.
        granted = self._block.scopes if answer.scope is None else answer.scope.replace(",", " ").split()
        await self._issued_here.remember(answer, identity, scopes=frozenset(granted))

    def _check_allowed(self, person: Identity | Principal | Person) -> None:
        """Verified is not yet allowed: the auth block must name the person, if it names anybody.

        Raises:
            ForbiddenError: nobody said that this person may come in.
        """
        admits = self._rule.admits(issuer=person.issuer, subject=person.subject, email_domain=person.email_domain)
        if not admits and not self._rule.is_empty:
            raise ForbiddenError(
                "This account is not allowed here",
                why="The login was good, but the package is open to named people or domains only.",
                hint="Ask the operator of the gateway to add the account to the auth block of the package.",
            )

    def _check_scopes(self, scopes: Collection[str]) -> None:
        """Raises ForbiddenError (`insufficient_scope`) where one is missing; it names all scopes of the package, so
        that a client asks once (RFC 6750 section 3.1).
        """
        if not set(self._block.required_scopes) <= set(scopes):
            raise ForbiddenError(
                "The access token may do too little",
                reason="insufficient_scope",
                scope=" ".join(self._block.scopes),
                why="It lacks a scope that this package requires.",
                hint="Log in again, and allow all that is asked for.",
            )

    async def _count_refresh(self, client_address: str) -> None:
        if await asks_too_often(
            self._services.handed_out, f"refresh {self.package}", client_address, most=MAX_REFRESHES_PER_MINUTE
        ):
            raise LoginError(
                "Too many refreshes from this address",
                status=429,
                why=f"One address may ask for {MAX_REFRESHES_PER_MINUTE} refreshes in a minute.",
                hint="Refresh a token only when it is about to expire.",
                retry_after_seconds=60,
            )

    def _explained(self, error: ProviderAnswerError) -> ProviderAnswerError:
        """The refusal of a login without client secret, with the variable that may be missing."""
        name = self._block.client_secret_env
        if error.provider_error in ("", "invalid_grant") or name is None or self._client.client_secret:
            return error
        return ProviderAnswerError(
            error.what,
            provider_error=error.provider_error,
            why=error.why,
            hint=f"No client secret was sent. If the provider needs one, set {name} in the environment of the gateway.",
        )


def _identity_of(principal: Principal) -> Identity:
    return Identity(
        issuer=principal.issuer,
        subject=principal.subject,
        email_domain=principal.email_domain,
        email=principal.email,
        name=principal.name,
    )


def _read_client(block: AuthBlock, environ: Mapping[str, str]) -> tuple[ProviderClient, tuple[str, ...]]:
    """Our client id and secret at the provider, and the names of the variables that are missing for them."""
    missing: list[str] = []
    client_id = block.client_id or ""
    if block.client_id_env is not None:
        client_id = environ.get(block.client_id_env, "") or client_id
        if not client_id:
            missing.append(block.client_id_env)
    secret = None
    if block.client_secret_env is not None and block.token_endpoint_auth_method != "none":
        secret = Secret(environ.get(block.client_secret_env, ""))
        if not secret and block.token_endpoint_auth_method is not None:
            missing.append(block.client_secret_env)
    client = ProviderClient(
        client_id=client_id,
        client_secret=secret or None,
        auth_method=block.token_endpoint_auth_method,
        sends_json=block.token_request == "json",
    )
    return client, tuple(missing)


def _endpoints(block: AuthBlock) -> LoginEndpoints:
    return LoginEndpoints(
        authorization_url=block.authorization_url,
        token_url=block.token_url,
        refresh_url=block.refresh_url,
        refresh_with_redirect_uri=block.refresh_with_redirect_uri,
        send_pkce=block.send_pkce,
        issuer=block.issuer,
        scopes=block.scopes,
        scope_separator=block.scope_separator,
        extra_params=block.extra_params,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
