"""`doctor URL --login`: the rest of the way, with a person at a real provider."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fluidmcp.cli.doctor.walk.report import Report
from fluidmcp.cli.doctor.walk.walk import Wishes
from tests.cli.doctor.stage import LOCATION, Fault, Stage, codes, look, staged
from tests.cli.doctor.test_seeded_faults import ALWAYS
from tests.clients.logins.browser import walk as walk_in_browser

pytestmark = pytest.mark.needs("nginx", "node", "oidc-provider")

LIMIT_SECONDS: Final = 60.0
"""For a person; the wait for them is not doctor's."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


async def look_logged_in(stage: Stage, folder: Path, fault: Fault) -> tuple[Report, list[asyncio.Task[None]]]:
    """The report, with a person who logs in wherever doctor asks for one."""
    trips: list[asyncio.Task[None]] = []

    async with stage.running(folder, fault) as authority:

        async def log_in(url: str) -> None:
            origin = stage.public_url.removesuffix("/tools")
            await walk_in_browser(url, person="alice", gateway_url=origin, authority=authority)

        def show(url: str) -> None:
            trips.append(asyncio.create_task(log_in(url)))

        wishes = Wishes(hold_seconds=0.5, show_login=show)
        report = await look(f"{stage.public_url}/mail/mcp", authority, wishes, seconds=LIMIT_SECONDS)
        for trip in trips:
            await trip
    return report, trips


async def test_a_login_that_nobody_makes_is_over_at_some_time(stage: Stage, tmp_path: Path) -> None:
    shown: list[str] = []
    async with stage.running(tmp_path, Fault(code="")) as authority:
        wishes = Wishes(show_login=shown.append, login_seconds=0.1)
        report = await look(f"{stage.public_url}/mail/mcp", authority, wishes, seconds=LIMIT_SECONDS)
    assert (set(codes(report)) - ALWAYS, len(shown)) == ({"nobody_logged_in"}, 1)


async def test_with_a_login_doctor_goes_on_to_the_call_and_leaves_no_login(stage: Stage, tmp_path: Path) -> None:
    log = "    access_log {log} combined;\n"
    fault = Fault(code="", nginx={LOCATION: log.replace("{log}", str(tmp_path / "access.log")) + LOCATION})
    report, trips = await look_logged_in(stage, tmp_path, fault)
    assert (set(codes(report)), len(trips), report.notes) == (ALWAYS, 1, ())
    requests = (tmp_path / "access.log").read_text(encoding="utf-8")
    assert [line for line in requests.splitlines() if '"POST /tools/mail/revoke HTTP/1.1" 200 ' in line]
    for track in report.tracks:
        levels = [track.level(step) for step in ("authorize", "provider", "token", "refresh", "call", "stream")]
        assert levels == ["ok"] * 6


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (
            "code_refused",
            {LOCATION: f"    location = /tools/mail/token {{ return 404; }}\n{LOCATION}"},
        ),
        ("stream_buffered", {"proxy_buffering off;": "proxy_ignore_headers X-Accel-Buffering;"}),
    ],
)
async def test_what_goes_wrong_behind_the_login_is_named(
    code: str, fault: dict[str, str], stage: Stage, tmp_path: Path
) -> None:
    report, _ = await look_logged_in(stage, tmp_path, Fault(code=code, nginx=fault))
    assert set(codes(report)) - ALWAYS == {code}


async def test_a_login_that_the_provider_would_refuse_is_not_begun(stage: Stage, tmp_path: Path) -> None:
    wrong = Fault(code="", environ={"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": "another"})
    report, trips = await look_logged_in(stage, tmp_path, wrong)
    assert (set(codes(report)) - ALWAYS, trips) == ({"client_secret_wrong"}, [])
