"""`fluidmcp catalogue`: the list, and what it says of one server."""

import json
from collections.abc import Mapping

import pytest

from fluidmcp.cli.catalogue.show import plan_registration, tell_next_commands, tell_remarks, tell_what_to_do
from fluidmcp.cli.main import EXIT_USAGE, run_commands
from fluidmcp.config.auth_block import parse_auth_block
from fluidmcp.config.reading import ObjectReader
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from tests.packages.catalogue.known import KEYS, LINES, OPEN


@pytest.fixture(autouse=True)
def no_public_url(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FMCP_PUBLIC_URL", raising=False)


def test_the_list_names_each_server_its_package_and_what_it_asks(capsys: pytest.CaptureFixture[str]):
    assert run_commands(["catalogue"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["SERVER", "TITLE", "PACKAGE", "LOGIN", "YOU", "EXPORT"]
    rows = {line.split()[0]: line for line in lines[: len(KNOWN_SERVERS)]}
    assert rows.keys() == KNOWN_SERVERS.keys()
    for name, server in KNOWN_SERVERS.items():
        assert server.title in rows[name] and str(server.entry["package"]) in rows[name]
        assert all(variable in rows[name] for variable in server.asks)


@pytest.mark.parametrize("name", KNOWN_SERVERS)
def test_one_server_comes_with_its_entry_its_redirect_uri_and_what_to_export(
    name: str, capsys: pytest.CaptureFixture[str]
):
    assert run_commands(["catalogue", name, "--as", "Mine", "--public-url", "https://gw.example.com/"]) == 0
    out = capsys.readouterr().out
    copied = json.loads(out[out.index("\n  {\n") : out.index("\n  }\n") + 4])
    server = KNOWN_SERVERS[name]
    assert copied == {"mcpServers": {"Mine": server.entry}}
    if "provider" in server.entry["auth"]:
        assert out.count("https://gw.example.com/mine/auth/callback") == 1
        assert "--package mine --public-url https://gw.example.com" in out
    types_keys = server.entry["auth"].get("type") == "keys"
    assert ("Each person types" in out) == types_keys
    assert ("scopes are yours" in out) == ("Register this redirect URI" in out) == (not types_keys)
    assert all(f"export {variable}=" in out for variable in server.asks)
    assert f"fluidmcp add {name} --as Mine" in out
    assert server.register in out


def test_the_address_is_that_of_the_gateway(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert run_commands(["catalogue", "github"]) == 0
    here = capsys.readouterr().out
    assert "http://localhost:8099/github/auth/callback" in here and "who is let in" not in here
    monkeypatch.setenv("FMCP_PUBLIC_URL", "https://mcp.example.com")
    assert run_commands(["catalogue", "github"]) == 0
    there = capsys.readouterr().out
    assert "https://mcp.example.com/github/auth/callback" in there and "who is let in" in there


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["catalogue", "githb"], ["no server of this name", "Did you mean github"]),
        (["catalogue", "qqqqqqq"], ["Run: fluidmcp catalogue"]),
        (["catalogue", "github", "--as", "docs"], ["is reserved"]),
        (
            ["catalogue", "github", "--public-url", "gw.example.com"],
            ["The address of the gateway must begin with https://"],
        ),
    ],
    ids=" ".join,
)
def test_a_mistake_says_what_to_do(arguments: list[str], pieces: list[str], capsys: pytest.CaptureFixture[str]):
    assert run_commands(arguments) == EXIT_USAGE
    err = capsys.readouterr().err
    assert all(piece in err for piece in pieces)


def say(server: KnownServer, capsys: pytest.CaptureFixture[str], *, public_url: str | None = None) -> list[str]:
    registration = plan_registration(server, server.name, public_url=public_url)
    tell_what_to_do(registration)
    tell_next_commands(registration, "my file")
    tell_remarks(registration)
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_what_to_register_to_export_to_type_and_to_know_stands_in_this_order(capsys: pytest.CaptureFixture[str]):
    assert say(LINES, capsys, public_url="https://gw.example.com") == [
        "Register this redirect URI with Linear:",
        "https://gw.example.com/lines/auth/callback",
        "What to click there: fluidmcp providers linear --package lines --public-url https://gw.example.com",
        "Export, in the shell that starts the gateway:",
        'export LINEAR_CLIENT_ID="your-client-id"',
        'export LINEAR_CLIENT_SECRET="your-client-secret"  # leave it out for a client without a secret',
        'export LINES_SITE="..."  # the name of your site',
        "Install, check and start it:",
        "fluidmcp install npm:@somebody/mcp-lines@1.4.3",
        "fluidmcp run --file 'my file' --start-server --public-url https://gw.example.com",
        "Then log in at https://gw.example.com/lines/auth/login, or give an MCP client https://gw.example.com/lines/mcp",
        "Note: At this address others can reach the gateway, which then wants to be told who is let in: put "
        '"allow_any_user": true into auth.',
        "Note: A person's token in LINES_API_KEY or LINES_KEY goes out without Bearer.",
        "Note: Where its API has another address, put that into env as LINES_URL.",
        "Note: It surprises.",
    ]


def is_valid(auth: Mapping[str, object]) -> bool:
    reader = ObjectReader(auth, path="auth", faults=[])
    return parse_auth_block(reader, allowed_env_names=frozenset()) is not None


@pytest.mark.parametrize("name", [name for name, server in KNOWN_SERVERS.items() if "provider" in server.entry["auth"]])
def test_who_is_let_in_is_proposed_by_what_the_provider_tells(name: str, capsys: pytest.CaptureFixture[str]):
    auth = KNOWN_SERVERS[name].entry["auth"]
    (remark,) = [line for line in say(KNOWN_SERVERS[name], capsys, public_url="https://gw.example") if "let in" in line]
    now, _, later = remark.partition(" into auth")
    assert '"allow_any_user": true' in now
    scopes = [*auth.get("scopes", ()), *[scope for scope in ("openid", "email") if f'"{scope}"' in later]]
    for key, value in (("allowed_domains", "corp.example"), ("allowed_subjects", "ada")):
        assert (f'"{key}"' in now) is is_valid({**auth, key: [value]}), key
        assert f'"{key}"' not in later or is_valid({**auth, "scopes": scopes, key: [value]}), key


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("github", 'put "allowed_subjects" or "allow_any_user": true into auth.'),
        ("linear", 'put "allow_any_user": true into auth.'),
        (
            "gitlab",
            'put "allowed_subjects" or "allow_any_user": true into auth; "allowed_domains" needs "openid" '
            'and "email" in its scopes.',
        ),
        (
            "gmail",
            'put "allow_any_user": true into auth; "allowed_domains" and "allowed_subjects" need "openid" '
            'and "email" in its scopes.',
        ),
        ("microsoft-365", 'put "allow_any_user": true into auth; "allowed_subjects" needs "openid" in its scopes.'),
    ],
)
def test_a_provider_that_tells_no_mail_address_gets_no_rule_about_it(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
):
    (remark,) = [line for line in say(KNOWN_SERVERS[name], capsys, public_url="https://gw.example") if "let in" in line]
    assert remark.endswith(f"who is let in: {words}")


def test_a_provider_that_wants_https_is_told_before_the_login_fails(capsys: pytest.CaptureFixture[str]):
    zoom = KnownServer(name="zoom", title="Z", entry={"package": "npm:z@1.0.0", "auth": {"provider": "zoom"}})
    assert any("wants a redirect URI with https" in line for line in say(zoom, capsys))
    assert not any("wants a redirect URI" in line for line in say(zoom, capsys, public_url="https://localhost:8099"))


def test_without_a_login_at_a_provider_there_is_nothing_to_register(capsys: pytest.CaptureFixture[str]):
    assert say(KEYS, capsys) == [
        "There is nothing to register. Each person types, on a page of the gateway:",
        "API key, Site name",
        "Install, check and start it:",
        "fluidmcp install npm:mcp-keys@2.0.0",
        "fluidmcp run --file 'my file' --start-server",
        "Then log in at http://localhost:8099/keys/auth/login, or give an MCP client http://localhost:8099/keys/mcp",
    ]
    (remark,) = say(KEYS, capsys, public_url="https://gw.example.com")[-1:]
    assert "--oauth or --secure" in remark and "allowed_domains" not in remark
    assert say(OPEN, capsys) == [
        "Install, check and start it:",
        "fluidmcp run --file 'my file' --start-server",
        "Then give an MCP client http://localhost:8099/open/mcp",
    ]
