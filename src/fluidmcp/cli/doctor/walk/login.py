"""The rest of the way with a person who logs in: code, token, renewal, and at the end the tokens are revoked."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlencode

from fluidmcp.cli.doctor.walk.address import Address
from fluidmcp.cli.doctor.walk.calls import Caller
from fluidmcp.cli.doctor.walk.judgements.connection import judge_failure
from fluidmcp.cli.doctor.walk.judgements.tokens import judge_login_answer, judge_refresh_token, judge_token_answer
from fluidmcp.cli.doctor.walk.report import Diagnosis, Step, Track
from fluidmcp.cli.doctor.walk.seen import Answer, Failure, text_of
from fluidmcp.cli.doctor.walk.way import Documents, build_authorization_url
from fluidmcp.config.secret import Secret
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from fluidmcp.operator.loopback import CallbackListener, listen
from fluidmcp.operator.native_client import choose_redirect_uri, describe_client

LOGIN_SECONDS: Final = 300.0
TOKEN_SECONDS: Final = 15.0
"""The gateway asks the provider before it answers."""
CLIENT_NAME: Final = "fluidmcp doctor"

_JSON: Final[Mapping[str, str]] = {"accept": "application/json", "content-type": "application/json"}
_FORM: Final[Mapping[str, str]] = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "content-type": "application/x-www-form-urlencoded",
}


@asynccontextmanager
async def logged_in(
    address: Address,
    documents: Documents,
    caller: Caller,
    track: Track,
    *,
    show_address: Callable[[str], None],
    seconds: float,
) -> AsyncGenerator[Secret | None]:
    """The access token of a login of doctor's own, renewed once; None where it did not come to that.

    `show_address` gets what the person opens, and has `seconds` for it.

    Raises:
        PortInUseError: nothing can be listened to.
    """
    redirect_uri = choose_redirect_uri()
    client_id = await _register(redirect_uri, documents, caller, track)
    if client_id is None:
        yield None
        return
    fields = {"client_id": client_id, "resource": address.url}
    code_verifier, state = create_code_verifier(), secrets.token_urlsafe(32)
    tokens: Answer | None = None
    async with listen(redirect_uri, state=state) as listener:
        show_address(
            build_authorization_url(
                text_of(documents.server, "authorization_endpoint"),
                client_id=client_id,
                redirect_uri=redirect_uri,
                scopes=documents.scopes,
                resource=address.url,
                code_challenge=code_challenge_s256(code_verifier),
                state=state,
            )
        )
        parameters = await _wait_for_answer(listener, seconds, track)
        if parameters is not None and _is_good(parameters, documents, track):
            grant = {
                "grant_type": "authorization_code",
                "code": parameters.get("code", ""),
                "redirect_uri": redirect_uri,
                "code_verifier": code_verifier,
            }
            tokens = await _ask_tokens({**grant, **fields}, "token", documents, caller, track)
        listener.report(is_logged_in=tokens is not None)
    if tokens is not None:
        tokens = await _renew(tokens, fields, documents, caller, track)
    if tokens is None:
        yield None
        return
    try:
        yield Secret(text_of(tokens.document or {}, "access_token"))
    finally:
        await _revoke(tokens, fields, documents, caller)


async def _wait_for_answer(listener: CallbackListener, seconds: float, track: Track) -> Mapping[str, str] | None:
    try:
        async with asyncio.timeout(seconds):
            return await listener.wait()
    except TimeoutError:
        track.add(_nobody_logged_in(seconds))
        return None


def _is_good(parameters: Mapping[str, str], documents: Documents, track: Track) -> bool:
    says_issuer = documents.server.get("authorization_response_iss_parameter_supported") is True
    wrong = judge_login_answer(parameters, text_of(documents.server, "issuer"), says_issuer=says_issuer)
    return wrong is None or not track.add(wrong)


async def _register(redirect_uri: str, documents: Documents, caller: Caller, track: Track) -> str | None:
    endpoint = text_of(documents.server, "registration_endpoint")
    if not endpoint:
        return None
    body = describe_client(CLIENT_NAME, redirect_uri)
    answer = await caller.call("POST", endpoint, _JSON, json.dumps(body).encode())
    if isinstance(answer, Failure):
        track.add(judge_failure(answer, "registration"))
        return None
    return text_of(answer.document or {}, "client_id") or None


async def _ask_tokens(
    form: Mapping[str, str], step: Step, documents: Documents, caller: Caller, track: Track
) -> Answer | None:
    url = text_of(documents.server, "token_endpoint")
    answer = await caller.call("POST", url, _FORM, urlencode(form).encode(), seconds=TOKEN_SECONDS)
    if isinstance(answer, Failure):
        track.add(judge_failure(answer, step))
        return None
    wrong = judge_token_answer(answer, step)
    if wrong is not None:
        track.add(wrong)
        return None
    track.passed(step)
    return answer


async def _renew(
    tokens: Answer, fields: Mapping[str, str], documents: Documents, caller: Caller, track: Track
) -> Answer:
    """The renewed tokens, or those that there are where they cannot be renewed."""
    wrong = judge_refresh_token(tokens)
    if wrong is not None:
        track.add(wrong)
        return tokens
    grant = {"grant_type": "refresh_token", "refresh_token": text_of(tokens.document or {}, "refresh_token")}
    return await _ask_tokens({**grant, **fields}, "refresh", documents, caller, track) or tokens


async def _revoke(tokens: Answer, fields: Mapping[str, str], documents: Documents, caller: Caller) -> None:
    """Leave no login behind (RFC 7009). Where that fails, the tokens end by themselves."""
    document, url = tokens.document or {}, text_of(documents.server, "revocation_endpoint")
    token = text_of(document, "refresh_token") or text_of(document, "access_token")
    if url:
        await caller.call("POST", url, _FORM, urlencode({"token": token, **fields}).encode())


def _nobody_logged_in(seconds: float) -> Diagnosis:
    return Diagnosis(
        code="nobody_logged_in",
        step="authorize",
        cause=f"No answer to the login came within {seconds / 60:.0f} minutes.",
        remedy="Run it again and finish the login, in a browser on this machine.",
    )
