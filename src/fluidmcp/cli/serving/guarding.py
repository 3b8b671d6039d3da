"""The guard of `fluidmcp run --oauth` and `--secure`: what it needs, found before anything is served.

Only what starts a gateway imports the libraries that check tokens; mistakes in the settings are told without them.
"""

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_line, print_warning
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.oauth import ACCESS_TOKEN, OAuthSettings, load_oauth_settings, missing_for_login, not_configured
from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import GatewaySettings, is_exposed
from fluidmcp.config.urls import is_loopback_host
from fluidmcp.errors import NotLoggedInError

if TYPE_CHECKING:
    from fluidmcp.guards.gateway_auth import GatewayGuard
    from fluidmcp.guards.gateway_login import ForeignIssuer, GatewayProvider

TOKEN_BYTES: Final = 32
DIGEST_KEY_BYTES: Final = 32
SHORT_TOKEN_CHARACTERS: Final = 16
"""A shorter one could be found by trying."""
TOOLS_LIST: Final = '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarding:
    """A guard at work, and what the operator is told of it."""

    guard: "GatewayGuard | None" = None
    background: Callable[[], Coroutine[Any, Any, None]] | None = None
    """What must run as long as the gateway does."""
    lines: tuple[str, ...] = ()
    token_in_curl: str = ""
    """What stands for the token in the curl line of the start output."""
    gateway_provider: "GatewayProvider | None" = None
    """Where people log in on behalf of MCP clients, which can send one token only."""
    foreign_issuer: "ForeignIssuer | None" = None


def check_guard(settings: GatewaySettings, environ: Mapping[str, str]) -> None:
    """Whether the guard that was asked for can be set up, as far as settings and the login on this machine tell.

    Raises:
        ConfigurationError: a variable is wrong or missing.
        NotLoggedInError: the operator's own login is the only thing to go by, and there is none.
    """
    if settings.guard != "oauth":
        return
    oauth = load_oauth_settings(environ)
    if oauth.access_token is not None or _says_how_others_are_checked(oauth):
        return
    missing = missing_for_login(oauth)
    if missing:
        raise not_configured(missing)

    if deferred.find_token_file(environ).load() is None:
        raise NotLoggedInError(
            "Not logged in",
            why=f"Without {ACCESS_TOKEN} the gateway goes by the login on this machine, and there is none.",
            hint="Run `fluidmcp login`",
        )


@contextlib.asynccontextmanager
async def open_guard(settings: GatewaySettings, environ: Mapping[str, str]) -> AsyncGenerator[Guarding]:
    """The guard that the settings ask for, with what it needs kept open for the length of the block.

    Raises:
        ConfigurationError: nothing can check tokens, or an exposed gateway does not say who is allowed.
        NotLoggedInError, TokenRefreshError: the operator's own login is the only thing to go by, and it is over.
        ProviderUnavailableError, ProviderAnswerError: the provider has to be asked, and does not answer well.
    """
    if settings.guard is None:
        yield Guarding()
    elif settings.guard == "secure":
        yield _open_static_guard(settings)
    else:
        async with _open_oauth_guard(settings, environ) as guarding:
            yield guarding


def announce_guard(guarding: Guarding, entries: Sequence[ServerEntry], settings: GatewaySettings) -> None:
    """Say who is let in, and how to call a guarded package; nothing where nothing is guarded."""
    for line in guarding.lines:
        print_line(line)
    if guarding.guard is None or not entries:
        return
    entry = next((entry for entry in entries if entry.auth is None), entries[0])
    bearer = f'"Authorization: Bearer {guarding.token_in_curl}"'
    if entry.auth is not None:
        bearer = f'"X-FluidMCP-Authorization: Bearer {guarding.token_in_curl}" -H "Authorization: Bearer PACKAGE_TOKEN"'
    print_line(
        f"Try: curl -X POST {settings.public_url}/{entry.name}/mcp -H {bearer} "
        f"-H \"Content-Type: application/json\" -d '{TOOLS_LIST}'"
    )
    with_login = [entry.name for entry in entries if entry.auth is not None]
    if with_login:
        names = ", ".join(with_login)
        print_line(f"The gateway's token goes into X-FluidMCP-Authorization where a package has its own login: {names}")
    if settings.host is not None and not is_loopback_host(settings.host) and settings.public_url.startswith("http:"):
        print_warning(
            "tokens cross the network unencrypted; put a proxy that speaks https in front of the gateway and give its "
            "address with --public-url."
        )


def _open_static_guard(settings: GatewaySettings) -> Guarding:

    token = settings.secure_token
    lines: tuple[str, ...] = ()
    if token is None:
        token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
        lines = (f"Token (made for this run, shown only here): {token.reveal()}",)
    elif len(token.reveal()) < SHORT_TOKEN_CHARACTERS:
        print_warning(f"the token is shorter than {SHORT_TOKEN_CHARACTERS} characters; it could be found by trying.")
    guard = deferred.StaticTokenAuth(token, digest_key=secrets.token_bytes(DIGEST_KEY_BYTES))
    return Guarding(guard=guard, lines=(*guard.describe(), *lines), token_in_curl="YOUR_TOKEN")


@contextlib.asynccontextmanager
async def _open_oauth_guard(settings: GatewaySettings, environ: Mapping[str, str]) -> AsyncGenerator[Guarding]:

    oauth = load_oauth_settings(environ)
    async with contextlib.aclosing(deferred.Fetcher(allow_private=True)) as fetcher:
        operator = deferred.OperatorToken(oauth, token_file=deferred.find_token_file(environ), fetcher=fetcher)
        if not _says_how_others_are_checked(oauth):
            await operator.fresh()
        guard = await deferred.GatewayAuth.create(
            oauth,
            operator=operator,
            fetcher=fetcher,
            digest_key=secrets.token_bytes(DIGEST_KEY_BYTES),
            is_exposed=is_exposed(settings),
        )
        token_in_curl = f"${ACCESS_TOKEN}"
        if not operator.is_from_environment:
            token_in_curl = "YOUR_ACCESS_TOKEN" if operator.login() is None else "$(fluidmcp token)"
        foreign_issuer, provider = None, None
        if oauth.registers_clients and oauth.issuer is not None:
            foreign_issuer = deferred.ForeignIssuer(issuer=oauth.issuer, scopes=oauth.required_scopes)
        else:
            provider = await deferred.GatewayProvider.find(oauth, guard=guard, fetcher=fetcher)
        yield Guarding(
            guard=guard,
            gateway_provider=provider,
            foreign_issuer=foreign_issuer,
            background=None if operator.is_from_environment else operator.keep_fresh,
            lines=guard.describe(),
            token_in_curl=token_in_curl,
        )


def _says_how_others_are_checked(oauth: OAuthSettings) -> bool:
    """Whether the settings go beyond those of a login: then the gateway may run for people other than the operator."""
    return (
        oauth.validation not in (None, "operator")
        or oauth.names_who_is_allowed
        or oauth.allow_unbound_tokens
        or any((oauth.audience, oauth.jwks_uri, oauth.introspection_endpoint, oauth.userinfo_endpoint))
    )
