"""The table of presets: each is complete, asks little of the operator, and its entry can be read."""

import re

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.table import ALIASES, PRESETS, find_preset, nearest_names
from fluidmcp.config.urls import check_url
from tests.entries import read_entry

ALL = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)


@ALL
def test_a_preset_asks_at_most_three_values_and_says_what_they_are(preset: Preset):
    assert len(preset.values) <= 3
    assert all(value.what and value.example for value in preset.values)
    urls = (preset.authorization_url, preset.token_url, preset.refresh_url, preset.issuer, preset.userinfo_url)
    named = {name for url in (*urls, preset.revocation_url) if url for name in re.findall(r"\{(\w+)\}", url)}
    assert named == {value.name for value in preset.values}


@ALL
def test_a_preset_says_what_to_click_and_where_it_is_documented(preset: Preset):
    assert 3 <= len(preset.steps) <= 6
    assert sum("{redirect_uri}" in step for step in preset.steps) == 1
    assert check_url(preset.documentation.partition("#")[0]) is None
    assert preset.refresh or preset.renewed


@ALL
def test_the_documented_answers_hold_what_a_client_needs(preset: Preset):
    answer, renewed = dict(preset.answer), dict(preset.renewed)
    assert answer["access_token"] == "AT"
    assert len(answer) == len(preset.answer)
    if renewed:
        assert answer["refresh_token"] == "RT"
        assert renewed["access_token"] == "AT2"
    else:
        assert "refresh_token" not in answer


@ALL
def test_the_examples_of_its_values_make_a_block_that_can_be_read(preset: Preset):
    examples = {value.name: value.example for value in preset.values}
    auth = {"provider": preset.name, "env_var_name": "MY_TOKEN", **examples}
    entry = read_entry("mine", {"command": "x", "auth": auth})
    assert isinstance(entry.auth, AuthBlock)
    assert "{" not in f"{entry.auth.authorization_url}{entry.auth.token_url}{entry.auth.issuer}"
    if preset.needs_secret:
        assert entry.auth.client_secret_env is not None


def test_aliases_and_near_names_lead_to_presets():
    for name, target in ALIASES.items():
        assert name not in PRESETS
        assert find_preset(name) is PRESETS[target]
    assert find_preset("nobody") is None
    assert "atlassian" in nearest_names("Atlasian")
    assert nearest_names("zzzzqqq") == ()
