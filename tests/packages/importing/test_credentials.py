"""What is a secret and what is none, wherever it stands in an entry: the written file and its names do not show it."""

import json
from typing import Any, Final

import pytest

from fluidmcp.packages.importing.exports import Exports, Hider, list_named_variables

Json = dict[str, Any]

V: Final = "abcdSECRETkey13"


def hide(entry: Json) -> tuple[Json, dict[str, str]]:
    exports = Exports(frozenset(list_named_variables(entry)))
    hidden = Hider(name="a", place="a.json", exports=exports).hide({"command": "x", **entry})
    return hidden, {export.name: export.value.reveal() for export in exports.list()}


SCRIPTS: Final = [
    f"curl -H 'X-Api-Key: {V}' x",
    f'curl -H "X-Custom: {V}" x',
    f"curl -u me:{V} x",
    f"curl --user=me:{V} x",
    f"x --password {V}",
    f"x --password '{V}' -y",
    f'x --password="{V}"',
    f"x --key -{V}",
    f"x -p {V}",
    f"x --token pre${{X:-{V}}}",
    f'x --token "{V}$X"',
    f"x --token '{V}$X'",
    f'x --token "{V}$(date)"',
    f"TOKEN={V} x",
    f"export DB_PASS={V}; x",
    f"x --fail --quiet --token {V}",
    f'bash -c "x --token {V}"',
    f"ssh h 'x --password {V} y'",
    f"curl https://hooks.slack.com/services/T0/B0/{V}",
    f'echo \'{{"password": "{V}"}}\'',
]
ARGS: Final = [
    ["-H", f"X-Api-Key: {V}"],
    ["--header", f"X-Custom:{V}"],
    ["-u", f"me:{V}"],
    [f"--user=me:{V}"],
    ["--password", V],
    ["--key", f"-{V}"],
    ["--key", f"-{V}", "5"],
    ["--key", f"--{V}=", "5"],
    ["-p", V],
    [f"{{'password': '{V}'}}"],
    [f"https://hooks.slack.com/services/T000/B000/{V}"],
    [f"https://discord.com/api/webhooks/123/{V}"],
    [f"https://discordapp.com/api/webhooks/123/{V}?x=y"],
    [f"https://mcp.example.com/mcp/s/{V}"],
    [f"https://api.telegram.org/bot{V}/sendMessage"],
    [f"${{API_KEY:-{V}}}"],
    ["--token", f"pre-${{X:-{V}}}"],
    ["--token", f"{V}${{X}}"],
]
ENVS: Final = [
    *({name: V} for name in "SESSION TOKEN_ID DB_PASS PASSPHRASE DATABASE_URL DSN CONNECTION_STRING SIGNING".split()),
    {"K_SIGNING_KEY": f"pre${{X:-{V}}}"},
    {"K_SIGNING_KEY": f"${{X}}{V}"},
    {"PLAIN": f"${{API_KEY:-{V}}}"},
    {"PLAIN": f"{{'password': '{V}'}}"},
    {"DATABASE_URL": f"postgres://${{USER}}:{V}@db/x"},
]


@pytest.mark.parametrize(
    "entry",
    [
        *({"command": "sh", "args": ["-c", script]} for script in SCRIPTS),
        *({"command": "env", "args": ["bash", "-lc", script]} for script in SCRIPTS[:5]),
        *({"args": args} for args in ARGS),
        *({"env": env} for env in ENVS),
        {"env": {"TOKEN": {"value": V, "required": True}}},
        {"headers": {"X-Custom": V}, "url": "https://x.example"},
        {"headers": {"Authorization": f"Bearer {V}"}, "url": "https://x.example"},
        {"url": f"https://x.example/mcp?session={V}"},
    ],
    ids=str,
)
def test_a_secret_is_taken_out_and_is_a_part_of_no_name(entry: Json):
    hidden, exported = hide(entry)
    assert exported
    assert V.lower() not in (json.dumps(hidden) + " ".join(exported)).lower().replace("_", "")


def test_what_only_looks_like_a_name_names_no_variable():
    _, exported = hide({"args": [f"{V}=5", "--key", f"-{V}", "5"]})
    assert set(exported) == {"A_SECRET", "A_KEY"}


OTHERS: Final[list[Json]] = [
    {"command": "npx", "args": ["-p", "@scope/tool", "tool", "--port", "8080"]},
    {"command": "docker", "args": ["run", "-p", "8080:80", "-u", "1000:1000", "img"]},
    {"args": ["-p", "8080", "--use-auth", "--port", "80"]},
    {"args": ["--user", "root:root", "-H", "Accept: text/html", "--name=x"]},
    {"args": ["https://example.com/docs/hooks.html", "src/main.py:12"]},
    {"command": "sh", "args": ["-c", "mkdir -p data && cd data; x --token $T --name y -p 80"]},
    {"command": "sh", "args": ["-c", "curl -H 'Accept: x' -u $ME:$PW -H \"Authorization: Bearer ${T}\" x"]},
    {"command": "sh", "args": ["-c", 'x --token "$(cat /run/t)"']},
    {"env": {"LOG_LEVEL": "debug", "BASE_URL": "https://x.example/api", "SESSION_TIMEOUT": "30", "USE_TOKEN": "true"}},
    {"env": {"TOKEN": "${A}:${B}", "API_KEY": "", "REGION": "${REGION:-eu-west-1}"}},
    {
        "url": "https://x.example",
        "headers": {"Accept": "a", "Content-Type": "b", "User-Agent": "c", "X": "${T}"},
    },
]


@pytest.mark.parametrize("entry", OTHERS, ids=str)
def test_what_is_no_secret_stays(entry: Json):
    assert hide(entry) == ({"command": "x", **entry}, {})
