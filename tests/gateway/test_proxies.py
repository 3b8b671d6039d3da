"""Proxies in front of the gateway: who is believed about the address of a client, and what counts by it."""

import json

import httpx2
import pytest

from fluidmcp.config.settings import LoginLimits
from fluidmcp.protocol.forwarded import parse_trusted_proxies
from tests.gateway.client_login import WEB_REDIRECT, Stage, client_logins
from tests.gateway.front.messages import PING, post
from tests.gateway.front.test_slow_clients import PART_OF_HEAD, WAYS, patient, running_mirror
from tests.gateway.front.wire import Wire, connect, connected

BODY = json.dumps({"redirect_uris": [WEB_REDIRECT]}).encode()


async def use_up(stage: Stage, address: str) -> None:
    """Register as often as one address may in a minute."""
    authorization_server = stage.running.gateway.parts.logins.clients.authorization_servers["mail"]
    for _ in range(LoginLimits().max_requests_per_address):
        await authorization_server.register(BODY, client_address=address)


async def register(stage: Stage, *forwarded_for: str, **headers: str) -> int:
    """The status of one more registration, with a header line for each of `forwarded_for`."""
    lines = [("content-type", "application/json"), *(("x-forwarded-for", text) for text in forwarded_for)]
    response = await stage.running.client.post("/mail/register", content=BODY, headers=[*lines, *headers.items()])
    assert isinstance(response, httpx2.Response)
    return response.status_code


@pytest.mark.threat("D18", "E17")
async def test_d18_e17_a_process_on_this_machine_says_in_vain_that_it_comes_from_elsewhere() -> None:
    async with client_logins() as stage:
        await use_up(stage, "127.0.0.1")
        assert await register(stage, "198.51.100.7") == 429
        assert await register(stage, "198.51.100.7", "198.51.100.8", forwarded="for=198.51.100.9") == 429
        assert await register(stage, **{"x-real-ip": "198.51.100.7"}) == 429


@pytest.mark.threat("D18", "E17")
async def test_d18_e17_trusting_another_proxy_does_not_mean_to_trust_this_machine() -> None:
    async with client_logins(trusted_proxies=parse_trusted_proxies("10.0.0.1, ::1")) as stage:
        await use_up(stage, "127.0.0.1")
        assert await register(stage, "198.51.100.7") == 429


@pytest.mark.threat("E17")
async def test_e17_behind_a_trusted_proxy_each_client_has_limits_of_its_own() -> None:
    async with client_logins(trusted_proxies=parse_trusted_proxies("127.0.0.1, 10.0.0.0/8")) as stage:
        await use_up(stage, "198.51.100.7")
        assert await register(stage, "198.51.100.7") == 429
        assert await register(stage, "198.51.100.8") == 201
        assert await register(stage, "198.51.100.8, 198.51.100.7") == 429, "the left end is what a client says"
        assert await register(stage, "198.51.100.8", "198.51.100.7") == 429, "of two lines the last one counts"
        assert await register(stage, "198.51.100.7, 198.51.100.8", "10.3.2.1") == 201
        assert await register(stage, "198.51.100.8," * 4000 + "198.51.100.7:4711") == 429
        assert await register(stage) == 201, "a proxy that says nothing is a client itself"


@pytest.mark.threat("E17")
async def test_e17_garbage_counts_for_the_proxy_and_gets_around_no_limit() -> None:
    async with client_logins(trusted_proxies=parse_trusted_proxies("127.0.0.1")) as stage:
        await use_up(stage, "127.0.0.1")
        for garbage in ("unknown", "", "198.51.100.7, x", "127.0.0.1," * 5000, "_a", "198.51.100.300"):
            assert await register(stage, garbage) == 429, garbage


@pytest.mark.threat("D18")
async def test_d18_a_trusted_proxy_names_no_other_host_and_no_scheme() -> None:
    async with client_logins(trusted_proxies=parse_trusted_proxies("127.0.0.1")) as stage:
        headers = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "x-forwarded-port": "1"}
        answer = await stage.running.rpc("mail", "ping", **headers)
        assert answer.status_code == 401
        assert stage.url in answer.headers["www-authenticate"]
        path = "/.well-known/oauth-protected-resource/mail/mcp"
        document = await stage.running.client.get(path, headers={**headers, "x-forwarded-prefix": "/evil"})
        assert "evil" not in document.text
        assert document.json()["resource"] == f"{stage.url}/mail/mcp"


@WAYS
@pytest.mark.threat("E15", "E17")
async def test_e17_the_connections_of_a_trusted_proxy_are_bounded_by_the_total_alone(has_front: bool) -> None:
    settings = patient(max_connections=30, max_connections_per_address=5)
    proxies = parse_trusted_proxies("127.0.0.2")
    async with running_mirror(settings, has_front=has_front, trusted_proxies=proxies) as running:
        wires: list[Wire] = []
        try:
            for source, count in (("127.0.0.2", 20), ("127.0.0.3", 8)):
                for _ in range(count):
                    wires.append(await connect(running, source=source))
                    wires[-1].send(PART_OF_HEAD)
            of_proxy, of_client = wires[:20], wires[20:]
            for wire in of_client[:3]:
                await wire.wait_closed()
            assert not any(wire.is_closed for wire in (*of_proxy, *of_client[3:]))
            wires += [await connect(running, source="127.0.0.2") for _ in range(10)]
            for wire in of_proxy[:5]:
                await wire.wait_closed()
            async with connected(running, source="127.0.0.9") as good:
                good.send(post(PING))
                assert (await good.reply()).startswith(b"HTTP/1.1 200 ")
        finally:
            for wire in wires:
                wire.transport.abort()
