"""gmail-mock through the official client: as a real child process against the provider, and its refusals."""

import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

from fluidmcp.config.secret import Secret
from fluidmcp.demo.mailboxes import MAYA, PEOPLE, ROBIN, Person
from fluidmcp.demo.server import GOOGLE_API_URL, MailSettings, create_server, load_mail_settings
from tests.demo.running import provider_on_a_socket

CANARY = "canary-token-4711"


def run_server(**env: str) -> Client:
    server = StdioServerParameters(command=sys.executable, args=["-m", "fluidmcp.demo.server"], env=env)
    return Client(server, read_timeout_seconds=60)


def in_process(token: str, api_url: str) -> Client:
    return Client(create_server(MailSettings(token=Secret(token), api_url=api_url)), read_timeout_seconds=60)


def read_text(result: CallToolResult) -> str:
    return " ".join(block.text for block in result.content if isinstance(block, TextContent))


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    return result


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.name)
async def test_the_tools_read_the_mailbox_of_the_person_whose_token_is_in_the_environment(person: Person) -> None:
    async with provider_on_a_socket() as provider:
        token = (await provider.get_tokens(person))["access_token"]
        env = {"GMAIL_ACCESS_TOKEN": token, "GMAIL_API_URL": provider.registration.issuer}
        async with run_server(**env) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            me = await call(client, "whoami")
            listed = await call(client, "list_messages")
            message = await call(client, "get_message", id=person.messages[0].id)

    assert sorted(tools) == ["get_message", "list_messages", "whoami"]
    assert me.structured_content == {"email": person.email, "messages_total": len(person.messages)}
    assert [entry["subject"] for entry in listed.structured_content["result"]] == [
        mail.subject for mail in person.messages
    ]
    assert message.structured_content["text"] == person.messages[0].text
    assert message.structured_content["sender"] == person.messages[0].sender
    assert message.structured_content["unread"] is True


async def test_a_token_reaches_no_message_of_somebody_else_and_a_refused_one_is_not_shown() -> None:
    async with provider_on_a_socket() as provider:
        token = (await provider.get_tokens(MAYA))["access_token"]
        async with in_process(token, provider.registration.issuer) as client:
            foreign = await call(client, "get_message", id=ROBIN.messages[0].id)
            odd = await call(client, "get_message", id="../../profile")
            too_many = await call(client, "list_messages", limit=10_000)
        async with in_process(CANARY, provider.registration.issuer) as client:
            refused = await call(client, "whoami")

    assert [result.is_error for result in (foreign, odd, too_many, refused)] == [True] * 4
    assert "no such message" in read_text(foreign)
    assert "not the id" in read_text(odd)
    assert "log in again" in read_text(refused)
    assert CANARY not in refused.model_dump_json()


async def test_a_server_without_a_token_starts_and_says_which_variable_is_missing() -> None:
    async with run_server() as client:
        assert len((await client.list_tools()).tools) == 3
        result = await call(client, "whoami")

    assert result.is_error
    assert "GMAIL_ACCESS_TOKEN is not set" in read_text(result)


@pytest.mark.parametrize(
    ("token", "api_url", "says"),
    [
        (CANARY, "http://mail.example", "https"),
        (CANARY, "file:///etc/passwd", "https"),
        (CANARY, "https://user@mail.example", "https"),
        (CANARY, "http://127.0.0.1:1", "cannot be reached"),
        (f"{CANARY}\r\nX-Evil: 1", "http://127.0.0.1:1", "characters no token has"),
    ],
    ids=["plain http", "file", "user", "closed port", "header injection"],
)
async def test_a_token_goes_nowhere_unsafe_and_stays_out_of_the_error(token: str, api_url: str, says: str) -> None:
    async with in_process(token, api_url) as client:
        result = await call(client, "whoami")

    assert result.is_error
    assert says in read_text(result)
    assert CANARY not in result.model_dump_json()


def test_the_environment_decides_and_google_is_the_default() -> None:
    settings = load_mail_settings({"GMAIL_ACCESS_TOKEN": f" {CANARY}\n"})

    assert settings.api_url == GOOGLE_API_URL
    assert settings.token.reveal() == CANARY
    assert CANARY not in repr(settings)
    assert Path(load_mail_settings({"GMAIL_API_URL": "http://127.0.0.1:1/"}).api_url).name == "127.0.0.1:1"
