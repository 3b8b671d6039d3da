"""Who an MCP client is: registered, described by a document, or entered by the operator; and who is shut out."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.authorization_server.cimd import ClientDocuments
from fluidmcp.authorization_server.client_ids import ClientIds
from fluidmcp.authorization_server.clients import Client, ClientDirectory
from fluidmcp.authorization_server.register import Registrar
from fluidmcp.config.clients import ClientRules, ConfiguredClient
from fluidmcp.errors import OAuthError
from tests.authorization_server.sealing_stage import DAY, sealer
from tests.providers.client_documents import Documents, client_documents
from tests.providers.login_gateway import Clock

URL = "https://gateway.example"

# What clients send, with the members that they send. Ports and names of servers are examples.
REAL_REGISTRATIONS: dict[str, dict[str, Any]] = {
    "Claude": {
        "client_name": "Claude",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
        "response_types": ["code"],
        "scope": "claudeai",
        "token_endpoint_auth_method": "client_secret_post",
    },
    "Claude Code": {
        "client_name": "Claude Code (mail)",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["http://localhost:54212/callback"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    },
    "VS Code": {
        "client_name": "Visual Studio Code",
        "client_uri": "https://code.visualstudio.com",
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "redirect_uris": [
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
        ],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    },
    "Cursor": {
        "client_name": "Cursor",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    },
    "ChatGPT": {
        "client_name": "ChatGPT",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["https://chatgpt.com/connector/oauth/s0m3CallbackId"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    },
    "ChatGPT, its callback for servers that send iss": {
        "client_name": "ChatGPT",
        "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
        "token_endpoint_auth_method": "none",
    },
    "MCP Inspector": {
        "client_name": "MCP Inspector",
        "client_uri": "https://github.com/modelcontextprotocol/inspector",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["http://localhost:6274/oauth/callback", "http://localhost:6274/oauth/callback/debug"],
        "response_types": ["code"],
        "scope": "",
        "token_endpoint_auth_method": "none",
    },
    "mcp-remote": {
        "client_name": "MCP CLI Proxy",
        "client_uri": "https://github.com/modelcontextprotocol/mcp-cli",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": ["http://localhost:3334/oauth/callback"],
        "response_types": ["code"],
        "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d",
        "software_version": "0.1.0",
        "token_endpoint_auth_method": "none",
    },
}


class Stage:
    def __init__(self, documents: Documents, rules: ClientRules | None = None) -> None:
        self.clock = Clock()
        self.documents = documents
        self.with_rules(rules or ClientRules())

    def with_rules(self, rules: ClientRules, *, package: str = "mail") -> None:
        ids = ClientIds(sealer(), package=package, public_url=URL, now=self.clock)
        known = ClientDocuments(self.documents.fetcher, now=self.clock)
        self.directory = ClientDirectory(client_ids=ids, documents=known, rules=rules)
        self.registrar = Registrar(ids, rules)

    def register(self, **document: Any) -> dict[str, Any]:
        return self.registrar.register(json.dumps(document).encode())

    async def find(self, client_id: str) -> Client:
        return await self.directory.find(client_id, client_address="a")

    async def refusal(self, client_id: str) -> OAuthError:
        with pytest.raises(OAuthError) as caught:
            await self.find(client_id)
        return caught.value


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with client_documents(tmp_path) as documents:
        yield Stage(documents)


@pytest.mark.parametrize("body", REAL_REGISTRATIONS.values(), ids=REAL_REGISTRATIONS)
async def test_what_real_clients_send_is_registered_without_a_secret(stage: Stage, body: dict[str, Any]) -> None:
    answer = stage.register(**body)
    assert len(str(answer["client_id"])) < 1500
    assert answer["redirect_uris"] == body["redirect_uris"]
    assert answer["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in answer
    client = await stage.find(str(answer["client_id"]))
    assert (client.name, client.kind, client.host) == (body["client_name"], "registered", None)
    for uri in body["redirect_uris"]:
        assert client.find_redirect(uri) == uri


async def test_a_registration_survives_the_process_and_ends_after_ninety_days(stage: Stage) -> None:
    client_id = str(stage.register(redirect_uris=["http://localhost/cb"])["client_id"])
    stage.with_rules(ClientRules())
    stage.clock.time += 90 * DAY - 1
    assert await stage.find(client_id)
    stage.clock.time += 1
    error = await stage.refusal(client_id)
    assert error.error == "invalid_client"
    assert "add it again" in error.hint


async def test_a_registration_is_for_one_package(stage: Stage) -> None:
    client_id = str(stage.register(redirect_uris=["http://localhost/cb"])["client_id"])
    stage.with_rules(ClientRules(), package="jira")
    assert (await stage.refusal(client_id)).error == "invalid_client"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "http://localhost/"}, "invalid_redirect_uri"),
        ({"redirect_uris": [7]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://localhost/"] * 2 + ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": [f"http://localhost/{n}" for n in range(11)]}, "invalid_redirect_uri"),
        ({"redirect_uris": [f"https://a.example/{n}{'x' * 300}" for n in range(9)]}, "invalid_client_metadata"),
        ({"client_name": 7}, "invalid_client_metadata"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"grant_types": "authorization_code"}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"application_type": "web"}, "invalid_redirect_uri"),
        ({"application_type": "other"}, "invalid_client_metadata"),
    ],
)
async def test_a_registration_that_cannot_be_is_refused_with_the_code_of_the_rfc(
    stage: Stage, changes: dict[str, Any], error: str
) -> None:
    with pytest.raises(OAuthError) as caught:
        stage.register(**{"redirect_uris": ["http://localhost/cb"], **changes})
    assert caught.value.error == error


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 20_000, b'{"redirect_uris": ["\\ud800"]}'])
async def test_a_body_that_is_no_registration_is_refused(stage: Stage, body: bytes) -> None:
    with pytest.raises(OAuthError):
        stage.registrar.register(body)


@pytest.mark.parametrize(
    ("redirect_uris", "said", "kind"),
    [
        (["https://a.example/cb"], None, "web"),
        (["http://localhost/cb"], None, "native"),
        (["https://a.example/cb", "cursor://x"], None, "native"),
        (["https://a.example/cb"], "native", "native"),
        (["https://a.example/cb"], "web", "web"),
    ],
)
async def test_the_application_type_is_what_the_client_says_or_what_its_addresses_are(
    stage: Stage, redirect_uris: list[str], said: str | None, kind: str
) -> None:
    said_so = {} if said is None else {"application_type": said}
    assert stage.register(redirect_uris=redirect_uris, **said_so)["application_type"] == kind


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  A\tname\n", "A name"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("a\u200bb\ufeffc\x00", "abc"),
        ("", "localhost"),
        (None, "localhost"),
        ("x" * 500, "x" * 80),
        ("日本語 Grüße", "日本語 Grüße"),
    ],
)
async def test_a_name_is_shown_without_what_cannot_be_seen(stage: Stage, name: str | None, shown: str) -> None:
    assert stage.register(redirect_uris=["http://localhost/cb"], client_name=name)["client_name"] == shown


async def test_a_document_vouches_with_its_host_and_a_changed_one_has_another_digest(stage: Stage) -> None:
    url = stage.documents.put(headers={"cache-control": "no-store"})
    client = await stage.find(url)
    assert (client.kind, client.host) == ("document", "client.example")
    stage.documents.put(redirect_uris=["https://evil.example/cb"], headers={"cache-control": "no-store"})
    changed = await stage.find(url)
    assert changed.digest != client.digest
    with pytest.raises(OAuthError):
        changed.find_redirect("https://client.example/callback")


async def test_entered_clients_need_not_register_and_come_first(stage: Stage) -> None:
    url = stage.documents.put()
    entered = ConfiguredClient(client_id=url, client_name="Ours", redirect_uris=("http://localhost/x",))
    stage.with_rules(ClientRules(clients=(entered,), dynamic_registration=False))
    client = await stage.find(url)
    assert (client.kind, client.name, client.find_redirect(None)) == ("configured", "Ours", "http://localhost/x")
    assert stage.documents.requested == []
    with pytest.raises(OAuthError) as caught:
        stage.register(redirect_uris=["http://localhost/cb"])
    assert caught.value.status == 403


@pytest.mark.parametrize("pattern", ["https://client.example/client.json", "client.example", "*.example"])
async def test_who_is_shut_out_by_its_document_is_not_even_looked_at(stage: Stage, pattern: str) -> None:
    url = stage.documents.put()
    stage.with_rules(ClientRules(denied=(pattern,)))
    assert (await stage.refusal(url)).status == 403
    assert stage.documents.requested == []
    assert stage.directory.is_denied(url)


@pytest.mark.parametrize(
    ("redirect_uri", "pattern"),
    [
        ("https://a.evil.example/cb", "*.evil.example"),
        ("https://evil.example:444/cb", "evil.example"),
        ("https://evil.example:444/cb", "evil.example:444"),
        ("cursor://x", "cursor:"),
    ],
)
async def test_who_is_shut_out_by_where_its_answers_go_neither_registers_nor_renews(
    stage: Stage, redirect_uri: str, pattern: str
) -> None:
    before = str(stage.register(redirect_uris=[redirect_uri, "http://localhost/cb"])["client_id"])
    other = str(stage.register(redirect_uris=["http://localhost/cb"])["client_id"])
    stage.with_rules(ClientRules(denied=(pattern,)))
    with pytest.raises(OAuthError):
        stage.register(redirect_uris=[redirect_uri])
    assert (await stage.refusal(before)).status == 403
    assert stage.directory.is_denied(before)
    assert await stage.find(other)


async def test_a_redirect_uri_may_be_left_out_only_where_there_is_one(stage: Stage) -> None:
    one = await stage.find(str(stage.register(redirect_uris=["http://localhost/a"])["client_id"]))
    two = await stage.find(str(stage.register(redirect_uris=["http://localhost/a", "http://localhost/b"])["client_id"]))
    assert one.find_redirect(None) == "http://localhost/a"
    with pytest.raises(OAuthError):
        two.find_redirect(None)


@given(st.binary(max_size=200))
def test_any_body_is_answered_or_refused(body: bytes) -> None:
    clock = Clock()
    registrar = Registrar(ClientIds(sealer(), package="mail", public_url=URL, now=clock), ClientRules())
    for candidate in (body, b'{"redirect_uris": ["http://localhost/' + body + b'"]}'):
        try:
            assert registrar.register(candidate)["client_id"]
        except OAuthError as error:
            assert error.error in ("invalid_redirect_uri", "invalid_client_metadata")
