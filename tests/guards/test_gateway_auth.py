"""The guard of `run --oauth` and `--secure`: what it can check, whom it lets in, and what it refuses to start with."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.config.secret import Secret
from fluidmcp.errors import (
    ConfigurationError,
    FluidMCPError,
    ForbiddenError,
    NotLoggedInError,
    ProviderUnavailableError,
    UnauthorizedError,
)
from fluidmcp.guards.gateway_auth import GatewayAuth, StaticTokenAuth
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.operator.operator_token import OperatorToken
from fluidmcp.operator.token_file import StoredLogin, TokenFile
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.issuing import AUDIENCE, Issuer, issuing
from tests.providers.login_gateway import Clock
from tests.providers.serving import serve

KEY = b"k" * 32
OWN = "the-operators-own-opaque-token"

# The four examples of the guide, with its default scope and nothing else set.
GUIDE = {
    "Auth0": ("https://your-tenant.auth0.com/authorize", "https://your-tenant.auth0.com/oauth/token"),
    "Okta": (
        "https://your-domain.okta.com/oauth2/default/v1/authorize",
        "https://your-domain.okta.com/oauth2/default/v1/token",
    ),
    "Entra": (
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    ),
    "Google": ("https://accounts.google.com/o/oauth2/v2/auth", "https://oauth2.googleapis.com/token"),
}


class Guards:
    """Makes guards that share a clock, a fetcher and the home directory of one operator."""

    def __init__(self, home: Path, fetcher: Fetcher) -> None:
        self.clock = Clock()
        self.fetcher = fetcher
        self.file = TokenFile(home)

    def store(self, token: str = OWN, **changes: Any) -> None:
        self.file.save(StoredLogin(access_token=Secret(token), **changes))

    async def create(self, *, is_exposed: bool = False, **values: Any) -> GatewayAuth:
        settings = OAuthSettings(**values)
        operator = OperatorToken(settings, token_file=self.file, fetcher=self.fetcher, now=self.clock)
        return await GatewayAuth.create(
            settings,
            operator=operator,
            fetcher=self.fetcher,
            digest_key=KEY,
            is_exposed=is_exposed,
            now=self.clock,
        )


@pytest.fixture
async def guards(tmp_path: Path) -> AsyncGenerator[Guards]:
    tmp_path.chmod(0o700)
    fetcher = Fetcher()
    yield Guards(tmp_path, fetcher)
    await fetcher.aclose()


@asynccontextmanager
async def issuer_for(guards: Guards) -> AsyncGenerator[tuple[Issuer, dict[str, Any]]]:
    """An issuer, and the settings with which its JWTs are good."""
    async with issuing(guards.clock) as issuer:
        yield issuer, {"issuer": issuer.issuer, "audience": AUDIENCE, "client_id": "app"}


async def reason_of(guard: GatewayAuth | StaticTokenAuth, token: str) -> FluidMCPError:
    with pytest.raises((UnauthorizedError, ForbiddenError, ProviderUnavailableError)) as caught:
        await guard.authenticate(token)
    return caught.value


@pytest.mark.promise(4, 10, 11, 12, 13, 23)
@pytest.mark.parametrize("provider", GUIDE)
@pytest.mark.parametrize("is_stored", [True, False])
async def test_the_operators_own_token_is_good_with_each_example_of_the_guide(
    guards: Guards, provider: str, is_stored: bool
) -> None:
    auth_endpoint, token_endpoint = GUIDE[provider]
    settings: dict[str, Any] = {"auth_endpoint": auth_endpoint, "token_endpoint": token_endpoint, "client_id": "id"}
    if is_stored:
        guards.store(expires_at=guards.clock.time + 3600, scope="openid profile email")
    else:
        settings["access_token"] = Secret(OWN)
    # Nothing is asked: no provider can be reached from here.
    guard = await guards.create(**settings)
    principal = await guard.authenticate(OWN)
    assert principal.owner == ("fluidmcp", "operator", "id")
    assert OWN not in principal.token_digest
    assert "the operator's own token" in guard.describe()[0]


@pytest.mark.promise(4, 23)
async def test_manual_mode_needs_nothing_but_the_token(guards: Guards) -> None:
    guard = await guards.create(access_token=Secret(OWN))
    assert (await guard.authenticate(OWN)).subject == "operator"
    assert guard.describe() == ("Accepts: the operator's own token", "Lets in: the operator alone")


@pytest.mark.promise(25)
@pytest.mark.threat("V01", "V16", "V17")
@pytest.mark.parametrize(
    "token",
    [
        "aaaaaaaaaa",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
        "",
        " ",
        OWN + "x",
        OWN[:-1],
        "t\xf6ken",
        "\udc80",
        "x" * 1_000_000,
        "..",
    ],
)
async def test_v01_v17_every_other_token_is_refused_whatever_it_looks_like(guards: Guards, token: str) -> None:
    guard = await guards.create(access_token=Secret(OWN))
    for each in (guard, StaticTokenAuth(Secret(OWN), digest_key=KEY)):
        error = await reason_of(each, token)
        assert isinstance(error, UnauthorizedError)
        assert error.reason == "invalid_token"


@pytest.mark.promise(44)
@pytest.mark.threat("V17", "D05")
async def test_whoever_has_the_static_token_is_one_person() -> None:
    guard = StaticTokenAuth(Secret("the-token"), digest_key=KEY)
    first, second = await guard.authenticate("the-token"), await guard.authenticate("the-token")
    assert first == second
    assert "the-token" not in repr(first)


@pytest.mark.threat("D10")
async def test_d10_an_expired_token_of_the_operator_is_refused(guards: Guards) -> None:
    guards.store(expires_at=guards.clock.time + 10)
    guard = await guards.create(validation="operator", client_id="id", token_endpoint="http://127.0.0.1:1/token")
    assert await guard.authenticate(OWN)
    guards.clock.time += 10
    assert isinstance(await reason_of(guard, OWN), UnauthorizedError)


@pytest.mark.threat("D10")
async def test_d10_an_expired_jwt_in_the_environment_is_refused(guards: Guards) -> None:
    async with issuing(guards.clock) as issuer:
        token = issuer.sign()
    guard = await guards.create(access_token=Secret(token))
    assert await guard.authenticate(token)
    guards.clock.time += 661
    assert isinstance(await reason_of(guard, token), UnauthorizedError)


@pytest.mark.promise(1, 24, 25)
async def test_a_jwt_for_our_audience_is_found_out_and_good_on_this_machine(guards: Guards) -> None:
    async with issuer_for(guards) as (issuer, settings):
        guard = await guards.create(**settings)
        principal = await guard.authenticate(issuer.sign())
        assert principal.owner == (issuer.issuer, "alice", "app")
        assert isinstance(await reason_of(guard, issuer.sign(issuer.claims(aud="x"))), UnauthorizedError)
        assert any("JWTs of the issuer" in line for line in guard.describe())
        assert "jwt: good" in await guard.explain(issuer.sign())
        assert any("aud" in line for line in await guard.explain(issuer.sign(issuer.claims(aud="x"))))


@pytest.mark.threat("D03")
@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        ({"allowed_subjects": ("alice",)}, {"alice"}),
        ({"allowed_email_domains": ("corp.com",)}, {"bob"}),
        ({"allowed_subjects": ("alice",), "allowed_email_domains": ("corp.com",)}, {"alice", "bob"}),
        ({"allow_any_user": True}, {"alice", "bob", "mallory"}),
    ],
)
async def test_d03_a_verified_stranger_is_not_let_in(guards: Guards, rule: dict[str, Any], admitted: set[str]) -> None:
    async with issuer_for(guards) as (issuer, settings):
        guard = await guards.create(is_exposed=True, **settings, **rule)
        people = {
            "alice": issuer.claims(sub="alice"),
            "bob": issuer.claims(sub="bob", email="b@corp.com", email_verified=True),
            "mallory": issuer.claims(sub="mallory", email="m@corp.com", email_verified=False),
        }
        for name, claims in people.items():
            if name in admitted:
                assert (await guard.authenticate(issuer.sign(claims))).subject == name
            else:
                error = await reason_of(guard, issuer.sign(claims))
                assert isinstance(error, ForbiddenError)
                assert error.reason is None


@pytest.mark.threat("V18")
@pytest.mark.parametrize(
    "claims",
    [
        {"email": "a@evil.com@corp.com", "email_verified": True},
        {"email": "a@corp.com", "email_verified": False},
        {"email": "a@corp.com", "email_verified": "true"},
        {"email": "a@corp.com"},
        {"email": "a@cоrp.com", "email_verified": True},
        {"email": "a@corp.com.evil.com", "email_verified": True},
        {"email": "a@sub.corp.com", "email_verified": True},
        {"email": ["a@corp.com"], "email_verified": True},
    ],
)
async def test_v18_only_a_verified_address_of_exactly_that_domain_lets_in(
    guards: Guards, claims: dict[str, Any]
) -> None:
    async with issuer_for(guards) as (issuer, settings):
        guard = await guards.create(**settings, allowed_email_domains=("corp.com",))
        assert isinstance(await reason_of(guard, issuer.sign(issuer.claims(**claims))), ForbiddenError)


async def test_the_domain_that_a_token_does_not_say_is_asked_of_userinfo(guards: Guards) -> None:
    async with issuer_for(guards) as (issuer, settings):
        guard = await guards.create(**settings, allowed_email_domains=("corp.com",))
        person = {"sub": "alice", "email": "a@corp.com", "email_verified": True}
        issuer.answer_userinfo = lambda _token: JSONResponse(person)
        assert await guard.authenticate(issuer.sign())
        assert isinstance(await reason_of(guard, issuer.sign(issuer.claims(sub="eve"))), ForbiddenError)


@pytest.mark.threat("V11")
async def test_v11_a_bare_name_of_somebody_says_too_little_where_several_tenants_come(guards: Guards) -> None:
    tenant, other = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
    entra = "https://login.microsoftonline.com"
    async with issuing(guards.clock) as issuer:
        settings: dict[str, Any] = {
            "issuer": f"{entra}/common/v2.0",
            "audience": AUDIENCE,
            "jwks_uri": f"{issuer.address}/jwks",
            "validation": "jwt",
        }
        mine = issuer.sign(issuer.claims(iss=f"{entra}/{tenant}/v2.0", tid=tenant))
        theirs = issuer.sign(issuer.claims(iss=f"{entra}/{other}/v2.0", tid=other))
        bare = await guards.create(**settings, allowed_subjects=("alice",))
        for token in (mine, theirs):
            assert isinstance(await reason_of(bare, token), ForbiddenError)
        whole = await guards.create(**settings, allowed_subjects=(f"{entra}/{tenant}/v2.0|alice",))
        assert await whole.authenticate(mine)
        assert isinstance(await reason_of(whole, theirs), ForbiddenError)


@pytest.mark.threat("V15")
async def test_v15_a_token_without_a_required_scope_may_do_too_little(guards: Guards) -> None:
    async with issuer_for(guards) as (issuer, settings):
        guard = await guards.create(**settings, required_scopes=("tools.call", "tools.admin"))
        error = await reason_of(guard, issuer.sign())
        assert isinstance(error, ForbiddenError)
        assert (error.reason, error.scope) == ("insufficient_scope", "tools.call tools.admin")
        assert await guard.authenticate(issuer.sign(issuer.claims(scope="tools.admin x tools.call")))


@pytest.mark.threat("V13", "D08")
async def test_v13_userinfo_proves_a_person_so_it_lets_in_the_operator_alone(guards: Guards) -> None:
    people = {OWN: "operator-at-as", "other-app": "operator-at-as", "strangers": "eve"}

    def userinfo(token: str) -> Response:
        return JSONResponse({"sub": people[token]}) if token in people else Response(status_code=401)

    async with issuing(guards.clock) as issuer:
        issuer.answer_userinfo = userinfo
        guards.store()
        settings: dict[str, Any] = {"userinfo_endpoint": f"{issuer.address}/userinfo", "allowed_subjects": ("eve",)}
        guard = await guards.create(**settings)
        assert (await guard.authenticate("other-app")).subject == "operator-at-as"
        # Even a named person: the token may have been made for any application.
        assert isinstance(await reason_of(guard, "strangers"), UnauthorizedError)
        assert isinstance(await reason_of(guard, "garbage"), UnauthorizedError)
        unbound = await guards.create(**settings, allow_unbound_tokens=True)
        assert (await unbound.authenticate("strangers")).subject == "eve"


async def test_an_introspection_endpoint_that_the_operator_named_lets_in_whom_it_vouches_for(guards: Guards) -> None:
    provider = FaultMakingProvider()
    provider.answer_introspection = lambda form: JSONResponse(
        {"active": form["token"] == "good", "client_id": "id", "sub": "alice", "token_type": "bearer"}
    )
    async with serve(provider.app) as address:
        guard = await guards.create(introspection_endpoint=f"{address}/introspect", client_id="id")
        assert (await guard.authenticate("good")).subject == "alice"
        assert isinstance(await reason_of(guard, "bad"), UnauthorizedError)
        provider.answer_introspection = lambda _form: Response(status_code=500)
        assert isinstance(await reason_of(guard, "unknown"), ProviderUnavailableError)


@pytest.mark.threat("V14")
async def test_v14_the_operators_own_token_is_good_while_the_provider_is_down(guards: Guards) -> None:
    guard = await guards.create(
        introspection_endpoint="http://127.0.0.1:1/introspect", client_id="id", access_token=Secret(OWN)
    )
    assert await guard.authenticate(OWN)
    assert isinstance(await reason_of(guard, "unknown"), ProviderUnavailableError)


async def test_what_cannot_check_anything_does_not_start(guards: Guards) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await guards.create()
    assert caught.value.what == "OAuth2 is not configured"
    configured: dict[str, Any] = {
        "auth_endpoint": "https://as.example/a",
        "token_endpoint": "https://as.example/t",
        "client_id": "id",
    }
    with pytest.raises(NotLoggedInError):
        await guards.create(**configured)
    guards.store()
    assert await guards.create(**configured)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"validation": "jwt"}, ("FMCP_OAUTH_ISSUER", "FMCP_OAUTH_AUDIENCE", "FMCP_OAUTH_JWKS_URI")),
        ({"validation": "introspection"}, ("FMCP_OAUTH_INTROSPECTION_ENDPOINT", "FMCP_OAUTH_CLIENT_ID")),
        ({"validation": "userinfo"}, ("FMCP_OAUTH_USERINFO_ENDPOINT",)),
        ({"validation": "google"}, ("FMCP_OAUTH_CLIENT_ID",)),
        ({"validation": "github", "client_id": "id"}, ("FMCP_OAUTH_CLIENT_SECRET",)),
    ],
)
async def test_what_the_chosen_way_lacks_is_named(
    guards: Guards, values: dict[str, Any], named: tuple[str, ...]
) -> None:
    guards.store()
    with pytest.raises(ConfigurationError) as caught:
        await guards.create(**values)
    assert all(name in caught.value.why for name in named)


@pytest.mark.threat("D03")
async def test_d03_a_gateway_that_others_can_reach_must_be_told_who_may_come_in(guards: Guards) -> None:
    async with issuer_for(guards) as (_issuer, settings):
        with pytest.raises(ConfigurationError) as caught:
            await guards.create(is_exposed=True, **settings)
        assert "FMCP_OAUTH_ALLOWED_SUBJECTS" in caught.value.hint
        # The operator alone: that says who.
        guards.store()
        assert await guards.create(is_exposed=True, **settings, validation="operator")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"token_endpoint": "https://oauth2.googleapis.com/token", "client_id": "id"}, "Google"),
        (
            {
                "token_endpoint": "https://github.com/login/oauth/access_token",
                "client_id": "id",
                "client_secret": Secret("s"),
            },
            "GitHub",
        ),
        ({"validation": "google", "client_id": "id"}, "Google"),
    ],
)
async def test_googles_and_githubs_own_checks_are_found_by_their_endpoints(
    guards: Guards, values: dict[str, Any], kind: str
) -> None:
    guard = await guards.create(**values)
    assert any(kind in line for line in guard.describe())
    assert any("operator alone" in line for line in guard.describe())


GITHUB: dict[str, Any] = {
    "token_endpoint": "https://github.com/login/oauth/access_token",
    "client_id": "id",
    "client_secret": Secret("s"),
    "scope": "read:user",
}
GITLAB: dict[str, Any] = {"token_endpoint": "https://gitlab.com/oauth/token", "client_id": "id", "scope": "read_user"}


@pytest.mark.parametrize("is_exposed", [False, True])
@pytest.mark.parametrize("provider", [GITHUB, GITHUB | {"validation": "github"}, GITLAB])
async def test_mail_domains_at_a_provider_that_tells_none_would_let_nobody_in(
    guards: Guards, provider: dict[str, Any], is_exposed: bool
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await guards.create(**provider, allowed_email_domains=("corp.example",), is_exposed=is_exposed)
    assert "nobody but the operator" in caught.value.what
    assert "FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS" in caught.value.why
    assert "FMCP_OAUTH_ALLOWED_SUBJECTS" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        GITHUB | {"allowed_subjects": ("1000001",)},
        GITHUB | {"userinfo_endpoint": "https://id.corp.example/userinfo"},
        GITHUB | {"introspection_endpoint": "https://id.corp.example/introspect"},
        GITLAB | {"scope": "openid email"},
        GITLAB | {"required_scopes": ("openid",)},
        {"token_endpoint": "https://oauth2.googleapis.com/token", "client_id": "id"},
    ],
)
async def test_mail_domains_are_taken_where_something_may_tell_one_or_people_are_named_too(
    guards: Guards, values: dict[str, Any]
) -> None:
    assert await guards.create(**values, allowed_email_domains=("corp.example",))
