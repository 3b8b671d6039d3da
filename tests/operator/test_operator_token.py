"""The operator's own token: where it comes from, when it is refreshed, and what a failed refresh leaves behind."""

import asyncio
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from fluidmcp.config.secret import Secret
from fluidmcp.errors import (
    ConfigurationError,
    FluidMCPError,
    NotLoggedInError,
    ProviderUnavailableError,
    TokenRefreshError,
)
from fluidmcp.operator.operator_token import CHECK_SECONDS, EARLY_SECONDS
from tests.operator.operator_stage import DAY, HOUR, START, operator_stage
from tests.providers.fault_making import token_document


async def text_of(token: Secret | None) -> str | None:
    return None if token is None else token.reveal()


@pytest.mark.promise(17, 36, 37, 41)
async def test_a_token_is_refreshed_five_minutes_before_its_end_and_not_earlier(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        stage.answer(access_token="at-new", refresh_token="rt-new")
        operator = stage.operator()
        assert EARLY_SECONDS == 5 * 60
        stage.time = START + HOUR - EARLY_SECONDS - 1
        assert (await operator.fresh()).reveal() == "at-old"
        assert stage.requests == 0
        stage.time += 1
        assert (await operator.fresh()).reveal() == "at-new"
        assert (await operator.fresh()).reveal() == "at-new"
    (request,) = stage.provider.token_requests
    assert request == {"grant_type": "refresh_token", "refresh_token": "rt-old", "client_id": "cli"}
    login = stage.stored()
    assert (login.expires_at, login.subject) == (stage.time + HOUR, "alice")
    assert login.refresh_token is not None and login.refresh_token.reveal() == "rt-new"
    assert stage.file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.promise(38)
async def test_without_a_refresh_token_nothing_is_asked_and_the_end_is_the_end(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(refresh_token=None)
        operator = stage.operator()
        stage.time = START + HOUR - 1
        assert (await operator.fresh()).reveal() == "at-old"
        stage.time += 1
        assert await operator.current() is None
        with pytest.raises(NotLoggedInError) as caught:
            await operator.fresh()
        assert "`fluidmcp login`" in caught.value.hint
        assert stage.requests == 0


@pytest.mark.threat("D10")
async def test_d10_an_expired_token_matches_nothing(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(refresh_token=None)
        operator = stage.operator()
        assert await operator.matches("at-old")
        assert not await operator.matches("at-ol")
        assert not await operator.matches("")
        assert not await operator.matches("\ud800é")
        stage.time = START + HOUR
        assert not await operator.matches("at-old")


@pytest.mark.threat("D10")
async def test_d10_the_token_before_the_refresh_is_good_until_its_own_end(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        stage.answer(access_token="at-new")
        operator = stage.operator()
        stage.time = START + HOUR - 10
        await operator.fresh()
        assert await operator.matches("at-old")
        assert await operator.matches("at-new")
        stage.time = START + HOUR
        assert not await operator.matches("at-old")
        stage.file.remove()
        assert not await operator.matches("at-new")


@pytest.mark.threat("D10")
async def test_d10_the_token_of_a_login_that_is_gone_is_gone_too(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        operator = stage.operator()
        assert await operator.matches("at-old")
        stage.file.remove()
        assert not await operator.matches("at-old")
        assert await operator.current() is None


@pytest.mark.threat("C15")
async def test_c15_the_token_of_the_environment_wins_and_is_neither_stored_nor_refreshed(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START - DAY)
        before = stage.file.path.read_bytes()
        operator = stage.operator(access_token=Secret("from-the-environment"))
        assert operator.is_from_environment
        for token in (await operator.current(), await operator.fresh(), await operator.fresh(force=True)):
            assert await text_of(token) == "from-the-environment"
        assert await operator.matches("from-the-environment")
        assert not await operator.matches("at-old")
        assert stage.file.path.read_bytes() == before
        assert stage.requests == 0


@pytest.mark.threat("C10")
@pytest.mark.promise(39)
async def test_c10_many_waiters_in_one_process_make_one_request(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START - 1)
        stage.answer(access_token="at-new")
        operator = stage.operator()
        tokens = await asyncio.gather(*(operator.fresh() for _ in range(20)), *(operator.current() for _ in range(20)))
        assert {await text_of(token) for token in tokens} == {"at-new"}
        assert stage.requests == 1


@pytest.mark.threat("C12")
async def test_c12_an_answer_without_a_refresh_token_keeps_the_old_one(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        stage.answer(access_token="at-new", refresh_token=None)
        await stage.operator().fresh()
        login = stage.stored()
        assert login.access_token.reveal() == "at-new"
        assert login.refresh_token is not None and login.refresh_token.reveal() == "rt-old"


@pytest.mark.promise(54)
@pytest.mark.threat("C12")
async def test_c12_a_dead_refresh_token_is_tried_once_by_all_waiters_and_processes(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        stage.fail(400, "invalid_grant")
        operators = [stage.operator() for _ in range(5)]
        results = await asyncio.gather(
            *(operator.fresh() for operator in operators for _ in range(4)), return_exceptions=True
        )
        assert {type(result) for result in results} == {TokenRefreshError}
        for result in results:
            assert isinstance(result, TokenRefreshError)
            assert result.what == "Token refresh failed"
            assert "`fluidmcp logout`" in result.hint and "`fluidmcp login`" in result.hint
        with pytest.raises(TokenRefreshError):
            await stage.operator().fresh()
        assert stage.requests == 1
        login = stage.stored()
        assert (login.refresh_token, login.is_refresh_refused) == (None, True)


@pytest.mark.threat("C12")
async def test_c12_a_dead_refresh_token_does_not_end_the_token_that_is_still_good(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        stage.fail(400, "invalid_grant")
        stage.time = START + HOUR - 10
        assert (await stage.operator().fresh()).reveal() == "at-old"
        assert (await stage.operator().fresh()).reveal() == "at-old"
        assert stage.requests == 1


def drop(_form: dict[str, str]) -> Response:
    return Response(b"x", headers={"content-length": "1000"})


@pytest.mark.threat("C12")
@pytest.mark.parametrize("kind", [500, 503, 429, "broken off"])
async def test_c12_an_outage_keeps_the_login_and_a_later_try_succeeds(tmp_path: Path, kind: int | str) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        before = stage.file.path.read_bytes()
        if isinstance(kind, int):
            stage.fail(kind, "temporarily_unavailable")
        else:
            stage.provider.answer_token = drop
        operator = stage.operator()
        with pytest.raises(ProviderUnavailableError):
            await operator.fresh()
        assert stage.file.path.read_bytes() == before
        stage.answer(access_token="at-new")
        assert await operator.current() is None
        stage.time += 31
        assert await text_of(await operator.current()) == "at-new"


@pytest.mark.threat("C12")
@pytest.mark.parametrize("error", ["invalid_client", "invalid_request", "unauthorized_client"])
async def test_c12_another_refusal_keeps_the_refresh_token(tmp_path: Path, error: str) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        before = stage.file.path.read_bytes()
        stage.fail(401, error)
        with pytest.raises(TokenRefreshError) as caught:
            await stage.operator().fresh()
        assert caught.value.provider_error == error
        assert stage.file.path.read_bytes() == before


@pytest.mark.threat("C12", "C13")
async def test_failures_are_tried_again_ever_more_slowly(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        stage.fail(503)
        operator = stage.operator()
        for _ in range(4 * 3600 // 30):
            await operator.current()
            stage.time += 30
        assert 10 < stage.requests < 40


@pytest.mark.threat("C13")
@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_c13_a_jump_of_the_clock_costs_one_refresh_and_no_loop(tmp_path: Path, jump: float) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        operator = stage.operator()
        stage.time += jump
        for _ in range(5):
            await operator.fresh()
        assert stage.requests == 1
        stage.time -= jump
        for _ in range(5):
            await operator.fresh()
        assert stage.requests <= 2


@pytest.mark.threat("C13")
async def test_c13_a_token_of_unknown_life_is_used_and_refreshed_when_it_was_refused(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=None)
        stage.answer(access_token="at-new", expires_in=None)
        operator = stage.operator()
        stage.time += 400 * DAY
        assert (await operator.fresh()).reveal() == "at-old"
        assert stage.requests == 0
        assert (await operator.fresh(force=True)).reveal() == "at-new"
        assert (await operator.fresh()).reveal() == "at-new"
        assert stage.requests == 1


@pytest.mark.threat("C13")
async def test_c13_a_token_that_lives_five_minutes_is_not_refreshed_at_once(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        stage.answer(expires_in=300)
        operator = stage.operator()
        for _ in range(10):
            await operator.fresh()
        assert stage.requests == 1
        stage.time += 150
        await operator.fresh()
        assert stage.requests == 2


@pytest.mark.threat("C13")
@pytest.mark.parametrize("end", ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00"])
async def test_c13_an_absurd_end_makes_no_loop(tmp_path: Path, end: str) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        content = stage.file.path.read_text().replace("2027-01-15T09:00:00+00:00", end)
        assert end in content
        stage.file.path.write_text(content)
        operator = stage.operator()
        for _ in range(5):
            await operator.fresh()
        assert stage.requests <= 1


async def test_a_refresh_token_goes_to_no_other_provider_and_no_other_client(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START, token_endpoint="https://another.example/token")
        with pytest.raises(NotLoggedInError):
            await stage.operator().fresh()
        stage.log_in(expires_at=START, client_id="another")
        with pytest.raises(NotLoggedInError):
            await stage.operator().fresh()
        assert stage.requests == 0


@pytest.mark.threat("C08")
async def test_c08_a_planted_file_is_no_token_while_the_gateway_runs_and_a_clear_error_at_its_start(
    tmp_path: Path,
) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        operator = stage.operator()
        assert await operator.matches("at-old")
        stage.file.path.chmod(0o666)
        assert not await operator.matches("at-old")
        assert await operator.current() is None
        for asked in (operator, stage.operator()):
            with pytest.raises(ConfigurationError):
                await asked.fresh()
        stage.file.path.chmod(0o600)
        assert await operator.matches("at-old")
        stage.file.path.chmod(0o666)
        await operator.current()
        stage.file.path.unlink()
        with pytest.raises(NotLoggedInError):
            await operator.fresh()


@pytest.mark.threat("C09")
async def test_c09_a_file_that_cannot_be_understood_is_complained_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        stage.file.path.write_bytes(b"{")
        operator = stage.operator()
        for _ in range(5):
            assert not await operator.matches("at-old")
        assert len(caplog.records) == 1
        stage.log_in()
        assert await operator.matches("at-old")


async def test_a_file_with_the_three_documented_fields_only_is_enough(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START, obtained_at=None, token_endpoint=None, client_id=None, subject=None)
        stage.answer(access_token="at-new")
        assert (await stage.operator().fresh()).reveal() == "at-new"


@pytest.mark.promise(52)
async def test_a_refresh_that_is_not_configured_names_what_is_missing(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        operator = stage.operator(token_endpoint=None, client_id=None, auth_endpoint=None)
        with pytest.raises(ConfigurationError) as caught:
            await operator.fresh()
        assert caught.value.what == "OAuth2 is not configured"
        assert caught.value.why == "Not set: FMCP_OAUTH_TOKEN_ENDPOINT, FMCP_OAUTH_CLIENT_ID."
        assert await operator.current() is None


@pytest.mark.promise(53)
async def test_nobody_logged_in_is_said_with_the_command_to_run(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        with pytest.raises(NotLoggedInError) as caught:
            await stage.operator().fresh()
        assert (caught.value.what, caught.value.hint) == ("Not logged in", "Run `fluidmcp login`")


@pytest.mark.promise(41)
async def test_a_running_gateway_keeps_the_token_fresh_and_notices_a_new_login(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.answer(access_token="at-new")
        operator = stage.operator()
        keeping = asyncio.create_task(operator.keep_fresh())
        assert await stage.next_nap() == CHECK_SECONDS
        assert await operator.current() is None
        stage.log_in()
        assert await text_of(await operator.current()) == "at-old"
        stage.woken.set()
        await stage.next_nap()
        assert stage.requests == 0
        stage.time = START + HOUR - EARLY_SECONDS
        stage.woken.set()
        await stage.next_nap()
        assert stage.requests == 1
        assert await text_of(await operator.current()) == "at-new"
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping


async def test_keeping_fresh_outlives_every_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        stage.fail(503)
        operator = stage.operator()
        keeping = asyncio.create_task(operator.keep_fresh())
        await stage.next_nap()
        stage.file.path.chmod(0o666)
        for _ in range(3):
            stage.woken.set()
            await stage.next_nap()
        stage.file.path.chmod(0o600)
        stage.answer(access_token="at-new")
        stage.time += DAY
        stage.woken.set()
        await stage.next_nap()
        assert await text_of(await operator.current()) == "at-new"
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    messages = [record.message for record in caplog.records if "is not used" in record.message]
    assert len(messages) == 1
    assert "rt-old" not in caplog.text and "at-old" not in caplog.text


async def test_a_caller_that_goes_away_does_not_lose_the_rotated_token(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)
        asked = asyncio.Event()

        def answer(_form: dict[str, str]) -> Response:
            asked.set()
            return JSONResponse(token_document(access_token="at-new", refresh_token="rt-new"))

        stage.provider.answer_token = answer
        operator = stage.operator()
        caller = asyncio.create_task(operator.current())
        async with asyncio.timeout(60):
            await asked.wait()
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            assert (await operator.fresh()).reveal() == "at-new"
        assert stage.requests == 1


async def test_a_login_that_was_removed_during_the_refresh_does_not_come_back(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in(expires_at=START)

        def answer(_form: dict[str, str]) -> Response:
            stage.file.remove()
            return JSONResponse(token_document())

        stage.provider.answer_token = answer
        with pytest.raises(NotLoggedInError):
            await stage.operator().fresh()
        assert not stage.file.path.exists()


def count_read_calls() -> int:
    """Calls of read(2) by this process, as the kernel counts them."""
    (line,) = [line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("syscr:")]
    return int(line.split()[1])


async def test_looking_at_the_token_costs_no_reading_while_nothing_changes(tmp_path: Path) -> None:
    async with operator_stage(tmp_path) as stage:
        stage.log_in()
        operator = stage.operator()
        await operator.current()
        before = count_read_calls()
        for _ in range(1000):
            await operator.matches("at-other")
        # The count itself reads, and so may the event loop; a thousand times the file it must not be.
        assert count_read_calls() - before < 100


async def test_no_failure_shows_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with operator_stage(tmp_path) as stage:
        shown: list[str] = []
        for status, error in ((400, "invalid_request"), (503, ""), (400, "invalid_grant")):
            stage.log_in(expires_at=START, access_token=Secret("canary-at"), refresh_token=Secret("canary-rt"))
            stage.fail(status, error)
            try:
                await stage.operator(client_secret=Secret("canary-secret")).fresh()
            except FluidMCPError as caught:
                shown += [caught.what, caught.why, caught.hint, repr(caught)]
        assert len(shown) == 12
        assert "canary" not in " ".join(shown) + caplog.text
