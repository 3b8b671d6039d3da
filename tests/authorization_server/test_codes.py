"""Authorization codes: good once, for one client, redirect URI and verifier, for a minute; unreadable in the store."""

import asyncio

import pytest

from fluidmcp.authorization_server.codes import AuthorizationCodes, CodeGrant, CodeReplayedError
from fluidmcp.errors import OAuthError
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from fluidmcp.store.memory import MemoryStore
from tests.authorization_server.sealing_stage import CLIENT, CONTEXT, GRANT_ID, PERSON, YieldingStore, upstream_grant
from tests.providers.login_gateway import Clock, contents_of

REDIRECT = "http://localhost:33418/callback"
VERIFIER = create_code_verifier()


class Stage:
    def __init__(self, context: tuple[str, ...] = CONTEXT, store: MemoryStore | None = None) -> None:
        self.clock = Clock()
        self.store = MemoryStore(max_entries=100, now=self.clock) if store is None else store
        self.codes = AuthorizationCodes(self.store, context, now=self.clock)

    async def issue(self, *, is_redirect_required: bool = True) -> str:
        grant = CodeGrant(
            client_id=CLIENT,
            redirect_uri=REDIRECT,
            is_redirect_required=is_redirect_required,
            code_challenge=code_challenge_s256(VERIFIER),
            scopes=("mail.read",),
            expires_at=self.clock.time + 60,
            grant_id=GRANT_ID,
            gateway=None,
            package={"": upstream_grant(self.clock)},
        )
        return await self.codes.issue(grant)

    async def redeem(
        self, code: str, *, client_id: str = CLIENT, redirect_uri: str | None = REDIRECT, code_verifier: str = VERIFIER
    ) -> CodeGrant:
        return await self.codes.redeem(
            code, client_id=client_id, redirect_uri=redirect_uri, code_verifier=code_verifier
        )

    async def is_refused(self, code: str, **changes: str | None) -> bool:
        try:
            await self.redeem(code, **changes)  # type: ignore[arg-type]
        except OAuthError as error:
            return error.error == "invalid_grant"
        return False


async def test_a_code_stands_for_its_grant_and_is_remembered_as_used() -> None:
    stage = Stage()
    code = await stage.issue()
    assert len(code) == 43
    grant = await stage.redeem(code)
    assert grant.package == {"": upstream_grant(stage.clock)}
    with pytest.raises(CodeReplayedError) as replay:
        await stage.redeem(code)
    assert replay.value.grant_id == GRANT_ID


async def test_of_twenty_who_redeem_a_code_at_once_one_gets_the_grant() -> None:
    stage = Stage()
    code = await stage.issue()
    stage.codes = AuthorizationCodes(YieldingStore(stage.store), CONTEXT, now=stage.clock)
    outcomes = await asyncio.gather(*(stage.redeem(code) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, CodeGrant) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, CodeReplayedError | OAuthError) for outcome in outcomes) == 19


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": create_code_verifier()},
        {"code_verifier": ""},
        {"code_verifier": "short"},
        {"client_id": "another client"},
        {"redirect_uri": "http://localhost:1/callback"},
        {"redirect_uri": None},
        {"client_id": "\ud800"},
    ],
)
async def test_who_has_the_code_alone_gets_nothing_and_does_not_use_it_up(changes: dict[str, str | None]) -> None:
    stage = Stage()
    code = await stage.issue()
    assert await stage.is_refused(code, **changes)
    assert (await stage.redeem(code)).client_id == CLIENT


async def test_a_redirect_uri_that_the_request_did_not_name_need_not_come_again() -> None:
    stage = Stage()
    assert await stage.redeem(await stage.issue(is_redirect_required=False), redirect_uri=None)
    assert await stage.is_refused(await stage.issue(is_redirect_required=False), redirect_uri="http://localhost/x")


async def test_a_code_is_good_for_a_minute_and_no_other_text_is_one() -> None:
    stage = Stage()
    code = await stage.issue()
    for other in ("", code[:-1], code + "A", "A" * 43, "\ud800", "x" * 100_000):
        assert await stage.is_refused(other)
    stage.clock.time += 60
    assert await stage.is_refused(code)


async def test_a_code_of_one_package_is_none_at_another() -> None:
    stage = Stage()
    code = await stage.issue()
    other = Stage(("jira", *CONTEXT[1:]), stage.store)
    assert await other.is_refused(code)
    assert await stage.redeem(code)


async def test_the_store_holds_neither_code_nor_token() -> None:
    stage = Stage()
    code = await stage.issue()
    stored = str(contents_of(stage.store))
    assert all(text not in stored for text in (code, "provider-access", "provider-refresh", PERSON, CLIENT))


async def test_a_full_store_is_told_to_the_client() -> None:
    clock = Clock()
    stage = Stage(store=MemoryStore(max_entries=1, now=clock))
    await stage.issue()
    with pytest.raises(OAuthError) as caught:
        await stage.issue()
    assert caught.value.error == "temporarily_unavailable"
