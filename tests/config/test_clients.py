"""The operator's file of MCP clients, read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.clients import ClientRules, ConfiguredClient, parse_clients_file
from fluidmcp.config.settings import load_settings
from fluidmcp.errors import ConfigurationError

CLIENT: dict[str, Any] = {
    "client_id": "our-tool",
    "client_name": "Our tool",
    "redirect_uris": ["http://localhost/callback"],
}


MISTAKES: list[tuple[Any, str]] = [
    ({"client": []}, '"client"'),
    ({"clients": {}}, "clients"),
    ({"clients": [7]}, "clients[0]"),
    ({"clients": [{**CLIENT, "client_secret": "canary"}]}, "client_secret"),
    ({"clients": [{**CLIENT, "client_id": "a b"}]}, "client_id"),
    ({"clients": [{**CLIENT, "client_id": "fmcp1.x"}]}, "client_id"),
    ({"clients": [{**CLIENT, "client_name": ""}]}, "client_name"),
    ({"clients": [{**CLIENT, "redirect_uris": []}]}, "redirect_uris"),
    ({"clients": [{**CLIENT, "redirect_uris": ["http://canary.example/"]}]}, "redirect_uris"),
    ({"clients": [CLIENT, CLIENT]}, "clients"),
    ({"denied": ["*"]}, "denied[0]"),
    ({"denied": ["*.*.example"]}, "denied[0]"),
    ({"denied": [7]}, "denied"),
    ({"dynamic_registration": "no"}, "dynamic_registration"),
    ([], "$"),
]


def parse(document: object) -> ClientRules:
    return parse_clients_file(json.dumps(document).encode(), source="clients.json")


def test_a_file_says_which_clients_there_are_and_who_is_shut_out() -> None:
    rules = parse({"clients": [CLIENT], "denied": ["*.evil.example", "cursor:"], "dynamic_registration": False})
    assert rules.clients == (
        ConfiguredClient(client_id="our-tool", client_name="Our tool", redirect_uris=("http://localhost/callback",)),
    )
    assert (rules.denied, rules.dynamic_registration) == (("*.evil.example", "cursor:"), False)
    assert parse({}) == ClientRules()


@pytest.mark.parametrize(("document", "place"), MISTAKES)
def test_a_mistake_is_named_by_its_place_and_not_repeated(document: object, place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(document)
    assert place.strip('"') in caught.value.why
    assert "canary" not in caught.value.why or "client_secret" in caught.value.why


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_told(text: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_clients_file(text, source="clients.json")


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    path.write_text(json.dumps({"clients": [CLIENT]}), encoding="utf-8")
    assert load_settings({"FMCP_CLIENTS_FILE": str(path)}).client_rules.clients[0].client_id == "our-tool"
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"FMCP_CLIENTS_FILE": str(tmp_path / "nothing.json")})
    assert "FMCP_CLIENTS_FILE" in caught.value.what


def test_hosts_are_matched_whole_and_below_a_star_only() -> None:
    rules = ClientRules(denied=("evil.example", "*.bad.example", "exact-id"))

    def denies(client_id: str, *redirect_uris: str) -> bool:
        return rules.denies(client_id=client_id, redirect_uris=redirect_uris)

    assert denies("https://evil.example/client.json")
    assert denies("x", "https://evil.example:8443/cb")
    assert denies("x", "https://a.b.bad.example/cb")
    assert denies("exact-id")
    assert not denies("x", "https://notevil.example/cb", "https://bad.example/cb", "http://localhost/evil.example")
    assert not denies("https://evil.example.org/client.json")
