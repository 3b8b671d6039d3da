"""Scopes in words."""

import pytest

from fluidmcp.pages.scopes import describe_scope


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("openid", "Know which account is yours"),
        ("https://www.googleapis.com/auth/gmail.readonly", "Read your mail"),
        ("https://graph.microsoft.com/Mail.Send", "Send mail as you"),
        ("Mail.Send", "Send mail as you"),
        ("repo", "Read and write all your repositories, private ones too"),
        ("something:else", None),
        ("", None),
    ],
)
def test_well_known_scopes_have_words_and_others_are_shown_as_they_are(scope: str, words: str | None) -> None:
    assert describe_scope(scope, {}) == words


def test_the_words_of_the_packages_author_come_first() -> None:
    assert describe_scope("openid", {"openid": "Say hello"}) == "Say hello"
    assert describe_scope("other", {"openid": "Say hello"}) is None
