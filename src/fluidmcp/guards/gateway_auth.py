"""The guard of the whole gateway (`run --oauth`, `--secure`): which tokens are good, and who is let in.

Verified is not allowed. Without a rule about people, a token that is a JWT for our audience, or that an introspection
endpoint which the operator named vouches for, lets its holder in while the gateway listens on this machine only; every
other way lets in the operator alone.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from fluidmcp.authentication.allowed import AllowRule
from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.answers import read_time
from fluidmcp.authentication.verifiers.cached import CachedVerifier, TokenRefusedError
from fluidmcp.authentication.verifiers.choose import (
    JwtRule,
    Kind,
    ProviderChecks,
    build_verifiers,
    may_tell_mail_domains,
)
from fluidmcp.authentication.verifiers.jwt_form import LEEWAY_SECONDS, looks_like_jwt, read_token
from fluidmcp.authentication.verifiers.static import is_same_token
from fluidmcp.config import oauth
from fluidmcp.config.known_providers import KnownProvider, UserinfoEndpoint, find_known_provider
from fluidmcp.config.oauth import OAuthSettings, missing_for_login, not_configured
from fluidmcp.config.secret import Secret
from fluidmcp.errors import (
    ConfigurationError,
    ForbiddenError,
    NotLoggedInError,
    ProviderUnavailableError,
    UnauthorizedError,
)
from fluidmcp.oauth_client.discovery import ProviderMetadata, configured_provider, find_provider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from fluidmcp.oauth_client.token_endpoint import is_token_text
from fluidmcp.operator.operator_token import OperatorToken, build_client

OPERATOR_ISSUER = "fluidmcp"
"""The issuer of principals that no provider vouched for: whoever runs this gateway, or knows its one token."""

logger = logging.getLogger(__name__)

_DESCRIPTIONS: Mapping[Kind, str] = {
    "jwt": "JWTs of the issuer {issuer} for the audience {audience}",
    "introspection": "tokens that the provider's introspection endpoint calls active and ours",
    "google": "tokens that Google issued to our client id",
    "github": "tokens that GitHub issued to our OAuth app",
    "gitlab": "tokens that GitLab issued to our application",
    "userinfo": "tokens for which the provider's userinfo endpoint names a person (of whichever application)",
}


class GatewayGuard(Protocol):
    """What the HTTP endpoint needs; GatewayAuth and StaticTokenAuth implement it."""

    async def authenticate(self, token: str) -> Principal:
        """Whom the bearer token of a request stands for.

        Raises:
            UnauthorizedError: `reason="invalid_token"`, whatever is wrong with it.
            ForbiddenError: a good token of somebody who is not allowed (`reason` None), or without a scope that is
                required (`reason="insufficient_scope"`, `scope` holds the required scopes, space separated).
            ProviderUnavailableError: the provider would have to be asked and cannot answer, or too many unknown
                tokens are being asked about; nobody gets through.
        """
        ...

    def describe(self) -> tuple[str, ...]:
        """Lines for the start output: how tokens are checked, and who is let in."""
        ...


class GatewayAuth:
    """The guard of `run --oauth`. Made by `create`."""

    def __init__(
        self,
        settings: OAuthSettings,
        checks: ProviderChecks,
        *,
        operator: OperatorToken,
        fetcher: Fetcher,
        digest_key: bytes,
        is_exposed: bool,
        userinfo_accepts: bool,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._checks = checks
        self._operator = operator
        self._digest_key = digest_key
        self._now = now
        built = build_verifiers(checks, digest=self._digest, fetcher=fetcher, now=now)
        self._people = built.get("userinfo")
        """Says more about somebody whom another verifier accepted."""
        self._verifiers: dict[Kind, CachedVerifier] = {
            kind: verifier for kind, verifier in built.items() if kind != "userinfo" or userinfo_accepts
        }
        self._rule = AllowRule(
            subjects=frozenset(settings.allowed_subjects),
            domains=frozenset(settings.allowed_email_domains),
            anybody=settings.allow_any_user,
            has_several_tenants=checks.jwt is not None and checks.jwt.issuer.has_several_tenants,
        )
        # These verifiers let in everybody they accept, when there is no rule: only those set up on purpose.
        self._open: frozenset[Kind] = frozenset()
        if self._rule.is_empty and not is_exposed:
            explicit = {"introspection"} if settings.introspection_endpoint is not None else set[str]()
            self._open = frozenset(kind for kind in self._verifiers if kind == "jwt" or kind in explicit)

    @classmethod
    async def create(
        cls,
        settings: OAuthSettings,
        *,
        operator: OperatorToken,
        fetcher: Fetcher,
        digest_key: bytes,
        is_exposed: bool,
        now: Callable[[], float] = time.time,
    ) -> "GatewayAuth":
        """Find out how tokens can be checked (with an issuer: by discovery).

        Raises:
            ConfigurationError: nothing can check tokens, the gateway is exposed and nobody is named, or only by mail
                domains that this provider tells of nobody; says what to set.
            NotLoggedInError: the operator's own token is all that could be accepted, and there is none.
            ProviderUnavailableError, ProviderAnswerError: discovery is needed and fails.
        """
        provider = configured_provider(settings)
        if _needs_discovery(settings):
            provider = await find_provider(settings, fetcher)
        checks = _choose_checks(settings, provider)
        guard = cls(
            settings,
            checks,
            operator=operator,
            fetcher=fetcher,
            digest_key=digest_key,
            is_exposed=is_exposed,
            # Knowing the person proves too little when another check can tell our tokens from other people's.
            userinfo_accepts=settings.validation == "userinfo"
            or settings.allow_unbound_tokens
            or (checks.jwt is None and checks.introspection_url is None and checks.own is None),
            now=now,
        )
        if not guard._verifiers:
            await _require_operator(settings, operator)
        elif is_exposed and guard._rule.is_empty:
            raise ConfigurationError(
                "Nobody said who may use the gateway.",
                why="It can be reached from other machines, and a good token alone says only who somebody is.",
                hint=f"Set {oauth.ALLOWED_SUBJECTS}, {oauth.ALLOWED_EMAIL_DOMAINS} or {oauth.ALLOW_ANY_USER}=1, "
                f"or {oauth.VALIDATION}=operator for yourself alone.",
            )
        elif guard._rule.domains and not guard._rule.subjects:
            _require_mail_domains(settings, checks)
        return guard

    async def authenticate(self, token: str) -> Principal:
        """As `GatewayGuard.authenticate`."""
        if not is_token_text(token):
            raise _unauthorized()
        if await self._is_operator_token(token):
            return self._operator_principal(token)
        failure: ProviderUnavailableError | None = None
        for kind, verifier in self._verifiers.items():
            try:
                principal = await verifier.verify(token)
            except ProviderUnavailableError as error:
                # Another verifier may still know the token; if none does, nobody gets through.
                failure = error
                continue
            if principal is not None:
                await self._check_allowed(kind, principal, token)
                return principal
        if failure is not None:
            raise failure
        raise _unauthorized()

    async def identify(self, token: str) -> Principal | None:
        """Whom a token that came straight from the provider stands for; None where nothing can tell.

        Raises:
            ProviderUnavailableError: the provider would have to be asked and cannot answer.
        """
        for verifier in self._all_verifiers():
            principal = await verifier.verify(token)
            if principal is not None:
                return principal
        return None

    async def check_person(
        self, *, issuer: str, subject: str, email_domain: str | None, scopes: frozenset[str]
    ) -> None:
        """Whether somebody who logged in here, at the provider and for our client id, may come in.

        Raises:
            ForbiddenError: not this person, or not with these scopes.
        """
        is_admitted = bool(self._open) or self._rule.admits(issuer=issuer, subject=subject, email_domain=email_domain)
        if not is_admitted and not await self._is_operators(issuer, subject):
            raise _not_allowed()
        self._check_scopes(scopes)

    def describe(self) -> tuple[str, ...]:
        """As `GatewayGuard.describe`."""
        values = {"issuer": "", "audience": ""}
        if self._checks.jwt is not None:
            values = {"issuer": self._checks.jwt.issuer.text, "audience": self._checks.jwt.audience}
        accepted = [_DESCRIPTIONS[kind].format_map(values) for kind in self._verifiers]
        lines = ["Accepts: the operator's own token", *(f"Accepts: {text}" for text in accepted)]
        if not self._verifiers:
            return (*lines, "Lets in: the operator alone")
        if not self._rule.is_empty:
            lines.append(f"Lets in: the operator and {self._rule.describe()}")
        elif self._open:
            lines.append(f"Lets in: whom the provider lets in ({', '.join(sorted(self._open))}), on this machine only")
        if self._rule.is_empty and set(self._verifiers) - self._open:
            others = ", ".join(kind for kind in self._verifiers if kind not in self._open)
            lines.append(f"Lets in: the operator alone ({others})")
        if self._settings.required_scopes:
            lines.append(f"Wants the scopes: {' '.join(self._settings.required_scopes)}")
        return tuple(lines)

    async def explain(self, token: str) -> tuple[str, ...]:
        """One line per way to check a token: what it says about this one, and why. For `fluidmcp doctor`."""
        if not is_token_text(token):
            return ("This is no token: it holds spaces or other characters that tokens do not have, or is too long.",)
        is_own = await self._is_operator_token(token)
        lines = [f"operator: {'it is' if is_own else 'it is not'} the operator's own token"]
        for kind, verifier in self._verifiers.items():
            try:
                why = await verifier.explain(token)
                principal = None if why else await verifier.verify(token)
                if principal is not None:
                    await self._check_allowed(kind, principal, token)
            except (ForbiddenError, UnauthorizedError) as error:
                why = f"Verified, but not let in: {error.why}"
            except ProviderUnavailableError as error:
                why = f"Nobody can tell: {error.why}"
            lines.append(f"{kind}: {why or 'good'}")
        return tuple(lines)

    async def _is_operator_token(self, token: str) -> bool:
        """Whether this is the operator's own token, only while it has not expired.

        Nothing else knows when a token from the environment expires, so its own `exp` is read if it is a JWT.
        """
        if not await self._operator.matches(token):
            return False
        if not looks_like_jwt(token):
            return True
        try:
            _header, claims = read_token(token)
        except TokenRefusedError:
            return True
        expires_at = read_time(claims.get("exp"))
        return expires_at is None or self._now() < expires_at + LEEWAY_SECONDS

    def _operator_principal(self, token: str) -> Principal:
        login = self._operator.login()
        return Principal(
            issuer=OPERATOR_ISSUER,
            subject="operator",
            client_id=self._settings.client_id or "",
            token_digest=self._digest(token),
            scopes=frozenset((login.scope or "").split()) if login is not None else frozenset(),
            # The token may have been refreshed since it was checked: then its end is unknown.
            expires_at=login.expires_at if login is not None and is_same_token(token, login.access_token) else None,
        )

    async def _check_allowed(self, kind: Kind, principal: Principal, token: str) -> None:
        """Raises ForbiddenError unless this person may come in, with these scopes; UnauthorizedError for userinfo."""
        if kind == "userinfo" and not self._settings.allow_unbound_tokens:
            if not await self._is_operator(self._verifiers[kind], principal):
                # Nothing proves that the token was made for this gateway, so it is good for the operator only.
                raise _unauthorized()
        elif kind not in self._open and not await self._is_admitted(principal, token):
            if not await self._is_operator(self._verifiers[kind], principal):
                raise _not_allowed()
        self._check_scopes(principal.scopes)

    def _check_scopes(self, scopes: frozenset[str]) -> None:
        missing = [scope for scope in self._settings.required_scopes if scope not in scopes]
        if missing:
            raise ForbiddenError(
                "The access token may do too little",
                reason="insufficient_scope",
                scope=" ".join(self._settings.required_scopes),
                why="It lacks a scope that this gateway requires.",
                hint="Log in again with the scopes that are required.",
            )

    async def _is_admitted(self, principal: Principal, token: str) -> bool:
        """Whether the rule names this person. Userinfo is asked when the token does not tell the mail domain."""
        domain = principal.email_domain
        if domain is None and self._rule.domains and not self._rule.anybody and self._people is not None:
            person = await self._people.verify(token)
            domain = person.email_domain if person is not None and person.subject == principal.subject else None
        return self._rule.admits(issuer=principal.issuer, subject=principal.subject, email_domain=domain)

    async def _is_operator(self, verifier: CachedVerifier, principal: Principal) -> bool:
        """Whether this person is the operator: by the operator's login, or by asking about the operator's token."""
        login = self._operator.login()
        if login is not None and login.issuer is not None and login.subject is not None:
            if (login.issuer, login.subject) == (principal.issuer, principal.subject):
                return True
        own = await self._operator.current()
        if own is None or principal.subject.startswith("token:"):
            return False
        known = await verifier.verify(own.reveal())
        return known is not None and (known.issuer, known.subject) == (principal.issuer, principal.subject)

    async def _is_operators(self, issuer: str, subject: str) -> bool:
        """Whether this is the operator's account, by the stored login or else by the operator's token."""
        login = self._operator.login()
        if login is not None and login.issuer is not None and login.subject is not None:
            return (login.issuer, login.subject) == (issuer, subject)
        own = await self._operator.current()
        known = None if own is None else await self.identify(own.reveal())
        return known is not None and (known.issuer, known.subject) == (issuer, subject)

    def _all_verifiers(self) -> tuple[CachedVerifier, ...]:
        """The verifiers that accept tokens, and the one that only names people."""
        people = (self._people,) if self._people is not None and "userinfo" not in self._verifiers else ()
        return (*self._verifiers.values(), *people)

    def _digest(self, token: str) -> str:
        return _digest(self._digest_key, token)


class StaticTokenAuth:
    """The guard of `run --secure`: everybody shares one token, so the gateway sees them as one person."""

    def __init__(self, token: Secret, *, digest_key: bytes) -> None:
        self._token = token
        self._principal = Principal(
            issuer=OPERATOR_ISSUER,
            subject="operator",
            client_id="",
            token_digest=_digest(digest_key, token.reveal()),
        )

    async def authenticate(self, token: str) -> Principal:
        """The one principal there is. Raises UnauthorizedError for every other token."""
        if not is_same_token(token, self._token):
            raise UnauthorizedError(
                "The access token is not good here",
                reason="invalid_token",
                why="It is not the token of this gateway.",
                hint="Ask the operator of the gateway for it.",
            )
        return self._principal

    def describe(self) -> tuple[str, ...]:
        """As `GatewayGuard.describe`."""
        return ("Accepts: the one token of this gateway", "Lets in: whoever has it; all of them are one person to it")


def _needs_discovery(settings: OAuthSettings) -> bool:
    """Whether the configured issuer has to be asked for something that is not configured."""
    if settings.issuer is None or settings.validation in ("operator", "google", "github"):
        return False
    return settings.jwks_uri is None or settings.validation != "jwt"


def _choose_checks(settings: OAuthSettings, provider: ProviderMetadata) -> ProviderChecks:
    """What the settings, and what discovery added to them, allow; `validation` picks one of it.

    Raises:
        ConfigurationError: `validation` names a way for which something is missing.
    """
    wanted = settings.validation
    known = find_known_provider(provider.token_endpoint) if provider.token_endpoint is not None else KnownProvider()
    client = build_client(settings, provider)
    own = known.check if known.check != "github" or client.client_secret else None
    if wanted in ("google", "github"):
        own = wanted
    _require_parts(settings, provider)
    is_open = wanted is None
    userinfo = None if provider.userinfo_endpoint is None else UserinfoEndpoint(url=provider.userinfo_endpoint)
    introspection_url = provider.introspection_endpoint if settings.client_id is not None else None
    return ProviderChecks(
        client=client,
        issuer=provider.issuer or _origin(provider),
        wants_domain=bool(settings.allowed_email_domains),
        jwt=_build_jwt_rule(settings, provider) if is_open or wanted == "jwt" else None,
        introspection_url=introspection_url if is_open or wanted == "introspection" else None,
        audience=settings.audience,
        own=own if client.client_id and (is_open or wanted == own) else None,
        userinfo=userinfo if wanted != "operator" else None,
    )


def _build_jwt_rule(settings: OAuthSettings, provider: ProviderMetadata) -> JwtRule | None:
    if provider.issuer is None or settings.audience is None or provider.jwks_uri is None:
        return None
    jwks_uri = provider.jwks_uri

    async def find_jwks_uri() -> str:
        return jwks_uri

    return JwtRule(issuer=ExpectedIssuer.of(provider.issuer), audience=settings.audience, find_jwks_uri=find_jwks_uri)


def _require_parts(settings: OAuthSettings, provider: ProviderMetadata) -> None:
    needed: dict[str, object] = {}
    match settings.validation:
        case "jwt":
            needed = {
                oauth.ISSUER: settings.issuer,
                oauth.AUDIENCE: settings.audience,
                oauth.JWKS_URI: provider.jwks_uri,
            }
        case "introspection":
            endpoint = provider.introspection_endpoint
            needed = {oauth.INTROSPECTION_ENDPOINT: endpoint, oauth.CLIENT_ID: settings.client_id}
        case "userinfo":
            needed = {oauth.USERINFO_ENDPOINT: provider.userinfo_endpoint}
        case "google":
            needed = {oauth.CLIENT_ID: settings.client_id}
        case "github":
            needed = {oauth.CLIENT_ID: settings.client_id, oauth.CLIENT_SECRET: settings.client_secret}
        case "operator" | None:
            return
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ConfigurationError(
            f"{oauth.VALIDATION}={settings.validation} lacks something.",
            why=f"Not set: {', '.join(missing)}.",
            hint=f"Set it, or leave {oauth.VALIDATION} out: what can check tokens is then found out.",
        )


async def _require_operator(settings: OAuthSettings, operator: OperatorToken) -> None:
    """Nothing but the operator's own token can be checked: there has to be one.

    Raises:
        ConfigurationError: there is none; says what to set, or to log in.
    """
    if await operator.current() is not None:
        return
    missing = missing_for_login(settings)
    if missing:
        raise not_configured(missing)
    raise NotLoggedInError(
        "Not logged in",
        why="--oauth accepts the operator's own token, and there is none.",
        hint=f"Run `fluidmcp login`, or set {oauth.ACCESS_TOKEN}",
    )


def _require_mail_domains(settings: OAuthSettings, checks: ProviderChecks) -> None:
    """Raises ConfigurationError: people are named by their mail domain alone, and nothing can tell that of anybody."""
    if not may_tell_mail_domains(checks, scopes=(*settings.scope.split(), *settings.required_scopes)):
        raise ConfigurationError(
            "This gateway would let in nobody but the operator.",
            why=f"{oauth.ALLOWED_EMAIL_DOMAINS} goes by verified mail addresses, and this provider tells none.",
            hint=f"Name people in {oauth.ALLOWED_SUBJECTS}"
            + (f", or add openid and email to {oauth.SCOPE}." if checks.own == "gitlab" else "."),
        )


def _origin(provider: ProviderMetadata) -> str:
    url = provider.token_endpoint or provider.userinfo_endpoint or provider.introspection_endpoint or ""
    return "/".join(url.split("/")[:3])


def _digest(key: bytes, token: str) -> str:
    text = token.encode("utf-8", "surrogatepass")
    return hmac.new(key, b"gateway access_token\0" + text, hashlib.sha256).hexdigest()


def _not_allowed() -> ForbiddenError:
    return ForbiddenError(
        "This account is not allowed here",
        why="The token is good, but the gateway is open to other people only.",
        hint="Ask the operator of the gateway.",
    )


def _unauthorized() -> UnauthorizedError:
    return UnauthorizedError(
        "The access token is not good here",
        reason="invalid_token",
        why="It is unknown, expired, or was made for something else.",
        hint="Get a new one (on the machine of the operator: `fluidmcp token`) and send it as "
        "Authorization: Bearer <token>.",
    )
