"""Two gateways with one address: what lives in one of them begins with its name, and is unknown to the other."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway.client_login import KEYS
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_sessions import initialize_params, open_session
from tests.gateway.test_stateless import EVERYTHING, QUESTION, error_of, running_client


@asynccontextmanager
async def two_replicas() -> AsyncGenerator[tuple[RunningGateway, RunningGateway]]:
    shared: dict[str, Any] = {"seal_keys": KEYS, "public_url": "https://mcp.example.com"}
    async with (
        running_gateway([stdlib_entry()], replica="gw-1", **shared) as one,
        running_gateway([stdlib_entry()], replica="gw-2", **shared) as two,
    ):
        yield one, two


async def test_a_session_begins_with_its_gateway_and_is_not_found_in_another() -> None:
    async with two_replicas() as (one, two):
        session = await open_session(one)
        name, _, secret = session["mcp-session-id"].partition(".")
        assert (name, len(secret)) == ("gw-1", 43)
        assert (await open_session(two))["mcp-session-id"].startswith("gw-2.")
        elsewhere = await two.rpc("echo", "tools/list", **session)
        assert elsewhere.status_code == 404, "the answer that makes a client begin anew"
        # What needs no session works anywhere, and the session still lives where it was.
        for running in (one, two):
            assert await running.call("echo", "echo", {"text": "x"}) == "x"
        assert (await one.rpc("echo", "tools/list", **session)).status_code == 200
        # Another name before the same secret is another session.
        renamed = {**session, "mcp-session-id": f"gw-2.{secret}"}
        assert (await one.rpc("echo", "tools/list", **renamed)).status_code == 404


@pytest.mark.parametrize("patience", ["text/event-stream", "application/json"])
async def test_a_gateway_without_a_name_has_sessions_as_ever(patience: str) -> None:
    async with running_gateway([stdlib_entry()]) as running:
        response = await running.rpc("echo", "initialize", initialize_params(), accept=f"application/json, {patience}")
        assert len(response.headers["mcp-session-id"]) == 43


async def test_a_suspended_call_begins_with_its_gateway_and_waits_there() -> None:
    params = {"name": "ask", "arguments": {"rounds": [[QUESTION]]}}
    async with (
        running_client(seal_keys=KEYS, replica="gw-1") as one,
        running_client(seal_keys=KEYS, replica="x") as two,
    ):
        asked = await one.result("tools/call", params, EVERYTHING)
        assert asked["requestState"].startswith("gw-1.fmcp1.")
        responses = {"name": {"action": "accept", "content": {"n": 1}}}
        retry = {**params, "inputResponses": responses, "requestState": asked["requestState"]}
        assert error_of(await two.send("tools/call", retry, EVERYTHING)) == (400, -32602)
        result = await one.result("tools/call", retry, EVERYTHING)
        assert json.loads(result["content"][0]["text"]) == responses
