"""Which ways to check tokens an auth block gives its package: what it says, and what is known of its provider."""

from fluidmcp.authentication.verifiers.choose import JwtRule, Kind, ProviderChecks
from fluidmcp.config.auth_block import AuthBlock, issuer_of_jwts, known_of
from fluidmcp.config.known_providers import TokenCheckKind, UserinfoEndpoint
from fluidmcp.errors import ProviderAnswerError
from fluidmcp.oauth_client.discovery import discover
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from fluidmcp.oauth_client.token_endpoint import ProviderClient

_OWN_CHECKS: frozenset[TokenCheckKind] = frozenset({"google", "github", "gitlab"})
_PROVES_AUDIENCE: frozenset[Kind] = frozenset({"jwt", "introspection", "google", "github", "gitlab"})


def accepting_kinds(block: AuthBlock) -> frozenset[Kind]:
    """The kinds of verifiers that may accept a token which was not handed out here.

    Those that can prove that it was made for our client, or the one that `validation` picks. Userinfo, which proves a
    person only, needs `allow_unbound_tokens`.
    """
    kinds: set[Kind] = {*_PROVES_AUDIENCE}
    if block.allow_unbound_tokens:
        kinds.add("userinfo")
    return frozenset(kind for kind in kinds if block.validation in (None, kind))


def choose_package_checks(block: AuthBlock, client: ProviderClient, *, issuer: str, fetcher: Fetcher) -> ProviderChecks:
    """The checks of an auth block; `issuer` is used when an answer names none."""
    known = known_of(block)
    own = known.check
    if block.validation in _OWN_CHECKS:
        own = block.validation
    if own == "github" and client.client_secret is None:
        own = None
    # A well-known introspection endpoint answers to clients with a secret; one that the block names is asked anyway.
    introspection_url = block.introspection_url
    if introspection_url is None and (client.client_secret is not None or block.validation == "introspection"):
        introspection_url = known.introspection_url
    userinfo = known.userinfo
    if block.userinfo_url is not None:
        userinfo = UserinfoEndpoint(
            url=block.userinfo_url, dialect=known.userinfo.dialect if known.userinfo else "oidc"
        )
    return ProviderChecks(
        client=client,
        issuer=issuer,
        wants_domain=bool(block.allowed_domains),
        jwt=_build_jwt_rule(block, fetcher) if block.validation in (None, "jwt") else None,
        introspection_url=introspection_url if block.validation != "issued_here" else block.introspection_url,
        audience=block.audience,
        own=own if client.client_id and block.validation != "issued_here" else None,
        instance_url=known.instance_url,
        userinfo=userinfo,
    )


def _build_jwt_rule(block: AuthBlock, fetcher: Fetcher) -> JwtRule | None:
    issuer = issuer_of_jwts(block)
    if issuer is None or block.audience is None:
        return None

    async def find_jwks_uri() -> str:
        if block.jwks_uri is not None:
            return block.jwks_uri
        provider = await discover(issuer, fetcher, trusted_endpoints=(block.token_url,))
        if provider.jwks_uri is None:
            raise ProviderAnswerError("The provider names no keys", why="Its discovery document has no jwks_uri.")
        return provider.jwks_uri

    return JwtRule(issuer=ExpectedIssuer.of(issuer), audience=block.audience, find_jwks_uri=find_jwks_uri)
