import pytest

from fluidmcp.authentication.identity import Identity
from fluidmcp.authentication.verifiers.issued_here import MAX_ACCEPTED_SECONDS, IssuedHereVerifier
from fluidmcp.crypto.digest import PackageDigest
from fluidmcp.errors import LoginError
from fluidmcp.oauth_client.token_endpoint import TokenAnswer
from fluidmcp.store.memory import MemoryStore
from tests.providers.login_gateway import Clock, auth_block, contents_of

ALICE = Identity(issuer="https://as.example", subject="alice", email_domain="example.org")
MALLORY = Identity(issuer="https://as.example", subject="mallory")
SCOPES = frozenset({"mail.read"})


class Bench:
    def __init__(self, *, max_entries: int = 100) -> None:
        self.clock = Clock()
        self.store = MemoryStore(max_entries=max_entries, now=self.clock)

    def verifier(self, package: str = "mail", key: bytes = b"k" * 32) -> IssuedHereVerifier:
        digest = PackageDigest(key, package=package, block=auth_block("https://as.example"), client_id="gateway")
        return IssuedHereVerifier(client_id="gateway", digest=digest, handed_out=self.store, now=self.clock)


async def test_a_token_that_was_handed_out_stands_for_who_logged_in() -> None:
    bench = Bench()
    await bench.verifier().remember(TokenAnswer(access_token="at", expires_in=3600), ALICE, scopes=SCOPES)
    principal = await bench.verifier().verify("at")
    assert principal is not None
    assert principal.owner == ("https://as.example", "alice", "gateway")
    assert (principal.scopes, principal.email_domain) == (SCOPES, "example.org")
    assert principal.expires_at == bench.clock.time + 3600
    assert "at" != principal.token_digest
    assert len(principal.token_digest) == 64


@pytest.mark.threat("D09")
@pytest.mark.parametrize("token", ["", "a", "att", "AT", "at "])
async def test_d09_every_other_token_is_unknown(token: str) -> None:
    bench = Bench()
    await bench.verifier().remember(TokenAnswer(access_token="at"), ALICE, scopes=SCOPES)
    assert await bench.verifier().verify(token) is None


@pytest.mark.threat("B38", "D09")
async def test_d09_a_token_of_one_package_is_nothing_at_another() -> None:
    bench = Bench()
    await bench.verifier("mail").remember(TokenAnswer(access_token="at"), ALICE, scopes=SCOPES)
    assert await bench.verifier("jira").verify("at") is None


@pytest.mark.threat("D09")
@pytest.mark.parametrize(("expires_in", "life"), [(60, 60), (None, MAX_ACCEPTED_SECONDS), (10**7, 8 * 3600)])
async def test_d09_a_token_is_accepted_no_longer_than_it_lives_and_eight_hours_at_most(
    expires_in: int | None, life: int
) -> None:
    bench = Bench()
    await bench.verifier().remember(TokenAnswer(access_token="at", expires_in=expires_in), ALICE, scopes=SCOPES)
    bench.clock.time += life - 1
    assert await bench.verifier().verify("at") is not None
    bench.clock.time += 1
    assert await bench.verifier().verify("at") is None


@pytest.mark.threat("D09")
async def test_d09_who_writes_to_the_store_can_neither_forge_nor_move_nor_revive_a_record() -> None:
    bench = Bench()
    verifier = bench.verifier()
    await verifier.remember(TokenAnswer(access_token="alice-token", expires_in=60), ALICE, scopes=SCOPES)
    await verifier.remember(TokenAnswer(access_token="mallory-token", expires_in=60), MALLORY, scopes=SCOPES)
    alice, mallory = [await verifier.verify(token) for token in ("alice-token", "mallory-token")]
    assert alice is not None
    assert mallory is not None
    records = [await bench.store.get(principal.token_digest) for principal in (alice, mallory)]
    assert records[0] is not None
    assert records[1] is not None
    await bench.store.put(mallory.token_digest, records[0], ttl_seconds=1e6)
    assert await verifier.verify("mallory-token") is None
    await bench.store.put(mallory.token_digest, records[1].replace(b"mallory", b"alice!!"), ttl_seconds=1e6)
    assert await verifier.verify("mallory-token") is None
    await bench.store.put(mallory.token_digest, records[1], ttl_seconds=1e6)
    assert await verifier.verify("mallory-token") is not None
    bench.clock.time += 60
    assert await verifier.verify("mallory-token") is None


@pytest.mark.promise(110)
async def test_the_store_holds_no_token() -> None:
    bench = Bench()
    answer = TokenAnswer(access_token="canary-access", refresh_token="canary-refresh")
    await bench.verifier().remember(answer, ALICE, scopes=SCOPES)
    assert "canary" not in repr(contents_of(bench.store))
    assert len(bench.store) == 2


async def test_a_refresh_token_leads_back_to_its_login_but_opens_nothing() -> None:
    bench = Bench()
    await bench.verifier().remember(TokenAnswer(access_token="at", refresh_token="rt"), ALICE, scopes=SCOPES)
    assert await bench.verifier().find_by_refresh_token("rt") == ALICE
    assert await bench.verifier().find_by_refresh_token("at") is None
    assert await bench.verifier().verify("rt") is None


async def test_a_token_that_cannot_be_remembered_is_not_handed_out() -> None:
    bench = Bench(max_entries=1)
    await bench.verifier().remember(TokenAnswer(access_token="a", refresh_token="r"), ALICE, scopes=SCOPES)
    with pytest.raises(LoginError) as caught:
        await bench.verifier().remember(TokenAnswer(access_token="b"), ALICE, scopes=SCOPES)
    assert caught.value.status == 503
    assert await bench.verifier().verify("a") is not None
