"""Every entry of the catalogue, with two persons at once: what its API sees of whom.

The servers are the published ones, installed by `fluidmcp install` at the version of the entry; the gateway is the real
executable. The entry stays as it is but for addresses: those of the provider, that of the API where it has a setting,
else HTTPS_PROXY. `seen.toml` says what was seen. A version is raised in the catalogue, and there.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from tests.known_servers.seen import describe, list_forms, load_seen, to_toml
from tests.known_servers.stage import PERSONS, Stage, Told, open_stage
from tests.known_servers.trials import TRIALS, VARIANTS, WRONG_FORMS

SERVERS: Final = {**KNOWN_SERVERS, **VARIANTS}
WRONG: Final = [(server.name, name) for server in KNOWN_SERVERS.values() for name in server.wrong_variables]
"""Server and variable."""

pytestmark = pytest.mark.needs("node", "known-servers")


def test_every_known_server_is_tried_and_was_seen() -> None:
    assert TRIALS.keys() == SERVERS.keys()
    assert load_seen().keys() == SERVERS.keys()
    assert WRONG_FORMS.keys() == set(WRONG)


@pytest.mark.parametrize("name", sorted(SERVERS))
async def test_each_person_s_credential_reaches_the_api_as_it_was_seen(name: str, tmp_path: Path) -> None:
    seen = load_seen()[name]
    async with open_stage(SERVERS[name], TRIALS[name], tmp_path) as stage:
        told = await stage.try_it()
        now = describe(stage, told)
        assert now == seen, f"{to_toml(name, now)}\nunanswered: {stage.stub.unanswered}\n{stage.gateway.report()}"
        check_results(stage, told)
        check_secrets(stage)


def check_results(stage: Stage, told: dict[str, Told]) -> None:
    """Each result is the one that the API gave to the holder of that person's credential."""
    for person, answer in told.items():
        named = [other for other in PERSONS if other in answer.text]
        assert named == ([person] if stage.trial.tool else []), answer.text


def check_secrets(stage: Stage) -> None:
    assert not [token for token in stage.stub.tokens.values() if token in stage.gateway.report()]


@pytest.mark.parametrize(("name", "variable"), WRONG)
async def test_a_wrong_variable_sends_the_token_in_another_form(name: str, variable: str, tmp_path: Path) -> None:
    right = load_seen()[name]["credential"]
    entry: dict[str, Any] = dict(KNOWN_SERVERS[name].entry)
    wrong: KnownServer = replace(
        KNOWN_SERVERS[name], entry={**entry, "auth": {**entry["auth"], "env_var_name": variable}}
    )
    async with open_stage(wrong, TRIALS[name], tmp_path) as stage:
        await stage.try_it()
        forms = list_forms(stage, PERSONS[0])
        assert forms and forms.keys() == right.keys()
        assert forms != right
        assert {form for shown in forms.values() for form in shown} == {WRONG_FORMS[name, variable]}
