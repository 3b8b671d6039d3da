"""The API page and its files over HTTP, on an application of its own."""

import re

import httpx2
import pytest
from fastapi import FastAPI

from fluidmcp.pages.docs import mount_docs


def open_app(*, root_path: str = "") -> httpx2.AsyncClient:
    app = FastAPI(title="A <gateway>", docs_url=None, redoc_url=None)
    mount_docs(app)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app, root_path=root_path), base_url="http://127.0.0.1")


async def test_the_page_runs_no_inline_script_and_names_no_other_host() -> None:
    async with open_app() as client:
        page = await client.get("/docs")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script>|<script [^>]*>[^<]|\son\w+=|//", page.text.replace("<!doctype html>", ""))
    assert 'data-openapi-url="/openapi.json"' in page.text
    assert "A &lt;gateway&gt;" in page.text


async def test_every_file_of_the_page_is_there_and_may_be_kept_for_ever() -> None:
    async with open_app() as client:
        page = await client.get("/docs")
        paths = re.findall(r'(?:src|href)="(/docs/assets/[^"]+)"', page.text)
        answers = [await client.get(path) for path in paths]

    assert len(paths) == 4
    for answer in answers:
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-cache"
    kinds = sorted(answer.headers["content-type"].partition(";")[0] for answer in answers)
    assert kinds == ["image/svg+xml", "text/css", "text/javascript", "text/javascript"]


@pytest.mark.parametrize(
    "path", ["/docs/assets/0000000000000000/docs.js", "/docs/assets/x/docs.py", "/docs/assets/x/..%2fdocs.py"]
)
async def test_other_files_are_not_served(path: str) -> None:
    async with open_app() as client:
        assert (await client.get(path)).status_code == 404


async def test_the_page_works_below_a_prefix() -> None:
    async with open_app(root_path="/tools") as client:
        page = await client.get("/tools/docs")

    assert 'data-openapi-url="/tools/openapi.json"' in page.text
    assert 'src="/tools/docs/assets/' in page.text
