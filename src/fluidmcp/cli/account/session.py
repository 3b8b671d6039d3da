"""What `login`, `logout`, `status` and `token` do: the person's own account at the provider, on this machine."""

import asyncio
import logging
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from fluidmcp.cli.output import print_line, print_warning
from fluidmcp.cli.serving.listening.port_holder import find_port_holder
from fluidmcp.cli.typed_lines import read_typed_lines
from fluidmcp.config.oauth import (
    ACCESS_TOKEN,
    AUTH_ENDPOINT,
    DEVICE_ENDPOINT,
    TOKEN_ENDPOINT,
    OAuthSettings,
    load_oauth_settings,
    missing_for_login,
    not_configured,
)
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import ConfigurationError, LoginError, NotLoggedInError, PortInUseError, UserError
from fluidmcp.oauth_client.discovery import ProviderMetadata, find_provider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.observability.logs import configure_logging
from fluidmcp.operator.browser_flow import FinishedLogin, Person, log_in_with_browser
from fluidmcp.operator.calls.token_files import take_package_logins
from fluidmcp.operator.device_flow import DeviceAuthorization, log_in_with_device
from fluidmcp.operator.operator_token import OperatorToken, is_foreign
from fluidmcp.operator.revocation import Outcome, revoke, revoke_package_login
from fluidmcp.operator.token_file import StoredLogin, TokenFile, find_token_file

_LOG_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
_TOLD_ANYWAY: Final = ("fluidmcp.oauth_client.fetch", "fluidmcp.operator.operator_token")
_REVOKED: Final[Mapping[Outcome, str]] = {
    "revoked": "The provider revoked the tokens.",
    "no_endpoint": "The provider was not told: no revocation endpoint is known. The access token stays good until it "
    "expires; FMCP_OAUTH_REVOCATION_ENDPOINT or FMCP_OAUTH_ISSUER tells where to revoke it.",
    "other_provider": "The provider was not told: the settings name another provider than the one of this login.",
    "unreachable": "The provider could not be reached, so the tokens were not revoked; they stay good until they "
    "expire. You can end the session in your account at the provider.",
    "refused": "The provider did not revoke the tokens; they stay good until they expire. You can end the session in "
    "your account at the provider.",
}


def run_login(*, no_browser: bool, device: bool) -> int:
    """Log in and store the tokens; the exit code.

    Raises:
        UserError, AuthError: whatever kept it from happening; nothing is stored then.
    """
    if no_browser and device:
        raise UserError("--device needs no browser anyway.", hint="Use one of --device and --no-browser.")
    environ = prepare()
    settings = load_oauth_settings(environ)
    missing = missing_for_login(settings, with_device=device)
    if missing:
        raise not_configured(missing)
    token_file = find_token_file(environ)
    token_file.load()  # Whether its place can be trusted, before anybody logs in.
    finished = asyncio.run(_log_in(settings, token_file, environ, no_browser=no_browser, device=device))
    for warning in finished.warnings:
        print_warning(warning)
    if settings.access_token is not None:
        print_warning(f"{ACCESS_TOKEN} is set, and is used instead of this login as long as it is.")
    who = _name_person(finished.login)
    print_line(f"Logged in as {who}." if who else "Logged in.")
    print_line(f"Tokens are stored in {token_file.path}")
    return 0


def run_logout() -> int:
    """Remove the stored login, then try to revoke it; the exit code.

    Raises:
        ConfigurationError: the place of the file cannot be trusted.
    """
    environ = prepare()
    token_file = find_token_file(environ)
    try:
        login = token_file.load()
    except ConfigurationError:
        login = None
    was_there = asyncio.run(_remove(token_file))
    removed, package_logins = take_package_logins(environ)
    if removed:
        print_line(f"Removed {removed} of the logins that fluidmcp call and tools keep.")
        told = asyncio.run(_revoke_package_logins(package_logins))
        if told < removed:
            print_warning(f"The gateways of {removed - told} of them could not be told; they end by themselves.")
    if not was_there:
        if not removed:
            print_line("Not logged in; there was nothing to remove.")
        return 0
    print_line("Logged out.")
    if login is not None:
        try:
            settings = load_oauth_settings(environ)
        except ConfigurationError:
            print_warning("The provider was not told, because the OAuth settings are not valid.")
            return 0
        outcome = asyncio.run(_revoke(login, settings))
        if outcome == "revoked":
            print_line(_REVOKED[outcome])
        else:
            print_warning(_REVOKED[outcome])
    return 0


def show_status() -> int:
    """Who is logged in, until when, with which scopes; the exit code.

    Raises:
        NotLoggedInError: nobody is.
        ConfigurationError: a setting is wrong, or the place of the file cannot be trusted.
    """
    environ = prepare()
    settings = load_oauth_settings(environ)
    if settings.access_token is not None:
        print_line(f"{ACCESS_TOKEN} is set: it is used as it is, and a stored login is not.")
        return 0
    login = find_token_file(environ).load()
    if login is None:
        raise NotLoggedInError("Not logged in", hint="Run `fluidmcp login`")
    for label, value in _describe(login, settings, now=time.time()):
        print_line(f"{label + ':':<11}{value}")
    return 0


def print_token(*, refresh: bool) -> int:
    """Print an access token that is good for now; the exit code.

    Raises:
        UserError: the token is in the environment, where the script can take it from.
        AuthError, ConfigurationError: as `OperatorToken.fresh`.
    """
    environ = prepare()
    settings = load_oauth_settings(environ)
    if settings.access_token is not None:
        raise UserError(
            f"{ACCESS_TOKEN} is set",
            why="It is used as it is, and never printed.",
            hint=f'Write "${ACCESS_TOKEN}" in the script, or unset it to use the stored login.',
        )
    print_line(asyncio.run(fetch_token(settings, find_token_file(environ), refresh=refresh)))
    return 0


async def _log_in(
    settings: OAuthSettings, token_file: TokenFile, environ: Mapping[str, str], *, no_browser: bool, device: bool
) -> FinishedLogin:
    fetcher = Fetcher(allow_private=True)

    async def store(login: StoredLogin) -> None:
        try:
            async with token_file.locked():
                token_file.save(login)
        except TimeoutError as error:
            raise LoginError(
                "The login could not be stored", why="Another fluidmcp process holds the token file.", hint="Try again."
            ) from error

    try:
        if device:
            provider = await _find_endpoints(settings, fetcher, "device_authorization_endpoint", DEVICE_ENDPOINT)
            return await log_in_with_device(
                settings, provider, fetcher=fetcher, show=_show_device_code, store=store, now=time.time
            )
        provider = await _find_endpoints(settings, fetcher, "authorization_endpoint", AUTH_ENDPOINT)
        opens_browser = not no_browser and has_browser(environ)
        with read_typed_lines(None if opens_browser else sys.stdin) as lines:
            person = Person(show_address=_show_or_open(opens_browser), say=print_warning, pasted_lines=lines)
            return await log_in_with_browser(
                settings, provider, fetcher=fetcher, person=person, store=store, now=time.time
            )
    except PortInUseError as error:
        holder = find_port_holder(urlsplit(settings.redirect_uri).port or 80)
        if holder is None:
            raise
        raise PortInUseError(error.what, why=f"{error.why} It is {holder}.", hint=error.hint) from error
    finally:
        await fetcher.aclose()


def _show_or_open(opens_browser: bool) -> Callable[[str], None]:
    def open_it(url: str) -> None:
        print_line("Opening your browser to log in. If it does not open, open this address in it:")
        print_line(f"  {url}")
        open_browser(url)

    def show_it(url: str) -> None:
        print_line("Open this address in a browser to log in:")
        print_line(f"  {url}")
        print_line("If the browser is on another machine, paste the address here at which it ends:")

    return open_it if opens_browser else show_it


async def _find_endpoints(settings: OAuthSettings, fetcher: Fetcher, name: str, variable: str) -> ProviderMetadata:
    provider = await find_provider(settings, fetcher, needs=(name, "token_endpoint"))
    missing = [
        needed
        for field, needed in ((name, variable), ("token_endpoint", TOKEN_ENDPOINT))
        if not getattr(provider, field)
    ]
    if missing:
        raise not_configured(tuple(missing))
    return provider


async def _remove(token_file: TokenFile) -> bool:
    """Remove the file, under the lock so that no refresh brings it back; without it when it does not come free."""
    with suppress(TimeoutError):
        async with token_file.locked():
            return token_file.remove()
    return token_file.remove()


async def _revoke(login: StoredLogin, settings: OAuthSettings) -> Outcome:
    fetcher = Fetcher(allow_private=True)
    try:
        return await revoke(login, settings, fetcher)
    finally:
        await fetcher.aclose()


async def _revoke_package_logins(logins: list[StoredLogin]) -> int:
    """How many of them their gateways have ended."""
    fetcher = Fetcher(allow_private=True)
    try:
        outcomes = await asyncio.gather(*(revoke_package_login(login, fetcher) for login in logins))
    finally:
        await fetcher.aclose()
    return outcomes.count("revoked")


async def fetch_token(settings: OAuthSettings, token_file: TokenFile, *, refresh: bool) -> str:
    """An access token of the operator that is good for now. Raises as `OperatorToken.fresh`."""
    fetcher = Fetcher(allow_private=True)
    try:
        operator = OperatorToken(settings, token_file=token_file, fetcher=fetcher)
        return (await operator.fresh(force=refresh)).reveal()
    finally:
        await fetcher.aclose()


def prepare() -> Mapping[str, str]:
    """The environment, with logs that say no more than the command itself."""
    environ = read_environment()
    level = environ.get("FMCP_LOG_LEVEL", "").strip().lower()
    if level in _LOG_LEVELS:
        configure_logging(level)
    else:
        configure_logging("warning")
        # What these warn of ends as the command's own error or warning.
        for name in _TOLD_ANYWAY:
            logging.getLogger(name).setLevel(logging.ERROR)
    return environ


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a window can be expected to open: BROWSER is set, or there is a screen. (Else a text browser might.)"""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def open_browser(url: str) -> None:
    """Open it without a shell, and without waiting: some browsers return when they are closed."""

    def open_it() -> None:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(url)

    threading.Thread(target=open_it, name="browser", daemon=True).start()


def _show_device_code(authorization: DeviceAuthorization) -> None:
    print_line("Open this address on any device:")
    print_line(f"  {authorization.verification_uri}")
    print_line("and enter this code:")
    print_line(f"  {authorization.user_code}")
    if authorization.verification_uri_complete is not None:
        print_line("or open this address, which has the code in it:")
        print_line(f"  {authorization.verification_uri_complete}")
    print_line("Waiting for you to finish there...")


def _describe(login: StoredLogin, settings: OAuthSettings, *, now: float) -> list[tuple[str, str]]:
    lines = [("Logged in", _name_person(login) or "yes (the provider did not say who it is)")]
    if login.issuer is not None or login.token_endpoint is not None:
        lines.append(("Provider", login.issuer or login.token_endpoint or ""))
    lines.append(("Token", _describe_end(login, now)))
    lines.append(("Scopes", login.scope or "not known"))
    if is_foreign(login, settings):
        lines.append(("Note", "the settings name another provider or client; this login is not used with them"))
    return lines


def _describe_end(login: StoredLogin, now: float) -> str:
    renewal = "it is refreshed when needed" if login.refresh_token is not None else "it cannot be refreshed"
    if login.is_refresh_refused:
        renewal = "the provider refused to refresh it; run `fluidmcp logout` and then `fluidmcp login`"
    if login.expires_at is None:
        return f"the provider did not say when it expires; {renewal}"
    end = datetime.fromtimestamp(login.expires_at, UTC).isoformat(sep=" ", timespec="seconds")
    return f"{'good until' if now < login.expires_at else 'expired at'} {end}; {renewal}"


def _name_person(login: StoredLogin) -> str:
    if login.email is not None:
        return login.email if login.subject is None else f"{login.email} (subject {login.subject})"
    return "" if login.subject is None else f"subject {login.subject}"
