"""Tokens that are JWTs: what is accepted, and the forged ones of part A of docs/threats.md."""

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from starlette.responses import JSONResponse

from fluidmcp.authentication.verifiers.cached import TokenRefusedError
from fluidmcp.authentication.verifiers.jwt import check_times, read_header, require_access_token
from fluidmcp.authentication.verifiers.jwt_form import read_token
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from tests.providers.issuing import AUDIENCE, Issuer, as_json, jwt_verifier, rsa_key
from tests.timing import limit_of_processor_time

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_token(issuer: Issuer, header: bytes, claims: bytes) -> str:
    """A token with these very bytes, correctly signed with the issuer's key."""
    signed = f"{b64(header)}.{b64(claims)}"
    private_key = issuer.key.private_key
    assert private_key is not None
    return f"{signed}.{b64(private_key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


async def test_a_good_access_token_stands_for_its_person_and_client() -> None:
    async with jwt_verifier() as (verifier, issuer):
        token = issuer.sign(issuer.claims(email="alice@Corp.com", email_verified=True))
        principal = await verifier.verify(token)
    assert principal is not None
    assert principal.owner == (issuer.issuer, "alice", "app")
    assert principal.scopes == {"tools.read", "tools.call"}
    assert principal.token_digest == f"digest of {token}"
    assert principal.email_domain == "corp.com"
    assert principal.expires_at == issuer.clock() + 660


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("PS256", rsa_key("x")),
        ("ES256", ECKey.generate_key("P-256", {"kid": "x"})),
        ("ES384", ECKey.generate_key("P-384", {"kid": "x"})),
        ("Ed25519", OKPKey.generate_key("Ed25519", {"kid": "x"})),
    ],
)
async def test_every_algorithm_of_the_list_works(algorithm: str, key: RSAKey | ECKey | OKPKey) -> None:
    async with jwt_verifier() as (verifier, issuer):
        issuer.published = [key]
        assert await verifier.verify(issuer.sign(key=key, algorithm=algorithm)) is not None


@pytest.mark.parametrize(
    ("changes", "scopes", "client_id"),
    [
        # Okta: a list, and the client under another name.
        ({"scope": None, "scp": ["a", "b"], "client_id": None, "cid": "okta-app"}, {"a", "b"}, "okta-app"),
        # Entra ID: a text under another name, the client as `azp`.
        ({"scope": None, "scp": "a b", "client_id": None, "azp": "entra-app"}, {"a", "b"}, "entra-app"),
        ({"scope": None, "scp": "a", "client_id": None, "appid": "v1-app"}, {"a"}, "v1-app"),
        # Auth0: several audiences.
        ({"aud": [AUDIENCE, "https://x.auth0.com/userinfo"], "client_id": None, "azp": "a0"}, None, "a0"),
        # Keycloak: the kind of token in a claim, and a nonce in access tokens of older versions.
        ({"typ": "Bearer", "nonce": "n", "client_id": None, "azp": "kc"}, None, "kc"),
    ],
)
async def test_scopes_and_client_are_found_where_providers_put_them(
    changes: dict[str, Any], scopes: set[str] | None, client_id: str
) -> None:
    async with jwt_verifier() as (verifier, issuer):
        principal = await verifier.verify(issuer.sign(issuer.claims(**changes), header={"typ": "JWT"}))
    assert principal is not None
    assert principal.client_id == client_id
    assert principal.scopes == (scopes or {"tools.read", "tools.call"})


@pytest.mark.threat("V03")
@pytest.mark.parametrize("algorithm", ["none", "NoNe", "NONE", "", None, "RS256 ", ["RS256"], 5])
async def test_v03_unsigned_tokens_are_refused(algorithm: object) -> None:
    async with jwt_verifier() as (verifier, issuer):
        claims = b64(json.dumps(issuer.claims()).encode())
        header = b64(json.dumps({"alg": algorithm, "kid": "k1", "typ": "at+jwt"}).encode())
        for signature in ("", b64(b"sig"), issuer.sign().split(".")[2]):
            assert await verifier.verify(f"{header}.{claims}.{signature}") is None
        assert issuer.jwks_requests == 0
        good = issuer.sign()
        assert await verifier.verify(good.rpartition(".")[0] + ".") is None
        assert await verifier.verify(good[:-8] + "AAAAAAAA") is None


@pytest.mark.threat("V04")
async def test_v04_the_public_key_is_no_shared_secret() -> None:
    async with jwt_verifier() as (verifier, issuer):
        public = issuer.key.as_dict(private=False)
        secrets = [
            issuer.key.as_pem(private=False),
            issuer.key.as_pem(private=False).strip(),
            issuer.key.as_der(private=False),
            json.dumps(public).encode(),
            json.dumps({"keys": [public]}).encode(),
        ]
        for secret in secrets:
            for algorithm in ("HS256", "HS384", "HS512"):
                header = as_json({"alg": algorithm, "kid": "k1", "typ": "at+jwt"})
                signed = f"{b64(header)}.{b64(as_json(issuer.claims()))}"
                signature = hmac.digest(secret, signed.encode(), f"sha{algorithm[2:]}")
                assert await verifier.verify(f"{signed}.{b64(signature)}") is None
        # Nor does a symmetric key in the set count, should a provider publish one.
        shared = OctKey.import_key(b"s" * 32, {"kid": "oct"})
        issuer.answer_jwks = lambda: JSONResponse({"keys": [shared.as_dict(private=True)]})
        assert await verifier.verify(issuer.sign(key=shared, algorithm="HS256")) is None


@pytest.mark.threat("V05")
async def test_v05_a_key_that_the_token_brings_or_names_is_not_used_and_not_fetched() -> None:
    async with jwt_verifier() as (verifier, issuer):
        attacker = rsa_key("k1", 2)
        assert await verifier.verify(issuer.sign()) is not None
        fetched = issuer.jwks_requests
        for header in (
            {"jwk": attacker.as_dict(private=False)},
            {"jku": f"{issuer.address}/attacker/jwks"},
            {"x5u": f"{issuer.address}/attacker/cert"},
            {"jku": f"{issuer.address}/attacker/jwks", "jwk": attacker.as_dict(private=False)},
        ):
            assert await verifier.verify(issuer.sign(key=attacker, header=header)) is None
        assert await verifier.verify(issuer.sign(header={"jwk": issuer.key.as_dict(private=False)})) is None
        assert issuer.other_requests == []
        assert issuer.jwks_requests == fetched


@pytest.mark.threat("V06")
@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["x"], "x": 1},
        {"crit": []},
        {"crit": "b64"},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
    ],
)
async def test_v06_extensions_that_we_do_not_understand_are_refused(header: dict[str, Any]) -> None:
    async with jwt_verifier() as (verifier, issuer):
        whole = {"alg": "RS256", "kid": "k1", "typ": "at+jwt", **header}
        token = raw_token(issuer, as_json(whole), as_json(issuer.claims()))
        assert await verifier.verify(token) is None
        assert issuer.jwks_requests == 0


@pytest.mark.threat("V09")
@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({"exp": -59}, True),
        ({"exp": -60}, False),
        ({"exp": -61}, False),
        ({"nbf": 59}, True),
        ({"nbf": 61}, False),
        ({"iat": 59}, True),
        ({"iat": 61}, False),
        ({"iat": -100_000_000}, True),
    ],
)
async def test_v09_clocks_may_differ_by_a_minute(changes: dict[str, float], is_good: bool) -> None:
    async with jwt_verifier() as (verifier, issuer):
        times = {name: issuer.clock() + value for name, value in changes.items()}
        assert (await verifier.verify(issuer.sign(issuer.claims(**times))) is not None) is is_good


@pytest.mark.threat("V09")
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ["1900000000", "soon", True, False, None, [], {}, float("nan"), float("inf"), float("-inf"), 10**400, 1e300],
)
async def test_v09_times_that_are_no_numbers_are_refused(name: str, value: object) -> None:
    async with jwt_verifier() as (verifier, issuer):
        claims = {**issuer.claims(), name: value}
        header = as_json({"alg": "RS256", "kid": "k1", "typ": "at+jwt"})
        assert await verifier.verify(raw_token(issuer, header, as_json(claims))) is None


@pytest.mark.threat("V09")
async def test_v09_a_token_without_end_is_refused() -> None:
    async with jwt_verifier() as (verifier, issuer):
        assert await verifier.verify(issuer.sign(issuer.claims(exp=None))) is None
        assert await verifier.verify(issuer.sign(issuer.claims(iat=None, nbf=None))) is not None


@pytest.mark.threat("V10", "D08")
@pytest.mark.parametrize(
    ("audience", "is_good"),
    [
        (AUDIENCE, True),
        (["x", AUDIENCE], True),
        (None, False),
        (AUDIENCE + "2", False),
        (AUDIENCE + "/", False),
        (AUDIENCE.upper(), False),
        (AUDIENCE[:-1], False),
        (f"x {AUDIENCE}", False),
        ([], False),
        ([[AUDIENCE]], False),
        ({AUDIENCE: 1}, False),
        ("https://gateway.example/other/mcp", False),
    ],
)
async def test_v10_the_audience_is_an_exact_member(audience: object, is_good: bool) -> None:
    async with jwt_verifier() as (verifier, issuer):
        assert (await verifier.verify(issuer.sign(issuer.claims(aud=audience))) is not None) is is_good


@pytest.mark.threat("V11")
async def test_v11_the_issuer_is_compared_letter_by_letter() -> None:
    async with jwt_verifier() as (verifier, issuer):
        for other in (None, issuer.issuer + "/", [issuer.issuer], "https://evil.example", "", 5):
            assert await verifier.verify(issuer.sign(issuer.claims(iss=other))) is None
        assert issuer.jwks_requests == 0
    async with jwt_verifier(expected_issuer="https://x.auth0.com/") as (verifier, issuer):
        assert await verifier.verify(issuer.sign(issuer.claims(iss="https://x.auth0.com/"))) is not None
        assert await verifier.verify(issuer.sign(issuer.claims(iss="https://x.auth0.com"))) is None


@pytest.mark.threat("V11")
@pytest.mark.parametrize("alias", ["common", "organizations", "{tenantid}"])
async def test_v11_the_tenant_of_a_token_must_be_the_one_of_its_issuer(alias: str) -> None:
    entra = "https://login.microsoftonline.com"
    async with jwt_verifier(expected_issuer=f"{entra}/{alias}/v2.0") as (verifier, issuer):
        good = issuer.claims(iss=f"{entra}/{TENANT}/v2.0", tid=TENANT)
        ours = await verifier.verify(issuer.sign(good))
        theirs = await verifier.verify(
            issuer.sign({**good, "iss": f"{entra}/{OTHER_TENANT}/v2.0", "tid": OTHER_TENANT})
        )
        assert ours is not None
        assert theirs is not None
        # The same `sub` in another tenant is somebody else.
        assert ours.owner != theirs.owner
        for changes in (
            {"tid": OTHER_TENANT},
            {"tid": None},
            {"tid": "x/../y"},
            {"iss": f"{entra}/{alias}/v2.0"},
            {"iss": f"{entra}/evil/v2.0", "tid": "evil"},
        ):
            assert await verifier.verify(issuer.sign({**good, **changes})) is None


@pytest.mark.threat("V11")
async def test_v11_a_key_of_one_tenant_does_not_sign_for_another() -> None:
    entra = "https://login.microsoftonline.com"
    async with jwt_verifier(expected_issuer=f"{entra}/common/v2.0") as (verifier, issuer):
        key = rsa_key("theirs")
        token = issuer.sign(issuer.claims(iss=f"{entra}/{TENANT}/v2.0", tid=TENANT), key=key)
        theirs = {**key.as_dict(private=False), "issuer": f"{entra}/{OTHER_TENANT}/v2.0"}
        issuer.answer_jwks = lambda: JSONResponse({"keys": [theirs]})
        assert await verifier.verify(token) is None
    async with jwt_verifier(expected_issuer=f"{entra}/common/v2.0") as (verifier, issuer):
        of_all = {**key.as_dict(private=False), "issuer": f"{entra}/{{tenantid}}/v2.0"}
        issuer.answer_jwks = lambda: JSONResponse({"keys": [of_all]})
        assert await verifier.verify(token) is not None


def test_only_entra_has_issuers_of_several_tenants() -> None:
    assert not ExpectedIssuer.of("https://as.example/common/v2.0").has_several_tenants
    assert not ExpectedIssuer.of(f"https://login.microsoftonline.com/{TENANT}/v2.0").has_several_tenants
    assert ExpectedIssuer.of("https://login.microsoftonline.com/common/v2.0").has_several_tenants


@pytest.mark.threat("V12")
@pytest.mark.parametrize(
    ("header_type", "changes"),
    [
        ("JWT", {"nonce": "n"}),
        ("JWT", {"at_hash": "h"}),
        (None, {"c_hash": "h"}),
        ("JWT", {"s_hash": "h"}),
        ("JWT", {"scope": None, "client_id": None}),
        (None, {"scope": None, "client_id": None, "azp": "app"}),
        ("JWT", {"typ": "ID"}),
        ("JWT", {"typ": "Refresh"}),
        ("JWT", {"token_use": "id"}),
        ("JWT", {"typ": 5}),
        ("JWT", {"events": {}}),
        ("logout+jwt", {}),
        ("dpop+jwt", {}),
        ("id+jwt", {}),
        (5, {}),
        ("at+jwt", {"cnf": {"jkt": "x"}}),
        ("JWT", {"cnf": {"jkt": "x"}}),
    ],
)
async def test_v12_tokens_of_another_kind_are_refused(header_type: object, changes: dict[str, Any]) -> None:
    async with jwt_verifier() as (verifier, issuer):
        header = {"alg": "RS256", "kid": "k1", **({} if header_type is None else {"typ": header_type})}
        assert await verifier.verify(raw_token(issuer, as_json(header), as_json(issuer.claims(**changes)))) is None


@pytest.mark.threat("V12")
@pytest.mark.parametrize("header_type", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", None])
async def test_v12_access_tokens_of_every_spelling_are_accepted(header_type: str | None) -> None:
    async with jwt_verifier() as (verifier, issuer):
        assert await verifier.verify(issuer.sign(header={"typ": header_type})) is not None


# What Canaille 0.3.6 issued in one login, recorded from a running one: same header, issuer, audience and keys.
CANAILLE_ACCESS_TOKEN = {"auth_time": 1795334362, "name": "Alice A", "family_name": "A", "email": "alice@example.org"}
CANAILLE_ID_TOKEN = {**CANAILLE_ACCESS_TOKEN, "nonce": "n-1", "amr": ["pwd"], "at_hash": "2EgrEjGwwfdw65oerf0df3YcdXXs"}


@pytest.mark.threat("V12")
@pytest.mark.parametrize("recorded", [CANAILLE_ID_TOKEN, CANAILLE_ACCESS_TOKEN])
async def test_v12_tokens_that_nothing_tells_from_id_tokens_are_refused(recorded: dict[str, Any]) -> None:
    """Canaille's access tokens name neither scope nor client: introspection is the way there."""
    async with jwt_verifier() as (verifier, issuer):
        claims = issuer.claims(scope=None, client_id=None, **recorded)
        why = await verifier.explain(issuer.sign(claims, header={"typ": "JWT"}))
    assert "access token" in why


@pytest.mark.threat("V16")
async def test_v16_huge_and_deep_tokens_are_refused_quickly() -> None:
    async with jwt_verifier() as (verifier, issuer):
        rest = issuer.sign().partition(".")[2]
        deep_object = b'{"a":' * 2_000
        tokens = [
            "x" * 1_000_000,
            f"{b64(b'[' * 100_000)}.{rest}",
            f"{b64(b'[' * 8_000)}.{rest}",
            f"{b64(deep_object)}.{rest}",
            f"{'A' * 64_000}.{rest}",
            f"{rest}.{'A' * 14_000}.x",
            "." * 10_000,
            "..",
        ]
        for token in tokens:
            with limit_of_processor_time(0.2):
                assert await verifier.verify(token) is None


@pytest.mark.threat("V16")
async def test_v16_a_certificate_chain_in_the_header_is_no_reason_to_refuse() -> None:
    async with jwt_verifier() as (verifier, issuer):
        chain = [base64.b64encode(b"c" * 1200).decode() for _ in range(3)]
        token = issuer.sign(header={"x5c": chain, "x5t": "t", "vendor": {"a": 1}})
        assert len(token) > 6000
        assert await verifier.verify(token) is not None


async def test_a_token_of_another_key_or_with_other_claims_is_refused() -> None:
    async with jwt_verifier() as (verifier, issuer):
        other = rsa_key("k1", 2)
        assert await verifier.verify(issuer.sign(key=other)) is None
        header, _, signature = issuer.sign().split(".")
        changed = b64(json.dumps(issuer.claims(sub="bob")).encode())
        assert await verifier.verify(f"{header}.{changed}.{signature}") is None


async def test_the_reason_of_a_refusal_can_be_asked_for_and_names_no_value() -> None:
    async with jwt_verifier() as (verifier, issuer):
        assert "aud" in await verifier.explain(issuer.sign(issuer.claims(aud="canary-aud")))
        assert "canary" not in await verifier.explain(issuer.sign(issuer.claims(aud="canary-aud")))
        assert await verifier.explain(issuer.sign()) == ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(claims=st.dictionaries(st.sampled_from(["exp", "nbf", "iat"]), _JSON))
def test_only_numbers_within_reason_are_times(claims: dict[str, object]) -> None:
    try:
        expires_at = check_times(claims, now=1000.0)
    except TokenRefusedError:
        return
    assert isinstance(claims["exp"], int | float)
    assert not isinstance(claims["exp"], bool)
    assert 940 < expires_at < 1e12


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "jwk", "typ", "x5c"]), _JSON), claims=_JSON)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_header_and_no_claims_break_the_reading(header: dict[str, object], claims: object) -> None:
    segments = [b64(as_json(part)) for part in (header, claims)]
    try:
        read, read_claims = read_token(f"{segments[0]}.{segments[1]}.c2ln")
        algorithm, kid = read_header(read)
        require_access_token(read, read_claims)
    except TokenRefusedError:
        return
    assert algorithm.startswith(("RS", "PS", "ES", "Ed"))
    assert kid is None or kid
    assert "cnf" not in read_claims


@given(token=st.text(max_size=200))
def test_no_text_breaks_the_reading(token: str) -> None:
    with pytest.raises(TokenRefusedError):
        header, _claims = read_token(token)
        read_header(header)
