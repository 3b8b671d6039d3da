"""Builds the verifiers of a provider from what is known of it. The same for a package and for the whole gateway."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from fluidmcp.authentication import deferred
from fluidmcp.authentication.verifiers.cached import CachedVerifier, CallBudget, TokenCheck
from fluidmcp.authentication.verifiers.github import GitHubCheck
from fluidmcp.authentication.verifiers.gitlab import GitLabCheck
from fluidmcp.authentication.verifiers.google import GoogleCheck
from fluidmcp.authentication.verifiers.introspection import IntrospectionCheck
from fluidmcp.authentication.verifiers.userinfo import UserinfoCheck
from fluidmcp.config.known_providers import TokenCheckKind, UserinfoEndpoint
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from fluidmcp.oauth_client.token_endpoint import ProviderClient

Kind = Literal["jwt", "introspection", "google", "github", "gitlab", "userinfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtRule:
    """What a JWT needs to be for us, and where the keys are; `find_jwks_uri` may ask the provider (discovery)."""

    issuer: ExpectedIssuer
    audience: str
    find_jwks_uri: Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderChecks:
    """The ways in which a provider's tokens can be checked; None for each way that it lacks."""

    client: ProviderClient
    issuer: str
    """The issuer of the people when an answer names none."""
    wants_domain: bool = False
    """People are let in by the domain of their mail address."""
    jwt: JwtRule | None = None
    introspection_url: str | None = None
    audience: str | None = None
    """What introspected tokens may be meant for, beside our client."""
    own: TokenCheckKind | None = None
    instance_url: str | None = None
    """Where to ask `own`, where it is a GitLab or GitHub of one's own; None: the public one."""
    userinfo: UserinfoEndpoint | None = None


def build_verifiers(
    checks: ProviderChecks,
    *,
    digest: Callable[[str], str],
    fetcher: Fetcher,
    now: Callable[[], float],
) -> Mapping[Kind, CachedVerifier]:
    """The verifiers, in the order in which they are to be asked: those that cost the provider nothing first.

    They share one budget of calls about unknown tokens. `digest` is a keyed digest of a whole token.
    """
    budget = CallBudget(now)
    verifiers: dict[Kind, CachedVerifier] = {}

    def add(kind: Kind, check: TokenCheck, *, asks: bool = True) -> None:
        verifiers[kind] = CachedVerifier(check, digest=digest, now=now, budget=budget if asks else None)

    if checks.jwt is not None:
        keys = deferred.JwksCache(checks.jwt.find_jwks_uri, fetcher=fetcher, now=now)
        jwt = deferred.JwtCheck(issuer=checks.jwt.issuer, audience=checks.jwt.audience, keys=keys, now=now)
        add("jwt", jwt, asks=False)
    if checks.own is not None:
        add(checks.own, _build_own(checks, checks.own, fetcher=fetcher, now=now))
    if checks.introspection_url is not None:
        introspection = IntrospectionCheck(
            introspection_url=checks.introspection_url,
            client=checks.client,
            audience=checks.audience,
            issuer=checks.issuer,
            fetcher=fetcher,
            now=now,
        )
        add("introspection", introspection)
    if checks.userinfo is not None:
        add("userinfo", UserinfoCheck(endpoint=checks.userinfo, issuer=checks.issuer, fetcher=fetcher))
    return verifiers


def may_tell_mail_domains(checks: ProviderChecks, *, scopes: Collection[str]) -> bool:
    """Whether a check, or an ID token of a login with these scopes, may tell a verified mail address of somebody."""
    if checks.jwt is not None or checks.introspection_url is not None or checks.userinfo is not None:
        return True
    # Of their own checks only Google's tells one; GitHub has no ID tokens, GitLab has them for the scope openid.
    return checks.own != "github" and (checks.own != "gitlab" or "openid" in scopes)


def _build_own(
    checks: ProviderChecks, kind: TokenCheckKind, *, fetcher: Fetcher, now: Callable[[], float]
) -> TokenCheck:
    client_id = checks.client.client_id
    match kind:
        case "google":
            return GoogleCheck(client_id=client_id, wants_domain=checks.wants_domain, fetcher=fetcher, now=now)
        case "gitlab":
            return GitLabCheck(
                instance_url=checks.instance_url or "https://gitlab.com", client_id=client_id, fetcher=fetcher, now=now
            )
        case "github":
            secret = checks.client.client_secret
            if secret is None:
                raise ValueError("GitHub wants the client secret")
            if checks.instance_url is None:
                return GitHubCheck(client_id=client_id, client_secret=secret, fetcher=fetcher, now=now)
            return GitHubCheck(
                client_id=client_id,
                client_secret=secret,
                fetcher=fetcher,
                now=now,
                api_url=f"{checks.instance_url}/api/v3",
                issuer=checks.instance_url,
            )
