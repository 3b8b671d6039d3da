"""Secrets leave the file, and come back with the variables that are exported."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.filling.expand import Expander
from fluidmcp.packages.importing.exports import Exports, Hider, list_named_variables, list_texts

Json = dict[str, Any]

GITHUB: Final = "ghp_" + "a1B2" * 9
TOKENS: Final = st.sampled_from(
    [
        GITHUB,
        "sk-ant-" + "9xY8" * 6,
        "glpat-" + "q1w2e3r4t5",
        "xoxb-1234-" + "abcdEF12",
        "AKIA" + "ABCDEFGH12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "9gXk2LqP0sT7vWz4YbN8cD1e",
    ]
)
PLAIN: Final = st.sampled_from(["", "x", "--verbose", "$", "${", "${A}", "/srv/data", "café", "a b", "5", "{}"])
FRAMES: Final = st.sampled_from(
    ["%s", "--token=%s", "Authorization: Bearer %s", "https://x.example/?api_key=%s&x=1", "key=%s;a=b", "a %s b"]
    + ['{"apiKey": "%s"}', "https://ada:%s@db.example/x", "${NONE:-%s}", "--password=${NONE:-%s}"]
)


def put(frame: str, token: str) -> tuple[str, str]:
    return frame % token, token


SECRETS: Final = st.builds(put, FRAMES, TOKENS)


def hide(entry: Json, exports: Exports | None = None, name: str = "my-server") -> tuple[Json, dict[str, str]]:
    exports = exports or Exports(frozenset(list_named_variables(entry)))
    hidden = Hider(name=name, place="a.json, mcpServers.my-server", exports=exports).hide(entry)
    return hidden, {export.name: export.value.reveal() for export in exports.list()}


def fill(value: Json, environ: dict[str, str]) -> list[str]:
    expander = Expander(environ=environ, workspace=str(Path.cwd()), home="/", bare_names="whole")
    return [expander.expand(text) for text in list_texts(value)]


@given(st.lists(SECRETS, min_size=1, max_size=4), st.lists(PLAIN.filter(lambda text: text != "${"), max_size=3))
def test_what_is_exported_and_what_is_written_are_what_was_there(secrets: list[tuple[str, str]], plain: list[str]):
    texts = [*plain, *(text for text, _ in secrets)]
    entry = {"command": "npx", "args": texts, "env": {f"V{i}": text for i, text in enumerate(texts)}}
    hidden, exported = hide(entry)
    assert fill(hidden, {"A": "1", **exported}) == fill(entry, {"A": "1"})
    for _, token in secrets:
        assert token not in json.dumps(hidden)


SAYS_NO_SECRET = re.compile(r"\s*(?:no|on|off|true)\s*|(?:Bearer|Basic|Token|Api-?Key|Digest)\s.*", re.I | re.S)
"""A switch; and the scheme of a header, which stays where it is."""


@given(st.text(min_size=2, max_size=20).filter(lambda text: not SAYS_NO_SECRET.fullmatch(text)))
def test_whatever_a_variable_with_the_name_of_a_secret_holds_is_one(value: str):
    escaped = value.replace("$", "S")
    hidden, exported = hide({"command": "x", "env": {"API_KEY": escaped, "OTHER": "plain"}})
    if hidden["env"]["API_KEY"] != escaped:
        assert (hidden["env"], exported) == ({"API_KEY": "${API_KEY}", "OTHER": "plain"}, {"API_KEY": escaped})
    else:
        assert escaped.strip().lower() in ("", "none", "null", "yes", "false")


@pytest.mark.parametrize(
    ("entry", "written", "exported"),
    [
        ({"args": ["--api-key", "abc"]}, {"args": ["--api-key", "${MY_SERVER_API_KEY}"]}, {"MY_SERVER_API_KEY": "abc"}),
        (
            {"url": "https://x.example/mcp", "headers": {"Authorization": "Bearer abc"}},
            {"url": "https://x.example/mcp", "headers": {"Authorization": "Bearer ${MY_SERVER_AUTHORIZATION}"}},
            {"MY_SERVER_AUTHORIZATION": "abc"},
        ),
        (
            {"env": {"DB": "postgres://ada:p@ss@db/x"}},
            {"env": {"DB": "postgres://ada:${MY_SERVER_DB_PASSWORD}@db/x"}},
            {"MY_SERVER_DB_PASSWORD": "p@ss"},
        ),
        (
            {"env": {"KEY": {"value": "k", "required": True}, "PIN": 1234}},
            {"env": {"KEY": {"value": "${KEY}", "required": True}, "PIN": "${PIN}"}},
            {"KEY": "k", "PIN": "1234"},
        ),
        (
            {"command": "sh", "args": ["-c", "KEY=abc x --token $T --pat 'x y'"]},
            {"command": "sh", "args": ["-c", "KEY=${env:MY_SERVER_KEY} x --token $T --pat '${env:MY_SERVER_PAT}'"]},
            {"MY_SERVER_KEY": "abc", "MY_SERVER_PAT": "x y"},
        ),
        ({"env": {"USE_TOKEN": "true", "MAX_TOKENS": "4096", "KEY_FILE": "/k"}}, None, {}),
        ({"args": ["git+https://x.example/y@4f0c51d8dba6d54f0c51d8dba6d54f0c51d8dba6"]}, None, {}),
        ({"args": ["@modelcontextprotocol/server-sequential-thinking-2025"]}, None, {}),
        # The variable is taken from the gateway's environment by another one, or filled in by the server itself.
        (
            {"args": ["${API_KEY}"], "env": {"API_KEY": "abc"}},
            {"args": ["${API_KEY}"], "env": {"API_KEY": "${MY_SERVER_API_KEY}"}},
            {"MY_SERVER_API_KEY": "abc"},
        ),
        # A variable that would steer the gateway itself is not exported under its own name.
        (
            {"env": {"NPM_CONFIG_TOKEN": "abc"}},
            {"env": {"NPM_CONFIG_TOKEN": "${MY_SERVER_NPM_CONFIG_TOKEN}"}},
            {"MY_SERVER_NPM_CONFIG_TOKEN": "abc"},
        ),
    ],
    ids=str,
)
def test_where_secrets_stand(entry: Json, written: Json | None, exported: dict[str, str]):
    assert hide(entry) == (entry if written is None else written, exported)


def test_two_servers_with_one_name_for_different_secrets_get_a_variable_each():
    exports = Exports(frozenset())
    first, _ = hide({"env": {"API_KEY": "one"}}, exports, "first")
    second, _ = hide({"env": {"API_KEY": "two"}}, exports, "second")
    third, exported = hide({"env": {"API_KEY": "one"}}, exports, "third")
    assert [entry["env"]["API_KEY"] for entry in (first, second, third)] == [
        "${API_KEY}",
        "${SECOND_API_KEY}",
        "${API_KEY}",
    ]
    assert exported == {"API_KEY": "one", "SECOND_API_KEY": "two"}


def test_the_variables_of_a_provider_are_taken_although_the_entry_does_not_write_them():
    entry: dict[str, object] = {"command": "x", "auth": {"provider": "github", "env_var_name": "MY_TOKEN"}}
    assert list_named_variables(entry) == {"GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "MY_TOKEN"}


def test_secrets_leave_json_and_files_too():
    entry: Json = {
        "command": "x",
        "env": {"HEADERS": {"json": {"Authorization": "Bearer " + GITHUB, "Mine": "Bearer ${auth.access_token}"}}},
        "files": {
            "~/c.json": {"json": {"client_secret": "hunter2", "keys": ["hunter3", 5], "url": "https://x", "n": 7}},
            "~/c.ini": {"text": "password = hunter4\ntoken = ${auth.access_token}\n", "env": "C_INI"},
        },
    }
    hidden, exported = hide(entry)
    assert sorted(exported.values()) == [GITHUB, "hunter2", "hunter3", "hunter4"]
    expander = Expander(environ=exported, workspace="", home="", bare_names="whole")
    filled = [expander.expand_template(text).text for text in list_texts(hidden)]
    assert filled == [expander.expand_template(text).text for text in list_texts(entry)]
    assert not any(value in json.dumps(hidden) for value in exported.values())
    assert set(exported) == {
        "MY_SERVER_AUTHORIZATION", "MY_SERVER_CLIENT_SECRET", "MY_SERVER_KEYS", "MY_SERVER_PASSWORD"
    }  # fmt: skip
