"""What a login came to, of somebody who really logged in: the answer, the tokens, their renewal. Pure module."""

import re
from collections.abc import Mapping
from typing import Final

from fluidmcp.cli.doctor.walk.report import Diagnosis, Step
from fluidmcp.cli.doctor.walk.seen import Answer, text_of
from fluidmcp.oauth_client.token_endpoint import is_token_text, sanitise_error_code
from fluidmcp.operator.browser_flow import clean_text

_NO_CLIENT: Final = re.compile(r"\b(invalid_client|unauthorized_client)\b")


def judge_login_answer(parameters: Mapping[str, str], issuer: str, *, says_issuer: bool) -> Diagnosis | None:
    """What the browser brought back (RFC 6749 section 4.1.2, RFC 9207)."""
    step: Step = "authorize"
    said = parameters.get("iss")
    if said != issuer if said is not None else says_issuer:
        return Diagnosis(
            code="issuer_of_answer",
            step=step,
            cause=f"The answer to the login names {said or 'no issuer'}, and not {issuer} as the documents: clients "
            "refuse it.",
            remedy="Set --public-url to the address that clients use, letter by letter.",
        )
    if "error" not in parameters:
        return None
    words = clean_text(parameters.get("error_description", "")) or sanitise_error_code(parameters["error"])
    if _NO_CLIENT.search(words):
        return Diagnosis(
            code="client_secret_wrong",
            step="token",
            cause="The provider does not accept the client secret of the gateway.",
            remedy="Set the variable of client_secret_env to the present secret of this client, or correct "
            "token_endpoint_auth_method.",
        )
    return Diagnosis(
        code="login_refused",
        step=step,
        cause=f"The login came back without a code: {words}",
        remedy="Do what it says; if it was your own no, log in again.",
    )


def judge_token_answer(answer: Answer, step: Step) -> Diagnosis | None:
    """The answer of the token endpoint to a code, or to a refresh token (RFC 6749 section 5)."""
    document = answer.document or {}
    if answer.status == 200 and is_token_text(text_of(document, "access_token")):
        return None
    words = clean_text(text_of(document, "error_description")) or sanitise_error_code(text_of(document, "error"))
    what = "the code" if step == "token" else "the refresh token"
    return Diagnosis(
        code="code_refused" if step == "token" else "refresh_refused",
        step=step,
        cause=f"The token endpoint does not take {what}: {words or f'HTTP {answer.status}'}",
        remedy="Check that the proxy passes the path of the token endpoint on, and see the log of the gateway. With "
        "several gateways see docs/scaling.md.",
    )


def judge_refresh_token(answer: Answer) -> Diagnosis | None:
    """Whether the login can be renewed."""
    document = answer.document or {}
    if is_token_text(text_of(document, "refresh_token")):
        return None
    seconds = document.get("expires_in")
    until = f" in {seconds / 60:.0f} minutes" if isinstance(seconds, int) else ""
    return Diagnosis(
        code="no_refresh_token",
        step="refresh",
        cause=f"There is no refresh token: everybody logs in again when the first token ends{until}.",
        remedy='Add "offline_access" to scopes of the auth block (FMCP_OAUTH_SCOPE for the gateway\'s own login), and '
        "allow it for the client at the provider.",
    )
