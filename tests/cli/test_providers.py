"""`fluidmcp providers`: the list, and what it says of one."""

import json

import pytest

from fluidmcp.cli.main import EXIT_USAGE, run_commands
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.providers.table import PRESETS
from tests.entries import read_entry


def test_the_list_names_each_provider_what_it_wants_and_its_own_page(capsys: pytest.CaptureFixture[str]):
    assert run_commands(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines[1 : len(PRESETS) + 1]}
    assert rows.keys() == PRESETS.keys()
    assert "domain, region, pool" in rows["cognito"]
    assert "[host]" in rows["gitlab"]
    assert all(PRESETS[name].documentation in row for name, row in rows.items())


@pytest.mark.parametrize("name", PRESETS)
def test_one_provider_comes_with_its_redirect_uri_and_an_entry_that_can_be_read(
    name: str, capsys: pytest.CaptureFixture[str]
):
    assert run_commands(["providers", name, "--package", "mine", "--public-url", "https://gw.example.com/"]) == 0
    out = capsys.readouterr().out
    assert out.count("https://gw.example.com/mine/auth/callback") == 1
    assert "{redirect_uri}" not in out
    copied = json.loads(out[out.index("\n  {\n") : out.index("\n  }\n") + 4])
    auth = read_entry("mine", copied["mcpServers"]["mine"]).auth
    assert isinstance(auth, AuthBlock) and auth.provider == name
    assert f"export {auth.client_id_env}=" in out


def test_the_redirect_uri_begins_as_the_gateway_will_be_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("FMCP_PUBLIC_URL", raising=False)
    assert run_commands(["providers", "entra"]) == 0
    assert "http://localhost:8099/mypackage/auth/callback" in capsys.readouterr().out
    monkeypatch.setenv("FMCP_PUBLIC_URL", "https://mcp.example.com")
    assert run_commands(["providers", "entra"]) == 0
    assert "https://mcp.example.com/mypackage/auth/callback" in capsys.readouterr().out


def test_an_unknown_provider_or_address_is_a_mistake_that_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert run_commands(["providers", "githb"]) == EXIT_USAGE
    assert "Did you mean github" in capsys.readouterr().err
    assert run_commands(["providers", "qqqqqq"]) == EXIT_USAGE
    assert "Run: fluidmcp providers" in capsys.readouterr().err
    assert run_commands(["providers", "github", "--public-url", "gw.example.com"]) == EXIT_USAGE
    assert "The address of the gateway must begin with https://" in capsys.readouterr().err


def test_the_redirect_uri_is_that_of_the_package_as_it_is_served(capsys: pytest.CaptureFixture[str]):
    assert run_commands(["providers", "google", "--package", "Brave Search"]) == 0
    out = capsys.readouterr().out
    assert "/brave-search/auth/callback" in out
    assert '"Brave Search": {' in out
    assert run_commands(["providers", "google", "--package", "docs"]) == EXIT_USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "is reserved" in printed.err


def test_a_redirect_uri_that_must_be_https_is_told(capsys: pytest.CaptureFixture[str]):
    assert run_commands(["providers", "zoom"]) == 0
    assert "Redirect URI: must be https" in capsys.readouterr().out
    assert run_commands(["providers", "github"]) == 0
    assert "Redirect URI: must be https" not in capsys.readouterr().out
