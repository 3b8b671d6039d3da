"""What a gateway says of its packages, asked over HTTP. Plain requests; nothing of MCP."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Literal, cast
from urllib.parse import quote

import httpx2
import msgspec

from fluidmcp.config.entries import is_package_name
from fluidmcp.errors import GatewayAnswerError, GatewayUnreachableError, UserError

CONNECT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 10.0
"""How long the answers that need no server process may take."""
MAX_ANSWER_BYTES: Final = 1024 * 1024

Look = Literal["open", "login", "token", "missing"]
"""A package that takes everybody; one with a login for clients; one that wants a token from elsewhere (`--secure`);
none of that name.
"""


class Gateway:
    """One gateway at its address (no slash at the end), with the HTTP client for it. Made by `reach`."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self.url = url
        self.http = http

    def endpoint(self, package: str) -> str:
        return f"{self.url}/{quote(package, safe='')}/mcp"

    async def look(self, package: str, authorization: str | None = None) -> Look:
        """Whether there is such a package, and whether it wants a login; no server process is started.

        With an `Authorization` of somebody: whether it takes that, which makes it "open".

        Raises:
            GatewayUnreachableError: nobody answers.
            GatewayAnswerError: what answers is no gateway.
        """
        headers = {} if authorization is None else {"authorization": authorization}
        status, _, challenge = await self._get(self.endpoint(package), {"accept": "text/event-stream", **headers})
        match status:
            case 405:
                return "open"
            case 401 if "resource_metadata" not in challenge:
                return "token"
            case 401 | 403:
                return "login"
            case 404:
                return "missing"
            case _:
                raise self._not_a_gateway(status)

    async def list_packages(self, authorization: str | None = None) -> tuple[str, ...] | None:
        """The names of all packages; None where the gateway does not tell them to this caller.

        Raises as `look`.
        """
        headers = {} if authorization is None else {"authorization": authorization}
        status, body, _ = await self._get(f"{self.url}/health?detail=1", {"accept": "application/json", **headers})
        if status in (401, 403):
            return None
        try:
            document: object = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document = None
        packages = cast("Mapping[str, object]", document).get("packages") if isinstance(document, dict) else None
        if status != 200 or not isinstance(packages, dict):
            raise self._not_a_gateway(status)
        names = tuple(cast("dict[str, object]", packages))
        if not all(map(is_package_name, names)):
            # They go into files of clients and into commands that a person copies.
            raise self._not_a_gateway(status)
        return names

    async def _get(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        """Status, body, and the challenge of a 401."""
        body = bytearray()
        try:
            async with asyncio.timeout(LOOK_SECONDS), self.http.stream("GET", url, headers=dict(headers)) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise self._not_a_gateway(response.status_code)
                return response.status_code, bytes(body), response.headers.get("www-authenticate", "")
        except (httpx2.TransportError, TimeoutError) as error:
            raise explain_transport(error, self.url) from error

    def _not_a_gateway(self, status: int) -> GatewayAnswerError:
        return GatewayAnswerError(
            f"What answers at {self.url} is not a FluidMCP gateway.",
            why=f"It gave an answer with HTTP {status} that no gateway gives.",
            hint="Check --url, and the path in it.",
            status=status,
        )


@asynccontextmanager
async def reach(url: str) -> AsyncGenerator[Gateway]:
    """A client of the gateway at `url`. It trusts the system's certificates and follows no redirect."""
    timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)
    context = ssl.create_default_context()
    async with httpx2.AsyncClient(trust_env=False, timeout=timeout, verify=context) as http:
        yield Gateway(url, http)


async def list_packages(gateway: Gateway, authorization: str | None = None) -> tuple[str, ...]:
    """All packages of the gateway.

    Raises:
        UserError: it does not tell this caller, or there is none.
        And as `Gateway.look`.
    """
    packages = await gateway.list_packages(authorization)
    if packages is None:
        why = "It tells its operator only"
        why += "." if authorization is None else ", and does not take the token that was sent for theirs."
    else:
        why = "It has none."
    if not packages:
        raise UserError(
            f"The gateway at {gateway.url} does not say which packages it has.",
            why=why,
            hint="Name a PACKAGE.",
        )
    return packages


def explain_transport(error: BaseException, url: str) -> GatewayUnreachableError:
    """A failure of the connection, without its foreign words."""
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        why = "It did not answer in time."
    elif isinstance(error, httpx2.ConnectError) and "certificate" in str(error).lower():
        return GatewayUnreachableError(
            f"The gateway at {url} cannot be trusted.",
            why="Its certificate is not one that this machine trusts for that name.",
            hint="Check the name in --url; SSL_CERT_FILE names a file with other certificates to trust.",
        )
    elif isinstance(error, httpx2.ConnectError):
        why = "Nothing answers at that address."
    else:
        why = f"The connection failed ({type(error).__name__})."
    return GatewayUnreachableError(
        f"The gateway at {url} cannot be reached.",
        why=why,
        hint="Start it with fluidmcp run ... --start-server, or name its address with --url.",
    )
