"""What `fluidmcp doctor` does: one check after the other, one line each, and an exit code."""

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from fluidmcp.cli.doctor.checks import (
    Finding,
    check_clock,
    check_discovery,
    check_login_page,
    check_login_settings,
    check_other_endpoints,
    check_pkce,
    check_redirect_uri,
    check_token_endpoint,
    check_token_file,
    describe_error,
    ok,
    problem,
    warning,
)
from fluidmcp.cli.doctor.package import check_server, find_package_problems
from fluidmcp.cli.doctor.printing import Printer
from fluidmcp.cli.doctor.shared import check_shared
from fluidmcp.cli.files.checking import answer_for_now
from fluidmcp.cli.given_token import parse_token
from fluidmcp.cli.serving.sources import load_target, nothing_to_run
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.oauth import ALLOWED_EMAIL_DOMAINS, ALLOWED_SUBJECTS, OAuthSettings, load_oauth_settings
from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import GatewaySettings, is_exposed, load_settings, read_environment
from fluidmcp.errors import (
    ConfigurationError,
    FluidMCPError,
    ForbiddenError,
    NotLoggedInError,
    ProviderUnavailableError,
    UnauthorizedError,
)
from fluidmcp.guards.gateway_auth import OPERATOR_ISSUER, GatewayAuth
from fluidmcp.oauth_client.discovery import ProviderMetadata
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.token_endpoint import MAX_TOKEN_CHARACTERS
from fluidmcp.observability.logs import configure_logging
from fluidmcp.operator.operator_token import OperatorToken
from fluidmcp.operator.token_file import find_token_file
from fluidmcp.packages.resolve import ALL, is_servers_file
from fluidmcp.packages.servers_file import ReadingOptions

DIGEST_KEY_BYTES: Final = 32
_TOKEN_SUBJECT: Final = "token"


def run_doctor(*, with_token: bool, as_json: bool) -> int:
    """Check the set-up that the environment describes, print the findings, and return the exit code.

    Raises:
        UserError: a token was announced, and what came on standard input is none.
    """
    environ = read_environment()
    _log_little(environ)
    token = _read_token() if with_token else None
    printer = Printer(environ, as_json=as_json)
    asyncio.run(printer.take_all(find_problems(environ, token=token)))
    return printer.conclude()


def run_package_doctor(target: str, *, public_url: str | None, allow_env: Sequence[str], as_json: bool) -> int:
    """Check servers and logins of what `fluidmcp run` would serve, print the findings, and return the exit code.

    Nothing is installed, and inputs are not asked for.

    Raises:
        UserError: there is no such package or file, or it cannot be read.
    """
    environ = read_environment()
    _log_little(environ)
    is_file = is_servers_file(target, working_directory=Path.cwd())
    settings = load_settings(
        environ, public_url=public_url, allow_env=allow_env, single_package=not is_file and target != ALL
    )
    options = ReadingOptions(
        environ=environ,
        home=environ.get("HOME", ""),
        allowed_env_names=settings.allowed_env_names,
        ask=answer_for_now,
    )
    loaded = load_target(target, options, is_file=is_file)
    if not loaded.servers and not loaded.refused:
        raise nothing_to_run(target, loaded.disabled)
    printer = Printer(environ, as_json=as_json)
    for refused in loaded.refused:
        printer.take(describe_error("entry", refused.error), package=refused.name)
    asyncio.run(_examine_entries(loaded.entries, environ, settings, printer))
    return printer.conclude()


async def _examine_entries(
    entries: Sequence[ServerEntry], environ: Mapping[str, str], settings: GatewaySettings, printer: Printer
) -> None:
    # It reaches what a gateway with these settings would reach, and nothing else.
    async with contextlib.aclosing(Fetcher(allow_private=settings.allow_private_providers)) as fetcher:
        for entry in entries:
            if len(entries) > 1:
                printer.begin(entry.name)
            printer.take(check_server(entry, environ), package=entry.name)
            findings = find_package_problems(entry, environ, public_url=settings.public_url, fetcher=fetcher)
            await printer.take_all(findings, package=entry.name)


def _log_little(environ: Mapping[str, str]) -> None:
    """What would be logged as a warning is a finding here."""
    is_debugging = environ.get("FMCP_LOG_LEVEL", "").strip().lower() == "debug"
    configure_logging("debug" if is_debugging else "error")


async def find_problems(
    environ: Mapping[str, str], *, token: Secret | None = None, now: Callable[[], float] = time.time
) -> AsyncGenerator[Finding]:
    """The findings about the set-up that a snapshot of the environment describes, as they are made."""
    try:
        settings = load_oauth_settings(environ)
        gateway = load_settings(environ)
        token_file = find_token_file(environ)
    except ConfigurationError as error:
        yield describe_error("settings", error)
        return
    if gateway.redis_url is not None:
        yield await check_shared(gateway.redis_url)
    yield check_login_settings(settings)
    async with contextlib.aclosing(Fetcher(allow_private=True)) as fetcher:
        known = await check_discovery(settings, fetcher)
        yield known.finding
        async for finding in _check_provider(settings, known.provider, known.pkce_methods, fetcher, now):
            yield finding
        for finding in check_token_file(token_file, settings, now=now()):
            yield finding
        operator = OperatorToken(settings, token_file=token_file, fetcher=fetcher, now=now)
        async for finding in _check_guard(settings, operator, fetcher, token, is_exposed=is_exposed(gateway), now=now):
            yield finding


async def _check_provider(
    settings: OAuthSettings,
    provider: ProviderMetadata,
    pkce_methods: tuple[str, ...] | None,
    fetcher: Fetcher,
    now: Callable[[], float],
) -> AsyncGenerator[Finding]:
    if provider.authorization_endpoint is not None:
        yield check_pkce(pkce_methods)
        yield check_redirect_uri(settings)
        if settings.client_id is not None:
            yield await check_login_page(settings, provider, fetcher)
    if provider.token_endpoint is not None:
        before = now()
        finding, date = await check_token_endpoint(provider.token_endpoint, fetcher)
        yield finding
        if finding.level != "problem":
            yield check_clock(date, before=before, after=now())
    for finding in await check_other_endpoints(provider, fetcher):
        yield finding


async def _check_guard(
    settings: OAuthSettings,
    operator: OperatorToken,
    fetcher: Fetcher,
    token: Secret | None,
    *,
    is_exposed: bool,
    now: Callable[[], float],
) -> AsyncGenerator[Finding]:
    """How `run --oauth` would check tokens, and whether it would let one in."""
    subject = "run --oauth"
    try:
        guard = await GatewayAuth.create(
            settings,
            operator=operator,
            fetcher=fetcher,
            digest_key=secrets.token_bytes(DIGEST_KEY_BYTES),
            is_exposed=is_exposed,
            now=now,
        )
    except NotLoggedInError as error:
        yield warning(subject, "would not start before somebody logs in", error.hint)
        return
    except FluidMCPError as error:
        yield describe_error(subject, error)
        return
    for line in guard.describe():
        yield ok(subject, line)
    if token is not None:
        yield await _check_token(guard, token)


async def _check_token(guard: GatewayAuth, token: Secret) -> Finding:
    """Whether this token would be let in; if not, what each way to check tokens says about it."""
    try:
        principal = await guard.authenticate(token.reveal())
    except (UnauthorizedError, ForbiddenError, ProviderUnavailableError) as error:
        reasons = await guard.explain(token.reveal())
        return replace(_describe_refusal(error), details=reasons)
    if principal.issuer == OPERATOR_ISSUER:
        return ok(_TOKEN_SUBJECT, "would be let in: it is your own")
    # A token without a person stands for itself.
    who = "nobody in particular" if principal.subject.startswith("token:") else principal.subject
    return ok(_TOKEN_SUBJECT, f"would be let in, as {who} of {principal.issuer}")


def _describe_refusal(error: FluidMCPError) -> Finding:
    if isinstance(error, ProviderUnavailableError):
        return problem(_TOKEN_SUBJECT, "cannot be checked now, and would get a 503", "See which check failed:")
    if isinstance(error, UnauthorizedError):
        hint = "Log in with the settings that your provider's page in docs/providers gives for other people."
        return problem(_TOKEN_SUBJECT, "is not good here, and would get a 401", hint)
    if isinstance(error, ForbiddenError) and error.reason is not None:
        return problem(_TOKEN_SUBJECT, f"lacks scopes, and would get a 403; wanted: {error.scope}", error.hint)
    hint = f"Name this person in {ALLOWED_SUBJECTS}, or their domain in {ALLOWED_EMAIL_DOMAINS}."
    return problem(_TOKEN_SUBJECT, "is good, but its owner is not let in (403)", hint)


def _read_token() -> Secret:
    """The token on standard input, without `Bearer`; typed unseen where somebody sits there."""
    if sys.stdin.isatty():
        text = str(click.prompt("Token", hide_input=True, err=True))
    else:
        text = sys.stdin.buffer.read(MAX_TOKEN_CHARACTERS + 100).decode("ascii", "replace")
    return parse_token(text, place="on standard input", hint="Run: fluidmcp token | fluidmcp doctor --token")
