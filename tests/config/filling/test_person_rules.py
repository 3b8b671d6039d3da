"""Where an entry may name a person's credential, and what it is made of."""

import json
from typing import Any

import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.filling.templates import Credentials, JsonText
from fluidmcp.errors import ConfigurationError
from tests.entries import read_entry

AUTH: dict[str, Any] = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://provider.example/authorize",
    "token_url": "https://provider.example/token",
    "client_id": "c",
}
TOKEN = "${auth.access_token}"
NESTED: Any = json.loads("[" * 34 + "1" + "]" * 34)
ADA = Credentials(values={"auth.access_token": "tok", "auth.expires_at": "1", "auth.expires_at_ms": "1000"})


def read(**keys: Any) -> ServerEntry:
    return read_entry("a", {"command": "x", "auth": AUTH, **keys})


def refuse(**keys: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(**keys)
    return caught.value.why


def test_a_variable_holds_a_text_or_json() -> None:
    env = {
        "HEADER": f"Bearer {TOKEN}",
        "HEADERS": {"json": {"Authorization": f"Bearer {TOKEN}", "Notion-Version": "2025-09-03"}},
        "NAMED": {"value": TOKEN, "description": "the token"},
        "PLAIN": {"json": ["a", 1]},
    }
    entry = read(env=env)
    variables = dict(entry.env)
    filled = {name: variable.personal.fill(ADA) for name, variable in entry.env if variable.personal is not None}
    assert filled == {
        "HEADER": "Bearer tok",
        "HEADERS": '{"Authorization":"Bearer tok","Notion-Version":"2025-09-03"}',
        "NAMED": "tok",
    }
    assert variables["PLAIN"].value == '["a",1]'
    assert variables["NAMED"].description == "the token"
    assert entry.personal_variables == {"HEADER", "HEADERS", "NAMED"}


def test_a_number_is_written_as_one() -> None:
    value = {"expiry_date": {"number": "${auth.expires_at_ms}"}, "other": {"number": "7"}}
    personal = dict(read(env={"A": {"json": value}}).env)["A"].personal
    assert isinstance(personal, JsonText)
    assert personal.fill(ADA) == '{"expiry_date":1000,"other":{"number":"7"}}'


def test_the_short_form_and_placeholders_go_together() -> None:
    entry = read(env={"A": TOKEN}, auth=AUTH | {"env_var_name": "B"})
    assert entry.personal_variables == {"A", "B"}


@pytest.mark.threat("B27")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "PYTHONPATH", "NODE_OPTIONS", "BASH_ENV", "lower"])
def test_b27_a_value_of_a_person_decides_no_code(name: str) -> None:
    assert f"mcpServers.a.env.{name} holds a value of a person, and its name" in refuse(env={name: TOKEN})


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"auth": AUTH}, "mcpServers.a.auth.env_var_name is missing"),
        ({"env": {"A": {"json": {TOKEN: "x"}}}}, "a value of a person cannot be a name"),
        ({"env": {"A": {"json": 1, "value": "2"}}}, "mcpServers.a.env.A.json stands beside value"),
        ({"env": {"A": {"json": {"x": ["${auth.i}"]}}}}, "mcpServers.a.env.A.json.x[0] holds ${auth.i}"),
        ({"env": {"A": "${keys.k}"}}, "mcpServers.a.env.A holds ${keys.k}, but auth asks for no key of that name"),
        ({"env": {"A": "${auth.b.scope}"}}, "mcpServers.a.env.A holds ${auth.b.scope}, but auth has no login"),
        ({"env": {"A": TOKEN}, "auth": AUTH | {"env_var_name": "A"}}, "auth.env_var_name stands in env too"),
        ({"cwd": TOKEN, "env": {"A": TOKEN}}, "mcpServers.a.cwd holds ${auth.access_token}, a value of a person"),
        ({"command": TOKEN}, "mcpServers.a.command holds ${auth.access_token}, a value of a person"),
        ({"args": [TOKEN]}, "mcpServers.a.args[0] holds a value of a person, and every user of this machine"),
        (
            {"command": "sh", "args": ["-c", f"curl -H {TOKEN}"], "secrets_in_args": True},
            "mcpServers.a.args[1] is code or says what is run, with a value of a person in it",
        ),
        (
            {"command": "env", "args": ["python3", "-c", f"print('{TOKEN}')"], "secrets_in_args": True},
            "mcpServers.a.args[2] is code",
        ),
        ({"env": {"A": {"json": [float("nan")]}}}, "mcpServers.a.env.A.json[0] is no number of JSON"),
        ({"env": {"A": {"json": NESTED}}}, "[0][0] is nested too deeply"),
        ({"secrets_in_args": "yes"}, "mcpServers.a.secrets_in_args must be true or false"),
    ],
)
def test_what_cannot_be_is_told_by_its_field(keys: dict[str, Any], why: str) -> None:
    assert why in refuse(**keys)


@pytest.mark.parametrize("keys", [{}, {"shared": True}])
@pytest.mark.parametrize(
    "place",
    [
        {"env": {"A": TOKEN}},
        {"env": {"A": {"json": [TOKEN]}}},
        {"args": [TOKEN], "secrets_in_args": True},
        {"files": {"~/a": {"text": TOKEN}}},
    ],
)
def test_nobody_logs_in_without_auth(keys: dict[str, Any], place: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_entry("a", {"command": "x", **keys, **place})
    assert "holds ${auth.access_token}, but the entry has no auth" in caught.value.why


def test_an_argument_waits_for_its_value_behind_a_mark() -> None:
    entry = read_entry("a", {"command": "x", "auth": AUTH, "args": ["--key", TOKEN], "secrets_in_args": True})
    assert entry.written_args == ("--key", TOKEN)
    ((mark, template),) = entry.personal_args
    assert entry.args == ("--key", mark)
    assert mark.startswith("\0"), "no process can be started with it"
    assert template.fill(ADA) == "tok"
