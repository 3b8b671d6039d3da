"""The way of one client, from its first call to the page that asks the person: what it sends, step by step."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlunsplit

from fluidmcp.cli.doctor.walk.address import Address, join_address, list_server_documents, split_address
from fluidmcp.cli.doctor.walk.calls import CALL_SECONDS, Caller
from fluidmcp.cli.doctor.walk.clients import ClientProfile
from fluidmcp.cli.doctor.walk.judgements.connection import judge_failure
from fluidmcp.cli.doctor.walk.judgements.documents import (
    describe_missing_registration,
    judge_registration,
    judge_resource,
    judge_server,
)
from fluidmcp.cli.doctor.walk.judgements.first_call import judge_first_call, judge_rpc_error
from fluidmcp.cli.doctor.walk.judgements.login import OFFLINE, ConsentForm, judge_authorize, read_consent
from fluidmcp.cli.doctor.walk.report import Step, Track
from fluidmcp.cli.doctor.walk.seen import Answer, Failure, Seen, read_challenge, text_of, texts_of
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier

PATIENCE_SECONDS: Final = 2.5
"""How long a first call may be without an answer before somebody asks whether there is anybody."""
HEALTH_SECONDS: Final = 1.0

BROWSER: Final[Mapping[str, str]] = {"accept": "text/html", "user-agent": "Mozilla/5.0 (fluidmcp doctor)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSeen:
    """The page that asks, as one client reached it; `cookies` are those of the browser that would show it."""

    client: ClientProfile
    page: Answer
    form: ConsentForm | None


async def _call_first(client: ClientProfile, address: Address, caller: Caller) -> Seen:
    """The answer to the first call. A server process that is started for it may take its time, if the gateway lives."""
    call = caller.call("POST", address.url, call_headers(client), encode_initialize(client), seconds=CALL_SECONDS)
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(call)
        await asyncio.wait({calling}, timeout=PATIENCE_SECONDS)
        if not calling.done():
            headers = {"accept": "application/json", "accept-encoding": "identity"}
            health = await caller.call("GET", f"{address.base}/health", headers, seconds=HEALTH_SECONDS)
            if isinstance(health, Failure) or health.status != 200:
                calling.cancel()
                return Failure(url=address.url, kind="timeout", seconds=PATIENCE_SECONDS)
    return calling.result()


@dataclass(frozen=True, slots=True)
class Documents:
    """What the authorization server says of itself (RFC 8414), and the scopes that a client asks for."""

    server: Mapping[str, object]
    scopes: tuple[str, ...]


@dataclass(slots=True)
class Way:
    """How far a client came: the answer to its first call, whether that was the call's answer, and the login."""

    first: Answer | None = None
    is_open: bool = False
    documents: Documents | None = None
    login: LoginSeen | None = None


def call_headers(client: ClientProfile) -> dict[str, str]:
    return {
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": client.user_agent,
    }


def encode_initialize(client: ClientProfile) -> bytes:
    """The first call of a client of the handshake era, as all four send it."""
    params = {
        "protocolVersion": client.protocol_version,
        "capabilities": {},
        "clientInfo": {"name": client.name, "version": "fluidmcp doctor"},
    }
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()


async def _end_session(opened: Answer, client: ClientProfile, address: Address, caller: Caller) -> None:
    """A session that is left open keeps its server process until the gateway's limit of idle time."""
    session = opened.header("mcp-session-id")
    if session:
        named = {"mcp-session-id": session, "mcp-protocol-version": client.protocol_version}
        await caller.call("DELETE", address.url, call_headers(client) | named)


async def go(client: ClientProfile, address: Address, caller: Caller, track: Track) -> Way:
    """Walk until the login page, or until something is in the way, which is noted in `track`."""
    way = Way()
    answer = _arrived(await _call_first(client, address, caller), track, "connection")
    if answer is None:
        return way
    track.passed("connection")
    way.first = answer
    wrong = judge_first_call(answer, address)
    if wrong is not None and track.add(wrong):
        return way
    if answer.status == 200:
        failed = judge_rpc_error(answer)
        way.is_open = failed is None or not track.add(failed)
        await _end_session(answer, client, address, caller)
        track.passed("first call")
        return way
    track.passed("first call")
    documents = await _find_login(address, answer, client, caller, track)
    if documents is None:
        return way
    way.documents = documents
    client_id = await _introduce(client, documents.server, address, caller, track)
    if client_id is not None:
        way.login = await _authorize(client, client_id, documents, address, caller, track)
    return way


def _arrived(seen: Seen, track: Track, step: Step) -> Answer | None:
    if isinstance(seen, Failure):
        track.add(judge_failure(seen, step))
        return None
    return seen


async def _find_login(
    address: Address, refusal: Answer, client: ClientProfile, caller: Caller, track: Track
) -> Documents | None:
    """The two documents: of the endpoint (RFC 9728), and of its authorization server (RFC 8414)."""
    challenge = read_challenge(refusal.header("www-authenticate"))
    resource = await _fetch(challenge["resource_metadata"], client, caller, track)
    if resource is None:
        return None
    wrong = judge_resource(resource, address)
    if wrong is not None and track.add(wrong):
        return None
    document = resource.document or {}
    (issuer, *_) = texts_of(document, "authorization_servers")
    server: Answer | None = None
    for url in list_server_documents(issuer):
        found = await _fetch(url, client, caller, track)
        if found is None:
            return None
        server = server or found
        if found.status == 200 and found.document is not None:
            server = found
            break
    assert server is not None
    wrong = judge_server(server, issuer)
    if wrong is not None and track.add(wrong):
        return None
    track.passed("metadata")
    asked = challenge.get("scope", "").split() or texts_of(document, "scopes_supported")
    more = [OFFLINE] if OFFLINE in texts_of(server.document or {}, "scopes_supported") else []
    return Documents(server.document or {}, tuple(dict.fromkeys((*asked, *more))))


async def _fetch(url: str, client: ClientProfile, caller: Caller, track: Track) -> Answer | None:
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": client.user_agent,
        "mcp-protocol-version": client.protocol_version,
    }
    return _arrived(await caller.call("GET", url, headers), track, "metadata")


async def _introduce(
    client: ClientProfile, server: Mapping[str, object], address: Address, caller: Caller, track: Track
) -> str | None:
    """The client id: that of the client's own document where the server reads such, else of a registration."""
    endpoint = text_of(server, "registration_endpoint")
    if client.document_url is not None and reads_documents(server):
        if not address.is_local:
            track.passed("registration")
            return client.document_url
        if not endpoint:
            # A gateway on a desk may have no way out to the client's host: that says nothing about the one people use.
            return None
    if not endpoint:
        track.add(describe_missing_registration(client))
        return None
    content = json.dumps(dict(client.registration)).encode()
    headers = {**call_headers(client), "accept": "application/json"}
    seen = await caller.call("POST", endpoint, headers, content)
    answer = _arrived(seen, track, "registration")
    if answer is None:
        return None
    wrong = judge_registration(answer, client)
    if wrong is not None and track.add(wrong):
        return None
    track.passed("registration")
    return text_of(answer.document or {}, "client_id")


def reads_documents(server: Mapping[str, object]) -> bool:
    """Whether clients show a document of theirs instead of registering: both members must say so."""
    return server.get("client_id_metadata_document_supported") is True and "none" in texts_of(
        server, "token_endpoint_auth_methods_supported"
    )


async def _authorize(
    client: ClientProfile, client_id: str, documents: Documents, address: Address, caller: Caller, track: Track
) -> LoginSeen | None:
    url = build_authorization_url(
        text_of(documents.server, "authorization_endpoint"),
        client_id=client_id,
        redirect_uri=client.redirect_uri,
        scopes=documents.scopes,
        resource=address.url,
        code_challenge=code_challenge_s256(create_code_verifier()),
        state=secrets.token_urlsafe(16),
    )
    page = _arrived(await caller.call("GET", url, BROWSER), track, "authorize")
    if page is None:
        return None
    wrong = judge_authorize(page, client, by_document=client_id == client.document_url)
    if wrong is not None and track.add(wrong):
        return None
    track.passed("authorize")
    return LoginSeen(client=client, page=page, form=read_consent(page))


def build_authorization_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: tuple[str, ...],
    resource: str,
    code_challenge: str,
    state: str,
) -> str:
    """The address that a client opens in the browser (OAuth 2.1 section 4.1.1, RFC 7636, RFC 8707)."""
    parts = split_address(endpoint)
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
        "resource": resource,
    }
    if scopes:
        query["scope"] = " ".join(scopes)
    own = f"{parts.query}&" if parts.query else ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path, own + urlencode(query), ""))


def resolve_form(login: LoginSeen) -> str:
    assert login.form is not None
    return join_address(login.page.url, login.form.action)
