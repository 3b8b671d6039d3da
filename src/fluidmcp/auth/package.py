"""Everything about tokens and logins of one package: the login flow, the verifiers, and who is let in."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

from fluidmcp.auth.allowed import AllowRule
from fluidmcp.auth.digest import PackageDigest
from fluidmcp.auth.fetch import Fetcher
from fluidmcp.auth.identity import Identity, read_id_token
from fluidmcp.auth.issuer import ExpectedIssuer
from fluidmcp.auth.package_checks import accepting_kinds, choose_package_checks
from fluidmcp.auth.principal import Principal, TokenVerifier
from fluidmcp.auth.token_endpoint import ProviderClient, TokenAnswer, is_token_text
from fluidmcp.auth.upstream.login import LoginFlow, LoginStart, address_key, cookie_name
from fluidmcp.auth.verifiers.choose import build_verifiers
from fluidmcp.auth.verifiers.issued_here import IssuedHereVerifier
from fluidmcp.config.entries import AuthBlock, ServerEntry
from fluidmcp.config.secret import Secret
from fluidmcp.errors import (
    ForbiddenError,
    LoginError,
    ProviderAnswerError,
    ProviderUnavailableError,
    UnauthorizedError,
)
from fluidmcp.store.memory import Store, StoreFullError

MAX_REFRESHES_PER_MINUTE = 120
"""Refreshes that one address may ask for in a minute, per package."""
_REFRESH_WINDOW_SECONDS = 60

logger = logging.getLogger(__name__)


class PackageAuth:
    """The auth block of one package at work.

    `missing_variables` names what the environment lacks: the client id, and the client secret where the block says
    how to send one (`token_endpoint_auth_method` basic or post). Where it does not, an unset secret means a public
    client: nothing is sent, and the provider decides. With something missing no login begins, and no token is good.
    """

    def __init__(
        self,
        entry: ServerEntry,
        environ: Mapping[str, str],
        *,
        public_url: str,
        digest_key: bytes,
        pending_auth_states: Store,
        handed_out: Store,
        fetcher: Fetcher,
        now: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if entry.auth is None:
            raise ValueError("the entry has no auth block")
        self.package = entry.name
        self.login_url = f"{public_url}/{entry.name}/auth/login"
        self.redirect_uri = f"{public_url}/{entry.name}/auth/callback"
        self._block = block = entry.auth
        self._client, self.missing_variables = _read_client(block, environ)
        self._handed_out = handed_out
        self._now = now
        self._random_bytes = random_bytes
        self._issuer = block.issuer or _origin(block.token_url)
        digest = PackageDigest(digest_key, package=entry.name, block=block, client_id=self._client.client_id)
        self._login = LoginFlow(
            package=entry.name,
            block=block,
            client=self._client,
            redirect_uri=self.redirect_uri,
            login_url=self.login_url,
            digest=digest,
            pending_auth_states=pending_auth_states,
            fetcher=fetcher,
            now=now,
            random_bytes=random_bytes,
        )
        self._issued_here = IssuedHereVerifier(
            client_id=self._client.client_id, digest=digest, handed_out=handed_out, now=now
        )
        self._fetcher = fetcher
        self._rule = AllowRule(
            subjects=frozenset(block.allowed_subjects),
            domains=frozenset(domain.lower() for domain in block.allowed_domains),
            anybody=block.allow_any_user,
            has_several_tenants=ExpectedIssuer.of(self._issuer).has_several_tenants,
        )
        checks = choose_package_checks(block, self._client, issuer=self._issuer, fetcher=fetcher)
        asking = build_verifiers(checks, digest=partial(digest.of, "access_token"), fetcher=fetcher, now=now)
        accepting = accepting_kinds(block)
        # Tokens handed out here first: nobody has to be asked about them.
        self._verifiers: list[TokenVerifier] = [
            self._issued_here,
            *(verifier for kind, verifier in asking.items() if kind in accepting),
        ]
        # Whose a token is that comes straight from the provider, each of them may say.
        self._identifiers: Sequence[TokenVerifier] = tuple(asking.values())

    async def authenticate(self, token: str) -> Principal:
        """Whom a bearer token of an MCP request stands for. Called for each of them.

        Raises:
            UnauthorizedError: `invalid_token`, whatever is wrong with it.
            ForbiddenError: a good token of somebody who is not allowed here.
            ProviderUnavailableError: the provider would have to be asked and cannot answer.
        """
        failure: ProviderUnavailableError | None = None
        if not self.missing_variables and is_token_text(token):
            for verifier in self._verifiers:
                try:
                    principal = await verifier.verify(token)
                except ProviderUnavailableError as error:
                    # Another verifier may still know the token; if none does, nobody gets through.
                    failure = error
                    continue
                if principal is not None:
                    self._check_allowed(principal)
                    return principal
        if failure is not None:
            raise failure
        raise UnauthorizedError(
            "The access token is not good here",
            reason="invalid_token",
            why="It is unknown, expired, or was made for something else.",
            hint=f"Open {self.login_url} to log in again.",
        )

    async def begin_login(self, *, client_address: str) -> LoginStart:
        """Begin a login; raises LoginError, also when a variable is missing (503)."""
        self.require_variables()
        return await self._login.begin(client_address=client_address)

    async def finish_login(self, query: Sequence[tuple[str, str]], cookies: Mapping[str, str]) -> TokenAnswer:
        """Redeem a callback, find out who logged in, and accept the token from now on.

        Raises:
            LoginError, ProviderAnswerError, ProviderUnavailableError: the login cannot be finished.
            ForbiddenError: the person is not allowed; the token is neither accepted nor handed out.
        """
        self.require_variables()
        try:
            answer = await self._login.finish(query, cookies)
        except ProviderAnswerError as error:
            raise self._explained(error) from error
        identity = await self._identify(answer, known=None)
        try:
            await self._accept(answer, identity)
        except ForbiddenError:
            await self._revoke(answer)
            raise
        logger.info("login finished for package %s", self.package)
        return answer

    async def refresh(self, refresh_token: str, *, client_address: str) -> TokenAnswer:
        """Exchange a refresh token at the provider and accept the new token from now on.

        Raises as `finish_login`, and LoginError 429 when this address asked too often.
        """
        self.require_variables()
        await self._count_refresh(client_address)
        if not is_token_text(refresh_token):
            raise LoginError("The refresh_token is not a token", hint="Send the one that the login handed out.")
        known = await self._issued_here.find_by_refresh_token(refresh_token)
        try:
            answer = await self._login.refresh(refresh_token)
        except ProviderAnswerError as error:
            raise self._explained(error) from error
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

    async def _identify(self, answer: TokenAnswer, *, known: Identity | None) -> Identity:
        """Who this answer is about: its ID token, the login it continues, the provider's word, or else only itself."""
        if answer.id_token is not None:
            identity = read_id_token(
                answer.id_token, client_id=self._client.client_id, issuer=self._block.issuer, now=self._now()
            )
            return identity
        if known is not None:
            return known
        for verifier in self._identifiers:
            try:
                principal = await verifier.verify(answer.access_token)
            except ProviderUnavailableError:
                # Who may come in is decided by who this is; where everybody may, a login needs no name.
                if not self._rule.is_empty and not self._rule.anybody:
                    raise
                continue
            if principal is not None and not principal.subject.startswith("token:"):
                return Identity(issuer=principal.issuer, subject=principal.subject, email_domain=principal.email_domain)
        return Identity(issuer=self._issuer, subject=f"login:{self._random_bytes(16).hex()}")

    async def _accept(self, answer: TokenAnswer, identity: Identity) -> None:
        self._check_allowed(identity)
        # RFC 6749 section 5.1: an answer without `scope` gave what was asked for. GitHub joins scopes with commas.
        granted = self._block.scopes if answer.scope is None else answer.scope.replace(",", " ").split()
        await self._issued_here.remember(answer, identity, scopes=frozenset(granted))

    def _check_allowed(self, person: Identity | Principal) -> None:
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

    async def _revoke(self, answer: TokenAnswer) -> None:
        """Give back the tokens of somebody who may not come in, where the provider takes them (RFC 7009)."""
        if self._block.revocation_url is None:
            return
        token = answer.refresh_token or answer.access_token
        kind = "refresh_token" if answer.refresh_token else "access_token"
        form, headers = self._client.authenticate({"token": token, "token_type_hint": kind})
        try:
            await self._fetcher.post_form(self._block.revocation_url, form, headers=headers)
        except (ProviderUnavailableError, ProviderAnswerError) as error:
            logger.warning("the tokens of a refused login to %s are not revoked: %s", self.package, error.why)

    async def _count_refresh(self, client_address: str) -> None:
        try:
            asked = await self._handed_out.count(
                address_key(f"refresh {self.package}", client_address), window_seconds=_REFRESH_WINDOW_SECONDS
            )
        except StoreFullError:
            asked = MAX_REFRESHES_PER_MINUTE + 1
        if asked > MAX_REFRESHES_PER_MINUTE:
            raise LoginError(
                "Too many refreshes from this address",
                status=429,
                why=f"One address may ask for {MAX_REFRESHES_PER_MINUTE} refreshes in a minute.",
                hint="Refresh a token only when it is about to expire.",
                retry_after_seconds=_REFRESH_WINDOW_SECONDS,
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


def _read_client(block: AuthBlock, environ: Mapping[str, str]) -> tuple[ProviderClient, tuple[str, ...]]:
    """Who we are at the provider, and the names of the variables without which we are nobody there."""
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
        client_id=client_id, client_secret=secret or None, auth_method=block.token_endpoint_auth_method
    )
    return client, tuple(missing)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
