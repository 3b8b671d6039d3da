"""The development provider: what it gives, what it refuses, and whom it answers."""

import base64
import re
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from fluidmcp.demo.grants import ExpiringDict
from fluidmcp.demo.mailboxes import MAYA, PEOPLE, ROBIN, Person
from fluidmcp.demo.registration import READ_SCOPE, Registration
from tests.demo.running import CODE_VERIFIER, Clock, RunningProvider, provider_in_process, read_return


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[RunningProvider]:
    async with provider_in_process() as running:
        yield running


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
async def test_a_sign_in_gives_tokens_that_read_the_mailbox_of_that_person(
    provider: RunningProvider, person: Person
) -> None:
    returned = await provider.sign_in(person)
    answer = await provider.exchange(returned["code"])
    tokens = answer.json()
    profile = await provider.get_mail("/profile", tokens["access_token"])
    userinfo = await provider.client.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})

    assert returned["state"] == "a-state"
    assert returned["iss"] == "http://127.0.0.1:8098"
    assert {name: tokens[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": READ_SCOPE,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert profile.json()["emailAddress"] == person.email
    assert userinfo.json()["sub"] == person.subject


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"code_challenge": "=" * 43},
    ],
    ids=["no challenge at all", "no challenge", "no method", "plain", "too short", "wrong characters"],
)
async def test_a_login_without_an_s256_challenge_is_refused(
    provider: RunningProvider, changes: dict[str, str | None]
) -> None:
    returned = read_return(await provider.begin(**changes))

    assert returned["error"] == "invalid_request"
    assert returned["state"] == "a-state"
    assert "code" not in returned


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "https://mail.google.com/"}, "invalid_scope"),
        ({"state": "s" * 2001}, "invalid_request"),
    ],
    ids=["implicit", "unknown scope", "long state"],
)
async def test_other_mistakes_go_back_to_the_client(
    provider: RunningProvider, changes: dict[str, str | None], error: str
) -> None:
    assert read_return(await provider.begin(**changes))["error"] == error


async def test_a_parameter_that_comes_twice_is_refused(provider: RunningProvider) -> None:
    query = httpx2.QueryParams(provider.authorize_params()).add("code_challenge", "A" * 43)
    answer = await provider.client.get("/authorize", params=query)

    assert read_return(answer)["error"] == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": None},
        {"redirect_uri": "http://localhost:8099/gmail-mock/auth/callback/"},
        {"redirect_uri": "http://localhost:8099/other/auth/callback"},
        {"redirect_uri": "http://127.0.0.1:8099/gmail-mock/auth/callback"},
        {"redirect_uri": "https://evil.example/"},
        {"client_id": "somebody-else"},
        {"client_id": None},
    ],
    ids=["none", "slash", "other path", "other host", "foreign", "other client", "no client"],
)
async def test_a_wrong_client_or_return_address_is_shown_and_never_redirected(
    provider: RunningProvider, changes: dict[str, str | None]
) -> None:
    answer = await provider.begin(**changes)

    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil" not in answer.text


async def test_a_code_is_good_once_and_its_reuse_ends_the_tokens(provider: RunningProvider) -> None:
    code = (await provider.sign_in(MAYA))["code"]
    tokens = (await provider.exchange(code)).json()
    again = await provider.exchange(code)

    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await provider.get_mail("/profile", tokens["access_token"])).status_code == 401
    assert (await provider.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_code_ends_after_sixty_seconds(provider: RunningProvider) -> None:
    code = (await provider.sign_in(MAYA))["code"]
    provider.clock.seconds += 60

    assert (await provider.exchange(code)).json()["error"] == "invalid_grant"


@pytest.mark.threat("B09")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": CODE_VERIFIER[:-1] + "1"}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": "http://localhost:8099/other"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
    ],
    ids=["wrong verifier", "short verifier", "no verifier", "other redirect", "other grant", "no grant"],
)
async def test_a_code_is_bound_to_its_verifier_and_return_address(
    provider: RunningProvider, changes: dict[str, str | None], error: str
) -> None:
    code = (await provider.sign_in(MAYA))["code"]
    refused = await provider.exchange(code, **changes)

    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert "access_token" not in refused.text


async def test_a_wrong_verifier_uses_the_code_up(provider: RunningProvider) -> None:
    code = (await provider.sign_in(MAYA))["code"]
    await provider.exchange(code, code_verifier="w" * 43)

    assert (await provider.exchange(code)).json()["error"] == "invalid_grant"


async def test_a_client_proves_itself_by_form_or_by_basic_but_not_by_both(provider: RunningProvider) -> None:
    registration = provider.registration
    secret = registration.client_secret.reveal()
    basic = "Basic " + base64.b64encode(f"{registration.client_id}:{secret}".encode()).decode()
    form = {"token": "anything"}

    good = await provider.client.post("/introspect", data=form, headers={"Authorization": basic})
    both = await provider.client.post(
        "/introspect", data={**form, "client_secret": secret}, headers={"Authorization": basic}
    )
    wrong = await provider.client.post(
        "/introspect", data={**form, "client_id": registration.client_id, "client_secret": "wrong"}
    )
    none = await provider.client.post("/introspect", data=form)
    odd = await provider.client.post("/introspect", data=form, headers={"Authorization": "Basic ?"})

    assert good.json() == {"active": False}
    assert both.json()["error"] == "invalid_request"
    assert [answer.status_code for answer in (wrong, none, odd)] == [401, 401, 401]
    assert wrong.json()["error"] == "invalid_client"
    assert wrong.headers["www-authenticate"].startswith("Basic")


async def test_a_refresh_gives_new_tokens_and_the_reuse_of_an_old_one_ends_them(provider: RunningProvider) -> None:
    first = await provider.get_tokens(MAYA)
    second = (await provider.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await provider.get_mail("/profile", second["access_token"])).json()["emailAddress"] == MAYA.email

    assert (await provider.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await provider.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await provider.get_mail("/profile", second["access_token"])).status_code == 401


async def test_introspection_describes_live_tokens_only(provider: RunningProvider) -> None:
    tokens = await provider.get_tokens(ROBIN)
    live = (await provider.post_as_client("/introspect", token=tokens["access_token"])).json()
    assert live == {
        "active": True,
        "iss": "http://127.0.0.1:8098",
        "sub": ROBIN.subject,
        "client_id": provider.registration.client_id,
        "scope": READ_SCOPE,
        "token_type": "Bearer",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    }

    for token in (tokens["refresh_token"], "unknown"):
        assert (await provider.post_as_client("/introspect", token=token)).json() == {"active": False}
    provider.clock.seconds += 3600
    assert (await provider.post_as_client("/introspect", token=tokens["access_token"])).json() == {"active": False}


async def test_a_revoked_token_ends_with_its_refresh_token(provider: RunningProvider) -> None:
    tokens = await provider.get_tokens(MAYA)
    revoked = await provider.post_as_client("/revoke", token=tokens["refresh_token"])
    unknown = await provider.post_as_client("/revoke", token="unknown")

    assert (revoked.status_code, unknown.status_code) == (200, 200)
    assert (await provider.get_mail("/profile", tokens["access_token"])).status_code == 401
    assert (await provider.refresh(tokens["refresh_token"])).status_code == 400


async def test_the_metadata_names_only_addresses_that_answer(provider: RunningProvider) -> None:
    metadata = (await provider.client.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == "http://127.0.0.1:8098"
    assert metadata["code_challenge_methods_supported"] == ["S256"]

    for name in ("authorization_endpoint", "token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        answer = await provider.client.request("GET" if name.startswith("authorization") else "POST", metadata[name])
        assert answer.status_code == 400, name


async def test_a_denied_login_tells_the_client(provider: RunningProvider) -> None:
    returned = await provider.sign_in(MAYA, decision="deny")

    assert (returned["error"], returned["state"]) == ("access_denied", "a-state")
    assert "code" not in returned


async def test_an_answered_sign_in_is_over(provider: RunningProvider) -> None:
    address, form_token = await provider.open_consent(MAYA)
    data = {"form_token": form_token, "decision": "allow"}
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in provider.client.cookies.items())}
    first = await provider.client.post(f"{address}/answer", data=data)
    assert first.status_code == 303

    assert not provider.client.cookies
    # The same request once more, with the cookie that the browser has forgotten.
    again = await provider.client.post(f"{address}/answer", data=data, headers=cookie)
    assert again.status_code == 400
    assert "location" not in again.headers


async def test_a_sign_in_belongs_to_the_browser_that_began_it(provider: RunningProvider) -> None:
    address, form_token = await provider.open_consent(MAYA)
    provider.client.cookies.clear()

    page = await provider.client.get(address)
    answer = await provider.client.post(f"{address}/answer", data={"form_token": form_token, "decision": "allow"})

    assert (page.status_code, answer.status_code) == (400, 400)
    assert "location" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:8099", "null"])
async def test_a_form_of_another_page_is_refused(provider: RunningProvider, origin: str) -> None:
    address, form_token = await provider.open_consent(MAYA)
    good = {"form_token": form_token, "decision": "allow"}

    foreign = await provider.client.post(f"{address}/answer", data=good, headers={"Origin": origin})
    guessed = await provider.client.post(f"{address}/answer", data={**good, "form_token": "0" * 64})
    own = await provider.client.post(f"{address}/answer", data=good, headers={"Origin": "http://127.0.0.1:8098"})

    assert (foreign.status_code, guessed.status_code, own.status_code) == (403, 403, 303)


async def test_nobody_is_allowed_in_before_a_person_is_chosen(provider: RunningProvider) -> None:
    address = (await provider.begin()).headers["location"]
    form_token = await provider.read_form_token(address)

    early = await provider.client.post(f"{address}/answer", data={"form_token": form_token, "decision": "allow"})
    nobody = await provider.client.post(f"{address}/person", data={"form_token": form_token, "person": "42"})

    assert (early.status_code, nobody.status_code) == (400, 400)


async def test_every_page_says_development_only_and_loads_nothing_from_elsewhere(provider: RunningProvider) -> None:
    address, _ = await provider.open_consent(MAYA)
    pages = [
        await provider.client.get(path)
        for path in ("/", address, "/authorize", "/nothing-here", (await provider.begin()).headers["location"])
    ]

    for page in pages:
        assert "Development only" in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"<script|\son\w+=|javascript:", page.text)
        assert all(url.startswith("/") for url in re.findall(r'(?:src|href|action)="([^"]*)"', page.text))


@pytest.mark.parametrize("host", ["evil.example:8098", "evil.example", "127.0.0.1:8099", "127.0.0.1", "0.0.0.0:8098"])
async def test_c01_a_foreign_host_is_refused_on_every_route(provider: RunningProvider, host: str) -> None:
    for path in ("/", "/authorize", "/userinfo", "/static/style.css", "/gmail/v1/users/me/profile", "/nothing-here"):
        assert (await provider.client.get(path, headers={"Host": host})).status_code == 421
    assert (await provider.client.post("/token", headers={"Host": host})).status_code == 421


async def test_c01_a_peer_that_is_not_on_this_machine_is_refused() -> None:
    async with provider_in_process(peer="192.0.2.7") as provider:
        assert (await provider.client.get("/")).status_code == 421


async def test_two_host_headers_are_refused(provider: RunningProvider) -> None:
    headers = httpx2.Headers([("Host", "127.0.0.1:8098"), ("Host", "evil.example")])
    assert (await provider.client.get("/", headers=headers)).status_code == 421


async def test_the_mail_api_answers_the_owner_of_the_token_only(provider: RunningProvider) -> None:
    token = (await provider.get_tokens(MAYA))["access_token"]
    listed = (await provider.get_mail("/messages", token)).json()
    one = await provider.get_mail("/messages?maxResults=1", token)

    assert [message["id"] for message in listed["messages"]] == [mail.id for mail in MAYA.messages]
    assert [message["id"] for message in one.json()["messages"]] == [MAYA.messages[0].id]
    assert (await provider.get_mail(f"/messages/{MAYA.messages[0].id}", token)).status_code == 200
    assert (await provider.get_mail(f"/messages/{ROBIN.messages[0].id}", token)).status_code == 404
    assert (await provider.get_mail("/profile", token, user=ROBIN.email)).status_code == 403
    assert (await provider.get_mail("/messages?maxResults=0", token)).status_code == 400
    for bad in ("", "unknown", f"{token} {token}"):
        assert (await provider.get_mail("/profile", bad)).status_code == 401
    assert (await provider.client.get(f"/gmail/v1/users/me/profile?access_token={token}")).status_code == 401


async def test_large_and_odd_bodies_are_refused(provider: RunningProvider) -> None:
    large = await provider.post_as_client("/token", grant_type="g" * 20_000)
    json_body = await provider.client.post("/token", json={})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    doubled = await provider.client.post("/token", content="grant_type=a&grant_type=b", headers=form)
    broken = await provider.client.post("/token", content=b"grant_type=%ff", headers=form)

    assert large.status_code == 413
    assert [answer.json()["error"] for answer in (json_body, doubled, broken)] == ["invalid_request"] * 3


def test_every_run_has_its_own_keys_and_the_secret_does_not_print() -> None:
    first, second = (Registration(port=8098, redirect_uri="http://localhost:8099/x") for _ in range(2))

    assert first.client_id != second.client_id
    assert first.client_secret.reveal() != second.client_secret.reveal()
    assert first.client_secret.reveal() not in repr(first)


def test_a_full_memory_forgets_its_oldest_entry_and_expired_ones_first() -> None:
    clock = Clock(seconds=0.0)
    memory: ExpiringDict[int] = ExpiringDict(max_entries=2, now=clock)
    memory.put("short", 1, life_seconds=1)
    memory.put("old", 2, life_seconds=100)
    clock.seconds = 1.0
    memory.put("new", 3, life_seconds=100)
    assert [memory.get(key) for key in ("short", "old", "new")] == [None, 2, 3]

    memory.put("newest", 4, life_seconds=100)
    assert len(memory) == 2
    assert [memory.get(key) for key in ("old", "new", "newest")] == [None, 3, 4]
