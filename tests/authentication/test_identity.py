import base64
from typing import Any

import pytest

from fluidmcp.authentication.identity import read_id_token, read_name, read_verified_domain
from fluidmcp.errors import ProviderAnswerError
from tests.providers.fault_making import unsigned_id_token

NOW = 1_800_000_000.0
CLAIMS: dict[str, Any] = {"iss": "https://as.example", "aud": "gateway", "sub": "u1", "exp": NOW + 60}


def read(**changes: Any) -> str:
    token = unsigned_id_token(**{k: v for k, v in {**CLAIMS, **changes}.items() if v is not None})
    return read_id_token(token, client_id="gateway", issuer="https://as.example", now=NOW).subject


def test_an_id_token_for_us_names_the_person() -> None:
    assert read() == "u1"
    assert read(aud=["other", "gateway"], azp="gateway") == "u1"
    assert read(exp=NOW - 59) == "u1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://as.example/"},
        {"iss": None},
        {"iss": ["https://as.example"]},
        {"aud": "gateway2"},
        {"aud": ["other"]},
        {"aud": None},
        {"aud": {"gateway": 1}},
        {"azp": "other"},
        {"exp": NOW - 60},
        {"exp": None},
        {"exp": "1900000000"},
        {"exp": True},
        {"exp": float("nan")},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\nb"},
    ],
)
def test_an_id_token_that_is_not_for_us_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProviderAnswerError):
        read(**changes)


@pytest.mark.parametrize("token", ["", "a.b", "a.!!.c", "a.e30.c.d", "a.W10.c", "a." + "W" * 30000 + ".c"])
def test_what_is_no_id_token_is_refused(token: str) -> None:
    with pytest.raises(ProviderAnswerError):
        read_id_token(token, client_id="gateway", issuer=None, now=NOW)


def test_deep_claims_are_refused() -> None:
    payload = base64.urlsafe_b64encode(b"[" * 20000).rstrip(b"=").decode()
    with pytest.raises(ProviderAnswerError):
        read_id_token(f"a.{payload}.c", client_id="gateway", issuer=None, now=NOW)


@pytest.mark.threat("V18")
@pytest.mark.parametrize(
    ("claims", "domain"),
    [
        ({"email": "a@Corp.com", "email_verified": True}, "corp.com"),
        ({"email": "a@corp.com", "email_verified": False}, None),
        ({"email": "a@corp.com", "email_verified": "true"}, None),
        ({"email": "a@corp.com"}, None),
        ({"email": "a@evil.com@corp.com", "email_verified": True}, None),
        ({"email": "a@cоrp.com", "email_verified": True}, None),
        # The Kelvin sign, whose lower case is a plain k.
        ({"email": "a@\u212aorp.com", "email_verified": True}, None),
        ({"email": "jürgen@corp.com", "email_verified": True}, "corp.com"),
        ({"email": "a@corp.com\n", "email_verified": True}, None),
        ({"email": "a@corp", "email_verified": True}, None),
        ({"email_verified": True}, None),
    ],
)
def test_v18_only_a_verified_mail_address_has_a_domain(claims: dict[str, Any], domain: str | None) -> None:
    assert read_verified_domain(claims, "https://as.example") == domain


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Ada Lovelace", "preferred_username": "ada"}, "Ada Lovelace"),
        ({"preferred_username": "ada"}, "ada"),
        ({"name": "", "preferred_username": "ada"}, "ada"),
        ({"name": "x" * 101, "preferred_username": "ada"}, "ada"),
        ({"name": "Ada\u202e", "preferred_username": ["ada"]}, None),
        ({"name": 7}, None),
        ({"name": " "}, None),
        ({"email": "ada@corp.com"}, None),
    ],
)
def test_the_name_is_what_can_be_shown_of_it(claims: dict[str, Any], name: str | None) -> None:
    assert read_name(claims) == name
    token = unsigned_id_token(**CLAIMS, **claims)
    assert read_id_token(token, client_id="gateway", issuer="https://as.example", now=NOW).name == name


def test_at_google_only_hd_speaks_for_an_organisation() -> None:
    google = "https://accounts.google.com"
    foreign = {"email": "a@corp.com", "email_verified": True}
    assert read_verified_domain(foreign, google) is None
    assert read_verified_domain({**foreign, "hd": "corp.com"}, google) == "corp.com"
    assert read_verified_domain({"email": "a@gmail.com", "email_verified": True}, google) == "gmail.com"
