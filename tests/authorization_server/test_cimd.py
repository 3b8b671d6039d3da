"""Documents by which clients introduce themselves: fetched with care, kept as they say, refused when they are odd."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.authorization_server.cimd import (
    FETCHES_PER_ADDRESS_AND_MINUTE,
    FETCHES_PER_MINUTE,
    ClientDocument,
    ClientDocuments,
    is_document_id,
    read_freshness,
)
from fluidmcp.errors import OAuthError
from fluidmcp.oauth_client.fetch import FetchAnswer
from tests.providers.client_documents import HOST, Documents, LoopbackFetcher, client_documents
from tests.providers.login_gateway import Clock


class Stage:
    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.clock = Clock()
        self.known = ClientDocuments(documents.fetcher, now=self.clock)

    @property
    def fetcher(self) -> LoopbackFetcher:
        fetcher = self.documents.fetcher
        assert isinstance(fetcher, LoopbackFetcher)
        return fetcher

    async def find(self, url: str, *, client_address: str = "a") -> ClientDocument:
        return await self.known.find(url, client_address=client_address)

    async def refusal(self, url: str, *, client_address: str = "a") -> OAuthError:
        with pytest.raises(OAuthError) as caught:
            await self.find(url, client_address=client_address)
        return caught.value


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with client_documents(tmp_path, total_timeout_seconds=5) as documents:
        yield Stage(documents)


async def test_a_good_document_names_the_client_and_its_redirect_uris(stage: Stage) -> None:
    url = stage.documents.put(token_endpoint_auth_method="none", unknown={"x": 1}, logo_uri="https://x.example/l.png")
    document = await stage.find(url)
    assert (document.url, document.name) == (url, "A client with a document")
    assert document.redirect_uris == ("http://localhost/callback", "https://client.example/callback")
    assert stage.documents.requested == ["/client.json"], "no logo is fetched"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "https://other.example/client.json"},
        {"client_id": f"https://{HOST}/client.json/"},
        {"client_id": f"https://{HOST.upper()}/client.json"},
        {"client_id": None},
        {"client_name": None},
        {"client_name": ""},
        {"client_name": 7},
        {"redirect_uris": None},
        {"redirect_uris": []},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["http://evil.example/"]},
        {"redirect_uris": "https://client.example/"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"client_secret": "canary"},
        {"grant_types": ["client_credentials"]},
        {"response_types": ["token"]},
    ],
)
async def test_a_document_that_is_not_as_it_must_be_is_refused(stage: Stage, changes: dict[str, Any]) -> None:
    error = await stage.refusal(stage.documents.put(**changes))
    assert error.error == "invalid_client"
    assert "canary" not in error.why
    assert "evil" not in error.why


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b"{}", {"status": 404}),
        (b"{}", {"status": 500}),
        (b"", {"status": 302, "headers": {"location": "https://client.example/other.json"}}),
        (b"", {"status": 301, "headers": {"location": "http://127.0.0.1/"}}),
        (b"<html>", {"media_type": "text/html"}),
        (b"{", {}),
        (b"[]", {}),
        (b"\xff", {}),
        (b"[" * 60_000, {}),
        (b" " * 70_000, {}),
        (gzip.compress(b" " * 10_000_000), {"headers": {"content-encoding": "gzip"}}),
    ],
)
async def test_an_answer_that_is_no_document_is_refused(stage: Stage, body: bytes, options: dict[str, Any]) -> None:
    url = stage.documents.put_raw("/client.json", body, **options)
    assert (await stage.refusal(url)).error == "invalid_client"
    assert stage.documents.requested == ["/client.json"], "redirects are not followed"


@pytest.mark.threat("B26")
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:10.0.0.1", "fd00::1"]
    + ["fe80::1", "0.0.0.0", "224.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"],
)
async def test_b26_a_name_that_stands_for_a_private_address_is_not_connected_to(stage: Stage, address: str) -> None:
    stage.fetcher.addresses = (address,)
    assert (await stage.refusal(stage.documents.put())).error == "invalid_client"
    stage.fetcher.addresses = ("93.184.216.34", address)
    assert (await stage.refusal(stage.documents.put("/second.json"))).error == "invalid_client"
    assert stage.fetcher.connections == []


@pytest.mark.threat("B26")
@pytest.mark.parametrize(
    "url",
    [
        "http://client.example/client.json",
        "https://127.0.0.1/client.json",
        "https://localhost/client.json",
        "https://2130706433/client.json",
        "https://169.254.169.254/latest/meta-data",
        "https://client.localhost/x",
    ],
)
async def test_b26_addresses_that_name_this_machine_are_refused_without_a_connection(stage: Stage, url: str) -> None:
    if is_document_id(url):
        assert (await stage.refusal(url)).error == "invalid_client"
    assert stage.fetcher.connections == []


@pytest.mark.parametrize(
    ("client_id", "is_one"),
    [
        ("https://client.example/client.json", True),
        ("https://client.example:8443/a/b?c=d", True),
        ("https://client.example", False),
        ("https://client.example/", False),
        ("http://client.example/client.json", False),
        ("https://user@client.example/client.json", False),
        ("https://client.example/client.json#x", False),
        ("https://client.example/a/../client.json", False),
        ("https://client.example/a/%2E%2e/client.json", False),
        ("https://client.example:0/x", False),
        ("https://client.example:99999/x", False),
        ("https://client.example/ x", False),
        ("https://Client.example/x", False),
        ("https:///x", False),
        ("https://client.example/" + "x" * 600, False),
        ("fmcp1.abc", False),
        ("", False),
    ],
)
def test_only_an_unambiguous_https_address_with_a_path_is_the_id_of_a_document(client_id: str, is_one: bool) -> None:
    assert is_document_id(client_id) is is_one


async def test_a_document_is_kept_as_its_headers_say_and_a_changed_one_counts_then(stage: Stage) -> None:
    url = stage.documents.put(headers={"cache-control": "public, max-age=600"})
    first = await stage.find(url)
    stage.documents.put(client_name="Changed", headers={"cache-control": "no-store"})
    stage.clock.time += 599
    assert await stage.find(url) == first
    stage.clock.time += 1
    assert (await stage.find(url)).name == "Changed"
    stage.documents.put(client_name="Again")
    assert (await stage.find(url)).name == "Again"
    assert len(stage.documents.requested) == 3


async def test_a_failure_is_remembered_for_half_a_minute(stage: Stage) -> None:
    url = stage.documents.url()
    await stage.refusal(url)
    stage.documents.put()
    await stage.refusal(url)
    assert len(stage.documents.requested) == 1
    stage.clock.time += 30
    assert await stage.find(url)


async def test_of_many_who_ask_at_once_one_fetches_and_who_gives_up_stops_nobody(stage: Stage) -> None:
    url = stage.documents.put()
    asking = [asyncio.create_task(stage.find(url)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(one, ClientDocument) for one in found[1:])
    assert len(stage.documents.requested) == 1


async def test_one_address_and_all_together_can_make_us_fetch_a_number_a_minute(stage: Stage) -> None:
    stage.fetcher.addresses = ("10.0.0.1",)
    number = 0

    async def fetch(address: str) -> OAuthError:
        nonlocal number
        number += 1
        return await stage.refusal(stage.documents.url(f"/{number}"), client_address=address)

    outcomes = [(await fetch("a")).error for _ in range(FETCHES_PER_ADDRESS_AND_MINUTE)]
    assert set(outcomes) == {"invalid_client"}
    limited = await fetch("a")
    assert (limited.error, limited.status, limited.retry_after_seconds) == ("temporarily_unavailable", 429, 60)
    for address in range(FETCHES_PER_MINUTE - FETCHES_PER_ADDRESS_AND_MINUTE):
        assert (await fetch(f"b{address % 10}")).error == "invalid_client"
    assert (await fetch("c")).error == "temporarily_unavailable"
    stage.clock.time += 60
    assert (await fetch("a")).error == "invalid_client"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 300),
        ({"cache_control": "max-age=60"}, 60),
        ({"cache_control": "public, MAX-AGE=60, must-revalidate"}, 60),
        ({"cache_control": "max-age=60", "age": "20"}, 40),
        ({"cache_control": "max-age=60", "age": "90"}, 0),
        ({"cache_control": "max-age=60", "age": "soon"}, 60),
        ({"cache_control": "max-age=99999999"}, 86_400),
        ({"cache_control": "no-store"}, 0),
        ({"cache_control": "no-cache, max-age=60"}, 0),
        ({"expires": "Wed, 25 Nov 2026 10:10:00 GMT", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 600),
        ({"expires": "0", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 0),
        ({"expires": "Wed, 25 Nov 2026 10:10:00 GMT"}, 0),
    ],
)
def test_how_long_a_document_is_kept_follows_its_headers(headers: dict[str, str], seconds: float) -> None:
    assert read_freshness(FetchAnswer(status=200, media_type="application/json", body=b"", **headers)) == seconds
