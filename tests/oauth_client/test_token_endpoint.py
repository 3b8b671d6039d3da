import base64
import json
from typing import Any

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import FetchAnswer
from fluidmcp.oauth_client.token_endpoint import MAX_TOKEN_CHARACTERS, ProviderClient, TokenAnswer, read_token_answer


def answer(body: object, *, status: int = 200, media_type: str = "application/json") -> FetchAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FetchAnswer(status=status, media_type=media_type, body=raw)


def good(**changes: Any) -> dict[str, Any]:
    return {"access_token": "at", "token_type": "Bearer", **changes}


@pytest.mark.promise(95, 96, 97, 98, 99)
def test_a_full_answer_gives_the_documented_token_data() -> None:
    read = read_token_answer(answer(good(refresh_token="rt", expires_in=3599, scope="a b", id_token="x.y.z", more=1)))
    assert read.as_token_data() == {
        "access_token": "at",
        "refresh_token": "rt",
        "expires_in": 3599,
        "token_type": "Bearer",
        "scope": "a b",
    }
    assert read.id_token == "x.y.z"


@pytest.mark.promise(96, 97, 99)
def test_what_the_provider_did_not_send_is_null() -> None:
    data = read_token_answer(answer(good())).as_token_data()
    assert data == {
        "access_token": "at",
        "refresh_token": None,
        "expires_in": None,
        "token_type": "Bearer",
        "scope": None,
    }


def test_tokens_do_not_show_in_the_repr() -> None:
    shown = repr(TokenAnswer(access_token="canary-a", refresh_token="canary-r", id_token="canary-i"))
    assert "canary" not in shown


@pytest.mark.threat("B17")
@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"access_token=at&scope=repo%2Cgist&token_type=bearer", "application/x-www-form-urlencoded"),
        (b"access_token=at&scope=repo,gist&token_type=bearer", "text/plain"),
        (json.dumps(good(scope="repo,gist")).encode(), "text/plain"),
        (json.dumps(good(scope="repo,gist")).encode(), ""),
    ],
)
def test_b17_form_encoded_and_mislabelled_answers_are_read(body: bytes, media_type: str) -> None:
    read = read_token_answer(answer(body, media_type=media_type))
    assert (read.access_token, read.scope) == ("at", "repo,gist")


@pytest.mark.threat("B17")
def test_b17_the_slack_token_of_a_person_is_found() -> None:
    person = {"id": "U1", "access_token": "xoxp-1", "token_type": "user", "scope": "chat:write", "expires_in": 43200}
    read = read_token_answer(answer({"ok": True, "app_id": "A", "authed_user": person}))
    assert (read.access_token, read.token_type, read.scope, read.expires_in) == (
        "xoxp-1",
        "Bearer",
        "chat:write",
        43200,
    )
    both = read_token_answer(answer({"ok": True, "access_token": "xoxb-1", "token_type": "bot", "authed_user": person}))
    assert both.access_token == "xoxb-1"


@pytest.mark.threat("B17")
@pytest.mark.parametrize("token_type", ["bearer", "BEARER", "Bearer", None])
def test_b17_bearer_is_bearer_however_it_is_spelled(token_type: str | None) -> None:
    assert read_token_answer(answer(good(token_type=token_type))).token_type == "Bearer"


@pytest.mark.threat("B17")
@pytest.mark.parametrize(
    ("expires_in", "seconds"), [(3600, 3600), ("3600", 3600), (3600.0, 3600), (None, None), ("", None)]
)
def test_b17_lifetimes_come_as_numbers_digits_or_not_at_all(expires_in: object, seconds: int | None) -> None:
    assert read_token_answer(answer(good(expires_in=expires_in))).expires_in == seconds


@pytest.mark.threat("B17")
@pytest.mark.parametrize("expires_in", [0, -1, 1e99, 10**30, "soon", "-1", "1e3", "٣", True, [3600], {}, 0.5])
def test_b17_lifetimes_that_are_none_are_refused(expires_in: object) -> None:
    with pytest.raises(ProviderAnswerError):
        read_token_answer(answer(good(expires_in=expires_in)))


@pytest.mark.threat("B17")
@pytest.mark.parametrize(
    "fetched",
    [
        answer({}),
        answer([]),
        answer("at"),
        answer(None),
        answer(b""),
        answer(b"not json"),
        answer(b"[" * 60_000),
        answer(b'{"access_token":"\xff"}'),
        answer(b"<html>", media_type="text/html"),
        answer(b"access_token=a&access_token=b", media_type="application/x-www-form-urlencoded"),
        answer(b"access_token", media_type="application/x-www-form-urlencoded"),
        answer(good(access_token="")),
        answer(good(access_token=None)),
        answer(good(access_token=1)),
        answer(good(access_token=["at"])),
        answer(good(token_type="mac")),
        answer(good(token_type=["Bearer"])),
        answer(good(scope={"a": 1})),
        answer(good(scope="a\nb")),
        answer(good(refresh_token=7)),
        answer({"ok": True, "authed_user": {"id": "U1"}}),
        answer(good(), status=201),
        answer(good(), status=400),
        answer(good(), status=404),
    ],
)
def test_b17_an_answer_without_a_usable_token_is_refused(fetched: FetchAnswer) -> None:
    with pytest.raises(ProviderAnswerError) as caught:
        read_token_answer(fetched)
    assert caught.value.provider_error == ""


@pytest.mark.threat("B17")
@pytest.mark.parametrize(
    ("fetched", "code"),
    [
        (answer({"error": "invalid_grant"}, status=400), "invalid_grant"),
        (answer({"error": "bad_verification_code", "error_description": "x"}), "invalid_grant"),
        (answer(b"error=bad_verification_code", media_type="application/x-www-form-urlencoded"), "invalid_grant"),
        (answer({"ok": False, "error": "invalid_code"}), "invalid_grant"),
        (answer({"ok": False, "error": "bad_client_secret"}), "bad_client_secret"),
        (answer({"ok": False}), ""),
        (answer({"error": "invalid_client"}, status=401), "invalid_client"),
        (answer(good(error="access_denied")), "access_denied"),
        (answer({"error": "<script>alert(1)</script>"}, status=400), ""),
        (answer({"error": {"code": 190}}, status=400), ""),
    ],
)
def test_b17_errors_are_errors_whatever_the_status(fetched: FetchAnswer, code: str) -> None:
    with pytest.raises(ProviderAnswerError) as caught:
        read_token_answer(fetched)
    assert caught.value.provider_error == code
    assert "<" not in caught.value.why


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_broken_or_busy_provider_is_unavailable(status: int) -> None:
    with pytest.raises(ProviderUnavailableError):
        read_token_answer(answer(b"<html>", status=status, media_type="text/html"))


@pytest.mark.threat("B19")
@pytest.mark.parametrize("field", ["access_token", "refresh_token", "id_token"])
@pytest.mark.parametrize(
    "bad", ["a\r\nX: 1", "a\n", "\r", "a\0b", "a b", " canary", "tokén", "a\x7f", "\x1b[31m", "x" * (32 * 1024 + 1)]
)
def test_b19_tokens_that_could_break_a_header_are_refused(field: str, bad: str) -> None:
    with pytest.raises(ProviderAnswerError) as caught:
        read_token_answer(answer(good(**{field: bad})))
    assert bad not in str(caught.value) + caught.value.why


@pytest.mark.threat("B19")
def test_b19_the_longest_token_has_eight_kibibytes() -> None:
    assert read_token_answer(answer(good(access_token="x" * MAX_TOKEN_CHARACTERS))).access_token
    with pytest.raises(ProviderAnswerError):
        read_token_answer(answer(good(access_token="x" * (MAX_TOKEN_CHARACTERS + 1))))


@pytest.mark.promise(83)
def test_the_secret_is_sent_as_the_auth_method_says() -> None:
    secret = Secret("s:e cret&")
    form, headers = ProviderClient(client_id="i:d", client_secret=secret, auth_method="basic").authenticate({"a": "b"})
    assert form == {"a": "b"}
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"i%3Ad:s%3Ae%20cret%26"
    for method in ("post", None):
        client = ProviderClient(client_id="i", client_secret=secret, auth_method=method)
        assert client.authenticate({}) == ({"client_id": "i", "client_secret": "s:e cret&"}, {})
    for client in (
        ProviderClient(client_id="i", client_secret=secret, auth_method="none"),
        ProviderClient(client_id="i"),
    ):
        assert client.authenticate({}) == ({"client_id": "i"}, {})
    assert "s:e" not in repr(ProviderClient(client_id="i", client_secret=secret))
