"""What the documents say by which a client finds the login, and the answer to its registration. Pure module."""

from collections.abc import Mapping

from fluidmcp.cli.doctor.walk.address import Address, split_address
from fluidmcp.cli.doctor.walk.clients import ClientProfile
from fluidmcp.cli.doctor.walk.judgements.first_call import judge_own_address
from fluidmcp.cli.doctor.walk.report import Diagnosis, Step
from fluidmcp.cli.doctor.walk.seen import Answer, text_of, texts_of
from fluidmcp.operator.browser_flow import clean_text

_WELL_KNOWN = (
    "Let the proxy pass /.well-known/oauth-protected-resource, /.well-known/oauth-authorization-server and "
    "/.well-known/openid-configuration on to the gateway as they came (docs/deployment.md)."
)


def judge_resource(answer: Answer, address: Address) -> Diagnosis | None:
    """The document about the endpoint (RFC 9728)."""
    document = answer.document
    if answer.status != 200 or document is None:
        return _judge_missing("well_known", answer, "the endpoint (RFC 9728)")
    resource = text_of(document, "resource")
    wrong = judge_own_address(resource, address, is_document=False)
    if wrong is not None:
        return Diagnosis(code=wrong.code, step="metadata", cause=wrong.cause, remedy=wrong.remedy)
    if not texts_of(document, "authorization_servers"):
        return _found(
            "no_authorization_server",
            "The document about the endpoint names no authorization server.",
            "If it is that of a FluidMCP gateway, report it; else ask whoever runs the server.",
        )
    return None


def judge_server(answer: Answer, issuer: str) -> Diagnosis | None:
    """The document of the authorization server (RFC 8414)."""
    document = answer.document
    if answer.status != 200 or document is None:
        return _judge_missing("login_document", answer, "the authorization server (RFC 8414)")
    said = text_of(document, "issuer")
    if said != issuer:
        return _found(
            "issuer_mismatch",
            f"The document at {answer.url} is that of {said or 'nobody'}, and not of {issuer}: clients refuse it.",
            "Set --public-url (with FMCP_OAUTH_REGISTERS_CLIENTS: FMCP_OAUTH_ISSUER) to the issuer letter by letter.",
        )
    if "S256" not in texts_of(document, "code_challenge_methods_supported"):
        return _found(
            "pkce_missing",
            "The authorization server does not say that it knows PKCE with S256: clients refuse it.",
            "Turn S256 on there.",
        )
    missing = [name for name in ("authorization_endpoint", "token_endpoint") if not text_of(document, name)]
    if missing:
        return _found("endpoint_missing", f"The document names no {' and no '.join(missing)}.", "Ask whoever runs it.")
    can_register = text_of(document, "registration_endpoint")
    if not can_register and document.get("client_id_metadata_document_supported") is not True:
        return _found(
            "no_way_to_register",
            "Clients can neither register at the authorization server nor show a document of their own.",
            'Allow registration ("dynamic_registration" in FMCP_CLIENTS_FILE), or enter the clients there.',
        )
    return None


def _judge_missing(what: str, answer: Answer, about: str) -> Diagnosis:
    path = split_address(answer.url).path
    if 300 <= answer.status < 400:
        return _found(
            f"{what}_redirected",
            f"The document about {about} is redirected: {path} leads elsewhere, and clients do not follow.",
            _WELL_KNOWN,
        )
    if answer.status == 200:
        return _found(f"{what}_replaced", f"At {path} stands a page, and not the document about {about}.", _WELL_KNOWN)
    if answer.is_ours:
        return _found(
            f"{what}_unknown",
            f"The gateway has no document about {about} at {path}: it gets another path than clients ask for, or "
            "another public URL.",
            _WELL_KNOWN,
        )
    return _found(
        f"{what}_missing",
        f"{path} does not come to the gateway (HTTP {answer.status}): clients do not find the login.",
        _WELL_KNOWN,
    )


def describe_missing_registration(client: ClientProfile) -> Diagnosis:
    """The authorization server takes documents of clients only, and this client has none."""
    return Diagnosis(
        code="registration_missing",
        step="registration",
        cause=f"{client.name} has to register, and the authorization server registers nobody.",
        remedy='Allow registration ("dynamic_registration": true in FMCP_CLIENTS_FILE), or enter the client there.',
    )


def judge_registration(answer: Answer, client: ClientProfile) -> Diagnosis | None:
    """The answer to a registration (RFC 7591)."""
    document: Mapping[str, object] = answer.document or {}
    step: Step = "registration"
    if answer.status in (200, 201) and text_of(document, "client_id"):
        if client.redirect_uri in (texts_of(document, "redirect_uris") or (client.redirect_uri,)):
            return None
        cause = f"The registration leaves out {client.redirect_uri}, where {client.name} wants its answer."
        return Diagnosis(code="redirect_left_out", step=step, cause=cause, remedy="Allow that address.")
    if answer.status == 429:
        return Diagnosis(
            code="too_many_registrations",
            step=step,
            cause="Too many clients have registered from this address within a minute.",
            remedy="Try again in a minute. Behind a proxy, name it in --trusted-proxies: without it all count as one.",
        )
    said = clean_text(text_of(document, "error_description") or text_of(document, "message"))
    if text_of(document, "error"):
        return Diagnosis(
            code="registration_refused",
            step=step,
            cause=f"{client.name} may not register: {said or text_of(document, 'error')}",
            remedy=f"Look into FMCP_CLIENTS_FILE: is {client.name} under denied, or dynamic_registration off?",
        )
    return Diagnosis(
        code="registration_unreachable",
        step=step,
        cause=f"{split_address(answer.url).path} answers HTTP {answer.status} and no registration: the call does not "
        "come to the gateway.",
        remedy="Let the proxy pass all paths of the gateway on, for POST too.",
    )


def _found(code: str, cause: str, remedy: str) -> Diagnosis:
    return Diagnosis(code=code, step="metadata", cause=cause, remedy=remedy)
