"""What answers say, one by one: those that no seeded fault makes. Pure functions."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final

import pytest

from fluidmcp.cli.doctor.walk.address import describe_difference, list_server_documents, parse_address
from fluidmcp.cli.doctor.walk.clients import CLIENTS, CURSOR
from fluidmcp.cli.doctor.walk.judgements.connection import judge_clock, judge_failure
from fluidmcp.cli.doctor.walk.judgements.documents import judge_registration, judge_resource, judge_server
from fluidmcp.cli.doctor.walk.judgements.first_call import judge_first_call, judge_rpc_error
from fluidmcp.cli.doctor.walk.judgements.login import (
    judge_authorize,
    judge_consent,
    judge_provider_page,
    judge_provider_scopes,
    judge_redeemed,
    judge_request_to_provider,
    read_consent,
)
from fluidmcp.cli.doctor.walk.judgements.tokens import judge_login_answer, judge_refresh_token, judge_token_answer
from fluidmcp.cli.doctor.walk.judgements.traffic import (
    judge_bad_token,
    judge_call,
    judge_large_body,
    judge_session,
    judge_stream,
)
from fluidmcp.cli.doctor.walk.report import Diagnosis, Report, Track, single_out
from fluidmcp.cli.doctor.walk.seen import Answer, Failure, StreamSeen, read_challenge
from fluidmcp.config.redirects import check_redirect_uri
from tests.cli.doctor.test_page import codes_of_the_page
from tests.cli.doctor.test_seeded_faults import CERTIFICATES, FAULTS

ADDRESS: Final = parse_address("https://mcp.example.com/tools/mail/mcp")
ISSUER: Final = "https://mcp.example.com/tools/mail"
LOCATION: Final = (
    "https://id.example.com/authorize?redirect_uri=https%3A%2F%2Fmcp.example.com%2Ftools%2Fmail%2Fauth%2Fcallback"
    "&scope=openid%20mail.read"
)
BACK: Final = "https://mcp.example.com/tools/mail/auth/callback"
Judge = Callable[[], Diagnosis | None]


def answer(status: int = 200, body: Any = None, *, url: str = ADDRESS.url, **headers: str) -> Answer:
    """Underscores in names of headers are hyphens; a body that is no text is JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    kind = {} if isinstance(body, bytes) else {"content-type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(url=url, status=status, headers=kind | named, body=raw)


def ours(status: int, message: str = "m", code: str = "c") -> Answer:
    return answer(status, {"error": code, "message": message})


def server(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "registration_endpoint": f"{ISSUER}/register",
        "code_challenge_methods_supported": ["S256"],
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


def stream(**changes: Any) -> StreamSeen:
    values: dict[str, Any] = {"answer": answer(content_type="text/event-stream"), "has_event": True, **changes}
    return StreamSeen(**values)


def back_to_client(**query: str) -> Answer:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return answer(302, location=f"{CURSOR.redirect_uri}?{text}")


def back_with(error: str) -> Answer:
    """The provider's answer to the gateway."""
    return answer(302, location=f"{BACK}?error={error}")


RESOURCE: Final[Mapping[str, Any]] = {"resource": ADDRESS.url, "authorization_servers": [ISSUER]}
NEEDS_LOGIN: Final = answer(401, www_authenticate='Bearer realm="fluidmcp", resource_metadata="x"')
CASES: Final[list[tuple[str, Judge]]] = [
    ("name_unknown", lambda: judge_failure(Failure(url=ADDRESS.url, kind="name"), "connection")),
    ("connection_broken", lambda: judge_failure(Failure(url=ADDRESS.url, kind="broken"), "connection")),
    ("inner_address", lambda: judge_failure(Failure(url="http://10.0.0.1/", kind="not_allowed"), "metadata")),
    ("certificate_chain_incomplete", lambda: judge_failure(Failure(url=ADDRESS.url, kind="tls"), "connection")),
    (
        "no_client_login",
        lambda: judge_first_call(
            Answer(
                url=ADDRESS.url,
                status=401,
                headers={"www-authenticate": 'Bearer realm="fluidmcp"'},
                body=b'{"error": "unauthorized", "message": "m"}',
            ),
            ADDRESS,
        ),
    ),
    ("challenge_foreign", lambda: judge_first_call(answer(401, www_authenticate='Bearer realm="x"'), ADDRESS)),
    ("proxy_login", lambda: judge_first_call(answer(401, www_authenticate="Basic realm=x"), ADDRESS)),
    ("challenge_missing", lambda: judge_first_call(answer(401), ADDRESS)),
    ("refused", lambda: judge_first_call(ours(405), ADDRESS)),
    ("call_refused", lambda: judge_first_call(ours(429), ADDRESS)),
    ("server_failed", lambda: judge_first_call(ours(503, code="server_backing_off"), ADDRESS)),
    ("blocked", lambda: judge_first_call(answer(429, b"slow down"), ADDRESS)),
    ("body_limit", lambda: judge_first_call(answer(413, b""), ADDRESS)),
    ("another_site", lambda: judge_first_call(answer(405, b""), ADDRESS)),
    ("call_refused", lambda: judge_rpc_error(answer(200, {"jsonrpc": "2.0", "error": {"code": -1, "message": "m"}}))),
    ("well_known_redirected", lambda: judge_resource(answer(301, location="https://x/"), ADDRESS)),
    ("well_known_unknown", lambda: judge_resource(ours(404), ADDRESS)),
    ("no_authorization_server", lambda: judge_resource(answer(200, {"resource": ADDRESS.url}), ADDRESS)),
    ("public_url_path", lambda: judge_resource(answer(200, {**RESOURCE, "resource": ISSUER}), ADDRESS)),
    ("login_document_missing", lambda: judge_server(answer(404, b""), ISSUER)),
    ("login_document_replaced", lambda: judge_server(answer(200, b"<p>"), ISSUER)),
    ("login_document_redirected", lambda: judge_server(answer(302), ISSUER)),
    ("login_document_unknown", lambda: judge_server(ours(404), ISSUER)),
    ("issuer_mismatch", lambda: judge_server(answer(200, server(issuer=f"{ISSUER}/")), ISSUER)),
    ("pkce_missing", lambda: judge_server(answer(200, server(code_challenge_methods_supported=["plain"])), ISSUER)),
    ("endpoint_missing", lambda: judge_server(answer(200, server(token_endpoint=None)), ISSUER)),
    ("no_way_to_register", lambda: judge_server(answer(200, server(registration_endpoint=None)), ISSUER)),
    ("too_many_registrations", lambda: judge_registration(ours(429), CURSOR)),
    ("registration_unreachable", lambda: judge_registration(answer(405, b""), CURSOR)),
    (
        "redirect_left_out",
        lambda: judge_registration(answer(201, {"client_id": "c", "redirect_uris": ["https://x/"]}), CURSOR),
    ),
    (
        "authorize_refused",
        lambda: judge_authorize(back_to_client(error="invalid_scope"), CURSOR, by_document=False),
    ),
    ("authorize_refused", lambda: judge_authorize(answer(502, b""), CURSOR, by_document=False)),
    ("form_refused", lambda: judge_consent(ours(403), CURSOR)),
    ("login_unconfigured", lambda: judge_consent(back_to_client(error="server_error"), CURSOR)),
    ("redirect_elsewhere_than_here", lambda: judge_request_to_provider(LOCATION.replace("mcp.ex", "x.ex"), ADDRESS)),
    ("provider_down", lambda: judge_provider_page(answer(503), LOCATION)),
    ("provider_refuses", lambda: judge_provider_page(answer(404), LOCATION)),
    (
        "provider_client",
        lambda: judge_provider_page(back_with("unauthorized_client"), LOCATION),
    ),
    ("provider_scope", lambda: judge_provider_page(back_with("invalid_scope"), LOCATION)),
    ("provider_audience", lambda: judge_provider_page(back_with("invalid_target"), LOCATION)),
    ("provider_refuses", lambda: judge_provider_page(back_with("x"), LOCATION)),
    ("offline_access_missing", lambda: judge_provider_scopes(LOCATION, {"scopes_supported": ["offline_access"]})),
    ("callback_unreachable", lambda: judge_redeemed(answer(404), CURSOR)),
    ("provider_unreachable_inside", lambda: judge_redeemed(answer(502), CURSOR)),
    ("body_limit", lambda: judge_large_body(ours(413), sent_bytes=1)),
    ("stream_broken", lambda: judge_stream(Failure(url="", kind="broken"))),
    ("stream_buffered", lambda: judge_stream(stream(has_event=False))),
    (
        "http_1_0",
        lambda: judge_stream(stream(answer=Answer(url="", status=200, http_version="HTTP/1.0"))),
    ),
    ("authorization_stripped", lambda: judge_bad_token(NEEDS_LOGIN, NEEDS_LOGIN)),
    ("token_refused", lambda: judge_call(answer(401), with_token=True)),
    ("token_not_allowed", lambda: judge_call(answer(403), with_token=True)),
    ("call_unanswered", lambda: judge_call(answer(500, b""), with_token=True)),
    ("session_lost", lambda: judge_session(answer(404), None)),
    ("issuer_of_answer", lambda: judge_login_answer({"code": "c", "iss": f"{ISSUER}/"}, ISSUER, says_issuer=True)),
    ("issuer_of_answer", lambda: judge_login_answer({"code": "c"}, ISSUER, says_issuer=True)),
    ("login_refused", lambda: judge_login_answer({"error": "access_denied"}, ISSUER, says_issuer=False)),
    (
        "client_secret_wrong",
        lambda: judge_login_answer(
            {"error": "server_error", "error_description": "It answered invalid_client"}, ISSUER, says_issuer=False
        ),
    ),
    ("code_refused", lambda: judge_token_answer(answer(400, {"error": "invalid_grant"}), "token")),
    ("code_refused", lambda: judge_token_answer(answer(200, {"access_token": "two words"}), "token")),
    ("refresh_refused", lambda: judge_token_answer(answer(400, {"error": "invalid_grant"}), "refresh")),
    ("no_refresh_token", lambda: judge_refresh_token(answer(200, {"access_token": "a", "expires_in": 3600}))),
]
FINE: Final[list[Judge]] = [
    lambda: judge_first_call(answer(200, {"jsonrpc": "2.0", "id": 1, "result": {}}), ADDRESS),
    lambda: judge_first_call(
        answer(401, www_authenticate=f'Bearer realm="x", resource_metadata="{ADDRESS.inserted}"'), ADDRESS
    ),
    lambda: judge_resource(answer(200, RESOURCE), ADDRESS),
    lambda: judge_server(answer(200, server()), ISSUER),
    lambda: judge_registration(answer(201, {"client_id": "c"}), CURSOR),
    lambda: judge_authorize(answer(200, b"<p>"), CURSOR, by_document=False),
    lambda: judge_request_to_provider(LOCATION, ADDRESS),
    lambda: judge_provider_page(answer(200, b""), LOCATION),
    lambda: judge_provider_page(answer(302, location="https://id.example.com/login"), LOCATION),
    lambda: judge_provider_page(back_with("login_required"), LOCATION),
    lambda: judge_provider_page(answer(403, b"no robots"), LOCATION),
    lambda: judge_provider_scopes(f"{LOCATION}+offline_access", {"scopes_supported": ["offline_access"]}),
    lambda: judge_provider_scopes(f"{LOCATION}&access_type=offline", {"scopes_supported": ["offline_access"]}),
    lambda: judge_provider_scopes(LOCATION, {}),
    lambda: judge_redeemed(back_to_client(error="server_error", error_description="It+answered+invalid_grant"), CURSOR),
    lambda: judge_bad_token(answer(401, www_authenticate='Bearer error="invalid_token"'), NEEDS_LOGIN),
    lambda: judge_bad_token(answer(401, www_authenticate="Bearer x=y"), answer(401, www_authenticate="Bearer x=y")),
    lambda: judge_stream(stream()),
    lambda: judge_stream(answer(404)),
    lambda: judge_session(answer(200), answer(204)),
    lambda: judge_call(answer(200, {"jsonrpc": "2.0", "result": {}}), with_token=True),
    lambda: judge_login_answer({"code": "c", "iss": ISSUER}, ISSUER, says_issuer=True),
    lambda: judge_token_answer(answer(200, {"access_token": "a"}), "token"),
]
OTHER_TESTS: Final = {"clock", "not_public", "client_document_unread", "nobody_logged_in"}


@pytest.mark.parametrize(("code", "judge"), CASES)
def test_an_answer_is_judged(code: str, judge: Judge) -> None:
    found = judge()
    assert found is not None and found.code == code
    assert found.cause.endswith((".", ":", "m", "m")) or ":" in found.cause
    assert found.remedy


@pytest.mark.parametrize("judge", FINE)
def test_an_answer_that_is_fine_is_no_finding(judge: Judge) -> None:
    assert judge() is None


def test_each_code_of_the_page_is_made_by_a_test() -> None:
    seeded = {fault.code for fault in FAULTS} | set(CERTIFICATES) | OTHER_TESTS
    assert codes_of_the_page() == seeded | {code for code, _ in CASES}


@pytest.mark.parametrize(
    ("skew", "has_provider", "who"),
    [(-3600, False, "both machines"), (0, True, ""), (3600, True, "the gateway's machine")],
)
def test_two_clocks_alone_do_not_say_which_is_wrong(skew: int, has_provider: bool, who: str) -> None:
    """`skew`: how far the gateway's is behind."""
    now = 1_700_000_000.0
    found = judge_clock(at(now - skew, now), at(now, now) if has_provider else None)
    assert (found is None) == (not who)
    assert found is None or f"Set the clock of {who} (NTP)" in found.remedy


def at(told: float, asked_at: float) -> Answer:
    date = format_datetime(datetime.fromtimestamp(told, UTC), usegmt=True)
    return Answer(url="", status=200, headers={"date": date}, asked_at=asked_at, answered_at=asked_at)


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("https://a.example:443/x", ""),
        ("http://a.example/x", "scheme"),
        ("https://b.example/x", "host"),
        ("https://a.example:8443/x", "port"),
        ("https://a.example/y", "path"),
        ("nonsense", "scheme"),
    ],
)
def test_the_part_that_differs_is_named(said: str, part: str) -> None:
    assert describe_difference(said, "https://a.example/x") == part


def test_the_documents_of_an_issuer_are_looked_for_as_clients_do() -> None:
    assert list_server_documents("https://a.example") == (
        "https://a.example/.well-known/oauth-authorization-server",
        "https://a.example/.well-known/openid-configuration",
    )
    assert list_server_documents("https://a.example/x/") == (
        "https://a.example/.well-known/oauth-authorization-server/x",
        "https://a.example/.well-known/openid-configuration/x",
        "https://a.example/x/.well-known/openid-configuration",
    )


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_what_a_client_is_said_to_register_is_in_order(client: Any) -> None:
    assert client.redirect_uri in client.registration["redirect_uris"]
    assert all(check_redirect_uri(uri) is None for uri in client.registration["redirect_uris"])
    json.dumps(dict(client.registration))


def test_a_refusal_of_some_clients_is_about_them() -> None:
    blocked = Diagnosis(code="blocked", step="first call", cause="c.", remedy="r.")
    tracks = (Track("A"), Track("B"))
    tracks[0].add(blocked)
    single_out(tracks)
    (finding,) = Report(url="", tracks=tracks).findings
    assert (finding.diagnosis.code, finding.clients) == ("client_blocked", ("A",))
    tracks[1].add(blocked)
    tracks[0].diagnoses[:] = [blocked]
    single_out(tracks)
    assert [finding.diagnosis.code for finding in Report(url="", tracks=tracks).findings] == ["blocked"]


def test_a_form_is_ours_only_with_all_that_it_has() -> None:
    form = b'<form method="post" action="/x/consent"><input type="hidden" name="request" value="a&amp;b">'
    found = read_consent(answer(200, form + b'<button name="decision">'))
    assert found is not None and (found.action, found.request) == ("/x/consent", "a&b")
    assert read_consent(answer(200, form)) is None


def test_a_challenge_is_read_whatever_its_spelling() -> None:
    assert read_challenge('bearer Realm="a \\"b", error=invalid_token') == {"realm": 'a \\"b', "error": "invalid_token"}
    assert read_challenge("Basic x=y") == {}


@pytest.mark.parametrize("target", ["file:///etc/passwd", "javascript:alert(1)", "vscode:mcp/install", "http://mcp.x/"])
def test_nobody_is_told_to_give_clients_an_address_that_is_worse(target: str) -> None:
    found = judge_first_call(answer(307, location=target), ADDRESS)

    assert found is not None and found.code == "redirect_elsewhere"
    assert target not in found.remedy
    assert "Let calls to the gateway through" in found.remedy
