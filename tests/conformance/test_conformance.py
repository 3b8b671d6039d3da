"""The public conformance suite through the gateway, with each fixture server behind it."""

import os
from collections.abc import AsyncGenerator
from typing import Final, get_args

import pytest
import pytest_asyncio

from tests.acceptance.harness import RunningGateway
from tests.conformance import expectations, fixtures, suite
from tests.conformance.fixtures import FixtureName
from tests.conformance.suite import COUNTS, RequirementSet

IS_COMPLETE: Final = os.environ.get("FMCP_TESTS_COMPLETE") == "1"

pytestmark = pytest.mark.asyncio(loop_scope="module")

whole = pytest.mark.skipif(
    not IS_COMPLETE, reason="the whole conformance suite runs in .ci/run, and with scripts/conformance"
)
each_fixture = pytest.mark.parametrize("fixture", get_args(FixtureName))


@pytest.fixture(autouse=True)
def skip_without_parts(request: pytest.FixtureRequest) -> None:
    missing = suite.missing_suite() or fixtures.missing_fixture(request.getfixturevalue("fixture"))
    if missing:
        pytest.skip(missing)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[RunningGateway]:
    """It serves every fixture that can run; its end tells that no process of it is left."""
    names = [name for name in get_args(FixtureName) if fixtures.missing_fixture(name) is None]
    with fixtures.forked_commands(*names) as commands:
        async with fixtures.start_gateway(tmp_path_factory.mktemp("gateway"), commands) as running:
            yield running


@pytest.mark.parametrize(
    ("requirement_set", "scenario"),
    [("2025-11-25", "tools-call-elicitation"), ("2026-07-28", "input-required-result-multiple-input-requests")],
)
@each_fixture
async def test_a_server_of_any_era_can_ask_a_client_of_any_era(
    gateway: RunningGateway, fixture: FixtureName, requirement_set: RequirementSet, scenario: str
):
    outcome = await suite.run_suite(f"{gateway.url}/{fixture}/mcp", requirement_set, scenario=scenario)
    assert [str(fault) for fault in outcome.faults] == []
    assert outcome.scenarios[scenario].passed_checks > 0


@whole
@pytest.mark.parametrize("requirement_set", get_args(RequirementSet))
@each_fixture
async def test_the_gateway_meets_every_requirement(
    gateway: RunningGateway, fixture: FixtureName, requirement_set: RequirementSet
):
    outcome = await suite.run_suite(f"{gateway.url}/{fixture}/mcp", requirement_set)
    expected = expectations.load_expected_failures()
    assert expectations.compare(fixture, requirement_set, outcome.faults, expected) == []
    assert len(outcome.scored) == COUNTS[requirement_set]


@whole
@pytest.mark.parametrize(
    ("fixture", "requirement_set"),
    [("dual", "2025-11-25"), ("dual", "2026-07-28"), ("handshake", "2025-11-25"), ("stateless", "2026-07-28")],
)
async def test_the_fixture_meets_what_its_era_requires(fixture: FixtureName, requirement_set: RequirementSet):
    """A fault that shows here is not the gateway's."""
    async with fixtures.start_over_http(fixture) as url:
        outcome = await suite.run_suite(url, requirement_set)
    assert [str(fault) for s in outcome.scored for fault in s.faults] == []
    assert outcome.met_count == COUNTS[requirement_set]
