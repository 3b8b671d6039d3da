"""The tokens that MCP clients hold: what is in them, for how long, and when they do not open."""

import base64
import json
import secrets

import msgspec
import pytest

from fluidmcp.authorization_server.grant import Grants
from fluidmcp.authorization_server.sealed_tokens import IssuedTokens, TokenSealer
from fluidmcp.errors import OAuthError
from tests.authorization_server.sealing_stage import (
    CLIENT,
    CONTEXT,
    DAY,
    GRANT_ID,
    PERSON,
    package_grants,
    sealer,
    token_sealer,
    upstream_grant,
)
from tests.providers.login_gateway import Clock


def issue(tokens: TokenSealer, clock: Clock, grants: Grants | None = None, *, ends_in: int = 30 * DAY) -> IssuedTokens:
    return tokens.issue(
        grants or package_grants(clock),
        client_id=CLIENT,
        grant_id=GRANT_ID,
        generation=0,
        begun_at=0.0,
        ends_at=int(clock.time) + ends_in,
        scopes=("mail.read",),
    )


def test_a_token_holds_the_person_and_the_providers_token_and_shows_neither() -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    issued = issue(tokens, clock)
    access = tokens.open_access(issued.access_token)
    assert access is not None
    (held,) = access.package
    assert (held.name, held.person.subject, held.access_token) == ("", PERSON, "provider-access")
    assert (access.gateway, held.expires_at) == (None, int(clock.time) + 3600)
    refresh = tokens.open_refresh(issued.refresh_token or "", client_id=CLIENT)
    assert refresh is not None
    renewable = refresh.package[""]
    assert (renewable.refresh_token, renewable.access_token) == ("provider-refresh", "")
    shown = f"{issued!r} {access!r} {held!r} {refresh!r} {renewable!r}"
    readable = base64.urlsafe_b64decode(issued.access_token.removeprefix("fmcp1.") + "==")
    assert all(word not in shown and word.encode() not in readable for word in ("provider-", PERSON, CLIENT))


@pytest.mark.parametrize(
    ("expires_in", "lives", "told"),
    [
        (3600, 3300, 3270),
        (600, 300, 270),
        (599, 299, 269),
        (60, 30, 23),
        (None, 3600, 3570),
        (90_000, 89_700, 89_670),
        (8, 4, 3),
    ],
)
def test_a_token_ends_five_minutes_before_the_providers_and_its_client_hears_of_it_earlier(
    expires_in: int | None, lives: int, told: int
) -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    issued = issue(tokens, clock, package_grants(clock, expires_in=expires_in))
    assert issued.expires_in == told
    clock.time += lives - 1
    assert tokens.open_access(issued.access_token) is not None
    clock.time += 1
    assert tokens.open_access(issued.access_token) is None


@pytest.mark.parametrize("expires_in", [8, 16, 60, 3600])
@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.6, 0.99])
def test_a_client_hears_of_the_end_a_second_early_at_whatever_part_of_a_second_it_logs_in(
    fraction: float, expires_in: int
) -> None:
    clock = Clock()
    clock.time += fraction
    tokens = token_sealer(clock)
    over_at = int(clock.time) + max(expires_in - 300, expires_in // 2)
    issued = issue(tokens, clock, package_grants(clock, expires_in=expires_in))
    clock.time += issued.expires_in + 0.999
    assert tokens.open_access(issued.access_token) is not None
    clock.time = over_at
    assert tokens.open_access(issued.access_token) is None


def test_of_two_providers_the_one_that_ends_first_counts_and_a_grant_ends_after_all() -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    grants = Grants(upstream_grant(clock, expires_in=1200), {"": upstream_grant(clock, expires_in=3600)})
    assert issue(tokens, clock, grants).expires_in == 870
    assert issue(tokens, clock, ends_in=100).expires_in == 75


@pytest.mark.parametrize(("refresh_token", "expires_in", "is_renewable"), [
    ("r", 3600, True), ("r", None, True), (None, None, True), (None, 3600, False),
])  # fmt: skip
def test_there_is_a_refresh_token_where_something_can_be_renewed(
    refresh_token: str | None, expires_in: int | None, is_renewable: bool
) -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    issued = issue(tokens, clock, package_grants(clock, refresh_token=refresh_token, expires_in=expires_in))
    assert (issued.refresh_token is not None) is is_renewable
    assert ("refresh_token" in issued.as_document()) is is_renewable
    if refresh_token is None and is_renewable:
        opened = tokens.open_refresh(issued.refresh_token or "", client_id=CLIENT)
        assert opened is not None
        assert opened.package[""].access_token == "provider-access", "there is nothing else to go by"


@pytest.mark.threat("D15")
@pytest.mark.parametrize("number", range(len(CONTEXT)))
def test_d15_whatever_changes_of_package_address_and_settings_closes_a_token(number: int) -> None:
    clock = Clock()
    issued = issue(token_sealer(clock), clock)
    changed = tuple(text + "x" if index == number else text for index, text in enumerate(CONTEXT))
    other = token_sealer(clock, context=changed)
    assert other.open_access(issued.access_token) is None
    assert other.open_refresh(issued.refresh_token or "", client_id=CLIENT) is None


def test_a_refresh_token_is_its_clients_and_no_access_token() -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    issued = issue(tokens, clock)
    refresh_token = issued.refresh_token or ""
    assert tokens.open_refresh(refresh_token, client_id=CLIENT + "x") is None
    assert tokens.open_access(refresh_token) is None
    assert tokens.open_refresh(issued.access_token, client_id=CLIENT) is None
    clock.time += 30 * DAY
    assert tokens.open_refresh(refresh_token, client_id=CLIENT) is None


def test_keys_rotate_without_logging_anybody_out() -> None:
    clock = Clock()
    old = issue(token_sealer(clock, "old"), clock)
    both = token_sealer(clock, "new", "old")
    assert both.open_access(old.access_token) is not None
    assert both.open_refresh(old.refresh_token or "", client_id=CLIENT) is not None
    new = issue(both, clock)
    assert token_sealer(clock, "new").open_access(new.access_token) is not None
    assert token_sealer(clock, "new").open_access(old.access_token) is None, "the emergency logout"


def test_forged_and_cut_tokens_do_not_open() -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    sealed = issue(tokens, clock).access_token
    for position in range(len("fmcp1."), len(sealed), 7):
        other = "A" if sealed[position] != "A" else "B"
        assert tokens.open_access(sealed[:position] + other + sealed[position + 1 :]) is None
        assert tokens.open_access(sealed[:position]) is None
    assert tokens.open_access(sealed + "A") is None
    assert tokens.open_access("fmcp1." + "A" * 100_000) is None


def make_jwt(characters: int) -> str:
    """Text of a JWT's kind: base64 of something that has no pattern."""
    return base64.urlsafe_b64encode(secrets.token_bytes(characters)).decode()[:characters]


@pytest.mark.parametrize("characters", [2048, 3000])
def test_a_long_provider_token_makes_a_token_under_four_kilobytes(characters: int) -> None:
    clock = Clock()
    tokens = token_sealer(clock)
    provider_token = make_jwt(characters)
    issued = issue(tokens, clock, package_grants(clock, access_token=provider_token))
    assert len(issued.access_token) < 4096
    access = tokens.open_access(issued.access_token)
    assert access is not None
    assert access.package[0].access_token == provider_token


@pytest.mark.parametrize(("kind", "characters", "most"), [("access", 6000, 4096), ("refresh", 20_000, 16_384)])
def test_a_provider_token_that_is_too_long_is_a_clear_error_without_the_token(
    kind: str, characters: int, most: int
) -> None:
    clock = Clock()
    provider_token = make_jwt(characters)
    with pytest.raises(OAuthError) as caught:
        issue(token_sealer(clock), clock, package_grants(clock, **{f"{kind}_token": provider_token}))
    assert (caught.value.error, caught.value.status) == ("server_error", 502)
    assert kind in caught.value.what
    assert f"{most} are the most" in caught.value.why
    assert provider_token[:20] not in f"{caught.value.what} {caught.value.why} {caught.value.hint}"


def test_a_provider_token_that_is_over_already_is_an_error() -> None:
    clock = Clock()
    with pytest.raises(OAuthError) as caught:
        issue(token_sealer(clock), clock, package_grants(clock, expires_in=1))
    assert caught.value.error == "server_error"


def test_what_another_version_sealed_with_the_same_key_is_not_a_token() -> None:
    clock = Clock()
    strange = sealer().seal("access token", CONTEXT, b"\0" + json.dumps({"version": 9}).encode())
    assert token_sealer(clock).open_access(strange) is None


def test_what_would_not_open_again_is_not_sealed() -> None:
    """Texts that deflate well: the sealed token would be short enough."""
    clock = Clock()
    tokens = token_sealer(clock)

    def holding(characters: int) -> Grants:
        grant = msgspec.structs.replace(upstream_grant(clock), values={"extra.x": "a" * characters})
        return Grants(None, {"": grant})

    issued = issue(tokens, clock, holding(32_000))
    assert tokens.open_access(issued.access_token) is not None
    assert tokens.open_refresh(issued.refresh_token or "", client_id=CLIENT) is not None
    with pytest.raises(OAuthError, match="too long") as caught:
        issue(tokens, clock, holding(33_000))
    assert "32768 are the most" in caught.value.why
