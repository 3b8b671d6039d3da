"""deploy/nginx.conf: the text of docs/scaling.md and of compose, read by a real nginx, and at work."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests import parts
from tests.acceptance.nginx import HOST, read_block, serving_as_shown
from tests.deploy.shipped import COMPOSE, DEPLOY, read_services
from tests.deploy.three import CLIENTS, NUMBERS, calling, speak_by_sse, three_gateways

PAGE: Final = parts.ROOT / "docs" / "scaling.md"
LIMIT_SECONDS: Final = 90.0


def test_the_page_the_file_and_that_of_compose_are_one_text() -> None:
    shipped = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert shipped == read_block("nginx", PAGE) + "\n"
    for number in NUMBERS:
        address = read_services()[f"gateway-{number}"]["networks"]["front"]["ipv4_address"]
        shipped = shipped.replace(f"127.0.0.1:810{number}", f"{address}:8099")
    changes = {
        f"server_name {HOST};": "server_name _;",
        f"/etc/nginx/{HOST}.pem": "/etc/nginx/tls/fullchain.pem",
        f"/etc/nginx/{HOST}.key": "/etc/nginx/tls/privkey.pem",
    }
    for shown, there in changes.items():
        shipped = shipped.replace(shown, there)
    assert shipped == (COMPOSE / "nginx.conf").read_text(encoding="utf-8")


@pytest.mark.needs("nginx")
async def test_messages_of_an_http_sse_client_find_the_gateway_of_its_stream(tmp_path: Path) -> None:
    """They have no token and no session header: without the name in their query, two of three would go astray."""
    async with asyncio.timeout(LIMIT_SECONDS), three_gateways(tmp_path) as three:
        changes = {f"127.0.0.1:810{n}": f"127.0.0.1:{three.ports[f'gateway-{n}']}" for n in NUMBERS}
        async with (
            serving_as_shown(tmp_path, PAGE, changes, port=three.port) as authority,
            calling(three.url, authority) as http,
        ):
            names = await asyncio.gather(*(speak_by_sse(http) for _ in range(CLIENTS)))
    assert {*names} <= {*three.ports}
