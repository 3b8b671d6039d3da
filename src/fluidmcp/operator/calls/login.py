"""The login of an MCP client at a package, for the person at this machine, and where its tokens are kept.

2025-11-25 and 2026-07-28, "Authorization": the refusal names a document (RFC 9728), that one the authorization server
(RFC 8414), where we register (RFC 7591) and log in with PKCE at a loopback address (RFC 8252). The tokens lie beside
those of `fluidmcp login`, under the same rules: a file for each address, readable by its owner alone.
"""

import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from fluidmcp.config.urls import check_url
from fluidmcp.errors import (
    LoginError,
    NotLoggedInError,
    ProviderAnswerError,
    ProviderUnavailableError,
)
from fluidmcp.oauth_client.discovery import ProviderMetadata, discover
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from fluidmcp.oauth_client.target import is_loopback_host
from fluidmcp.oauth_client.token_endpoint import (
    ProviderClient,
    TokenAnswer,
    authorization_code_grant,
    refresh_token_grant,
    request_token,
)
from fluidmcp.operator import browser_flow
from fluidmcp.operator.calls.caller import TokenSource
from fluidmcp.operator.loopback import CallbackListener, listen
from fluidmcp.operator.native_client import choose_redirect_uri, describe_client
from fluidmcp.operator.operator_token import store_answer
from fluidmcp.operator.token_file import StoredLogin, TokenFile

EARLY_SECONDS: Final = 10.0
"""A token that ends so soon is renewed first."""
CLIENT_NAME: Final = "FluidMCP command line"

_PARAMETER: Final = re.compile(r'([a-z_]+)="([^"\\]*)"')
_AGAIN: Final = "Run the command again."


@dataclass(frozen=True, slots=True)
class Resource:
    """What the document of a package says of its login."""

    issuer: str
    scopes: tuple[str, ...]


class PackageLogin(TokenSource):
    """Tokens for one address: stored, renewed, or from a new login."""

    def __init__(
        self,
        url: str,
        *,
        file: TokenFile,
        fetcher: Fetcher,
        person: browser_flow.Person | None,
        why_nobody: str = "Nobody can be asked here.",
        now: Callable[[], float] = time.time,
    ) -> None:
        """`person` is who can log in; None: nobody, and `why_nobody` tells why."""
        self._url = url
        self._file = file
        self._fetcher = fetcher
        self._person = person
        self._why_nobody = why_nobody
        self._now = now

    async def find(self) -> str | None:
        """The stored token, renewed if it is about to end; None where there is none, or it cannot be renewed.

        Raises:
            ConfigurationError: the place of the tokens cannot be trusted.
        """
        login = self._file.load()
        if login is None:
            return None
        if login.expires_at is None or self._now() < login.expires_at - EARLY_SECONDS:
            return login.access_token.reveal()
        return await self._renew(login)

    async def replace(self, refused: str | None, challenge: str) -> str:
        """A renewed token, else one from a login.

        Raises:
            NotLoggedInError: nobody can log in here, or the package takes no login.
            LoginError: the login failed.
            ConfigurationError, PortInUseError: the place of the tokens cannot be trusted; no port is free.
        """
        login = self._file.load()
        if login is not None and refused is not None:
            if login.access_token.reveal() != refused:
                return login.access_token.reveal()
            if (renewed := await self._renew(login)) is not None:
                return renewed
        parameters = dict(_PARAMETER.findall(challenge))
        address = parameters.get("resource_metadata")
        if address is None:
            raise NotLoggedInError(
                f"{self._url} wants a token, and names no login that leads to one.",
                hint="Give the token of the gateway with --token-env NAME, the variable that holds it.",
            )
        if self._person is None:
            raise NotLoggedInError(
                f"{self._url} needs a login.",
                why=self._why_nobody,
                hint="Call it once from a terminal, without --no-login: the login is kept for the next time.",
            )
        try:
            return await self._log_in(address, parameters.get("scope"), self._person)
        except (ProviderAnswerError, ProviderUnavailableError) as error:
            raise LoginError("The login at the gateway failed.", why=error.why or error.what, hint=_AGAIN) from error

    async def _renew(self, login: StoredLogin) -> str | None:
        """The token of a renewed login; None where that is not possible, and the old one is forgotten then."""
        async with self._held():
            current = self._file.load()
            if current is not None and current.access_token.reveal() != login.access_token.reveal():
                return current.access_token.reveal()
            if login.refresh_token is None or login.token_endpoint is None or login.client_id is None:
                self._file.remove()
                return None
            try:
                answer = await request_token(
                    self._fetcher,
                    token_url=login.token_endpoint,
                    client=ProviderClient(client_id=login.client_id),
                    grant={**refresh_token_grant(login.refresh_token.reveal()), "resource": self._url},
                )
            except ProviderAnswerError as error:
                if error.provider_error != "invalid_grant":
                    # Somebody else's page, or a fault of a moment: the login may still be good.
                    why = error.why or error.what
                    raise LoginError("The login could not be renewed.", why=why, hint=_AGAIN) from error
                self._file.remove()
                return None
            except ProviderUnavailableError as error:
                raise LoginError("The login could not be renewed.", why=error.why, hint="Try again.") from error
            renewed = self._keep(
                answer, token_endpoint=login.token_endpoint, client_id=login.client_id, issuer=login.issuer
            )
            if renewed.refresh_token is None:
                renewed = replace(renewed, refresh_token=login.refresh_token)
            self._file.save(renewed)
            return renewed.access_token.reveal()

    @asynccontextmanager
    async def _held(self) -> AsyncGenerator[None]:
        """The file of logins, for this command alone. Raises LoginError: another one has it all the time."""
        try:
            async with self._file.locked():
                yield
        except TimeoutError:
            raise LoginError("Another command holds the stored logins.", hint="Try again.") from None

    async def _log_in(self, address: str, scope: str | None, person: browser_flow.Person) -> str:
        resource = await self._find_resource(address)
        server = await discover(resource.issuer, self._fetcher)
        server.require_s256()
        if server.authorization_endpoint is None or server.token_endpoint is None:
            raise LoginError("The authorization server does not say where to log in.", hint="Ask its operator.")
        redirect_uri = choose_redirect_uri()
        client_id = await self._register(server, redirect_uri)
        state, verifier = secrets.token_urlsafe(32), create_code_verifier()
        location = _add_parameters(
            server.authorization_endpoint,
            {
                "response_type": "code",
                "client_id": client_id,
                "redirect_uri": redirect_uri,
                "scope": scope if scope is not None else " ".join(resource.scopes),
                "state": state,
                "code_challenge": code_challenge_s256(verifier),
                "code_challenge_method": "S256",
                "resource": self._url,
            },
        )
        async with listen(redirect_uri, state=state) as listener:
            person.show_address(location)
            code = await _wait_for_code(listener, person, redirect_uri, state, server)
            grant = authorization_code_grant(code=code, code_verifier=verifier, redirect_uri=redirect_uri)
            answer = await request_token(
                self._fetcher,
                token_url=server.token_endpoint,
                client=ProviderClient(client_id=client_id),
                grant={**grant, "resource": self._url},
            )
            login = self._keep(
                answer, token_endpoint=server.token_endpoint, client_id=client_id, issuer=resource.issuer
            )
            async with self._held():
                self._file.save(login)
            listener.report(is_logged_in=True)
        return login.access_token.reveal()

    async def _find_resource(self, address: str) -> Resource:
        """RFC 9728 section 3.3: the document is for exactly this address; and it stands on the gateway itself."""
        if _origin(address) != _origin(self._url):
            raise LoginError("The gateway names another host for its login.", why="It is not trusted.")
        document = _read_object(await self._fetcher.get(address))
        servers, scopes = document.get("authorization_servers"), document.get("scopes_supported")
        if document.get("resource") != self._url:
            raise LoginError(
                "The login is for another address than the one that was called.",
                why=f"The gateway calls itself something else than {self._url}.",
                hint="Use the address that its start output prints, or set --public-url at the gateway.",
            )
        if not isinstance(servers, list) or not servers or not isinstance(servers[0], str):
            raise LoginError("The gateway names no authorization server.", hint="Ask its operator.")
        if not _may_send_us_to(servers[0], self._url):
            raise LoginError("The gateway names an authorization server that is not trusted.", hint="Ask its operator.")
        listed = cast("list[object]", scopes) if isinstance(scopes, list) else []
        return Resource(servers[0], tuple(scope for scope in listed if isinstance(scope, str)))

    async def _register(self, server: ProviderMetadata, redirect_uri: str) -> str:
        """RFC 7591, as a public client of a device."""
        if server.registration_endpoint is None:
            raise LoginError(
                "The authorization server takes no registrations.",
                why="Its operator enters the clients.",
                hint="Get a token in a client that is entered, and give it with --token-env NAME.",
            )
        metadata = describe_client(CLIENT_NAME, redirect_uri)
        answer = await self._fetcher.post_json(server.registration_endpoint, metadata)
        client_id = _read_object(answer).get("client_id")
        if answer.status not in (200, 201) or not isinstance(client_id, str):
            raise LoginError(
                "The gateway did not register this client.", why=f"It answered with HTTP {answer.status}.", hint=_AGAIN
            )
        return client_id

    def _keep(self, answer: TokenAnswer, *, token_endpoint: str, client_id: str, issuer: str | None) -> StoredLogin:
        login = store_answer(
            answer, token_endpoint=token_endpoint, client_id=client_id, requested_scope=None, now=self._now()
        )
        return replace(login, issuer=issuer)


async def _wait_for_code(
    listener: CallbackListener,
    person: browser_flow.Person,
    redirect_uri: str,
    state: str,
    server: ProviderMetadata,
) -> str:
    try:
        parameters = await browser_flow.wait_with_limit(listener, person, redirect_uri, state)
        return browser_flow.read_code(parameters, server)
    except LoginError as error:
        raise LoginError(error.what, why=error.why, hint=_AGAIN) from error


def _read_object(answer: FetchAnswer) -> Mapping[str, object]:
    try:
        document: object = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise LoginError("The gateway's answer about its login is none.", why=f"HTTP {answer.status}.", hint=_AGAIN)
    return cast("dict[str, object]", document)


def _add_parameters(url: str, parameters: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode({k: v for k, v in parameters.items() if v})) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _may_send_us_to(issuer: str, gateway: str) -> bool:
    """No gateway elsewhere has its login on this machine: it would make us, and a browser, call what listens here."""
    if check_url(issuer) is not None:
        return False
    return is_loopback_host(urlsplit(gateway).hostname or "") or not is_loopback_host(urlsplit(issuer).hostname or "")


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.lower()
