import pytest

from fluidmcp.protocol.headers import is_json_content_type, parse_accept, parse_bearer


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/html", "json"),
        ("application/json, text/event-stream", "either"),
        ("text/event-stream;q=0.5, */*;q=0.1", "either"),
        ("Text/Event-Stream", "event-stream"),
        ("text/event-stream;q=0, application/json", "json"),
        ("text/event-stream, application/json;q=0.000", "event-stream"),
    ],
)
def test_accept_says_which_forms_of_answer_a_client_takes(accept: str | None, form: str) -> None:
    assert parse_accept(accept) == form


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("abc", None),
    ],
)
def test_only_the_bearer_scheme_carries_a_token(authorization: str | None, token: str | None) -> None:
    assert parse_bearer(authorization) == token


def test_json_is_known_with_charset_and_in_any_case() -> None:
    assert is_json_content_type("Application/JSON; charset=utf-8")
    assert not is_json_content_type("text/plain")
    assert not is_json_content_type(None)
