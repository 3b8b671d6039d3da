"""What `fluidmcp doctor PACKAGE` looks at: the login of one package, and the provider behind it. Nothing is logged in.

Endpoints are asked what anybody may ask, and get no credential: see `checks`.
"""

import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fluidmcp.cli.doctor.checks import (
    Finding,
    describe_error,
    ok,
    problem,
    read_login_page,
    read_token_page,
    warning,
)
from fluidmcp.cli.serving.checks import check_launch
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.config.logins.read import list_logins
from fluidmcp.config.providers.describe import facts
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.table import find_preset
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import ConfigurationError, FluidMCPError, ProviderAnswerError, ProviderUnavailableError
from fluidmcp.guards.package_auth import PackageAuth
from fluidmcp.oauth_client.discovery import ProviderMetadata, discover
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.packages.catalogue.wrong_variables import find_wrong_variables
from fluidmcp.store.deny_list import DenyList, MemoryPlace
from fluidmcp.store.memory import MemoryStore

DIGEST_KEY_BYTES: Final = 32
_HINTS: Final[Mapping[str, str]] = {
    "invalid_scope": "Correct scopes: the provider has to know each, and allow it for this client.",
    "unauthorized_client": "Allow the authorization code grant for this client at the provider.",
    "invalid_client": "Check the client id.",
    "redirect_uri_mismatch": "Register the redirect URI letter by letter.",
}


def check_server(entry: ServerEntry, environ: Mapping[str, str]) -> Finding:
    """Whether the server could be started, as far as that shows without starting it."""
    subject = "server"
    try:
        check_launch(entry, environ)
    except ConfigurationError as error:
        return describe_error(subject, error)
    return ok(subject, "its command is there, and what it needs is set; run without --start-server starts it once")


async def find_package_problems(
    entry: ServerEntry, environ: Mapping[str, str], *, public_url: str, fetcher: Fetcher
) -> AsyncGenerator[Finding]:
    """The findings about the logins of one entry, as they are made."""
    if entry.auth is None:
        yield ok("auth", f"{entry.name} has no auth block: nobody logs in to it")
    for wrong in find_wrong_variables(entry):
        yield warning("variable", wrong.text, "Change it there, unless you know better.")
    services = _build_services(public_url=public_url, fetcher=fetcher)
    for name, block in list_logins(entry.auth):
        if isinstance(block, KeysBlock):
            names = ", ".join(key.label for key in block.keys)
            yield ok("keys", f"people give {names} ({' or '.join(block.keys_from)})")
            if block.verify is not None:
                yield await _check_verify(block.verify.url, fetcher)
            continue
        if name:
            yield ok("login", name)
        auth = PackageAuth(entry, environ, services, login=name)
        async for finding in _find_login_problems(block, auth, environ, fetcher):
            yield finding


async def _find_login_problems(
    block: AuthBlock, auth: PackageAuth, environ: Mapping[str, str], fetcher: Fetcher
) -> AsyncGenerator[Finding]:
    preset = find_preset(block.provider)
    yield _check_client(block, preset, auth, environ)
    yield _check_redirect_uri(preset, auth.redirect_uri)
    if block.issuer is not None:
        found, metadata = await _check_discovery(block, block.issuer, fetcher)
        yield found
        if metadata is not None and metadata.scopes_supported:
            yield _check_scopes(block, metadata.scopes_supported)
    if not auth.missing_variables:
        yield await _check_login_page(auth, block.provider, fetcher)
    yield await _check_token_endpoint(block, fetcher)
    if preset is not None:
        members = ", ".join(name for name, _ in preset.answer)
        yield replace(ok("token answer", f"holds {members}"), details=tuple(f"{a}: {b}" for a, b in facts(preset)))


async def _check_verify(url: str, fetcher: Fetcher) -> Finding:
    """What the address says that is asked whether keys are good, to somebody without any: it has to refuse them."""
    subject, host = "verify", urlsplit(url).netloc
    try:
        status = (await fetcher.get(url)).status
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        return describe_error(subject, error, hint="Check verify.url: it is called as it stands, and never elsewhere.")
    if 200 <= status < 300:
        text = f"{host} answers {status} without any key, so that every key would be good"
        return problem(subject, text, "Write a verify.url that the API answers to good keys only.")
    if status in (404, 405, 410):
        text = f"{host} answers {status} without a key, as if there were no such address: every key would be refused"
        return warning(subject, text, "Check verify.url.")
    if status >= 500 or status in (408, 429):
        return warning(subject, f"{host} answers {status}: keys cannot be checked now", "Try again later.")
    return ok(subject, f"{host} refuses who has no key")


def _build_services(*, public_url: str, fetcher: Fetcher) -> LoginServices:
    """What logins are built from, as a gateway would have it, which remembers nothing for long."""
    stores = [MemoryStore(max_entries=10) for _ in range(4)]
    return LoginServices(
        public_url=public_url,
        digest_key=secrets.token_bytes(DIGEST_KEY_BYTES),
        sealer=Sealer(()),
        fetcher=fetcher,
        pending_auth_states=stores[0],
        handed_out=stores[1],
        grants=stores[2],
        codes=stores[3],
        deny_list=DenyList(MemoryPlace()),
    )


def _check_client(block: AuthBlock, preset: Preset | None, auth: PackageAuth, environ: Mapping[str, str]) -> Finding:
    subject = "client"
    if auth.missing_variables:
        names = " and ".join(auth.missing_variables)
        return problem(subject, f"not set: {names}", "Export what the provider gave you.")
    name = block.client_secret_env
    if name is not None and environ.get(name):
        return ok(subject, "client id and client secret are set")
    if name is not None and preset is not None and preset.needs_secret:
        return problem(subject, f"not set: {name}; {preset.title} wants a client secret", f"Export {name}.")
    return ok(subject, "the client id is set; no client secret will be sent")


def _check_redirect_uri(preset: Preset | None, redirect_uri: str) -> Finding:
    subject = "redirect URI"
    if preset is not None and preset.https_redirect and not redirect_uri.startswith("https:"):
        hint = "Reach the gateway over https, and say so: --public-url https://..."
        return problem(subject, f"{redirect_uri} is not https, which {preset.title} wants", hint)
    return ok(subject, f"register {redirect_uri}")


async def _check_discovery(block: AuthBlock, issuer: str, fetcher: Fetcher) -> tuple[Finding, ProviderMetadata | None]:
    """Whether the document of the issuer names the endpoints of the block."""
    subject = "discovery"
    try:
        metadata = await discover(issuer, fetcher, trusted_endpoints=(block.authorization_url, block.token_url))
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        # What discovery advises is about the variables of the gateway's own login.
        hint = error.hint if isinstance(error, ProviderUnavailableError) else "Check issuer."
        return replace(describe_error(subject, error, hint=hint), level="warning"), None
    pairs = (
        ("authorization_url", block.authorization_url, metadata.authorization_endpoint),
        ("token_url", block.token_url, metadata.token_endpoint),
    )
    other = [name for name, ours, theirs in pairs if theirs is not None and ours != theirs]
    if other:
        return warning(
            subject, f"{issuer} names another {' and '.join(other)}", "Correct the one or the other."
        ), metadata
    return ok(subject, f"{issuer} names the same endpoints"), metadata


def _check_scopes(block: AuthBlock, known: tuple[str, ...]) -> Finding:
    unknown = [scope for scope in block.scopes if scope not in known]
    if unknown:
        # Many list the scopes of OpenID Connect only.
        text = f"not in the list that the provider publishes: {', '.join(unknown)}"
        return warning("scopes", text, "Look them up in the provider's documentation.")
    return ok("scopes", "the provider publishes each of them")


async def _check_login_page(auth: PackageAuth, provider: str, fetcher: Fetcher) -> Finding:
    """Whether the authorization endpoint answers, and accepts client id, redirect URI and scopes."""
    subject = "authorization endpoint"
    try:
        start = await auth.begin_login(client_address="127.0.0.1")
        answer = await fetcher.look(_ask_silently(start.location))
    except FluidMCPError as error:
        return describe_error(subject, error, hint=error.hint or "Check authorization_url.")
    return judge_login_page(answer, auth.redirect_uri, provider=provider)


def judge_login_page(answer: FetchAnswer, redirect_uri: str, *, provider: str = "") -> Finding:
    """What the answer to a silent login request says of an auth block with this preset, if any. Pure."""
    what_to_click = f" with: fluidmcp providers {provider}" if provider else ", letter by letter, with the auth block"
    return read_login_page(
        answer,
        redirect_uri,
        address="authorization_url",
        client_id="the client id",
        hints=_HINTS,
        other_hint=f"Compare the client at the provider{what_to_click}",
    )


def _ask_silently(location: str) -> str:
    parts = urlsplit(location)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"prompt": "none"}
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


async def _check_token_endpoint(block: AuthBlock, fetcher: Fetcher) -> Finding:
    subject = "token endpoint"
    grant = {"grant_type": "authorization_code"}
    try:
        if block.token_request == "json":
            answer = await fetcher.post_json(block.token_url, grant)
        else:
            answer = await fetcher.post_form(block.token_url, grant)
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        return describe_error(subject, error, hint=error.hint or "Check token_url.")
    finding = read_token_page(answer)
    return finding if finding.level == "ok" else replace(finding, hint="Check token_url.")
