"""A person's token in a variable that its server takes for something else."""

from typing import Any

import pytest

from fluidmcp.packages.catalogue.wrong_variables import find_wrong_variables
from tests.entries import read_entry
from tests.packages.catalogue.known import KNOWN

COMMAND = {"command": "npx", "args": ["-y", "@somebody/mcp-lines"]}
AUTH = {"provider": "linear", "client_id": "ours"}
TOKEN = "${auth.access_token}"


def find(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return [(found.field, found.variable) for found in find_wrong_variables(read_entry("mine", entry), KNOWN)]


def test_the_field_the_effect_and_the_right_variable_are_named_in_one_line():
    entry = read_entry("mine", {**COMMAND, "auth": {**AUTH, "env_var_name": "LINES_API_KEY"}})
    (found,) = find_wrong_variables(entry, KNOWN)
    assert found.text == (
        "mcpServers.mine.auth.env_var_name: a person's token in LINES_API_KEY goes out without Bearer; "
        "the variable for it is LINES_OAUTH_TOKEN (fluidmcp catalogue lines)"
    )


def test_placeholders_count_as_the_short_form_does_and_each_is_told():
    env = {"LINES_KEY": TOKEN, "LINES_API_KEY": TOKEN, "LINES_OAUTH_TOKEN": TOKEN}
    assert find({**COMMAND, "env": env, "auth": AUTH}) == [
        ("mcpServers.mine.env.LINES_KEY", "LINES_KEY"),
        ("mcpServers.mine.env.LINES_API_KEY", "LINES_API_KEY"),
    ]
    pages = {"package": "pypi:mcp-pages", "auth": {**AUTH, "env_var_name": "PAGES_PAT"}}
    (found,) = find_wrong_variables(read_entry("mine", pages), KNOWN)
    assert "the variable for it is PAGES_HEADERS or PAGES_AUTH or PAGES_TOKEN (" in found.text


@pytest.mark.parametrize(
    "entry",
    [
        {**COMMAND, "auth": {**AUTH, "env_var_name": "LINES_OAUTH_TOKEN"}},
        {**COMMAND, "env": {"LINES_API_KEY": f"Bearer {TOKEN}"}, "auth": AUTH},
        {**COMMAND, "env": {"LINES_API_KEY": {"json": [TOKEN]}}, "auth": AUTH},
        {**COMMAND, "env": {"LINES_API_KEY": "${person.sub}"}, "auth": {**AUTH, "env_var_name": "LINES_OAUTH_TOKEN"}},
        {**COMMAND, "env": {"LINES_API_KEY": "lin_api_key_of_the_operator"}},
        {"command": "other", "auth": {**AUTH, "env_var_name": "LINES_API_KEY"}},
        {"package": "pypi:mcp-pages", "auth": {**AUTH, "env_var_name": "LINES_API_KEY"}},
    ],
    ids=["right", "with-prefix", "json", "not-the-token", "a-key", "other-server", "other-known-server"],
)
def test_whatever_else_stands_there_is_left_alone(entry: dict[str, Any]):
    assert find(entry) == []
